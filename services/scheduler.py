"""The scheduler: active schedules always have their next runs.

Nothing is scanned for. Each deployment with schedules has one timer: when the next slot comes into
sight. It is set anew when the log tells that the deployment changed, and when it went off; at the
beginning of a term all deployments with schedules are looked at once. Slots are recognised by the
log (`services.scheduled_runs`), so whoever makes them again, after a crash or beside another
server, makes none twice.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from eventstore.codec import to_microseconds
from eventstore.events import Recorded
from eventstore.together import Together
from orchestration.deployments import DeploymentCreated, DeploymentDeleted, DeploymentUpdated
from orchestration.refusals import Refusal
from projections import deployments
from projections.deployments import DEPLOYMENTS
from projections.entities import entity_id
from services import scheduled_runs
from services.scheduled_runs import Horizon, Slot
from services.shell import Clock, Origin, Shell
from services.timed import AGAIN_SECONDS, Paged

logger = logging.getLogger(__name__)

TIMERS_MAX = 100_000
"""Deployments whose timers are kept in memory, the nearest ones, and of which it is remembered what
was made; the others are found in the read model again."""
BATCH_DEPLOYMENTS_MAX = 50
"""Deployments that are looked at at the same time; between two batches the log is listened to."""
PAGE_DEPLOYMENTS = 200
"""Deployments that are read at a time when a term begins."""
FAR = timedelta(days=1)
"""When a deployment is looked at again whose schedules have nothing in sight."""
_TICK = timedelta(microseconds=1)


class Scheduler(Paged):
    """Makes the runs of schedules. See `services.service.Service`."""

    name = "scheduler"

    def __init__(self, shell: Shell, clock: Clock, horizon: Horizon) -> None:
        super().__init__(shell, clock, timers_max=TIMERS_MAX, batch_max=BATCH_DEPLOYMENTS_MAX)
        self._horizon = horizon
        self._reader = Together(shell.store.database)
        self._begins = True
        """Whether not all deployments have been looked at yet in this term."""
        self._changed: set[str] = set()
        """Deployments whose runs may not follow from their schedules any more."""
        self._made: dict[str, dict[tuple[str, datetime], datetime]] = {}
        """By deployment: the last slot that has a run, of each schedule as it was then changed."""

    async def run(self, origin: Origin) -> None:
        """See `services.service.Service`."""
        # Another process may have had a term: what was made, and what changed, is not known here.
        self._made.clear()
        self._changed.clear()
        self._begins = True
        await super().run(origin)

    async def page(self, after: str) -> tuple[Iterable[tuple[str, int]], str | None]:
        """The deployments with schedules: each is looked at now."""
        found = await deployments.scheduled(self._shell.store.database, after, PAGE_DEPLOYMENTS)
        if self._begins:
            self._changed.update(found)
        self._begins = self._begins and bool(found)
        now = to_microseconds(self._clock())
        return [(id_, now) for id_ in found], found[-1] if found else None

    def note(self, recorded: Recorded[Any]) -> None:
        """See `Timed`."""
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

    async def see_to_one(self, id_: str, now: datetime, origin: Origin) -> None:
        """See `Timed`."""
        again = await self._fill(id_, now, origin)
        if again is not None:
            again = max(again, now + timedelta(seconds=AGAIN_SECONDS))
            self._timers.set(id_, to_microseconds(again))

    async def _fill(self, id_: str, now: datetime, origin: Origin) -> datetime | None:
        """Make the runs that a deployment lacks; when to look again, if ever."""
        version, deployment = await self._shell.load(
            DEPLOYMENTS, f"deployment:{id_}", id_, fresh=True, reader=self._reader
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
            try:
                if known is None:
                    lacking += scheduled_runs.passed(one, now, self._horizon)
                found = scheduled_runs.slots(one, start, end, self._horizon)
            except Refusal as why:
                # Its zone is not known on this machine, for example. The others do not wait for it.
                logger.warning("schedule %s of deployment %s has no runs: %s", one.id, id_, why)
                found = []
            if not found:
                looks.append(now + FAR)
                continue
            lacking += [slot for slot in found if known is None or slot.moment > known]
            last[one.id, one.updated] = found[-1].moment
            looks.append(_next_look(found, self._horizon, now))
        if lacking:
            await scheduled_runs.make(
                self._shell, self._reader, deployment, version, lacking, now, origin
            )
        self._made.pop(id_, None)
        self._made[id_] = last
        if len(self._made) > TIMERS_MAX:
            # What it lacks is found out again, from the log.
            del self._made[next(iter(self._made))]
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
