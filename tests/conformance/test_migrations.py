"""Migrations: many starters, killed starters, newer and foreign databases, and the way back."""

import itertools
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec import structs

from eventstore import migrate
from eventstore.checkpoints import CHECKPOINTS
from eventstore.codec import EVENTS
from eventstore.database import Table
from eventstore.errors import DatabaseUnavailable
from eventstore.log import STREAMS
from eventstore.migrate import (
    ForeignDatabase,
    SchemaRefused,
    SchemaTooNew,
    Target,
    UnknownRevision,
    WouldLoseEvents,
)
from eventstore.store import EventStore
from tests.conformance.toys import adding, store_on
from tests.conftest import open_database

ROOT = Path(__file__).parents[2]
_numbers = itertools.count(1)


@pytest.fixture
def blank(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    """A database that nobody has migrated."""
    if backend == "sqlite":
        yield Target(path=tmp_path / "new" / "pluperfect.db")
        return
    url = request.getfixturevalue("postgres_url")
    name = f"blank_{next(_numbers)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield Target(url=url.replace("/postgres?", f"/{name}?"))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run_sql(target: Target, *statements: str) -> list[Any]:
    """Whatever somebody else may do to the database; the rows of the last statement."""
    rows: list[Any] = []
    if target.path is not None:
        target.path.parent.mkdir(exist_ok=True)
        connection = sqlite3.connect(target.path)
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        connection.commit()
        connection.close()
        return rows
    with psycopg.connect(target.url, autocommit=True) as server:
        server.execute(f"CREATE SCHEMA IF NOT EXISTS {target.schema}")
        server.execute(f"SET search_path TO {target.schema}")
        for statement in statements:
            cursor = server.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
    return rows


def starter(target: Target, before: str = "") -> subprocess.Popen[bytes]:
    """Another process that migrates the database; `before` is what befalls it."""
    where = f"path=Path({str(target.path)!r})" if target.path else f"url={target.url!r}"
    code = (
        "import os\nfrom pathlib import Path\nfrom eventstore import migrate\n"
        f"{before}\nmigrate.upgrade(migrate.Target({where}))\n"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)


def test_a_new_database_gets_everything_once(blank: Target) -> None:
    assert migrate.upgrade(blank) == migrate.available(blank) == migrate.applied(blank)
    assert migrate.upgrade(blank) == []


def test_several_starters_at_once_migrate_once(blank: Target) -> None:
    starters = [starter(blank) for _ in range(4)]
    assert [process.wait(timeout=60) for process in starters] == [0] * 4
    assert migrate.check(blank) == []


@pytest.mark.parametrize("moment", ["mark_one", "savepoint"])
def test_a_starter_killed_in_the_middle_leaves_nothing_half_done(
    blank: Target, moment: str
) -> None:
    migrate.upgrade(blank, migrate.available(blank)[0])
    killed = starter(
        blank,
        "from yoyo.backends.base import DatabaseBackend\n"
        f"DatabaseBackend.{moment} = lambda *a, **k: os.kill(os.getpid(), 9)",
    )
    assert killed.wait(timeout=60) == -9
    assert migrate.upgrade(blank) == migrate.available(blank)[1:]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("room_bytes", [0, 4_096, 65_536, 262_144])
def test_a_disk_without_room_for_a_new_database_is_told_of_in_a_sentence(
    blank: Target, room_bytes: int
) -> None:
    """As large as that a file may become; a full disk fails in the same places."""
    assert blank.path is not None
    code = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from eventstore import migrate\nfrom eventstore.errors import DatabaseUnavailable\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room_bytes}, {room_bytes}))\n"
        f"target = migrate.Target(path=Path({str(blank.path)!r}))\n"
        "try:\n    migrate.upgrade(target)\n"
        "except DatabaseUnavailable as error:\n    sys.exit(str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"cannot change the SQLite database {blank.path}: "), done.stderr
    assert migrate.applied(blank) == migrate.available(blank)[: len(migrate.applied(blank))]
    migrate.upgrade(blank)
    assert migrate.applied(blank) == migrate.available(blank)


def test_a_migration_that_fails_leaves_nothing_half_done(
    blank: Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for engine in ("sqlite", "postgres"):
        (tmp_path / "broken" / engine).mkdir(parents=True)
    (tmp_path / "broken" / "0001.half.sql").write_text(
        "CREATE TABLE half (id BIGINT);\nINSERT INTO nowhere VALUES (1);\n"
    )
    monkeypatch.setattr(migrate, "MIGRATIONS", tmp_path / "broken")
    with pytest.raises(SchemaRefused, match="nowhere"):
        migrate.upgrade(blank)
    (tmp_path / "broken" / "0001.half.sql").write_text("CREATE TABLE half (id BIGINT);\n")
    assert migrate.upgrade(blank) == ["0001.half"]


def test_a_newer_schema_is_refused(target: Target) -> None:
    run_sql(
        target,
        "INSERT INTO _yoyo_migration (migration_hash, migration_id) VALUES ('x', '9999.future')",
    )
    with pytest.raises(SchemaTooNew, match=r"9999\.future"):
        migrate.upgrade(target)
    with pytest.raises(SchemaTooNew):
        migrate.downgrade(target, "0001")


def test_a_prefect_database_is_refused(blank: Target) -> None:
    run_sql(blank, "CREATE TABLE alembic_version (version_num TEXT)")
    with pytest.raises(ForeignDatabase, match="PLUPERFECT_DATABASE_URL"):
        migrate.upgrade(blank)


async def test_going_back_keeps_the_log(target: Target) -> None:
    database = open_database(target)
    store = store_on(database)
    await store.open()
    await store.submit(adding("n:1", 0, 1))
    await store.close()
    await database.close()
    undone = migrate.downgrade(target, "0001")
    assert undone == migrate.available(target)[:0:-1]
    assert migrate.applied(target) == [migrate.available(target)[0]]
    with pytest.raises(WouldLoseEvents):
        migrate.downgrade(target, "")
    assert migrate.upgrade(target) == migrate.available(target)[1:]
    schema = "" if target.path else f"{target.schema}."
    assert run_sql(target, f"SELECT count(*) FROM {schema}events") == [(1,)]


def test_a_revision_is_named_by_id_or_number(blank: Target) -> None:
    first = migrate.available(blank)[0]
    assert migrate.upgrade(blank, "0001") == [first]
    assert migrate.revision(blank, first) == first
    for change in (migrate.upgrade, migrate.downgrade, migrate.stamp):
        with pytest.raises(UnknownRevision, match=first):
            change(blank, "7777")


def test_a_number_that_several_migrations_have_names_none_of_them(blank: Target) -> None:
    shared = [name for name in migrate.available(blank) if name.startswith("0014.")]
    assert len(shared) > 1
    for change in (migrate.upgrade, migrate.downgrade, migrate.stamp):
        with pytest.raises(UnknownRevision, match=rf"number 14; .*: {', '.join(shared)}$"):
            change(blank, "14")
    assert migrate.upgrade(blank, shared[0])[-1] == shared[0]


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_hold_every_text_is_not_taken(
    postgres_url: str, encoding: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE letters ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'"
        )
        target = Target(url=postgres_url.replace("/postgres?", "/letters?"))
        for look in (migrate.check, migrate.upgrade):
            with pytest.raises(SchemaRefused, match=f"has the encoding {encoding}, in which"):
                look(target)
        connection.execute("DROP DATABASE letters WITH (FORCE)")


def test_stamping_says_so_and_runs_nothing(blank: Target) -> None:
    migrate.upgrade(blank)
    migrate.stamp(blank, "0001")
    assert migrate.applied(blank) == migrate.available(blank)[:1]


def test_a_list_of_migrations_that_is_not_true_is_told_of_in_a_sentence(blank: Target) -> None:
    migrate.stamp(blank, "0016")
    with pytest.raises(SchemaRefused, match=r"log_head.*; its tables are not those of the migrati"):
        migrate.upgrade(blank)
    migrate.stamp(blank, "")
    assert migrate.upgrade(blank) == migrate.available(blank)


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
def test_a_user_who_may_make_no_schema_is_told_so_and_takes_one_that_was_made(
    blank: Target,
) -> None:
    with psycopg.connect(blank.url, autocommit=True) as owner:
        owner.execute("CREATE ROLE weak LOGIN PASSWORD 'weak'")
        try:
            weak = structs.replace(blank, url=f"{blank.url}&user=weak&password=weak")
            with pytest.raises(SchemaRefused, match='CREATE SCHEMA "pluperfect" AUTHORIZATION'):
                migrate.upgrade(weak)
            owner.execute("CREATE SCHEMA pluperfect AUTHORIZATION weak")
            assert migrate.upgrade(weak) == migrate.available(weak)
        finally:
            owner.execute("DROP OWNED BY weak CASCADE")
            owner.execute("DROP ROLE weak")


@pytest.mark.parametrize("name", ["with space", "what?.db", "#1.db", "50%25.db", "ünï.db", "a&b=c"])
async def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    target = Target(path=tmp_path / name / name)
    assert migrate.upgrade(target) == migrate.available(target)
    database = open_database(target)
    store = store_on(database)
    await store.open()
    assert (await store.submit(adding("n:1", 0, 1))).position == 1
    await database.fetch("SELECT 1")
    await store.close()
    await database.close()
    made = {path.name for path in (tmp_path / name).iterdir()}
    assert made == {name, f"{name}.lock", f"{name}.migrations.lock"}
    assert migrate.check(target) == []


def test_a_database_that_cannot_be_reached_is_one_clear_line(blank: Target, tmp_path: Path) -> None:
    if blank.path is not None:
        (tmp_path / "text").write_text("not a database, but long enough to look at" * 100)
        for bad in (tmp_path / "text", tmp_path, tmp_path / "text" / "below.db"):
            with pytest.raises(DatabaseUnavailable, match=str(tmp_path)):
                migrate.upgrade(Target(path=bad))
        return
    with pytest.raises(DatabaseUnavailable, match="cannot reach Postgres"):
        migrate.upgrade(Target(url=blank.url.replace("blank_", "missing_")))


async def test_the_log_is_declared_as_it_is_migrated(store: EventStore) -> None:
    tables: Sequence[Table] = (EVENTS, STREAMS, CHECKPOINTS)
    for table in tables:
        if store.database.dialect.name == "sqlite":
            rows = await store.database.fetch(f"SELECT name FROM pragma_table_info('{table.name}')")
        else:
            rows = await store.database.fetch(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = "
                "current_schema() AND table_name = $1 ORDER BY ordinal_position",
                table.name,
            )
        assert [row[0] for row in rows] == list(table.columns)
