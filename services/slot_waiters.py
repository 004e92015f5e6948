"""Runs that wait for a slot of their deployment's limit are due as soon as one comes free, or as
the deployment has another limit or none.

Without this they would be tried again when the time is over that they were put off for. They wait
in the order in which they were expected to start, and no more are woken than there are free slots;
who is woken and finds that somebody else was quicker waits again.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from eventstore.errors import ContentionTimeout, Overloaded
from eventstore.events import Recorded
from eventstore.ids import new_id
from eventstore.ring import Entry
from orchestration.concurrency_leases import LeaseReleased
from orchestration.concurrency_limits import (
    ConcurrencyLimitDeleted,
    ConcurrencyLimitUpdated,
    Seen,
)
from orchestration.deployment_limits import ConcurrencyLimit
from orchestration.deployments import DeploymentUpdated
from orchestration.flow_rules import MINIMAL
from orchestration.flow_runs import FlowRun
from orchestration.refusals import NotFound
from orchestration.states import AWAITING_SLOT, SCHEDULED, StateDetails, new_state
from projections import concurrency_limits as read
from projections.entities import entity_id
from projections.flow_runs import FLOW_RUNS
from services import flow_runs
from services.shell import Clock, Decided, Origin, Shell, untold

WOKEN_MAX = 200
"""Runs that are woken when a limit has free slots; those behind them are tried again by time."""
LIMITS_MAX = 1_000
"""Limits that are looked at when the service begins."""


class SlotWaiters:
    """See `services.service.Service`."""

    name = "slot-waiters"

    def __init__(self, shell: Shell, clock: Clock) -> None:
        self._shell = shell
        self._clock = clock

    def lag_seconds(self) -> float:
        """What is freed is seen to at once."""
        return 0.0

    async def run(self, origin: Origin) -> None:
        """See `services.service.Service`."""
        store = self._shell.store
        heard = _Heard()
        with store.ring.telling(heard.hear):
            # Free while nobody looked.
            heard.limits.update(dict.fromkeys(await read.awaited(store.database, LIMITS_MAX)))
            while True:
                store.ring.check()
                limits, heard.limits = heard.limits, {}
                deployments, heard.deployments = heard.deployments, {}
                for limit_id in limits:
                    await self._wake(await self._awaiting(limit_id), origin)
                for deployment_id in deployments:
                    ids = await read.awaiting_of_deployment(
                        store.database, deployment_id, WOKEN_MAX
                    )
                    await self._wake(ids, origin)
                await heard.anything()

    async def _awaiting(self, limit_id: str) -> list[str]:
        """As many of the runs that wait for a limit's slots as there are free ones."""
        database = self._shell.store.database
        seen = await read.by_id(database, limit_id)
        free = WOKEN_MAX if seen is None else min(WOKEN_MAX, _free(seen, self._clock()))
        return await read.awaiting(database, limit_id, free) if free > 0 else []

    async def _wake(self, ids: Iterable[str], origin: Origin) -> None:
        now = self._clock()
        await asyncio.gather(*(self._wake_one(id_, now, origin) for id_ in ids))

    async def _wake_one(self, id_: str, now: datetime, origin: Origin) -> None:
        async def decide(run: FlowRun | None, fresh: bool) -> Decided[None]:
            state = None if run is None else run.state
            if run is None or state is None or state.name != AWAITING_SLOT:
                return Decided((), None)
            due = state.state_details.scheduled_time
            if state.type != SCHEDULED or due is None or due <= now:
                return Decided((), None)
            woken = new_state(
                SCHEDULED,
                new_id(),
                now,
                name=AWAITING_SLOT,
                message="There may be a slot for the run now.",
                details=StateDetails(scheduled_time=now),
            )
            decided = await flow_runs.judged(self._shell, run, woken, MINIMAL, now, fresh, None)
            return untold(decided)

        # It was deleted; or it could not be woken now, and its own time comes anyway.
        with suppress(NotFound, ContentionTimeout, Overloaded):
            await self._shell.execute_with_facts(FLOW_RUNS, flow_runs.CATEGORY, id_, decide, origin)


def _free(seen: Seen, now: datetime) -> int:
    if not seen.limit.active:
        return WOKEN_MAX
    return seen.limit.limit - seen.active_slots(now)


class _Heard:
    """What the log has told since it was seen to, each once. Most of what is written tells nothing
    of it, and wakes nobody."""

    def __init__(self) -> None:
        self.limits: dict[str, None] = {}
        """Those of which slots may have come free."""
        self.deployments: dict[str, None] = {}
        """Those whose runs need no slot any more."""
        self._more = asyncio.Event()

    def hear(self, entries: Sequence[Entry]) -> None:
        """See `eventstore.ring.Hear`."""
        for entry in entries:
            if type(entry.recorded.event) in _TELLING:
                self._note(entry.recorded)
        if self.limits or self.deployments or not entries:
            self._more.set()

    def _note(self, recorded: Recorded[Any]) -> None:
        match recorded.event:
            case LeaseReleased(limits=limits):
                self.limits.update((share.id, None) for share in limits)
            case ConcurrencyLimitUpdated() | ConcurrencyLimitDeleted():
                self.limits[entity_id(recorded)] = None
            case DeploymentUpdated(global_concurrency_limit=ConcurrencyLimit(id=id_)):
                self.limits[id_] = None  # Its runs waited for another one's slots, perhaps.
            case DeploymentUpdated(global_concurrency_limit=None):
                self.deployments[entity_id(recorded)] = None

    async def anything(self) -> None:
        """Wait until there is something, or until nothing more will be told."""
        await self._more.wait()
        self._more.clear()


_TELLING = frozenset(
    (LeaseReleased, ConcurrencyLimitUpdated, ConcurrencyLimitDeleted, DeploymentUpdated)
)
