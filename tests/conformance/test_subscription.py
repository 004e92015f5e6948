"""Following the log: catch up from the database, then live, and never past what cannot be read."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from eventstore import ring as ring_module
from eventstore import store as store_module
from eventstore.codec import Codec
from eventstore.database import Database, Transaction
from eventstore.errors import (
    DatabaseUnavailable,
    LogCorrupted,
    LogReplaced,
    OtherRelease,
    UnknownEvent,
)
from eventstore.events import ANY_VERSION, Event, NewEvents
from eventstore.log import Command, Decision
from eventstore.migrate import Target
from eventstore.notifier import Batch, DatabaseNotifier
from eventstore.ring import Entry
from eventstore.store import EventStore
from eventstore.subscription import follow
from tests.conformance.toys import CODEC, Added, Noted, adding, store_on
from tests.conftest import open_database


async def append(store: EventStore, count: int) -> None:
    await asyncio.gather(*(store.submit(adding("n:1", ANY_VERSION, 1)) for _ in range(count)))


async def take(pages: AsyncIterator[Sequence[Entry]], until: int) -> list[int]:
    """Positions from `pages`, until one of them is `until`."""
    seen: list[int] = []
    async with asyncio.timeout(20):
        async for page in pages:
            seen.extend(entry.recorded.position for entry in page)
            if seen[-1] >= until:
                break
    return seen


async def test_a_reader_catches_up_and_then_reads_live(store: EventStore) -> None:
    await append(store, 10)
    pages = store.follow(0)
    assert await take(pages, 10) == list(range(1, 11))
    reading = asyncio.create_task(take(pages, 15))
    await append(store, 5)
    assert await reading == list(range(11, 16))


async def test_a_reader_starts_after_the_position_it_names(store: EventStore) -> None:
    await append(store, 10)
    assert await take(store.follow(7), 10) == [8, 9, 10]


async def test_a_new_process_reads_what_was_written_before_it_began(
    store: EventStore, target: Target
) -> None:
    await append(store, 10)
    database = open_database(target)
    later = store_on(database)
    await later.open()
    pages = later.follow(0)
    assert await take(pages, 10) == list(range(1, 11))
    await append(store, 2)
    assert await take(pages, 12) == [11, 12]
    await later.close()
    await database.close()


async def test_a_slow_reader_falls_back_to_the_database(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring_module, "RING_EVENTS_MAX", 5)
    pages = follow(store.database, CODEC, store.ring, 0, page=3)
    await append(store, 4)
    seen = await take(pages, 3)
    await append(store, 50)
    assert store.ring.floor > 4, "the reader's place is no longer in the ring"
    assert seen + await take(pages, 54) == list(range(1, 55))


@pytest.mark.parametrize("limit", ["RING_EVENTS_MAX", "RING_BYTES_MAX"])
async def test_nothing_is_lost_when_the_ring_overflows_under_its_readers(
    store: EventStore, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(ring_module, limit, 7)
    readers = [
        asyncio.create_task(take(follow(store.database, CODEC, store.ring, 0, page=size), 300))
        for size in (1, 7, 100)
    ]
    for _ in range(30):
        await append(store, 10)
    for reader in readers:
        assert await reader == list(range(1, 301))


async def test_an_event_larger_than_the_ring_reaches_a_live_reader(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring_module, "RING_BYTES_MAX", 100)
    reading = asyncio.create_task(take(store.follow(0), 2))
    await append(store, 1)
    event = Noted(text="x" * 1_000)
    id_ = "33333333-3333-4333-8333-333333333333"
    await store.submit(Command(Decision(appends=[NewEvents("note:1", 0, [event], [id_])])))
    assert await reading == [1, 2]


async def test_a_reader_that_gives_up_waiting_leaves_nothing_behind(store: EventStore) -> None:
    for _ in range(20):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await store.ring.wait(0)
    assert not store.ring._waiting


class Invented(Event, frozen=True, tag="counter.invented-later"):
    pass


async def test_an_unknown_event_stops_who_follows_and_who_writes_beside_the_newer_release(
    store: EventStore, target: Target
) -> None:
    database = open_database(target)
    newer = store_on(database, codec=Codec([*CODEC.types.values(), Invented]))
    await newer.open()
    pages = store.follow(0)
    id_ = "44444444-4444-4444-8444-444444444444"
    await append(store, 1)
    await newer.submit(Command(Decision(appends=[NewEvents("n:2", 0, [Invented()], [id_])])))
    assert await take(pages, 1) == [1]
    with pytest.raises(UnknownEvent):
        await take(pages, 2)
    with pytest.raises(UnknownEvent):
        async with asyncio.timeout(10):
            await store.ring.wait(2)
    with pytest.raises(OtherRelease, match="invented-later"):
        await store.submit(adding("n:1", 1, 1))
    written = await newer.submit(adding("n:1", 1, 1))
    assert written.recorded[0].position == 3
    await newer.close()
    await database.close()


async def test_a_gap_in_the_log_is_never_read_over(store: EventStore) -> None:
    await append(store, 5)

    async def tamper(tx: Transaction) -> None:
        await tx.execute("DELETE FROM events WHERE position = 3")

    await store.database.transact(tamper)
    later = store_on(store.database)
    await later.open(follow_others=False)
    with pytest.raises(LogCorrupted):
        await take(later.follow(0), 5)
    await later.close()


async def test_a_replaced_log_is_neither_followed_nor_written(store: EventStore) -> None:
    await append(store, 3)

    async def erase(tx: Transaction) -> None:
        await tx.execute("DELETE FROM events")
        await tx.execute("DELETE FROM streams")
        await tx.execute("UPDATE log_head SET position = 0, epoch = 'another'")

    waiting = asyncio.create_task(store.ring.wait(3))
    await store.database.transact(erase)
    with pytest.raises(LogReplaced):
        async with asyncio.timeout(10):
            await waiting
    with pytest.raises(LogReplaced):
        await store.submit(adding("n:1", 0, 1))


async def test_the_follower_outlives_a_database_that_does_not_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "UNAVAILABLE_PAUSE_SECONDS", 0.01)
    failures = iter([DatabaseUnavailable("away"), RuntimeError("a bug")])

    class Fickle(DatabaseNotifier):
        async def heard(self) -> Batch | None:
            for failure in failures:
                raise failure
            return await super().heard()

    store = store_on(database, notifier=Fickle(database))
    await store.open()
    other = store_on(database)
    await other.open(follow_others=False)
    await other.submit(adding("n:1", 0, 1))
    async with asyncio.timeout(10):
        await store.ring.wait(0)
    assert isinstance(store.ring.after(0, 1), list)
    assert store.ring.after(0, 1)[0].recorded.event == Added(amount=1)  # type: ignore[index]
    await other.close()
    await store.close()
