"""A rebuild fills tables beside the live ones, stops and goes on, and takes their place at once."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from eventstore import checkpoints, log
from eventstore.database import Database, Reader, Row, Transaction
from eventstore.errors import OtherRelease
from eventstore.migrate import Target
from eventstore.sqlite_dialect import SqliteDialect
from orchestration.flow_run_bodies import FlowRunCreate
from orchestration.flows import FlowCreate
from orchestration.states import ProposedState
from projections import catalogue, rebuild, rebuild_folding, schema, shadow_swap, verification
from projections.digests import table_digest
from projections.flow_runs import FLOW_RUNS
from projections.reset import reset
from projections.shadow import PREFIX, Shadows
from projections.shadow_swap import CannotSwap
from services import flow_runs, flows
from services.shell import Origin, Shell
from tests.conftest import open_database
from tests.shells import shell_on

ORIGIN = Origin("tester")
RUNS = 30
SECONDS_MAX = 20.0
VACUUM_BEGINS_SECONDS_MAX = 60.0
VACUUM_OF_FLOW_RUNS = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
    "AND query LIKE 'autovacuum: VACUUM %flow_runs'"
)
SWAP_WAITS = (
    "SELECT 1 FROM pg_locks WHERE relation = $1::regclass "
    "AND mode = 'AccessExclusiveLock' AND NOT granted"
)
SWAP_WAITED = SWAP_WAITS + " AND waitstart < clock_timestamp() - interval '0.1 s'"
KEEP_A_SWAP_WAITING = 11
"""Tables, the first and the last among them, which take it to the second after which Postgres ends
one of two that wait for each other."""
INTERRUPTED_AT = 40
"""An event in the middle of what `_history` records."""


@pytest.fixture
async def shell(database: Database) -> AsyncIterator[Shell]:
    async with shell_on(database) as shell:
        yield shell


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short history is folded in many pages, too."""
    monkeypatch.setattr(rebuild, "FILL_EVENTS", 10)
    monkeypatch.setattr(rebuild, "TAIL_EVENTS", 3)
    monkeypatch.setattr(rebuild_folding, "RECENT_ROWS_MAX", 4)


async def test_a_page_of_large_events_is_a_short_one(
    shell: Shell, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _history(shell)
    monkeypatch.setattr(log, "READ_PAGE", 3)
    monkeypatch.setattr(rebuild_folding, "PAGE_BYTES", 1)
    page = await rebuild_folding.read_page(database, 1, shell.store.ring.head, 10)
    assert [row[0] for row in page] == [2, 3, 4]
    monkeypatch.undo()
    whole = await rebuild_folding.read_page(database, 1, shell.store.ring.head, 10)
    assert [row[0] for row in whole] == list(range(2, 12))


async def _run(shell: Shell, flow_id: str) -> str:
    body = FlowRunCreate(flow_id=flow_id)
    shown, _, _ = await flow_runs.create(shell, body, lambda: datetime.now(UTC), ORIGIN)
    return str(json.loads(shown)["id"])


async def _history(shell: Shell) -> list[str]:
    shown, _, _ = await flows.create(shell, FlowCreate(name="a"), datetime.now(UTC), ORIGIN)
    ids = [await _run(shell, json.loads(shown)["id"]) for _ in range(RUNS)]
    for place, id_ in enumerate(ids):
        for kind in ("RUNNING", "COMPLETED"):
            wanted = ProposedState(type=kind)
            await flow_runs.set_state(
                shell, id_, wanted, force=False, now=datetime.now(UTC), origin=ORIGIN
            )
        if place % 7 == 0:
            await flow_runs.delete(shell, id_, ORIGIN)
    return ids


async def _digests(reader: Reader) -> dict[str, str]:
    return {
        model.table.name: await table_digest(reader, model.table)
        for projection in catalogue.INLINE
        for model in projection.models
    }


SCHEMA = {
    "sqlite": "SELECT name, tbl_name, sql FROM sqlite_master ORDER BY name",
    "postgres": "SELECT c.relname, c.reloptions::text, "
    "CASE WHEN c.relkind = 'i' THEN pg_get_indexdef(c.oid) END "
    "FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace "
    "AND c.relkind IN ('r', 'i') ORDER BY c.relname",
}


async def _schema(database: Database) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await database.fetch(SCHEMA[database.dialect.name])]


class _Interrupted(Exception):
    pass


def _interrupt(position: int, until: int) -> None:
    if position >= INTERRUPTED_AT:
        raise _Interrupted


async def test_the_schema_is_the_same_afterwards(shell: Shell, database: Database) -> None:
    await _history(shell)
    before = await _schema(database)
    await rebuild.rebuild(database, catalogue.CODEC, catalogue.ALL)
    await rebuild.rebuild(database, catalogue.CODEC, catalogue.ALL)
    assert await _schema(database) == before
    assert await verification.verify(database, catalogue.CODEC, catalogue.ALL) == []


async def test_sqlite_finds_nothing_wrong_with_its_file(shell: Shell, database: Database) -> None:
    if database.dialect.name != "sqlite":
        pytest.skip("Postgres renames its tables")
    await _history(shell)
    await rebuild.rebuild(database, catalogue.CODEC, catalogue.ALL)
    assert [tuple(row) for row in await database.fetch("PRAGMA integrity_check")] == [("ok",)]


async def test_a_large_table_that_was_replaced_is_dropped_in_pieces(
    shell: Shell, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_swap, "DROPPED_AT_ONCE", 7)
    monkeypatch.setattr(shadow_swap, "DROPPED_ROWS", 3)
    await _history(shell)
    before = await _schema(database)
    await rebuild.rebuild(database, catalogue.CODEC, catalogue.ALL)
    assert await _schema(database) == before
    assert await verification.verify(database, catalogue.CODEC, catalogue.ALL) == []


async def test_an_erased_log_is_not_found_in_what_a_rebuild_left_behind(
    shell: Shell, database: Database, target: Target
) -> None:
    if target.path is None:
        pytest.skip("what Postgres drops is a file that is gone")
    secret = "what-nobody-may-read-any-more"
    await flows.create(shell, FlowCreate(name=secret), datetime.now(UTC), ORIGIN)
    await _history(shell)
    await rebuild.rebuild(database, catalogue.CODEC, catalogue.ALL)
    assert [tuple(row) for row in await _of_the_writer(database, "PRAGMA secure_delete")] == [(1,)]
    await reset(database, target, catalogue.CODEC, catalogue.ALL, erase_log=True)
    await database.fetch("PRAGMA wal_checkpoint(TRUNCATE)")
    assert secret.encode() not in target.path.read_bytes()


async def _of_the_writer(database: Database, sql: str) -> list[Row]:
    async def ask(tx: Transaction) -> list[Row]:
        return await tx.fetch(sql)

    return await database.transact(ask)


async def test_an_interrupted_rebuild_changes_nothing_and_goes_on_where_it_was(
    shell: Shell, database: Database
) -> None:
    await _history(shell)
    before = await _digests(database)
    with pytest.raises(_Interrupted):
        await rebuild.rebuild(database, catalogue.CODEC, catalogue.INLINE, _interrupt)
    assert await _digests(database) == before

    await _history_goes_on(shell)
    live = await _digests(database)
    done = await rebuild.rebuild(database, catalogue.CODEC, catalogue.INLINE)

    assert done.position == shell.store.ring.head
    assert done.events == done.position - INTERRUPTED_AT
    assert await _digests(database) == live
    assert not any(row[0].startswith(PREFIX) for row in await _schema(database))


async def _history_goes_on(shell: Shell) -> None:
    shown, _, _ = await flows.create(shell, FlowCreate(name="b"), datetime.now(UTC), ORIGIN)
    await _run(shell, json.loads(shown)["id"])


async def test_a_rebuild_of_other_read_models_starts_over(shell: Shell, database: Database) -> None:
    await _history(shell)
    with pytest.raises(_Interrupted):
        await rebuild.rebuild(database, catalogue.CODEC, catalogue.INLINE, _interrupt)
    some = [projection for projection in catalogue.INLINE if projection.name == "flow_runs"]
    done = await rebuild.rebuild(database, catalogue.CODEC, some)
    assert done.events == done.position
    assert await verification.verify(database, catalogue.CODEC, catalogue.INLINE) == []


async def test_a_rebuild_that_began_with_other_indexes_starts_over(
    shell: Shell, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _history(shell)
    with monkeypatch.context() as older:
        names = tuple(n for n in schema.READ_MODEL_MIGRATIONS if n != "0034.task-run-names")
        older.setattr(rebuild, "READ_MODEL_MIGRATIONS", names)
        with pytest.raises(_Interrupted):
            await rebuild.rebuild(database, catalogue.CODEC, catalogue.INLINE, _interrupt)
    done = await rebuild.rebuild(database, catalogue.CODEC, catalogue.INLINE)
    assert done.events == done.position


async def test_of_two_rebuilds_at_once_the_later_one_goes_on(
    shell: Shell, database: Database, target: Target
) -> None:
    await _history(shell)
    other = open_database(target)
    later: list[asyncio.Task[rebuild.Rebuilt]] = []

    async def start_another() -> rebuild.Rebuilt:
        return await rebuild.rebuild(other, catalogue.CODEC, catalogue.INLINE)

    def progress(position: int, until: int) -> None:
        if not later:
            later.append(asyncio.create_task(start_another()))

    try:
        with pytest.raises(rebuild.TakenOver):
            await rebuild.rebuild(database, catalogue.CODEC, catalogue.ALL, progress, throttle=100)
        await later[0]
    finally:
        await other.close()
    assert await verification.verify(database, catalogue.CODEC, catalogue.ALL) == []


async def test_a_throttled_rebuild_takes_its_time(shell: Shell, database: Database) -> None:
    await _history(shell)
    events = shell.store.ring.head
    began = time.monotonic()
    await rebuild.rebuild(database, catalogue.CODEC, catalogue.INLINE, throttle=events * 2)
    assert time.monotonic() - began >= 0.4


async def test_rows_that_a_server_remembers_are_forgotten(
    shell: Shell, database: Database, target: Target
) -> None:
    *_, last = await _history(shell)
    assert shell.recent_row(FLOW_RUNS, last) is not None
    other = open_database(target)
    try:
        await rebuild.rebuild(other, catalogue.CODEC, catalogue.INLINE)
    finally:
        await other.close()
    async with asyncio.timeout(10):
        while shell.recent_row(FLOW_RUNS, last) is not None:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.01)


async def test_what_was_damaged_in_memory_and_table_is_healed_for_the_next_write(
    shell: Shell, database: Database
) -> None:
    *_, last = await _history(shell)

    async def damage(tx: Transaction) -> None:
        await tx.execute("UPDATE flow_runs SET run_count = 99")

    await database.transact(damage)
    await rebuild.rebuild(database, catalogue.CODEC, catalogue.INLINE)
    await flow_runs.set_state(
        shell,
        last,
        ProposedState(type="RUNNING"),
        force=True,
        now=datetime.now(UTC),
        origin=ORIGIN,
    )
    assert await verification.verify(database, catalogue.CODEC, catalogue.INLINE) == []


async def test_a_server_of_another_release_writes_no_more_rows(
    shell: Shell, database: Database
) -> None:
    await _history(shell)
    newer = [replace(one, version=one.version + 1) for one in catalogue.INLINE]
    await rebuild.rebuild(database, catalogue.CODEC, newer)
    head = shell.store.ring.head
    with pytest.raises(OtherRelease, match="version"):
        await flows.create(shell, FlowCreate(name="late"), datetime.now(UTC), ORIGIN)
    assert (await log.head(database)).position == head
    assert shell.store.releases.reason is not None
    await rebuild.rebuild(database, catalogue.CODEC, catalogue.INLINE)
    async with asyncio.timeout(SECONDS_MAX):
        while shell.store.releases.reason is not None:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.01)
    await flows.create(shell, FlowCreate(name="late"), datetime.now(UTC), ORIGIN)
    assert await verification.verify(database, catalogue.CODEC, catalogue.INLINE) == []


async def test_a_long_reader_holds_up_the_swap_but_not_the_writers(
    shell: Shell, database: Database, target: Target
) -> None:
    if target.path is not None:
        pytest.skip("on SQLite no reader is in anybody's way")
    await _history(shell)
    flow_id = (await database.fetch("SELECT id FROM flows"))[0][0]
    rebuilding: asyncio.Task[rebuild.Rebuilt] | None = None
    other = open_database(target)
    try:
        with psycopg.connect(target.url) as reader:
            reader.execute(f'SELECT count(*) FROM "{target.schema}".flow_runs')
            rebuilding = asyncio.create_task(
                rebuild.rebuild(other, catalogue.CODEC, catalogue.INLINE)
            )
            slowest = 0.0
            for _ in range(20):
                began = time.monotonic()
                await _run(shell, flow_id)
                slowest = max(slowest, time.monotonic() - began)
                await asyncio.sleep(0.05)
            assert not rebuilding.done()
            assert slowest < 5
        done = await rebuilding
    finally:
        await other.close()
    assert done.position == shell.store.ring.head
    assert await verification.verify(database, catalogue.CODEC, catalogue.INLINE) == []


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)  # On SQLite nobody waits for it.
async def test_a_reader_that_waits_for_a_swap_is_not_ended_for_others_that_keep_it_waiting(
    shell: Shell, database: Database, target: Target
) -> None:
    await _history(shell)
    first, *between, last = _locked_by_a_swap()[:KEEP_A_SWAP_WAITING]
    other = open_database(target)
    async with (
        await psycopg.AsyncConnection.connect(target.url) as reader,
        await psycopg.AsyncConnection.connect(target.url) as others,
        asyncio.timeout(SECONDS_MAX),
    ):
        for connection in (reader, others):
            await connection.execute(f'SET search_path = "{target.schema}"')
        await reader.execute(f"SELECT count(*) FROM {last}")
        await others.commit()
        # The one that a swap meets first is let go of first.
        for table in reversed(between):
            await others.execute(f"SAVEPOINT before_{table}")
            await others.execute(f"SELECT count(*) FROM {table}")
        rebuilding = asyncio.create_task(rebuild.rebuild(other, catalogue.CODEC, catalogue.INLINE))
        while not await database.fetch(SWAP_WAITS, between[0]):  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.001)
        reading = asyncio.create_task(reader.execute(f"SELECT count(*) FROM {first}"))
        for table in between:
            # Each of them keeps the swap waiting, and none for as long as it may wait.
            while not reading.done():
                if await database.fetch(SWAP_WAITED, table):
                    break
                await asyncio.sleep(0.001)
            await others.execute(f"ROLLBACK TO before_{table}")
        await reading
        await reader.commit()
        await others.commit()
        done = await rebuilding
    await other.close()
    assert done.position == shell.store.ring.head


def _locked_by_a_swap() -> list[str]:
    """The tables of read models, in the order in which a swap locks them."""
    tables = (table for one in catalogue.INLINE for table in schema.tables_of(one))
    return list(dict.fromkeys(tables))


async def test_a_vacuum_that_postgres_began_by_itself_does_not_hold_up_the_swap(
    shell: Shell, database: Database, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    if target.path is not None:
        pytest.skip("SQLite has nothing of the kind")
    monkeypatch.setattr(rebuild, "SWAPS_MAX", 4)
    await _history(shell)
    with psycopg.connect(target.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET autovacuum_naptime = 1")
        connection.execute("SELECT pg_reload_conf()")
        try:
            # It pauses after every page that it looks at.
            connection.execute(
                f'ALTER TABLE "{target.schema}".flow_runs SET (autovacuum_vacuum_threshold = 0, '
                "autovacuum_vacuum_scale_factor = 0, autovacuum_analyze_threshold = 1000000, "
                "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)"
            )
            deadline = time.monotonic() + VACUUM_BEGINS_SECONDS_MAX
            while not connection.execute(VACUUM_OF_FLOW_RUNS).fetchall():
                assert time.monotonic() < deadline, "Postgres does not vacuum"
                connection.execute("SELECT pg_sleep(0.01)")
        finally:
            connection.execute("ALTER SYSTEM RESET autovacuum_naptime")
            connection.execute("SELECT pg_reload_conf()")
    await rebuild.rebuild(database, catalogue.CODEC, catalogue.INLINE)
    assert await verification.verify(database, catalogue.CODEC, catalogue.INLINE) == []


async def test_a_row_that_is_written_again_and_again_is_there_once(
    shell: Shell, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where rows are taken for new ones first (COPY)."""
    monkeypatch.setattr("projections.shadow.COPIED_ROWS_MIN", 1)
    monkeypatch.setattr("eventstore.postgres_transaction.COPY_ROWS_MIN", 1)
    await _history(shell)
    await rebuild.rebuild(database, catalogue.CODEC, catalogue.ALL)
    assert await verification.verify(database, catalogue.CODEC, catalogue.ALL) == []


async def test_an_index_that_is_not_ours_is_named(shell: Shell, database: Database) -> None:
    await _history(shell)

    async def add(tx: Transaction) -> None:
        await tx.execute("CREATE INDEX of_somebody ON flow_runs (name)")

    await database.transact(add)
    with pytest.raises(CannotSwap, match="of_somebody"):
        await rebuild.rebuild(database, catalogue.CODEC, catalogue.INLINE)


async def test_an_index_that_another_release_has_changed_is_named(
    shell: Shell, database: Database
) -> None:
    await _history(shell)

    async def change(tx: Transaction) -> None:
        await tx.execute("DROP INDEX flow_runs_by_end")
        await tx.execute("CREATE INDEX flow_runs_by_end ON flow_runs (end_time, name)")

    await database.transact(change)
    with pytest.raises(CannotSwap, match="flow_runs_by_end"):
        await rebuild.rebuild(database, catalogue.CODEC, catalogue.INLINE)


async def test_a_reset_creates_the_schema_anew(
    shell: Shell, database: Database, target: Target
) -> None:
    await _history(shell)
    schema, before = await _schema(database), await _digests(database)

    async def damage(tx: Transaction) -> None:
        await tx.execute("DROP INDEX flow_runs_by_end")
        await tx.execute("CREATE INDEX of_somebody ON flow_runs (name)")

    await database.transact(damage)
    await reset(database, target, catalogue.CODEC, catalogue.ALL)
    assert (await _schema(database), await _digests(database)) == (schema, before)


async def test_checkpoints_of_other_followers_are_left_alone(
    shell: Shell, database: Database, target: Target
) -> None:
    await _history(shell)
    other = checkpoints.Checkpoint("somebody", 1, 7)

    async def follow(tx: Transaction) -> None:
        await checkpoints.save(tx, other)

    await database.transact(follow)
    await reset(database, target, catalogue.CODEC, catalogue.ALL)
    await rebuild.rebuild(database, catalogue.CODEC, catalogue.ALL)
    assert await checkpoints.load(database, "somebody") == other


def test_sql_about_a_table_becomes_sql_about_its_shadow() -> None:
    shadows = Shadows(
        SqliteDialect(), ["CREATE TABLE a (id TEXT);\nCREATE INDEX a_by_b ON a (b);"], ["a"]
    )
    assert shadows.renamed("DELETE FROM a WHERE a.b IN (SELECT ab FROM a_b)") == (
        f"DELETE FROM {PREFIX}a WHERE {PREFIX}a.b IN (SELECT ab FROM a_b)"
    )


def test_a_migration_that_nobody_knows_how_to_shadow_is_refused() -> None:
    with pytest.raises(ValueError, match="CREATE VIEW"):
        Shadows(SqliteDialect(), ["CREATE VIEW a AS SELECT 1;"], ["a"])


def test_every_migration_of_a_read_model_can_be_shadowed() -> None:
    from eventstore import migrate

    for target in (Target(path=Path("x")), Target(url="x")):
        texts = [migrate.sql_of(target, name) for name in schema.READ_MODEL_MIGRATIONS]
        tables = [table for one in catalogue.ALL for table in schema.tables_of(one)]
        assert len(Shadows(SqliteDialect(), texts, tables).indexes) > 20
