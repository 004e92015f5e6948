"""Positions become visible in their order, whatever a transaction does before it commits."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from eventstore import log
from eventstore.database import Database, Transaction
from eventstore.events import Recorded
from eventstore.log import Head
from eventstore.migrate import Target
from eventstore.ring import Entry
from tests.conformance.toys import CODEC, adding, store_on
from tests.conftest import open_database


class Gate:
    """Holds a transaction just before its commit, on an event loop or on a writer thread."""

    def __init__(self, backend: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._backend = backend
        self.reached = asyncio.Event()
        self._opened = asyncio.Event()
        self._opened_for_thread = threading.Event()

    def open(self) -> None:
        self._opened.set()
        self._opened_for_thread.set()

    async def hold(self, tx: Transaction, before: Head, recorded: Sequence[Recorded[Any]]) -> None:
        self._loop.call_soon_threadsafe(self.reached.set)
        if self._backend == "sqlite":
            assert self._opened_for_thread.wait(timeout=8)
        else:
            await self._opened.wait()


async def test_a_tailer_never_passes_a_position_whose_commit_is_late(
    target: Target, backend: str
) -> None:
    slow_database, fast_database, tail_database = (open_database(target) for _ in range(3))
    gate = Gate(backend)
    slow, fast = store_on(slow_database, gate.hold), store_on(fast_database)
    await slow.open(follow_others=False)
    await fast.open(follow_others=False)
    async with asyncio.timeout(20):
        first = asyncio.create_task(slow.submit(adding("n:slow", 0, 1)))
        await gate.reached.wait()
        second = asyncio.create_task(fast.submit(adding("n:fast", 0, 1)))

        # The first has its position and has written its row; nobody may see or pass it.
        seen = [await log.read_all(tail_database, tail_database.dialect, CODEC, 0)]
        done, _ = await asyncio.wait({first, second}, timeout=0.2)
        assert not done
        seen.append(await log.read_all(tail_database, tail_database.dialect, CODEC, 0))
        assert seen == [[], []]
        assert (await log.head(tail_database)).position == 0

        gate.open()
        assert (await first).recorded[0].position == 1
        assert (await second).recorded[0].position == 2
    facts = await log.read_all(tail_database, tail_database.dialect, CODEC, 0)
    assert [fact.stream for fact in facts] == ["n:slow", "n:fast"]
    await slow.close()
    await fast.close()
    for database in (slow_database, fast_database, tail_database):
        await database.close()


async def test_what_we_wrote_ourselves_is_not_read_as_if_others_had(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventstore.store.OWN_COMMIT_SECONDS_MAX", 20.0)
    committed, tell, read_again = asyncio.Event(), asyncio.Event(), list[Entry]()
    transact = database.transact

    async def late(work: Callable[[Transaction], Awaitable[Any]]) -> Any:
        result = await transact(work)
        committed.set()
        await tell.wait()
        return result

    store = store_on(database, foreign=read_again.extend)
    await store.open()
    monkeypatch.setattr(database, "transact", late)
    async with asyncio.timeout(20):
        writing = asyncio.create_task(store.submit(adding("n:own", 0, 1)))
        await committed.wait()
        following = asyncio.create_task(store._catch_up())
        await asyncio.wait({following}, timeout=0.2)
        assert not following.done()
        tell.set()
        await following
        assert (await writing).position == store.ring.head == 1
    assert read_again == []
    await store.close()
