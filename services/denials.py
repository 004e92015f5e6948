"""How many wait for slots that were not free, as far as this process told them so.

An estimate that spreads those who come back, and no more: it is not recorded, each process has one
of its own, and it fades as slots come free.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from msgspec import Struct

from orchestration.concurrency_limits import (
    ConcurrencyLimit,
    seconds_between_slots,
    seconds_until_decayed,
)
from orchestration.task_rules import jittered_seconds

LIMITS_MAX = 10_000
"""Limits that are remembered; the one that was denied longest ago is forgotten first."""
JITTER = 0.3
"""By how much somebody may be told to wait longer than the mean."""
ASKS_PER_SLOT = 4
"""How often somebody comes back, whoever it is, in the time in which a slot is given back on
average. When that happens is not known: so long as this part of it, a slot stays free."""
ASKS_PER_DOUBLING = 8
"""The same, where none was given back for longer than was thought: it may take as long again."""
BETWEEN_ASKS_SECONDS_MIN = 0.05
WAIT_SECONDS_MAX = 366 * 86_400.0
"""Longest that is reckoned with: a year. A rate may be as slow as anybody likes."""

NEARLY = 0.25
"""Part of the time between two slots within which somebody counts as who is to have the next one:
clocks and networks are not exact."""

V = TypeVar("V")


class _Queue(Struct, frozen=True):
    """Those who wait for slots that are given back."""

    slots: float
    """How many they wait for: each leaves when he asks again, about one in each interval."""
    at: datetime
    """As of then."""
    updated: datetime | None
    """When the limit was changed last, as it is by who gives slots back."""
    since: datetime
    """When one of them was first told to wait after that."""


class Denials:
    """Slots that were asked for in vain, by limit."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        """Of limits whose slots are given back."""
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
        """All who wait ask as often, together, as one of them had better: so nobody asks in vain
        more often because there are more of them, and hardly anybody while a slot is free."""
        queue = self._queue(limit, longest, now)
        between = max(
            BETWEEN_ASKS_SECONDS_MIN,
            seconds_between_slots(limit, longest) / ASKS_PER_SLOT,
            (now - queue.since).total_seconds() / ASKS_PER_DOUBLING,
        )
        passed = max(0.0, (now - queue.at).total_seconds())
        waiting = max(0.0, queue.slots - passed / between) + slots
        kept = _Queue(waiting, max(now, queue.at), limit.updated, queue.since)
        _remember(self._queues, limit.id, kept)
        return jittered_seconds(min(between * waiting, longest), JITTER, chance)

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

    def _queue(self, limit: ConcurrencyLimit, longest: float, now: datetime) -> _Queue:
        known = self._queues.get(limit.id)
        if known is None:
            return _Queue(float(limit.denied_slots), limit.updated or now, limit.updated, now)
        over = (now - known.at).total_seconds() > 2 * longest  # By then all came back, or gave up.
        if over or known.updated != limit.updated:
            return _Queue(known.slots, known.at, limit.updated, now)
        return known

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
