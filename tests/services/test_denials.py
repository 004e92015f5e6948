"""How long somebody is told to wait who found no slots free."""

from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush
from random import Random
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from orchestration.concurrency_limits import (
    ConcurrencyLimit,
    ConcurrencyLimitCreated,
    Seen,
    SlotsTaken,
    decider,
    occupied,
)
from services.denials import JITTER, WAIT_SECONDS_MAX, Denials
from tests.spec import spec

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LONGEST = 30.0


def _limit(decay: float = 0.0, *, limit: int = 1, taken: int = 0) -> ConcurrencyLimit:
    made = ConcurrencyLimitCreated(
        id="00000000-0000-0000-0000-000000000001",
        name="l",
        limit=limit,
        at=NOON,
        slot_decay_per_second=decay,
    )
    events = [SlotsTaken(slots=taken, at=NOON)] if taken else []
    value = spec(decider)(made, *events).value()
    assert value is not None
    return value


def _at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_those_who_wait_for_a_rate_come_back_one_by_one_when_slots_are_free() -> None:
    denials, full = Denials(), _limit(0.5, taken=1)
    waits = [denials.wait_seconds([full], 1, LONGEST, NOON, 0.5) for _ in range(4)]
    assert waits == pytest.approx([2, 4, 6, 8])
    later = [denials.wait_seconds([full], 1, LONGEST, _at(1), 0.5) for _ in range(2)]
    assert later == pytest.approx([9, 11])


def test_whoever_comes_back_a_little_too_early_keeps_his_place() -> None:
    denials, full = Denials(), _limit(0.5, taken=1)
    for _ in range(4):
        denials.wait_seconds([full], 1, LONGEST, NOON, 0.5)
    early = denials.wait_seconds([full], 1, LONGEST, _at(1.9), 0.5)
    assert early == pytest.approx(0.1)
    assert denials.wait_seconds([full], 1, LONGEST, _at(1), 0.5) == pytest.approx(9)


def test_a_rate_is_made_use_of_however_many_wait() -> None:
    """Twenty ask at once and come back when they are told to, more or less: no slot stays free for
    long."""
    denials, rate, now, last = Denials(), _limit(0.5, taken=1), 0.0, 0.0
    asking = [(0.0, number) for number in range(20)]
    heapify(asking)
    while asking:
        now, number = heappop(asking)
        if Seen(rate, 0).has_free(1, _at(now)):
            rate = (
                spec(decider)(
                    ConcurrencyLimitCreated(
                        id=rate.id, name="l", limit=1, at=NOON, slot_decay_per_second=0.5
                    ),
                    SlotsTaken(slots=1, at=_at(now)),
                ).value()
                or rate
            )
            last = now
        else:
            chance = number / 20
            wait = denials.wait_seconds([rate], 1, LONGEST, _at(now), chance)
            heappush(asking, (now + wait + 0.1 * (number * 7 % 20) / 20, number))
    assert last == pytest.approx(40, rel=0.1)


class _Crowd(NamedTuple):
    """What became of some who asked at once, and again whenever they were told to."""

    seconds: float
    """Until the last slot was given back."""
    in_vain: int


def _crowd(number: int, holding_seconds: float, limit: int) -> _Crowd:
    denials, seen, now, held, in_vain = Denials(), _limit(limit=limit), 0.0, 0, 0
    chances = Random(1)
    coming: list[tuple[float, str]] = [(0.01 * n, "asks") for n in range(number)]
    while coming:
        now, what = heappop(coming)
        if what == "gives back":
            held -= 1
            seen = replace(occupied(seen, 1, holding_seconds), updated=_at(now))
        elif held < limit:
            held += 1
            heappush(coming, (now + holding_seconds, "gives back"))
        else:
            in_vain += 1
            wait = denials.wait_seconds([seen], 1, LONGEST, _at(now), chances.random())
            assert 0 < wait <= LONGEST * (1 + JITTER)
            heappush(coming, (now + wait + 0.02, "asks"))
    return _Crowd(now, in_vain)


@pytest.mark.parametrize(
    ("number", "holding_seconds", "limit"),
    [(20, 1, 1), (100, 1, 1), (100, 10, 10), (1_000, 1, 10), (20, 60, 1)],
)
def test_slots_that_are_given_back_are_soon_taken_again_however_many_wait(
    number: int, holding_seconds: float, limit: int
) -> None:
    best = number * holding_seconds / limit
    crowd = _crowd(number, holding_seconds, limit)
    assert crowd.seconds <= best * 1.4
    assert crowd.in_vain <= 6 * number + best / 2


def test_a_slot_that_nobody_gives_back_is_asked_for_more_and_more_seldom() -> None:
    crowd = _crowd(10, 3_600, 9)
    assert crowd.in_vain <= 250
    assert crowd.seconds <= 7_200 + LONGEST * (1 + JITTER) + 1


def test_those_who_gave_up_keep_nobody_waiting_for_long() -> None:
    denials, full = Denials(), _limit(0.1, taken=1)
    for _ in range(1_000):
        denials.wait_seconds([full], 1, LONGEST, NOON, 0.5)
    assert LONGEST / 2 <= denials.wait_seconds([full], 1, LONGEST, NOON, 0.0) <= LONGEST
    assert denials.wait_seconds([full], 1, LONGEST, _at(LONGEST), 0.5) == 0


def test_one_slot_may_take_longer_than_the_longest_wait_but_not_for_ever() -> None:
    hourly, never = _limit(1 / 3600, taken=1), _limit(1e-300, taken=1)
    assert Denials().wait_seconds([hourly], 1, LONGEST, NOON, 0.5) == pytest.approx(3600)
    assert 0 < Denials().wait_seconds([never], 1, LONGEST, NOON, 0.5) <= WAIT_SECONDS_MAX


def test_whoever_waits_for_several_limits_waits_for_the_slowest() -> None:
    denials = Denials()
    slow, steady = _limit(0.05, taken=1), _limit(limit=5)
    assert denials.wait_seconds([steady, slow], 1, LONGEST, NOON, 0.5) == pytest.approx(20)
