"""Retention: what was in the feed for long enough leaves it, and is in the log for ever."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from api.server import Server
from api.settings import Settings
from eventstore import log
from eventstore.migrate import Target
from orchestration.emissions import EmissionReceived, FeedTrimmed
from projections import emissions as feed
from services import feed_retention
from services.feed_retention import FeedDoesNotFollow, FeedRetention
from services.shell import Origin
from tests.emitting import emission, wire
from tests.services.serving_here import serving
from tests.serving import verify_digests

ORIGIN = Origin("tester")
PERIOD = timedelta(days=7)
MOMENT = timedelta(microseconds=1)
WAIT_SECONDS = 20.0
KEEPING = Settings(services_feed_retention_enabled=False)


@pytest.fixture
async def server(target: Target) -> AsyncIterator[Server]:
    """Without the service: the tests run it by their own clock."""
    async with serving(target, KEEPING) as server:
        yield server
    verify_digests(target)


async def emit(server: Server, number: int) -> list[int]:
    """Emissions in the feed; their log positions."""
    before = server.store.ring.head
    taken = await server.intake.take([wire(emission()) for _ in range(number)], ORIGIN)
    assert taken.position is not None
    assert await server.runner.projectors["emissions"].reached(taken.position, WAIT_SECONDS)
    return list(range(before + 1, taken.position + 1))


async def events(server: Server, kind: type[Any]) -> list[Any]:
    database = server.database
    everything = await log.read_all(database, database.dialect, server.store.codec, 0)
    return [fact for fact in everything if isinstance(fact.event, kind)]


async def shown(server: Server) -> list[int]:
    return await feed.oldest(server.database, server.store.ring.head, 1_000)


async def a_week_after(server: Server, position: int) -> Callable[[], datetime]:
    """A clock that stands still when the emission at a position has just come of age."""
    fact = await server.store.read_position(position)
    assert fact is not None
    now = fact.recorded_at + PERIOD + MOMENT
    return lambda: now


def retention(server: Server, clock: Callable[[], datetime]) -> FeedRetention:
    reached = server.runner.projectors["emissions"].reached
    return FeedRetention(server.shell, clock, PERIOD, reached)


async def trim(server: Server, service: FeedRetention) -> None:
    while await service._trim(ORIGIN):
        pass


async def test_what_is_of_age_leaves_the_feed_and_stays_in_the_log(server: Server) -> None:
    old, new = await emit(server, 3), await emit(server, 2)
    service = retention(server, await a_week_after(server, old[-1]))
    await trim(server, service)
    assert await shown(server) == new
    rows = await server.database.fetch("SELECT DISTINCT position FROM emission_resources")
    assert {row[0] for row in rows} == set(new)
    assert len(await events(server, EmissionReceived)) == 5
    (fact,) = await events(server, FeedTrimmed)
    assert (fact.event.until, fact.stream, fact.actor) == (old[-1], "feed", "tester")


async def test_what_is_not_of_age_stays_and_nothing_is_recorded(server: Server) -> None:
    positions = await emit(server, 2)
    fact = await server.store.read_position(positions[0])
    assert fact is not None
    await trim(server, retention(server, lambda: fact.recorded_at + PERIOD))
    assert await shown(server) == positions
    assert await events(server, FeedTrimmed) == []


async def test_much_leaves_in_batches_of_a_bounded_size(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_retention, "BATCH_EMISSIONS_MAX", 4)
    positions = await emit(server, 10)
    await trim(server, retention(server, await a_week_after(server, positions[-1])))
    assert await shown(server) == []
    trimmed = [fact.event.until for fact in await events(server, FeedTrimmed)]
    assert trimmed == [positions[3], positions[7], positions[9]]


async def test_it_sleeps_until_the_oldest_comes_of_age(server: Server) -> None:
    empty = retention(server, server.now)
    assert await empty._pause() == feed_retention.PAUSE_SECONDS_MAX
    (position,) = await emit(server, 1)
    clock = await a_week_after(server, position)
    early = retention(server, lambda: clock() - timedelta(hours=2))
    assert abs(await early._pause() - 7_200) < 1
    assert early.lag_seconds() == 0.0
    late = retention(server, lambda: clock() + timedelta(hours=2))
    assert await late._pause() == feed_retention.PAUSE_SECONDS_MIN
    assert abs(late.lag_seconds() - 7_200) < 1


async def test_a_feed_that_does_not_follow_the_log_is_not_trimmed_any_further(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_retention, "FEED_SECONDS_MAX", 0.1)
    positions = await emit(server, 3)
    service = retention(server, await a_week_after(server, positions[-1]))
    await server.runner.close()
    with pytest.raises(FeedDoesNotFollow):
        await trim(server, service)
    assert len(await events(server, FeedTrimmed)) == 1
    server.runner.open()
    assert await server.runner.projectors["emissions"].reached(server.store.ring.head, WAIT_SECONDS)
    assert await shown(server) == []


async def test_a_server_trims_its_feed_by_itself(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_retention, "PAUSE_SECONDS_MIN", 0.05)
    settings = Settings(events_retention_period=timedelta(seconds=0.3))
    async with serving(target, settings) as server:
        taken = await server.intake.take([wire(emission()) for _ in range(5)], ORIGIN)
        assert taken.position is not None
        until = 0
        async with asyncio.timeout(WAIT_SECONDS):
            async for page in server.store.follow(0):
                for entry in page:
                    if isinstance(entry.recorded.event, FeedTrimmed):
                        assert entry.recorded.actor == "feed-retention"
                        until = entry.recorded.event.until
                if until >= taken.position:
                    break
        projector = server.runner.projectors["emissions"]
        assert await projector.reached(server.store.ring.head, WAIT_SECONDS)
        assert await shown(server) == []
    verify_digests(target)
