"""A server is ready if it can do its work, which is to write; where it only reads, to read."""

import httpx
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from eventstore.migrate import Target
from tests.conftest import StartServer
from tests.serving import RunningServer

pytestmark = pytest.mark.parametrize("backend", ["postgres"], indirect=True)

SECONDS_MAX = 30.0
THROWN_OUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def become_read_only(target: Target, switch: str) -> None:
    """Have whoever connects find what writes nothing (`on`), as a standby does that has taken the
    place of its primary, or what does (`off`)."""
    with psycopg.connect(target.url, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        become = SQL("ALTER DATABASE {} SET default_transaction_read_only = {}")
        connection.execute(become.format(Identifier(connection.info.dbname), SQL(switch)))
        if switch == "on":
            connection.execute(THROWN_OUT)


def written(server: RunningServer) -> int:
    """Status of the answer to a write, which the server tries for some seconds."""
    body = {"name": "a"}
    return httpx.post(f"{server.url}/flows/", json=body, timeout=SECONDS_MAX).status_code


def ready(server: RunningServer) -> httpx.Response:
    return httpx.get(f"{server.url}/ready")


def test_a_server_whose_postgres_takes_nothing_is_not_ready_until_it_does(
    start_server: StartServer, target: Target
) -> None:
    server = start_server()
    assert ready(server).status_code == 200
    become_read_only(target, "on")
    refused = ready(server)
    assert refused.status_code == 503
    assert refused.json()["message"].startswith("Nothing is written here: Postgres takes nothing")
    assert written(server) == 503
    become_read_only(target, "off")
    assert ready(server).status_code == 200
    assert written(server) == 201


def test_a_server_that_is_there_to_read_is_ready_where_nothing_is_written(
    start_server: StartServer, target: Target
) -> None:
    server = start_server(settings={"PLUPERFECT_DATABASE_READ_ONLY": "true"})
    become_read_only(target, "on")
    assert ready(server).status_code == 200
