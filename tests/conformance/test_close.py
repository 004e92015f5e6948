"""Closing: what is queued is written, what comes later is refused, nobody is left waiting."""

import asyncio

import pytest

from eventstore import log
from eventstore.committer import Written
from eventstore.database import CommitUnknown, Database, Transaction
from eventstore.errors import DatabaseUnavailable
from eventstore.log import Appended, Command, Decision
from tests.conformance.test_visibility import Gate
from tests.conformance.toys import adding, store_on


async def test_closing_writes_what_is_queued(database: Database) -> None:
    store = store_on(database)
    await store.open()
    writing = [asyncio.create_task(store.submit(adding(f"n:{n}", 0, 1))) for n in range(700)]
    await asyncio.sleep(0)
    await store.close()
    results = await asyncio.gather(*writing)
    assert all(isinstance(result, Written) for result in results)
    assert (await log.head(database)).position == 700


async def test_a_closed_store_refuses(database: Database) -> None:
    store = store_on(database)
    await store.open()
    await store.close()
    with pytest.raises(DatabaseUnavailable):
        await store.submit(adding("n:1", 0, 1))


async def test_giving_up_a_close_does_not_stop_the_commit(database: Database, backend: str) -> None:
    gate = Gate(backend)
    store = store_on(database, gate.hold)
    await store.open()
    async with asyncio.timeout(20):
        writing = asyncio.create_task(store.submit(adding("n:1", 0, 1)))
        await gate.reached.wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await store.close()
        gate.open()
        assert (await writing).position == 1
        await store.close()


async def test_nobody_waits_for_a_committer_that_was_cancelled(
    database: Database, backend: str
) -> None:
    gate = Gate(backend)
    store = store_on(database, gate.hold)
    await store.open()
    async with asyncio.timeout(20):
        first = asyncio.create_task(store.submit(adding("n:1", 0, 1)))
        await gate.reached.wait()
        second = asyncio.create_task(store.submit(adding("n:2", 0, 1)))
        await asyncio.sleep(0)
        assert store.committer._task is not None
        store.committer._task.cancel()
        gate.open()
        for waiting in (first, second):
            with pytest.raises(DatabaseUnavailable):
                await waiting
        with pytest.raises(DatabaseUnavailable):
            await store.submit(adding("n:3", 0, 1))
        await store.close()


async def test_a_cancellation_that_nobody_asked_for_ends_one_batch_and_no_more(
    database: Database,
) -> None:
    async def leak(tx: Transaction) -> Decision:
        raise asyncio.CancelledError

    store = store_on(database)
    await store.open()
    async with asyncio.timeout(20):
        with pytest.raises(CommitUnknown):
            await store.submit(Command(Decision(), decide=leak))
        assert (await store.submit(adding("n:1", 0, 1))).position == 1
        await store.close()


async def test_a_failing_listener_does_not_take_back_what_is_recorded(database: Database) -> None:
    def fail(appended: Appended) -> None:
        raise ZeroDivisionError

    store = store_on(database, committed=fail)
    await store.open()
    assert (await store.submit(adding("n:1", 0, 1))).position == 1
    assert store.ring.head == 1
    await store.close()
