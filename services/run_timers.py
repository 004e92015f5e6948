"""Services that do something to a flow run at a time that its state tells.

Nothing is scanned for. A timer is set for each run as the log tells of its state; at first, and
after each term that another process had, the nearest ones are read from the read model. When one
goes off the run is decided upon like by anybody else, by the rules and against what it is then; so
a run that went on meanwhile, or that somebody else saw to, is left alone.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from eventstore.codec import to_microseconds
from eventstore.errors import ContentionTimeout, Overloaded
from eventstore.events import Recorded
from eventstore.ring import Entry
from orchestration.flow_runs import FlowRunDeleted, FlowRunStateSet
from orchestration.refusals import NotFound
from projections.entities import entity_id
from services.shell import Clock, Origin, Shell
from services.timers import Timers

TIMERS_MAX = 10_000
"""Runs whose timers are kept in memory, the nearest ones; the others wait in the read model."""
BATCH_RUNS_MAX = 200
"""Runs that are seen to at the same time; together they fit into one transaction."""
SLEEP_SECONDS_MAX = 30.0
"""How long the clock is believed to go on as before: it may be set."""
AGAIN_SECONDS = 1.0
"""When a run is tried again whose stream did not hold still, or that found the server too busy."""


class RunTimers(ABC):
    """The loop of such a service. See `services.service.Service`."""

    def __init__(self, shell: Shell, clock: Clock) -> None:
        self._shell = shell
        self._clock = clock
        self._timers = Timers(TIMERS_MAX)
        """When each run is to be seen to, in microseconds since 1970."""

    @abstractmethod
    async def nearest(self, most: int) -> Iterable[tuple[str, int]]:
        """Ids and times, in microseconds, of up to `most` runs that wait, nearest first.

        Asked again once all of them were seen to.
        """

    @abstractmethod
    def due(self, event: FlowRunStateSet) -> datetime | None:
        """When a run that has just taken on this state is to be seen to; None: never."""

    @abstractmethod
    async def see_to(self, id_: str, now: datetime, origin: Origin) -> None:
        """Do what is to be done to this run, if it still is. Raises what commands raise."""

    def lag_seconds(self) -> float:
        """For how long the run that comes next should have been seen to."""
        due = self._timers.next
        return 0.0 if due is None else max(0.0, -self._seconds_until(due))

    async def run(self, origin: Origin) -> None:
        """See `services.service.Service`."""
        # First where the log is, then the rows: what happens between is seen twice, not never.
        pages = self._shell.store.follow(self._shell.store.ring.head)
        self._timers.fill(await self.nearest(TIMERS_MAX))
        page = asyncio.ensure_future(_next(pages))
        try:
            while True:
                await asyncio.wait({page}, timeout=self._pause())
                if page.done():
                    for entry in page.result():
                        self._note(entry.recorded)
                    page = asyncio.ensure_future(_next(pages))
                await self._see_to_batch(origin)
                if self._timers.exhausted:
                    self._timers.fill(await self.nearest(TIMERS_MAX))
        finally:
            page.cancel()

    def _note(self, recorded: Recorded[Any]) -> None:
        match recorded.event:
            case FlowRunStateSet() as event:
                due = self.due(event)
                if due is None:
                    self._timers.clear(entity_id(recorded))
                else:
                    self._timers.set(entity_id(recorded), to_microseconds(due))
            case FlowRunDeleted():
                self._timers.clear(entity_id(recorded))

    def _pause(self) -> float:
        due = self._timers.next
        if due is None:
            return SLEEP_SECONDS_MAX
        return min(max(0.0, self._seconds_until(due)), SLEEP_SECONDS_MAX)

    def _seconds_until(self, due: int) -> float:
        return (due - to_microseconds(self._clock())) / 1_000_000

    async def _see_to_batch(self, origin: Origin) -> None:
        """See to what is due, one batch of it: between two batches the log is listened to."""
        now = self._clock()
        ids = self._timers.take(to_microseconds(now), BATCH_RUNS_MAX)
        if not ids:
            return
        done = await asyncio.gather(
            *(self._see_to_one(id_, now, origin) for id_ in ids), return_exceptions=True
        )
        for failure in filter(None, done):
            raise failure

    async def _see_to_one(self, id_: str, now: datetime, origin: Origin) -> None:
        try:
            await self.see_to(id_, now, origin)
        except NotFound:
            pass  # It was deleted.
        except (ContentionTimeout, Overloaded):
            again = now + timedelta(seconds=AGAIN_SECONDS)
            self._timers.set(id_, to_microseconds(again))


async def _next(pages: AsyncIterator[Sequence[Entry]]) -> Sequence[Entry]:
    return await anext(pages)
