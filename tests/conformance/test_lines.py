"""Lines: rows beside the log, numbered by its head without gaps, whatever else happens."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from eventstore import log
from eventstore.database import Database, Table, Transaction
from eventstore.errors import VersionConflict
from eventstore.events import NewEvents
from eventstore.log import Command, Decision, Lines
from eventstore.migrate import Target
from eventstore.store import EventStore
from eventstore.verify import verify
from tests.conformance.toys import Added, store_on
from tests.conftest import open_database

LINES = Table("toy_lines", {"line": "bigint", "text": "text"}, key=("line",))


@pytest.fixture
async def lined(database: Database) -> AsyncIterator[EventStore]:
    async def create(tx: Transaction) -> None:
        await tx.execute("CREATE TABLE toy_lines (line BIGINT PRIMARY KEY, text TEXT NOT NULL)")

    await database.transact(create)
    store = store_on(database)
    await store.open()
    yield store
    await store.close()


def saying(*texts: str) -> Command:
    return Command(Decision(lines=[Lines(LINES, [(text,) for text in texts])]))


async def spoken(database: Database) -> list[tuple[int, str]]:
    rows = await database.fetch("SELECT line, text FROM toy_lines ORDER BY line")
    return [(row[0], row[1]) for row in rows]


async def test_lines_are_numbered_in_order_of_arrival(lined: EventStore) -> None:
    await asyncio.gather(lined.submit(saying("a", "b")), lined.submit(saying("c")))
    assert await spoken(lined.database) == [(1, "a"), (2, "b"), (3, "c")]
    head = await log.head(lined.database)
    assert (head.lines, head.position) == (3, 0)


async def test_a_line_that_was_never_numbered_is_found(lined: EventStore) -> None:
    """As where the lines were restored, and the head was not: the next one is refused for ever."""
    await lined.submit(saying("a", "b"))
    assert await verify(lined.database, lines=LINES) == []

    async def set_back(tx: Transaction) -> None:
        await tx.execute("UPDATE log_head SET lines = 1")

    await lined.database.transact(set_back)
    (finding,) = await verify(lined.database, lines=LINES)
    assert finding.text == "log_head has numbered 1 lines of toy_lines, but there is 2"


async def test_a_refused_command_takes_no_line_number(lined: EventStore) -> None:
    id_ = "11111111-1111-4111-8111-111111111111"
    conflicting = Command(
        Decision(
            appends=[NewEvents("n:1", 5, [Added()], [id_])], lines=[Lines(LINES, [("never",)])]
        )
    )
    results = await asyncio.gather(
        lined.submit(saying("a")),
        lined.submit(conflicting),
        lined.submit(saying("b")),
        return_exceptions=True,
    )
    assert isinstance(results[1], VersionConflict)
    assert await spoken(lined.database) == [(1, "a"), (2, "b")]


async def test_a_rolled_back_batch_takes_no_line_number(lined: EventStore) -> None:
    async def broken(tx: Transaction) -> None:
        raise ZeroDivisionError

    bad = Command(Decision(lines=[Lines(LINES, [("never",)])], effects=[broken]))
    results = await asyncio.gather(
        *(lined.submit(command) for command in (saying("a"), bad, saying("b"))),
        return_exceptions=True,
    )
    assert isinstance(results[1], ZeroDivisionError)
    assert await spoken(lined.database) == [(1, "a"), (2, "b")]
    assert (await log.head(lined.database)).lines == 2


async def test_two_processes_number_lines_together(lined: EventStore, target: Target) -> None:
    database = open_database(target)
    other = store_on(database)
    await other.open()
    await asyncio.gather(
        *(lined.submit(saying(f"a{n}", f"A{n}")) for n in range(50)),
        *(other.submit(saying(f"b{n}")) for n in range(50)),
    )
    assert [line for line, _ in await spoken(database)] == list(range(1, 151))
    await other.close()
    await database.close()
