"""Late runs: a flow run that is scheduled and has not started some time after its time is Late.

Nothing is scanned for. A timer is set for each scheduled run as the log tells of it; at first, and
after each term that another process had, the nearest ones are read from the read model. When one
goes off the run is decided upon like by anybody else, by the rules and against what it is then; so
a run that started meanwhile, or that somebody else marked, is left alone.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from eventstore.codec import to_microseconds
from eventstore.errors import ContentionTimeout, Overloaded
from eventstore.events import Recorded
from eventstore.ring import Entry
from orchestration.flow_runs import FlowRunDeleted, FlowRunStateSet, may_be_late
from orchestration.refusals import NotFound
from projections import flow_runs as flow_run_rows
from projections.entities import entity_id
from services import flow_runs
from services.shell import Clock, Origin, Shell
from services.timers import Timers

TIMERS_MAX = 10_000
"""Runs whose timers are kept in memory, the nearest ones; the others wait in the read model."""
BATCH_RUNS_MAX = 200
"""Runs that are marked at the same time; together they fit into one transaction."""
SLEEP_SECONDS_MAX = 30.0
"""How long the clock is believed to go on as before: it may be set."""
AGAIN_SECONDS = 1.0
"""When a run is tried again whose stream did not hold still, or that found the server too busy."""


class LateRuns:
    """Marks flow runs late. See `services.service.Service`."""

    name = "late-runs"

    def __init__(self, shell: Shell, clock: Clock, after: timedelta) -> None:
        self._shell = shell
        self._clock = clock
        self._after = after
        self._timers = Timers(TIMERS_MAX)
        """When each run is due to be marked, in microseconds since 1970."""

    def lag_seconds(self) -> float:
        """For how long the run that is to be marked next should have been Late."""
        due = self._timers.next
        return 0.0 if due is None else max(0.0, -self._seconds_until(due))

    async def run(self, origin: Origin) -> None:
        """See `services.service.Service`."""
        # First where the log is, then the rows: what happens between is seen twice, not never.
        pages = self._shell.store.follow(self._shell.store.ring.head)
        await self._load()
        page = asyncio.ensure_future(_next(pages))
        try:
            while True:
                await asyncio.wait({page}, timeout=self._pause())
                if page.done():
                    for entry in page.result():
                        self._note(entry.recorded)
                    page = asyncio.ensure_future(_next(pages))
                await self._mark(origin)
                if self._timers.exhausted:
                    await self._load()
        finally:
            page.cancel()

    async def _load(self) -> None:
        rows = await flow_run_rows.scheduled_first(self._shell.store.database, TIMERS_MAX)
        self._timers.fill((row[0], row[1] + self._after_microseconds) for row in rows)

    @property
    def _after_microseconds(self) -> int:
        return self._after // timedelta(microseconds=1)

    def _note(self, recorded: Recorded[Any]) -> None:
        match recorded.event:
            case FlowRunStateSet(state=state):
                due = state.state_details.scheduled_time if may_be_late(state) else None
                if due is None:
                    self._timers.clear(entity_id(recorded))
                else:
                    at = to_microseconds(due) + self._after_microseconds
                    self._timers.set(entity_id(recorded), at)
            case FlowRunDeleted():
                self._timers.clear(entity_id(recorded))

    def _pause(self) -> float:
        due = self._timers.next
        if due is None:
            return SLEEP_SECONDS_MAX
        return min(max(0.0, self._seconds_until(due)), SLEEP_SECONDS_MAX)

    def _seconds_until(self, due: int) -> float:
        return (due - to_microseconds(self._clock())) / 1_000_000

    async def _mark(self, origin: Origin) -> None:
        """Mark what is due, one batch of it: between two batches the log is listened to."""
        now = self._clock()
        ids = self._timers.take(to_microseconds(now), BATCH_RUNS_MAX)
        if not ids:
            return
        marked = await asyncio.gather(
            *(self._mark_one(id_, now, origin) for id_ in ids), return_exceptions=True
        )
        for failure in filter(None, marked):
            raise failure

    async def _mark_one(self, id_: str, now: datetime, origin: Origin) -> None:
        try:
            await flow_runs.mark_late(self._shell, id_, now - self._after, now, origin)
        except NotFound:
            pass  # It was deleted.
        except (ContentionTimeout, Overloaded):
            again = now + timedelta(seconds=AGAIN_SECONDS)
            self._timers.set(id_, to_microseconds(again))


async def _next(pages: AsyncIterator[Sequence[Entry]]) -> Sequence[Entry]:
    return await anext(pages)
