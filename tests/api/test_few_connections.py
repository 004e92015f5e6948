"""A Postgres that takes fewer connections than workers need says so at the start, or when met."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from eventstore.errors import DatabaseUnavailable
from eventstore.migrate import Target
from eventstore.postgres import PostgresDatabase, PostgresOptions
from tests import serving


@pytest.fixture
def few(postgres_url: str) -> Iterator[Target]:
    """A database whose owner is given five connections."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE few LOGIN CONNECTION LIMIT 5")
        connection.execute("CREATE DATABASE few OWNER few")
        yield Target(url=postgres_url.replace("postgres:@/postgres?", "few:@/few?"))
        connection.execute("DROP DATABASE few WITH (FORCE)")
        connection.execute("DROP ROLE few")


def test_more_workers_than_find_a_connection_are_not_started(few: Target, tmp_path: Path) -> None:
    refused = serving.run_cli(few, tmp_path, "server", "start", "--workers", "2", "--port", "0")

    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert refused.stderr.startswith(
        "Error: Postgres takes 5 connections of this user at most, and 2 workers need 6 at least; "
        "start fewer of them, or raise max_connections "
    )
    assert refused.stderr.count("\n") == 1


def test_as_many_as_find_theirs_are_started(few: Target, tmp_path: Path) -> None:
    server = serving.start(few, tmp_path / "home", settings={"PLUPERFECT_DATABASE_POOL_SIZE": "3"})
    made = httpx.post(f"{server.url}/flows/", json={"name": "a"})

    assert made.status_code == 201
    assert server.stop() == 0


async def test_whoever_finds_none_left_is_told_what_to_do(few: Target) -> None:
    options = PostgresOptions(dsn=few.url, schema=few.schema)
    databases = [PostgresDatabase(options) for _ in range(6)]
    try:
        for database in databases[:5]:
            await database.fetch("SELECT 1")
        with pytest.raises(DatabaseUnavailable, match=r'role "few"; raise its max_connections, st'):
            await databases[5].fetch("SELECT 1")
    finally:
        for database in databases:
            await database.close()
