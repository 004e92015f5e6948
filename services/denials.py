"""How many wait for slots that were not free, as far as this process told them so.

An estimate that spreads those who come back, and no more: it is not recorded, each process has one
of its own, and it fades as slots come free.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from orchestration.concurrency_limits import (
    OCCUPANCY_SECONDS_MIN,
    ConcurrencyLimit,
    mean_wait_seconds,
    seconds_until_decayed,
)
from orchestration.task_rules import jittered_seconds

LIMITS_MAX = 10_000
"""Limits that are remembered; the one that was denied longest ago is forgotten first."""
JITTER = 0.3
"""By how much somebody may be told to wait longer than the mean."""
WAIT_SECONDS_MAX = 366 * 86_400.0
"""Longest that is reckoned with: a year. A rate may be as slow as anybody likes."""

NEARLY = 0.25
"""Part of the time between two slots within which somebody counts as who is to have the next one:
clocks and networks are not exact."""

V = TypeVar("V")


class Denials:
    """Slots that were asked for in vain, by limit."""

    def __init__(self) -> None:
        self._denied: dict[str, tuple[float, datetime]] = {}
        """Of limits whose slots are given back: how many were waited for, and when."""
        self._promised: dict[str, datetime] = {}
        """Of limits with a decay: until when those who wait take what comes free."""

    def wait_seconds(
        self,
        limits: Sequence[ConcurrencyLimit],
        slots: int,
        longest: float,
        now: datetime,
        chance: float,
    ) -> float:
        """How long somebody had better wait who found not as many slots free.

        He is counted from now on. `longest` is in seconds; one slot of a rate may take longer.
        `chance` is a random number in [0, 1).
        """
        return max(
            self._until_decayed(limit, slots, longest, now, chance)
            if limit.slot_decay_per_second
            else self._until_given_back(limit, slots, longest, now, chance)
            for limit in limits
        )

    def _until_given_back(
        self, limit: ConcurrencyLimit, slots: int, longest: float, now: datetime, chance: float
    ) -> float:
        before = self._left(limit, longest, now)
        _remember(self._denied, limit.id, (before + slots, now))
        mean = mean_wait_seconds(limit, slots, before, longest)
        return jittered_seconds(mean, JITTER, chance) if mean > 0 else 0.0

    def _until_decayed(
        self, limit: ConcurrencyLimit, slots: int, longest: float, now: datetime, chance: float
    ) -> float:
        """Whoever comes back finds his slots: when they come free is known. A queue that is too
        long is not reckoned with to its end, for those who wait may have given up."""
        each = slots / limit.slot_decay_per_second
        exact = seconds_until_decayed(limit, slots, now)
        promise = self._promise(limit, now)
        others = (promise - now).total_seconds()
        if others > 0 and exact > NEARLY * each:
            exact = max(exact, others + each)
        most = min(max(longest, each), WAIT_SECONDS_MAX)
        mine = now + timedelta(seconds=min(exact, most))
        _remember(self._promised, limit.id, max(mine, promise))
        return exact if exact <= most else most * (1 + chance) / 2

    def _left(self, limit: ConcurrencyLimit, longest: float, now: datetime) -> float:
        """Of those who were told to wait, how many still do."""
        since = limit.updated or now
        denied, at = self._denied.get(limit.id, (float(limit.denied_slots), since))
        each = max(OCCUPANCY_SECONDS_MIN, min(limit.avg_slot_occupancy_seconds, longest))
        return max(0.0, denied - max(0.0, (now - at).total_seconds()) / each)

    def _promise(self, limit: ConcurrencyLimit, now: datetime) -> datetime:
        known = self._promised.get(limit.id)
        if known is not None:
            return known
        waiting = min(limit.denied_slots / limit.slot_decay_per_second, WAIT_SECONDS_MAX)
        return (limit.updated or now) + timedelta(seconds=waiting)


def _remember(known: dict[str, V], id_: str, value: V) -> None:
    known.pop(id_, None)
    known[id_] = value
    if len(known) > LIMITS_MAX:
        del known[next(iter(known))]
