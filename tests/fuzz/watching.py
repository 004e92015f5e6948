"""What a test sees of the log of a running server, from beside it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg

from eventstore.migrate import Target

HEAD = "SELECT position FROM log_head"
SINCE = "SELECT type FROM events WHERE position > {after} AND actor IN ('anonymous', 'basic-auth')"


class LogWatch:
    """Reads a log that a server writes."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def head(self) -> int:
        """The newest position."""
        return int(self._connection.execute(HEAD).fetchone()[0])

    def asked_for_since(self, position: int) -> list[str]:
        """Types of the events behind this position that clients brought about; services may go on
        meanwhile, under their own names."""
        rows = self._connection.execute(SINCE.format(after=position)).fetchall()
        return [str(type) for (type,) in rows]


@contextmanager
def watched(target: Target) -> Iterator[LogWatch]:
    """The log of this database."""
    if target.path is not None:
        with closing(sqlite3.connect(f"file:{target.path}?mode=ro", uri=True)) as connection:
            yield LogWatch(connection)
    else:
        options = f"-c search_path={target.schema}"
        with psycopg.connect(target.url, autocommit=True, options=options) as connection:
            yield LogWatch(connection)
