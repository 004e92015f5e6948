"""Reading together: who asks at the same moment shares a query, and each gets its own rows."""

import asyncio
from collections.abc import Sequence

import pytest

from eventstore.codec import EVENTS
from eventstore.database import Database, Reader, Row, Table, Transaction, Value
from eventstore.log import STREAMS
from eventstore.together import Together


class Counted:
    """A reader that counts its queries."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.queries = 0

    async def fetch(self, sql: str, *params: Value) -> list[Row]:
        self.queries += 1
        return await self._reader.fetch(sql, *params)

    async def fetch_keys(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> list[Row]:
        self.queries += 1
        return await self._reader.fetch_keys(table, keys)


@pytest.fixture
async def streams(database: Database) -> Database:
    async def work(tx: Transaction) -> None:
        await tx.insert(STREAMS, [("a", 1), ("b", 2), ("c", 3)])

    await database.transact(work)
    return database


async def test_those_who_ask_at_the_same_moment_share_a_query(streams: Database) -> None:
    counted = Counted(streams)
    together = Together(counted)

    async def versions(*names: str) -> list[tuple[Value, ...]]:
        found = await together.fetch_keys(STREAMS, [(name,) for name in names])
        return [tuple(row) for row in found]

    asked = [versions("a"), versions("c", "a"), versions("none"), versions("b", "none")]
    others = together.fetch_keys(EVENTS, [(1,)])
    *found, events = await asyncio.gather(*asked, others)
    assert found == [[("a", 1)], [("c", 3), ("a", 1)], [], [("b", 2)]]
    assert events == []
    assert counted.queries == 2, "one a table"


async def test_who_asks_later_sees_what_was_written_meanwhile(streams: Database) -> None:
    together = Together(streams)

    async def work(tx: Transaction) -> None:
        await tx.upsert(STREAMS, [("a", 2)])

    assert [tuple(row) for row in await together.fetch_keys(STREAMS, [("a",)])] == [("a", 1)]
    await streams.transact(work)
    assert [tuple(row) for row in await together.fetch_keys(STREAMS, [("a",)])] == [("a", 2)]


async def test_who_gives_up_takes_the_answer_from_nobody(streams: Database) -> None:
    together = Together(streams)
    impatient = asyncio.create_task(together.fetch_keys(STREAMS, [("a",)]))
    patient = asyncio.create_task(together.fetch_keys(STREAMS, [("b",)]))
    await asyncio.sleep(0)
    impatient.cancel()
    assert [tuple(row) for row in await patient] == [("b", 2)]


async def test_what_cannot_be_read_is_an_error_to_each(streams: Database) -> None:
    nowhere = Table("nowhere", {"id": "text"})
    together = Together(streams)
    asked = [together.fetch_keys(nowhere, [(name,)]) for name in "ab"]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert ["nowhere" in str(one) and isinstance(one, Exception) for one in found] == [True, True]
