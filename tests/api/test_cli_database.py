"""`pluperfect server database`: what it does to schema and read models, and what it refuses."""

import fcntl
import json
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from api import pid_file
from eventstore import migrate
from eventstore.migrate import Target
from tests import serving
from tests.conftest import StartServer
from tests.serving import RunningServer


def _cli(target: Target, home: Path, *arguments: str) -> str:
    done = serving.run_cli(target, home, "server", "database", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _refused(target: Target, home: Path, *arguments: str) -> str:
    done = serving.run_cli(target, home, "server", "database", *arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def _fetch(target: Target, sql: str) -> list[tuple[object, ...]]:
    """Rows of one statement; the connection commits, so that it may also change something."""
    if target.path is not None:
        with sqlite3.connect(target.path) as connection:
            return connection.execute(sql).fetchall()
    with psycopg.connect(target.url, options=f"-c search_path={target.schema}") as postgres:
        cursor = postgres.execute(sql)
        return list(cursor) if cursor.description else []


@pytest.fixture
def server(start_server: StartServer) -> RunningServer:
    """A server that has recorded three flows."""
    server = start_server()
    for name in ("a", "b", "c"):
        assert httpx.post(f"{server.url}/flows/", json={"name": name}).status_code == 201
    return server


@pytest.fixture
def filled(server: RunningServer, target: Target) -> Target:
    """A database with three flows, and no server that uses it."""
    assert server.stop() == 0
    return target


ROWS = "SELECT id, document FROM flows ORDER BY name"
LOG = "SELECT position, stream, hash FROM events ORDER BY position"


def test_reset_folds_the_same_rows_from_the_log_and_leaves_the_log_alone(
    filled: Target, tmp_path: Path
) -> None:
    rows, log = _fetch(filled, ROWS), _fetch(filled, LOG)
    assert len(rows) == 3
    _fetch(filled, "DELETE FROM flows WHERE name = 'b'")

    said = _cli(filled, tmp_path, "reset", "-y")

    assert "Replayed 3 events" in said
    assert _fetch(filled, ROWS) == rows
    assert _fetch(filled, LOG) == log


def test_reset_wants_to_be_told_twice(filled: Target, tmp_path: Path) -> None:
    said = _refused(filled, tmp_path, "reset", "--erase-log")

    assert "all 3 events" in said
    assert "0 run log lines" in said
    assert "--yes" in said
    assert len(_fetch(filled, LOG)) == 3


def test_erasing_the_log_leaves_an_empty_one_with_an_identity_of_its_own(
    filled: Target, tmp_path: Path, start_server: StartServer
) -> None:
    epoch = _fetch(filled, "SELECT epoch FROM log_head")

    _cli(filled, tmp_path, "reset", "-y", "--erase-log")

    assert _fetch(filled, ROWS) == []
    assert _fetch(filled, LOG) == []
    assert _fetch(filled, "SELECT epoch FROM log_head") != epoch
    server = start_server()
    assert httpx.post(f"{server.url}/flows/", json={"name": "a"}).status_code == 201


def test_reset_goes_on_while_a_server_runs(server: RunningServer) -> None:
    done = serving.run_cli(server.target, server.log.parent, "server", "database", "reset", "--yes")

    assert done.returncode == 0, done.stderr
    assert httpx.post(f"{server.url}/flows/", json={"name": "d"}).status_code == 201
    assert httpx.get(f"{server.url}/flows/name/a").status_code == 200


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Target:
    target = Target(path=tmp_path / "locked.db")
    migrate.upgrade(target)
    return target


@contextmanager
def _locked(target: Target, by: str) -> Iterator[None]:
    """Another program holds a lock of the database: the lock file, or SQLite's own."""
    assert target.path is not None
    if by == "lock file":
        with Path(f"{target.path}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        return
    with closing(sqlite3.connect(target.path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        yield


@pytest.mark.parametrize("by", ["lock file", "SQLite"])
@pytest.mark.parametrize(
    "command", [("server", "database", "reset", "-y"), ("projections", "rebuild", "--all")]
)
def test_long_work_waits_for_its_turn_no_longer_than_the_settings_say(
    sqlite_file: Target, tmp_path: Path, by: str, command: tuple[str, ...]
) -> None:
    with _locked(sqlite_file, by):
        began = time.monotonic()
        done = serving.run_cli(
            sqlite_file, tmp_path, *command, settings={"PREFECT_API_DATABASE_TIMEOUT": "0.5"}
        )
        took = time.monotonic() - began

    assert done.returncode == 1, done.stdout + done.stderr
    # Of a lock of SQLite's own nobody tells whose it is.
    who = f"Another process ({os.getpid()})" if by == "lock file" else "Another process"
    assert done.stderr == f"Error: {who} has held {sqlite_file.path} for 0.5 s.\n"
    assert took < sqlite_file.lock_timeout_seconds, "as long as if nothing had been set"


def test_who_may_write_the_database_may_take_its_locks(sqlite_file: Target, tmp_path: Path) -> None:
    assert sqlite_file.path is not None
    sqlite_file.path.chmod(0o660)
    lock, migrations = (f"{sqlite_file.path}.{of}" for of in ("lock", "migrations.lock"))
    Path(lock).touch(0o600)

    _cli(sqlite_file, tmp_path, "reset", "-y")

    assert [stat.S_IMODE(Path(file).stat().st_mode) for file in (lock, migrations)] == [0o660] * 2


def test_a_schema_is_not_changed_while_another_program_holds_the_file(
    sqlite_file: Target, tmp_path: Path
) -> None:
    with _locked(sqlite_file, "SQLite"):
        done = serving.run_cli(
            sqlite_file,
            tmp_path,
            *("server", "database", "downgrade", "-y"),
            settings={"PLUPERFECT_DATABASE_TIMEOUT": "0.5"},
        )

    assert done.returncode == 1
    assert (
        done.stderr
        == f"Error: Cannot change the SQLite database {sqlite_file.path}: database is locked.\n"
    )
    assert migrate.applied(sqlite_file) == migrate.available(sqlite_file)


@pytest.mark.parametrize("command", [("reset", "--erase-log"), ("downgrade", "-r", "-1")])
def test_what_a_running_server_would_not_survive_is_refused(
    server: RunningServer, command: tuple[str, ...]
) -> None:
    home = server.log.parent
    assert pid_file.running(home) is not None

    assert "pluperfect server stop" in _refused(server.target, home, *command, "-y")


def test_a_new_database_is_brought_up_to_date_step_by_step(tmp_path: Path) -> None:
    target = Target(path=tmp_path / "new.db")
    known = migrate.available(target)

    shown = _cli(target, tmp_path, "upgrade", "--dry-run", "-r", "0001")
    assert "CREATE TABLE IF NOT EXISTS log_head" in shown
    assert migrate.applied(target) == []

    _cli(target, tmp_path, "upgrade", "-y", "-r", "0002")
    assert migrate.applied(target) == known[:2]

    _cli(target, tmp_path, "upgrade", "-y")
    assert migrate.applied(target) == known
    assert "up to date" in _cli(target, tmp_path, "upgrade")


def test_status_says_what_is_applied_and_what_is_not(tmp_path: Path) -> None:
    target = Target(path=tmp_path / "new.db")
    migrate.upgrade(target, "0002")

    behind = serving.run_cli(target, tmp_path, "server", "database", "status", "--json")
    migrate.upgrade(target)
    there = json.loads(_cli(target, tmp_path, "status", "-o", "json"))
    rows = _cli(target, tmp_path, "status").splitlines()[1:]

    assert behind.returncode == 1
    states = {row["name"]: row["state"] for row in json.loads(behind.stdout)["migrations"]}
    assert states["0002.read-models"] == "applied"
    assert states["0003.log-lines"] == "pending"
    assert there["up_to_date"] is True
    assert [row.split() for row in rows] == [[name, "applied"] for name in states]
    assert len({row.index(" applied") for row in rows}) == 1


def test_downgrade_goes_back_by_number_of_steps_or_by_name(target: Target, tmp_path: Path) -> None:
    known = migrate.available(target)

    undone = migrate.sql_of(target, known[-1], rollback=True)
    assert undone.strip()
    assert undone in _cli(target, tmp_path, "downgrade", "--dry-run")
    assert migrate.applied(target) == known

    _cli(target, tmp_path, "downgrade", "-y", "-r", "-1")
    assert migrate.applied(target) == known[:-1]

    _cli(target, tmp_path, "downgrade", "-y", "-r", "0001")
    assert migrate.applied(target) == known[:1]


@pytest.mark.parametrize("number", ["2", "02", "0002"])
def test_a_number_names_a_migration_with_or_without_its_zeros(tmp_path: Path, number: str) -> None:
    target = Target(path=tmp_path / "new.db")
    known = migrate.available(target)

    _cli(target, tmp_path, "upgrade", "-y", "-r", number)
    assert migrate.applied(target) == known[:2]
    _cli(target, tmp_path, "upgrade", "-y")
    _cli(target, tmp_path, "downgrade", "-y", "-r", number)
    assert migrate.applied(target) == known[:2]
    _cli(target, tmp_path, "stamp", "-y", number)
    assert migrate.applied(target) == known[:2]


@pytest.mark.parametrize("revision", ["base", "-99"])
def test_downgrade_never_goes_below_the_log(filled: Target, tmp_path: Path, revision: str) -> None:
    said = _refused(filled, tmp_path, "downgrade", "-y", "-r", revision)

    assert "event log" in said
    assert len(_fetch(filled, LOG)) == 3
    assert len(_fetch(filled, ROWS)) == 3


def test_read_models_that_were_dropped_are_filled_again_by_the_next_upgrade(
    filled: Target, tmp_path: Path
) -> None:
    rows = _fetch(filled, ROWS)
    _cli(filled, tmp_path, "downgrade", "-y", "-r", "0001")

    _cli(filled, tmp_path, "upgrade", "-y")

    assert _fetch(filled, ROWS) == rows


def test_or_by_the_next_start(filled: Target, tmp_path: Path, start_server: StartServer) -> None:
    _cli(filled, tmp_path, "downgrade", "-y", "-r", "0001")

    server = start_server()
    server.wait_until_folded()

    assert httpx.get(f"{server.url}/flows/name/a").status_code == 200


@contextmanager
def _nobody_folds(target: Target) -> Iterator[None]:
    """Another program has locked what whoever folds has to write first."""
    if target.path is not None:
        with _locked(target, "SQLite"):
            yield
        return
    with psycopg.connect(target.url, options=f"-c search_path={target.schema}") as postgres:
        postgres.execute("LOCK TABLE leases IN EXCLUSIVE MODE")
        yield


@pytest.mark.parametrize(
    ("path", "shown"), [("/api/flows/name/a", '"name":"a"'), ("/flows", ">a</a>")]
)
def test_until_anything_is_folded_nothing_is_said_not_to_exist(
    filled: Target, tmp_path: Path, start_server: StartServer, path: str, shown: str
) -> None:
    _cli(filled, tmp_path, "downgrade", "-y", "-r", "0001")
    migrate.upgrade(filled)
    with _nobody_folds(filled):
        server = start_server()
        address = f"{server.url.removesuffix('/api')}{path}"

        before = httpx.get(address)

        assert before.status_code == 503
        assert "until then there is nothing to be shown" in before.text
        assert "all read models" in httpx.get(f"{server.url}/ready").json()["message"]
    server.wait_until_folded()

    after = httpx.get(address)
    assert after.status_code == 200
    assert shown in after.text


def test_stamp_notes_a_revision_without_running_it(target: Target, tmp_path: Path) -> None:
    _cli(target, tmp_path, "stamp", "0001", "-y")

    assert migrate.applied(target) == ["0001.event-log"]
    assert _fetch(target, ROWS) == []
    _cli(target, tmp_path, "stamp", migrate.available(target)[-1], "-y")


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    said = _refused(Target(path=tmp_path), tmp_path, "status")

    assert said == f"Error: {tmp_path} is a folder, not a database.\n"


def test_a_revision_that_does_not_exist_is_one_line(target: Target, tmp_path: Path) -> None:
    for command in (("upgrade", "-r", "4711"), ("downgrade", "-r", "4711"), ("stamp", "4711")):
        assert "Error: There is no migration '4711'; " in _refused(target, tmp_path, *command, "-y")
