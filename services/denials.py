"""How many wait for slots that were not free, as far as this process told them so.

An estimate that spreads those who come back, and no more: it is not recorded, each process has one
of its own, and it fades as slots come free.
"""

from collections.abc import Sequence
from datetime import datetime

from orchestration.concurrency_limits import (
    OCCUPANCY_SECONDS_MIN,
    ConcurrencyLimit,
    mean_wait_seconds,
)

LIMITS_MAX = 10_000
"""Limits that are remembered; the one that was denied longest ago is forgotten first."""


class Denials:
    """Slots that were asked for in vain, by limit."""

    def __init__(self) -> None:
        self._denied: dict[str, tuple[float, datetime]] = {}

    def wait_seconds(
        self, limits: Sequence[ConcurrencyLimit], slots: int, longest: float, now: datetime
    ) -> float:
        """How long somebody had better wait, on average, who found not as many slots free.

        He is counted from now on. `longest` is in seconds: see `mean_wait_seconds`.
        """
        denied = [self._left(limit, longest, now) + slots for limit in limits]
        for limit, waiting in zip(limits, denied, strict=True):
            self._denied.pop(limit.id, None)
            self._denied[limit.id] = (waiting, now)
        while len(self._denied) > LIMITS_MAX:
            del self._denied[next(iter(self._denied))]
        before = [waiting - slots for waiting in denied]
        return mean_wait_seconds(limits, slots, before, longest)

    def _left(self, limit: ConcurrencyLimit, longest: float, now: datetime) -> float:
        """Of those who were told to wait, how many still do."""
        since = limit.updated or now
        denied, at = self._denied.get(limit.id, (float(limit.denied_slots), since))
        each = max(OCCUPANCY_SECONDS_MIN, min(limit.avg_slot_occupancy_seconds, longest))
        rate = limit.slot_decay_per_second or 1.0 / each
        return max(0.0, denied - rate * max(0.0, (now - at).total_seconds()))
