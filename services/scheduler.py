"""The scheduler: active schedules always have their next runs.

Nothing is scanned for. Each deployment with schedules has one timer: when the next slot comes into
sight. It is set anew when the log tells that the deployment changed, and when it went off; at the
beginning of a term all deployments with schedules are looked at once. Slots are recognised by the
log (`services.scheduled_runs`), so whoever makes them again, after a crash or beside another
server, makes none twice.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from eventstore.codec import to_microseconds
from eventstore.errors import ContentionTimeout, Overloaded
from eventstore.events import Recorded
from eventstore.ring import Entry
from orchestration.deployments import DeploymentCreated, DeploymentDeleted, DeploymentUpdated
from orchestration.refusals import Refusal
from projections import deployments
from projections.deployments import DEPLOYMENTS
from projections.entities import entity_id
from services import scheduled_runs
from services.scheduled_runs import Horizon, Slot
from services.shell import Clock, Origin, Shell
from services.timers import Timers

TIMERS_MAX = 100_000
"""Deployments whose timers are kept in memory."""
BATCH_DEPLOYMENTS_MAX = 50
"""Deployments that are looked at at the same time; between two batches the log is listened to."""
PAGE_DEPLOYMENTS = 200
"""Deployments that are read at a time when a term begins."""
SLEEP_SECONDS_MAX = 30.0
"""How long the clock is believed to go on as before: it may be set."""
AGAIN_SECONDS = 1.0
"""When a deployment is tried again that did not hold still, or that found the server too busy; and
how long at least one is left alone that was looked at."""
FAR = timedelta(days=1)
"""When a deployment is looked at again whose schedules have nothing in sight."""
_TICK = timedelta(microseconds=1)


class Scheduler:
    """Makes the runs of schedules. See `services.service.Service`."""

    name = "scheduler"

    def __init__(self, shell: Shell, clock: Clock, horizon: Horizon) -> None:
        self._shell = shell
        self._clock = clock
        self._horizon = horizon
        self._timers = Timers(TIMERS_MAX)
        self._changed: set[str] = set()
        """Deployments whose runs may not follow from their schedules any more."""
        self._made: dict[str, dict[tuple[str, datetime], datetime]] = {}
        """By deployment: the last slot that has a run, of each schedule as it was then changed."""

    def lag_seconds(self) -> float:
        """For how long the deployment that is next should have been looked at."""
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
                await self._schedule(origin)
                if self._timers.exhausted:
                    await self._load()
        finally:
            page.cancel()

    async def _load(self) -> None:
        now, after, found = to_microseconds(self._clock()), "", list[str]()
        while True:
            page = await deployments.scheduled(self._shell.store.database, after, PAGE_DEPLOYMENTS)
            found.extend(page)
            if len(page) < PAGE_DEPLOYMENTS or len(found) >= TIMERS_MAX:
                break
            after = page[-1]
        self._made.clear()
        self._changed = set(found)
        self._timers.fill((id_, now) for id_ in found)

    def _note(self, recorded: Recorded[Any]) -> None:
        match recorded.event:
            case DeploymentCreated() | DeploymentUpdated():
                self._changed.add(entity_id(recorded))
                self._timers.set(entity_id(recorded), to_microseconds(self._clock()))
            case DeploymentDeleted():
                self._forget(entity_id(recorded))

    def _forget(self, id_: str) -> None:
        self._timers.clear(id_)
        self._changed.discard(id_)
        self._made.pop(id_, None)

    def _pause(self) -> float:
        due = self._timers.next
        if due is None:
            return SLEEP_SECONDS_MAX
        return min(max(0.0, self._seconds_until(due)), SLEEP_SECONDS_MAX)

    def _seconds_until(self, due: int) -> float:
        return (due - to_microseconds(self._clock())) / 1_000_000

    async def _schedule(self, origin: Origin) -> None:
        """Look at the deployments that are due, one batch of them."""
        now = self._clock()
        ids = self._timers.take(to_microseconds(now), BATCH_DEPLOYMENTS_MAX)
        if not ids:
            return
        done = await asyncio.gather(
            *(self._schedule_one(id_, now, origin) for id_ in ids), return_exceptions=True
        )
        for failure in filter(None, done):
            raise failure

    async def _schedule_one(self, id_: str, now: datetime, origin: Origin) -> None:
        try:
            again = await self._fill(id_, now, origin)
        except (ContentionTimeout, Overloaded):
            again = now
        except Refusal:
            again = now + FAR  # Its zone is not known on this machine, for example.
        if again is not None:
            again = max(again, now + timedelta(seconds=AGAIN_SECONDS))
            self._timers.set(id_, to_microseconds(again))

    async def _fill(self, id_: str, now: datetime, origin: Origin) -> datetime | None:
        """Make the runs that a deployment lacks; when to look again, if ever."""
        version, deployment = await self._shell.load(
            DEPLOYMENTS, f"deployment:{id_}", id_, fresh=True
        )
        if deployment is None:
            self._forget(id_)
            return None
        if id_ in self._changed:
            await scheduled_runs.tidy(self._shell, deployment, now, origin)
            self._changed.discard(id_)
        active = [one for one in deployment.schedules if one.active and not deployment.paused]
        made, end = self._made.get(id_, {}), now + self._horizon.max_time
        lacking: list[Slot] = []
        last: dict[tuple[str, datetime], datetime] = {}
        looks: list[datetime] = []
        for one in active:
            known = made.get((one.id, one.updated))
            # Where this process left off, so that none is missed if it comes late.
            start = now if known is None or known >= now else known + _TICK
            found = scheduled_runs.slots(one, start, end, self._horizon)
            if not found:
                looks.append(now + FAR)
                continue
            lacking += [slot for slot in found if known is None or slot.moment > known]
            last[one.id, one.updated] = found[-1].moment
            looks.append(_next_look(found, self._horizon, now))
        if lacking:
            await scheduled_runs.make(self._shell, deployment, version, lacking, now, origin)
        self._made[id_] = last
        return min(looks, default=None)


def _next_look(found: Sequence[Slot], horizon: Horizon, now: datetime) -> datetime:
    """When there will be another slot to make: these are all for now."""
    first, last = found[0].moment, found[-1].moment
    most = min(horizon.max_runs, found[0].schedule.max_scheduled_runs or horizon.max_runs)
    if len(found) >= most:
        return first + _TICK
    further = last - horizon.min_time + _TICK
    if len(found) <= horizon.min_runs:
        return min(first + _TICK, max(further, now))
    return further


async def _next(pages: AsyncIterator[Sequence[Entry]]) -> Sequence[Entry]:
    return await anext(pages)
