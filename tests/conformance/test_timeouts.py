"""Time limits: whoever waits too long is told so, and leaves everything as it was for the next."""

import asyncio
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from uuid import uuid4

import psycopg
import pytest

from eventstore import checkpoints, committer, log, postgres
from eventstore.checkpoints import Checkpoint
from eventstore.database import Database, Transaction
from eventstore.errors import DatabaseUnavailable
from eventstore.migrate import Target
from eventstore.sqlite_readers import READERS_MAX
from tests.conformance.toys import adding, store_on
from tests.conftest import open_database

SLOW = {
    "sqlite": (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    ),
    "postgres": "SELECT pg_sleep(30)",
}


@pytest.fixture
async def hasty(target: Target) -> AsyncIterator[Database]:
    """The test's database, opened by somebody with little patience."""
    database = open_database(target, timeout_seconds=0.3)
    yield database
    await database.close()


@contextmanager
def write_lock_held(target: Target) -> Iterator[None]:
    """Another process in the middle of a transaction that does not end."""
    if target.path is not None:
        lock = os.open(f"{target.path}.lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        os.close(lock)
        return
    with psycopg.connect(target.url) as connection:
        connection.execute(f"SELECT * FROM {target.schema}.log_head FOR UPDATE")
        yield


async def test_a_slow_query_is_refused_in_time(hasty: Database, backend: str) -> None:
    begun = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        await hasty.fetch(SLOW[backend])
    assert time.monotonic() - begun < 2


async def test_slow_queries_leave_no_reader_busy(hasty: Database, backend: str) -> None:
    many = READERS_MAX * 3
    slow = (hasty.fetch(SLOW[backend]) for _ in range(many))
    results = await asyncio.gather(*slow, return_exceptions=True)
    assert [type(result) for result in results] == [DatabaseUnavailable] * many
    assert [row[0] for row in await hasty.fetch("SELECT 1")] == [1]


async def test_readers_who_go_away_leave_no_reader_busy(database: Database, backend: str) -> None:
    for _ in range(3):
        gone = [asyncio.create_task(database.fetch(SLOW[backend])) for _ in range(READERS_MAX * 2)]
        await asyncio.sleep(0.05)
        for reader in gone:
            reader.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
    async with asyncio.timeout(3):
        assert [row[0] for row in await database.fetch("SELECT 1")] == [1]


async def test_a_reader_who_goes_away_at_once_leaves_no_reader_busy(
    database: Database, backend: str
) -> None:
    """Also before its query has reached the thread that runs it."""
    for turns in range(8):
        reader = asyncio.create_task(database.fetch(SLOW[backend]))
        for _ in range(turns):
            await asyncio.sleep(0)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    async with asyncio.timeout(3):
        readers = (database.fetch("SELECT 1") for _ in range(READERS_MAX))
        assert len(await asyncio.gather(*readers)) == READERS_MAX


async def test_a_command_given_up_while_another_process_writes_is_not_recorded(
    database: Database, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    if target.path is not None:
        # It is only for its turn that it has so little patience: reads take what they take.
        hasty = reads = open_database(target, timeout_seconds=10.0, lock_timeout_seconds=0.3)
    else:
        hasty, reads = open_database(target, timeout_seconds=1.0), database
    store = store_on(hasty)
    await store.open()
    async with asyncio.timeout(20):
        with write_lock_held(target):
            with monkeypatch.context() as once, pytest.raises(DatabaseUnavailable):
                once.setattr(committer, "UNAVAILABLE_PAUSES_SECONDS", (0.01,))
                await store.submit(adding("n:1", 0, 1))
            assert (await log.head(reads)).position == 0, "reads go on"
        written = await store.submit(adding("n:1", 0, 2))
    assert written.recorded[0].position == 1
    await store.close()
    await hasty.close()


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_a_program_that_knows_nothing_of_the_lock_file_is_not_waited_for_any_longer(
    target: Target,
) -> None:
    assert target.path is not None
    patient = open_database(target, timeout_seconds=60.0, lock_timeout_seconds=0.3)
    store = store_on(patient)
    await store.open()
    with closing(sqlite3.connect(target.path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match=r"for 0\.3 s"):
            await store.submit(adding("n:1", 0, 1))
        assert time.monotonic() - begun < 1.5, "once is enough"
        assert (await log.head(patient)).position == 0, "reads go on"
    written = await store.submit(adding("n:1", 0, 2))
    assert written.recorded[0].position == 1
    await store.close()
    await patient.close()


async def test_long_work_is_not_limited_by_the_patience_for_its_turn(target: Target) -> None:
    database = open_database(target, timeout_seconds=10.0, **_impatient(target))

    async def work(tx: Transaction) -> int:
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            await tx.fetch("SELECT 1")
        return 1

    assert await database.transact(work) == 1
    await database.close()


def _impatient(target: Target) -> dict[str, float]:
    return {} if target.path is None else {"lock_timeout_seconds": 0.1}


async def test_work_that_is_cancelled_ends_and_leaves_nothing(database: Database) -> None:
    began = threading.Event()

    async def work(tx: Transaction) -> None:
        await tx.execute("UPDATE log_head SET lines = 7")
        began.set()
        while True:
            await tx.fetch("SELECT 1")

    working = asyncio.create_task(database.transact(work))
    await asyncio.to_thread(began.wait, 5)
    working.cancel()
    await asyncio.wait({working}, timeout=5)
    assert working.cancelled()

    async def count(tx: Transaction) -> int:
        return int((await tx.fetch("SELECT lines FROM log_head"))[0][0])

    assert await database.transact(count) == 0


async def test_a_write_waits_for_another_process_that_ends_in_time(
    database: Database, target: Target
) -> None:
    store = store_on(database)
    await store.open()
    with write_lock_held(target):
        writing = asyncio.create_task(store.submit(adding("n:1", 0, 1)))
        await asyncio.sleep(0.1)
        assert not writing.done()
    assert (await writing).recorded[0].position == 1
    await store.close()


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_a_writer_that_hangs_with_the_log_locked_is_thrown_out(
    database: Database, target: Target
) -> None:
    locked, over = threading.Event(), threading.Event()

    async def hang(tx: Transaction) -> None:
        await tx.execute("UPDATE log_head SET lines = 7")
        locked.set()
        over.wait()  # As a process does that was stopped, or whose machine is.

    async def somewhere_else() -> None:
        hasty = open_database(target, timeout_seconds=0.3)
        with pytest.raises(DatabaseUnavailable):
            await hasty.transact(hang)
        await hasty.close()

    store = store_on(database)
    await store.open()
    hanging = asyncio.create_task(asyncio.to_thread(asyncio.run, somewhere_else()))
    try:
        await asyncio.to_thread(locked.wait, 5)
        assert (await store.submit(adding("n:1", 0, 1))).recorded[0].position == 1
    finally:
        over.set()
        await hanging
    await store.close()


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
@pytest.mark.parametrize("held", ["log_head", "checkpoints"])
async def test_a_writer_that_hangs_in_the_middle_of_many_rows_is_thrown_out(
    database: Database, target: Target, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = open_database(target, timeout_seconds=2.0)
    # Of the one that hangs: those that were opened before may be slower than that themselves.
    monkeypatch.setattr(postgres, "IDLE_SECONDS_MAX", 0.5)

    async def follow(tx: Transaction) -> None:
        await tx.execute("UPDATE log_head SET lines = 7")
        await checkpoints.save(tx, Checkpoint("follower", 1, 7))

    await database.transact(follow)
    with closing(psycopg.connect(target.url, autocommit=True)) as hanging:
        hanging.execute("SET statement_timeout = 500")
        hanging.execute("SET idle_in_transaction_session_timeout = 500")
        hanging.execute(f"BEGIN; SELECT * FROM {target.schema}.{held} FOR UPDATE")
        hanging.pgconn.send_query(f"COPY {target.schema}.streams FROM STDIN".encode())
        hanging.pgconn.get_result()
        with pytest.raises(DatabaseUnavailable):
            await waiting.transact(follow)
        await database.transact(follow)
    await waiting.close()


@contextmanager
def roles(target: Target, *memberships: str) -> Iterator[tuple[Target, Target]]:
    """The same database for two roles of which neither is a member of the other; the second one is
    a member of what else is named."""
    names = [f"{kind}_{uuid4().hex[:8]}" for kind in ("writer", "waiter")]
    schema = target.schema
    with psycopg.connect(target.url, autocommit=True) as admin:
        for name in names:
            admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
            admin.execute(f"GRANT USAGE ON SCHEMA {schema} TO {name}")
            admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {name}")
        for membership in memberships:
            admin.execute(f"GRANT {membership} TO {names[1]}")
    place = target.url.partition("@")[2]
    writer, waiter = (
        Target(url=f"postgresql://{name}:{name}@{place}", schema=schema) for name in names
    )
    yield writer, waiter
    with psycopg.connect(target.url, autocommit=True) as admin:
        for name in names:
            admin.execute(f"DROP OWNED BY {name}")
            admin.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
@pytest.mark.parametrize(
    ("memberships", "said"),
    [
        ((), "cannot see whether it hangs"),
        (("pg_read_all_stats",), "cannot throw out whoever may hang"),
        (("pg_read_all_stats", "pg_signal_backend"), "threw out a writer"),
    ],
    ids=["nothing", "seeing", "seeing-and-ending"],
)
async def test_a_hung_writer_of_another_role_is_thrown_out_or_named(
    target: Target,
    memberships: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def write(tx: Transaction) -> None:
        await tx.execute("UPDATE log_head SET lines = 7")

    with roles(target, *memberships) as (other, mine):
        patient = open_database(mine, timeout_seconds=2.0)
        # Of the one that hangs: who was opened before may be slower than that itself.
        monkeypatch.setattr(postgres, "IDLE_SECONDS_MAX", 0.5)
        with closing(psycopg.connect(other.url, autocommit=True)) as hanging:
            hanging.execute(f"BEGIN; SELECT * FROM {target.schema}.log_head FOR UPDATE")
            hanging.pgconn.send_query(f"COPY {target.schema}.streams FROM STDIN".encode())
            hanging.pgconn.get_result()
            with pytest.raises(DatabaseUnavailable):
                await patient.transact(write)
            assert said in caplog.text
            if "pg_signal_backend" in memberships:
                await patient.transact(write)
            elif not memberships:
                assert hanging.info.user in caplog.text
        # It was let go of, whoever did that.
        await patient.transact(write)
        await patient.close()


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
@pytest.mark.parametrize(("patience_seconds", "bound"), [(86_400.0, "1min"), (10.0, "10s")])
async def test_no_writer_may_hang_for_as_long_as_a_long_rebuild_takes(
    target: Target, patience_seconds: float, bound: str
) -> None:
    database = open_database(target, timeout_seconds=patience_seconds)

    async def work(tx: Transaction) -> object:
        return (await tx.fetch("SHOW idle_in_transaction_session_timeout"))[0][0]

    assert await database.transact(work) == bound
    await database.close()


async def test_a_closed_database_refuses(target: Target) -> None:
    database = open_database(target)
    await database.fetch("SELECT 1")
    await database.close()
    await database.close()
    if target.path is None:
        return  # Postgres opens its connections when they are needed, also after a close.
    with pytest.raises(DatabaseUnavailable):
        await database.fetch("SELECT 1")


async def test_a_reader_who_goes_away_while_connecting_leaves_nothing_open(target: Target) -> None:
    for turns in range(12):
        database = open_database(target)
        reading = asyncio.create_task(database.fetch("SELECT 1"))
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert [row[0] for row in await database.fetch("SELECT 1")] == [1]
        await database.close()
        if target.path is not None:
            assert not target.path.with_name(f"{target.path.name}-wal").exists()
