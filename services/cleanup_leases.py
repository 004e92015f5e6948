"""Leases on clean-ups: one whose worker does not renew goes to the next, and not for ever."""

from datetime import datetime, timedelta
from typing import Any

from eventstore.codec import to_microseconds
from eventstore.database import Transaction
from eventstore.events import Recorded
from eventstore.log import Decision
from orchestration.worker_cleanups import (
    NOBODY,
    Cleanup,
    CleanupDelivered,
    CleanupDone,
    CleanupEvent,
    CleanupGivenUp,
    CleanupLapsed,
    CleanupRenewed,
    CleanupRequested,
    CleanupReturned,
    lapse,
)
from projections import worker_cleanups
from projections.entities import entity_id
from services.shell import Clock, Origin, Shell
from services.timed import Timed
from services.worker_cleanups import Terms, contention, of_cleanup

KEPT = timedelta(days=1)
"""A clean-up that no worker takes for so long is given up: what it is for will be gone."""
TIMERS_MAX = 10_000
BATCH_MAX = 100
"""Clean-ups whose timers are kept in memory, and that are seen to at the same time."""


class CleanupLeases(Timed):
    """Ends leases that were not renewed. See `services.service.Service`."""

    name = "cleanup-leases"

    def __init__(self, shell: Shell, clock: Clock, terms: Terms) -> None:
        super().__init__(shell, clock, timers_max=TIMERS_MAX, batch_max=BATCH_MAX)
        self._terms = terms

    async def load(self) -> None:
        """See `Timed`."""
        kept = KEPT // timedelta(microseconds=1)
        due = await worker_cleanups.first_due(self._shell.store.database, kept, TIMERS_MAX)
        self._timers.fill((row[0], row[1]) for row in due)

    def note(self, recorded: Recorded[Any]) -> None:
        """See `Timed`."""
        match recorded.event:
            case CleanupDelivered(until=until) | CleanupRenewed(until=until):
                self._timers.set(entity_id(recorded), to_microseconds(until))
            case CleanupRequested() | CleanupReturned() | CleanupLapsed():
                self._timers.set(entity_id(recorded), to_microseconds(recorded.recorded_at + KEPT))
            case CleanupDone() | CleanupGivenUp():
                self._timers.clear(entity_id(recorded))

    async def see_to_one(self, id_: str, now: datetime, origin: Origin) -> None:
        """See `Timed`."""
        cleanup = await worker_cleanups.by_id(self._shell.store.database, id_)
        if cleanup is None:
            return  # Done, or its pool is gone.

        async def decide(tx: Transaction) -> Decision:
            events = self._overdue(await worker_cleanups.by_id(tx, id_), now)
            return Decision(appends=(of_cleanup(id_, events),)) if events else Decision()

        await self._shell.execute_serially(contention(cleanup.work_pool_id), decide, origin)

    def _overdue(self, cleanup: Cleanup | None, now: datetime) -> list[CleanupEvent]:
        if cleanup is None:
            return []
        if cleanup.consumer_id is not None:
            return lapse(cleanup, self._terms.deliveries_max) if cleanup.free_at <= now else []
        return [CleanupGivenUp(reason=NOBODY)] if cleanup.free_at + KEPT <= now else []
