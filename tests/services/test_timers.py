"""Timers: the nearest of many, each once, in their order, whatever is moved, cleared or let go."""

from hypothesis import given
from hypothesis import strategies as st

from services.timers import Timers

MOST = 4


def _all(timers: Timers, now: int) -> list[str]:
    taken: list[str] = []
    while some := timers.take(now, 2):
        taken += some
    return taken


def test_a_timer_goes_off_when_its_time_has_come_and_only_once() -> None:
    timers = Timers(MOST)
    timers.set("a", 10)
    assert timers.next == 10
    assert timers.take(9, MOST) == []
    assert timers.take(10, MOST) == ["a"]
    assert timers.take(99, MOST) == []
    assert timers.next is None


def test_a_timer_that_is_moved_or_cleared_goes_off_at_no_other_time() -> None:
    timers = Timers(MOST)
    timers.set("later", 1)
    timers.set("later", 20)
    timers.set("sooner", 30)
    timers.set("sooner", 5)
    timers.set("never", 2)
    timers.clear("never")
    timers.clear("unheard of")
    assert timers.take(10, MOST) == ["sooner"]
    assert timers.take(30, MOST) == ["later"]


def test_no_more_are_taken_at_a_time_than_were_asked_for() -> None:
    timers = Timers(MOST)
    for n, key in enumerate("abc"):
        timers.set(key, n)
    assert timers.take(9, 2) == ["a", "b"]
    assert timers.take(9, 2) == ["c"]


def test_as_many_as_fit_may_not_be_all() -> None:
    timers = Timers(2)
    timers.fill([("a", 1)])
    assert not timers.exhausted
    timers.take(1, 2)
    assert not timers.exhausted
    timers.fill([("a", 1), ("b", 2)])
    assert not timers.exhausted
    timers.set("beyond", 3)
    assert timers.take(9, 9) == ["a", "b"]
    assert timers.exhausted


def test_a_timer_moved_beyond_what_is_held_here_does_not_go_off_early() -> None:
    timers = Timers(2)
    timers.fill([("a", 1), ("b", 2)])
    timers.set("a", 50)
    assert timers.take(60, 9) == ["b"]
    assert timers.exhausted


@given(st.lists(st.tuples(st.sampled_from("abcdefghij"), st.integers(0, 30)), max_size=200))
def test_however_many_there_are_every_one_goes_off_in_order_and_few_are_held(
    changes: list[tuple[str, int]],
) -> None:
    """`stored` is what a read model has: a timer that was let go of comes back from there."""
    timers, stored = Timers(MOST), dict[str, int]()
    for key, at in changes:
        stored[key] = at
        timers.set(key, at)
        assert len(timers._heap) <= 2 * MOST
    taken: list[str] = []
    for _ in range(100):
        taken += _all(timers, 30)
        for key in taken:
            stored.pop(key, None)
        if not timers.exhausted:
            break
        nearest = sorted(stored.items(), key=lambda one: (one[1], one[0]))[:MOST]
        timers.fill(nearest)
    last = dict(changes)
    assert sorted(taken) == sorted(last)
    times = [last[key] for key in taken]
    assert times == sorted(times)
