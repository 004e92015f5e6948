"""Retention of the feed of emissions: what was in it for long enough leaves it, never the log.

That it leaves is an event, so a feed that is folded anew comes out the same. How old an emission is
counts from when it was recorded, which never goes back; so what leaves is always the beginning.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from eventstore.codec import to_microseconds
from eventstore.events import ANY_VERSION, NewEvents
from eventstore.ids import new_id
from eventstore.log import Command, Decision
from eventstore.subscription import position_at, recorded_at
from orchestration.emissions import FeedTrimmed
from projections import emissions
from services.shell import Clock, Origin, Shell

STREAM = "feed"
BATCH_EMISSIONS_MAX = 1_000
"""Emissions that leave by one event: their rows are deleted in one transaction."""
PAUSE_SECONDS_MIN = 60.0
"""What comes of age is gathered for so long: an event for each would be one more for each."""
PAUSE_SECONDS_MAX = 24 * 60 * 60.0
FEED_SECONDS_MAX = 60.0
"""How long the feed may take to follow the log to where a batch leaves it."""

Reached = Callable[[int, float], Awaitable[bool]]
"""Waits until the feed has taken in everything up to a position; whether it came in time."""


class FeedDoesNotFollow(Exception):
    """The feed is not kept up, so nothing is taken out of it: `pluperfect projections ls`."""


class FeedRetention:
    """Trims the feed. See `services.service.Service`."""

    name = "feed-retention"

    def __init__(self, shell: Shell, clock: Clock, period: timedelta, reached: Reached) -> None:
        self._store = shell.store
        self._clock = clock
        self._period = period
        self._reached = reached
        self._due: int | None = None
        """When the oldest emission of the feed is to leave, in microseconds since 1970."""

    def lag_seconds(self) -> float:
        """For how long the oldest emission should have left."""
        return 0.0 if self._due is None else max(0.0, -self._seconds_until(self._due))

    async def run(self, origin: Origin) -> None:
        """See `services.service.Service`."""
        while True:
            while await self._trim(origin):
                pass
            await asyncio.sleep(await self._pause())

    async def _trim(self, origin: Origin) -> bool:
        """Take the oldest emissions that are of age out of the feed; whether there were any."""
        database = self._store.database
        until = await position_at(database, to_microseconds(self._clock() - self._period))
        positions = await emissions.oldest(database, until, BATCH_EMISSIONS_MAX)
        if not positions:
            return False
        trimmed = FeedTrimmed(until=positions[-1])
        written = await self._store.submit(
            Command(
                Decision(appends=(NewEvents(STREAM, ANY_VERSION, (trimmed,), (new_id(),)),)),
                actor=origin.actor,
                fence=origin.fence,
            )
        )
        # Batch after batch: else the feed would take in many of these events, and delete all that
        # they stand for, in one transaction.
        if not await self._reached(written.position, FEED_SECONDS_MAX):
            raise FeedDoesNotFollow("the feed of events does not follow the log")
        return True

    async def _pause(self) -> float:
        database = self._store.database
        head = self._store.ring.head
        first = await emissions.oldest(database, head, 1)
        at = await recorded_at(database, first[0]) if first else None
        if at is None:
            self._due = None
            return min(max(self._period.total_seconds(), PAUSE_SECONDS_MIN), PAUSE_SECONDS_MAX)
        self._due = at + self._period // timedelta(microseconds=1)
        return min(max(self._seconds_until(self._due), PAUSE_SECONDS_MIN), PAUSE_SECONDS_MAX)

    def _seconds_until(self, due: int) -> float:
        return (due - to_microseconds(self._clock())) / 1_000_000
