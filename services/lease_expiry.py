"""Leases that nobody renews come to an end, and their slots are free again."""

from datetime import datetime
from typing import Any

from eventstore.codec import to_microseconds
from eventstore.database import Transaction
from eventstore.events import Recorded
from orchestration.concurrency_leases import LeaseAcquired, LeaseReleased
from projections import concurrency_limits as read
from projections.entities import entity_id
from services import slots
from services.shell import Clock, Origin, Shell
from services.timed import Timed

TIMERS_MAX = 10_000
"""Leases whose timers are kept in memory, the nearest ones."""
BATCH_LEASES_MAX = 200
"""Leases that are looked at at the same time."""


class LeaseExpiry(Timed):
    """Ends leases whose time has come. Whether a lease was renewed is seen when it would end."""

    name = "lease-expiry"

    def __init__(self, shell: Shell, clock: Clock) -> None:
        super().__init__(shell, clock, timers_max=TIMERS_MAX, batch_max=BATCH_LEASES_MAX)

    async def load(self) -> None:
        """See `Timed`."""
        await self._shell.store.database.transact(_tidy)
        self._timers.fill(await read.next_to_expire(self._shell.store.database, TIMERS_MAX))

    def note(self, recorded: Recorded[Any]) -> None:
        """See `Timed`."""
        match recorded.event:
            case LeaseAcquired(until=until):
                if until is not None:
                    self._timers.set(entity_id(recorded), to_microseconds(until))
            case LeaseReleased():
                self._timers.clear(entity_id(recorded))

    async def see_to_one(self, id_: str, now: datetime, origin: Origin) -> None:
        """See `Timed`."""
        until = await slots.expire(self._shell, id_, self._clock, origin)
        if until is not None:
            self._timers.set(id_, until)


async def _tidy(tx: Transaction) -> None:
    """A lease that was renewed while it ended leaves a cell behind."""
    await tx.execute(read.WITHOUT_LEASE)
