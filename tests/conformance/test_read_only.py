"""A database opened read-only: a picture of the past that can be looked at and not changed."""

import asyncio

import pytest

from eventstore import log
from eventstore.database import Transaction
from eventstore.errors import ReadOnly
from eventstore.migrate import Target
from eventstore.store import EventStore
from tests.conformance.toys import CODEC, adding, store_on
from tests.conftest import open_database


async def test_it_is_read_and_followed_like_any_other(store: EventStore, target: Target) -> None:
    await store.submit(adding("n:1", 0, 1, 2))
    database = open_database(target, read_only=True)
    picture = store_on(database)
    await picture.open()
    facts = await log.read_stream(database, database.dialect, CODEC, "n:1")
    assert [fact.version for fact in facts] == [1, 2]
    assert await log.stream_version(database, "n:1") == 2
    await store.submit(adding("n:1", 2, 3))
    async with asyncio.timeout(10):
        await picture.ring.wait(2)
    await picture.close()
    await database.close()


async def test_every_write_is_refused_at_once(store: EventStore, target: Target) -> None:
    database = open_database(target, read_only=True)
    picture = store_on(database)
    await picture.open()
    results = await asyncio.gather(
        *(picture.submit(adding(f"n:{n}", 0, 1)) for n in range(20)), return_exceptions=True
    )
    assert [type(result) for result in results] == [ReadOnly] * 20

    async def write(tx: Transaction) -> None:
        await tx.execute("DELETE FROM events")

    with pytest.raises(ReadOnly):
        await database.transact(write)
    await picture.close()
    await database.close()
    assert (await log.head(store.database)).position == 0
