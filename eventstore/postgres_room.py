"""Whether Postgres takes the connections of all workers, asked before these are started.

A worker that finds none left ends, and the one in its place does so, too: what reaches its part of
the port is refused, while the others go on.
"""

from eventstore.errors import DatabaseUnavailable
from eventstore.migrate import Target, connected
from eventstore.postgres import WRITERS_MAX

LEAST = WRITERS_MAX + 1
"""Connections without which a worker comes to nothing: all that write, and one to read."""
# `least` leaves out what is NULL. What is kept for superusers others do not get.
ROOM = """
SELECT CASE WHEN rolsuper THEN current_setting('max_connections')::int ELSE least(
  current_setting('max_connections')::int
    - current_setting('superuser_reserved_connections')::int,
  nullif(rolconnlimit, -1), nullif(datconnlimit, -1)) END
FROM pg_catalog.pg_roles, pg_catalog.pg_database
WHERE rolname = current_user AND datname = current_database()
"""


def check_room(target: Target, workers: int) -> None:
    """Raise DatabaseUnavailable if not even the `LEAST` of each worker can be connected.

    Blocks. Other servers on the database are not counted: nobody knows how many there will be.
    """
    with connected(target) as connection:
        ((room,),) = connection.execute(ROOM).fetchall()
    if room < workers * LEAST:
        raise DatabaseUnavailable(
            f"Postgres takes {room} connections of this user at most, and {workers} workers need "
            f"{workers * LEAST} at least; start fewer of them, or raise max_connections (or the "
            "limit of the database or of the user, if that is lower)"
        )
