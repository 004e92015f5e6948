"""Writing within one transaction: what was written is there for whoever asks next in it."""

import asyncio
import errno
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from eventstore import log
from eventstore.database import Database, Row, Table, Transaction

TALLIES = Table("tallies", {"id": "text", "runs": "bigint", "seconds": "bigint"}, key=("id",))
OTHERS = Table("others", {"id": "text", "runs": "bigint", "seconds": "bigint"}, key=("id",))
MANY = [(f"many-{n}", n, -n) for n in range(200)]
"""More than go into one statement, on either engine."""


@pytest.fixture
async def tables(database: Database) -> Database:
    async def work(tx: Transaction) -> None:
        for table in (TALLIES, OTHERS):
            await tx.execute(
                f"CREATE TABLE {table.name} (id TEXT PRIMARY KEY, runs BIGINT, seconds BIGINT)"
            )

    await database.transact(work)
    return database


async def stored(database: Database, table: Table = TALLIES) -> list[tuple[Any, ...]]:
    rows = await database.fetch(f"SELECT id, runs, seconds FROM {table.name} ORDER BY id")
    return [tuple(row) for row in rows]


Write = Callable[[Transaction, Table, Sequence[Row]], Awaitable[None]]


async def inserted(tx: Transaction, table: Table, rows: Sequence[Row]) -> None:
    await tx.insert(table, rows)


async def replaced(tx: Transaction, table: Table, rows: Sequence[Row]) -> None:
    await tx.upsert(table, rows)


async def added(tx: Transaction, table: Table, rows: Sequence[Row]) -> None:
    await tx.add(table, rows)


async def partly_new(tx: Transaction, table: Table, rows: Sequence[Row]) -> None:
    await tx.upsert(table, rows[:1], new=rows[1:])


@pytest.mark.parametrize("write", [inserted, replaced, added, partly_new])
@pytest.mark.parametrize("rows", [[("a", 1, 2)], MANY], ids=["one", "many"])
async def test_what_is_written_is_seen_by_the_next_question_of_the_same_transaction(
    tables: Database, write: Write, rows: list[tuple[Any, ...]]
) -> None:
    async def work(tx: Transaction) -> tuple[list[Row], list[Row]]:
        await write(tx, TALLIES, rows)
        await write(tx, OTHERS, rows)
        by_key = await tx.fetch_keys(OTHERS, [(rows[0][0],)])
        return by_key, await tx.fetch("SELECT count(*) FROM tallies")

    by_key, counted = await tables.transact(work)
    assert tuple(by_key[0]) == rows[0]
    assert counted[0][0] == len(rows)
    assert await stored(tables) == await stored(tables, OTHERS) == sorted(rows)


async def test_writes_to_one_table_happen_in_their_order(tables: Database) -> None:
    async def work(tx: Transaction) -> None:
        await tx.insert(TALLIES, [("a", 1, 1), ("b", 1, 1), ("c", 1, 1)])
        await tx.upsert(TALLIES, [("a", 5, 5)])
        await tx.delete(TALLIES, [("b",)])
        await tx.add(TALLIES, [("a", 2, -2), ("b", 7, 7)])
        await tx.execute("UPDATE tallies SET runs = runs * 10 WHERE id = $1", "a")
        await tx.add(TALLIES, [("a", 1, 0)])

    await tables.transact(work)
    assert await stored(tables) == [("a", 71, 3), ("b", 7, 7), ("c", 1, 1)]


async def test_what_is_new_is_written_beside_what_is_replaced(tables: Database) -> None:
    async def work(tx: Transaction) -> None:
        await tx.upsert(TALLIES, [("a", 1, 1)], new=[("b", 1, 1)])
        await tx.upsert(TALLIES, [("a", 2, 2), ("b", 2, 2)], new=MANY)
        await tx.upsert(TALLIES, [(*MANY[7][:1], 0, 0)], new=[("c", 3, 3)])

    await tables.transact(work)
    others = [row for row in MANY if row is not MANY[7]]
    changed = [("a", 2, 2), ("b", 2, 2), ("c", 3, 3), (MANY[7][0], 0, 0)]
    assert await stored(tables) == sorted([*others, *changed])


@pytest.mark.parametrize("number", [1, 2, 17, 200])
async def test_of_rows_that_are_known_what_changed_is_replaced(
    tables: Database, number: int
) -> None:
    before = [(f"many-{n:03}", n, -n) for n in range(number)]
    after = [(id_, runs + n % 2, seconds - n % 3) for n, (id_, runs, seconds) in enumerate(before)]
    new = [(f"new-{n:03}", 7, n) for n in range(number)]

    async def work(tx: Transaction) -> None:
        await tx.insert(TALLIES, before)
        await tx.upsert(TALLIES, after, new, before)
        # Of one of them it is not known, and one has gone in the meantime.
        await tx.insert(OTHERS, [("known", 1, 1), ("unknown", 2, 2)])
        rows = [("known", 1, 5), ("unknown", 3, 3), ("gone", 4, 4)]
        await tx.upsert(OTHERS, rows, before=[("known", 1, 1), None, ("gone", 4, 0)])

    await tables.transact(work)
    assert await stored(tables) == [*after, *new]
    assert await stored(tables, OTHERS) == [("gone", 4, 4), ("known", 1, 5), ("unknown", 3, 3)]


async def test_a_known_row_that_is_not_there_is_inserted_whole(tables: Database) -> None:
    async def work(tx: Transaction) -> None:
        await tx.upsert(TALLIES, [("a", 1, 2)], before=[("a", 1, 1)])
        await tx.upsert(TALLIES, [("b", 1, 2)], before=[("b", 1, 2)])

    await tables.transact(work)
    assert await stored(tables) == [("a", 1, 2), ("b", 1, 2)]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_a_column_that_stays_as_it_is_is_not_set(tables: Database) -> None:
    """SQLite writes every index anew of which a column is set, whatever to."""

    async def work(tx: Transaction) -> None:
        await tx.insert(TALLIES, [("a", 1, 1), ("b", 2, 2)])
        await tx.execute(
            "CREATE TRIGGER runs_stay AFTER UPDATE OF runs ON tallies "
            "BEGIN SELECT RAISE(ABORT, 'runs were set'); END"
        )
        await tx.upsert(TALLIES, [("a", 1, 5), ("b", 2, 6)], before=[("a", 1, 1), ("b", 2, 2)])

    await tables.transact(work)
    assert await stored(tables) == [("a", 1, 5), ("b", 2, 6)]


async def test_numbers_are_added_to_the_ones_that_are_there_whoever_wrote_them(
    tables: Database,
) -> None:
    async def work(tx: Transaction) -> None:
        await tx.add(TALLIES, [*MANY, ("new", 3, 2**61)])

    await tables.transact(work)
    await tables.transact(work)
    twice = [(id_, 2 * runs, 2 * seconds) for id_, runs, seconds in MANY]
    assert [row for row in await stored(tables) if row[0] != "new"] == sorted(twice)


async def test_a_write_that_fails_takes_everything_of_its_transaction_along(
    tables: Database,
) -> None:
    async def work(tx: Transaction) -> None:
        await tx.insert(OTHERS, [("a", 1, 1)])
        await tx.insert(TALLIES, [("taken", 1, 1)])

    async def again(tx: Transaction) -> None:
        await tx.insert(OTHERS, [("b", 1, 1)])
        await tx.insert(TALLIES, [("taken", 2, 2)])

    await tables.transact(work)
    with pytest.raises(Exception, match=r"(?i)unique"):
        await tables.transact(again)
    assert await stored(tables) == [("taken", 1, 1)]
    assert await stored(tables, OTHERS) == [("a", 1, 1)]


async def test_a_transaction_one_statement_of_which_failed_is_written_or_refused(
    tables: Database,
) -> None:
    """Whoever passes over an error is not told that all is written where nothing is."""

    async def work(tx: Transaction) -> None:
        await tx.insert(TALLIES, [("a", 1, 1)])
        with pytest.raises(Exception, match="nowhere"):
            await tx.fetch("SELECT * FROM nowhere")

    try:
        await tables.transact(work)
    except RuntimeError as refused:
        assert "nothing was written" in str(refused)
        assert await stored(tables) == []
    else:
        assert await stored(tables) == [("a", 1, 1)]


async def test_what_a_reader_of_a_snapshot_fails_at_is_no_error_of_the_database(
    database: Database,
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "export")
    with pytest.raises(OSError) as raised:
        async with database.snapshot() as snapshot:
            assert (await snapshot.fetch("SELECT 1"))[0][0] == 1
            raise full
    assert raised.value is full


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_who_does_not_append_does_not_wait_for_who_does(tables: Database) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def appending(tx: Transaction) -> None:
        await log.lock(tx, tables.dialect)
        begun.set()
        await go_on.wait()

    async def beside(tx: Transaction) -> None:
        await tx.insert(TALLIES, [("beside", 1, 1)])

    async with asyncio.timeout(20):
        slow = asyncio.create_task(tables.transact(appending))
        await begun.wait()
        await tables.transact(beside)
        assert not slow.done()
        go_on.set()
        await slow
    assert await stored(tables) == [("beside", 1, 1)]
