"""Triggers: given what happens when, which automations fire."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from orchestration.trigger_fold import (
    CLOSED,
    LATENESS,
    LOOKBACK,
    SECOND,
    Bucket,
    Fired,
    Firing,
    Fold,
    Seen,
    Watch,
    all_of,
    first_bucket,
    key,
    watches,
)
from orchestration.triggers import (
    CompoundTrigger,
    EventTrigger,
    SequenceTrigger,
    Trigger,
    covers,
    expects,
    matches,
    starts,
)

BEGIN = 1_000_000 * SECOND


def reactive(id: str = "t", expect: str = "x", **more: Any) -> EventTrigger:
    return EventTrigger(id=id, posture="Reactive", expect=(expect,), **more)


def proactive(id: str = "t", expect: str = "x", within: float = 10, **more: Any) -> EventTrigger:
    return EventTrigger(id=id, posture="Proactive", expect=(expect,), within=within, **more)


def seen(seconds: float, name: str = "x", of: str = "a", late: float = 0, **labels: str) -> Seen:
    occurred = BEGIN + round(seconds * SECOND)
    at = occurred + round(late * SECOND)
    resource = {"prefect.resource.id": of, **labels}
    return Seen(position=at, at=at, occurred=occurred, name=name, resource=resource, related=())


class World:
    """One automation and what its trigger has seen, kept as the service keeps it."""

    def __init__(self, trigger: Trigger) -> None:
        self.watches = watches("automation", trigger)
        self.watched = {one.trigger.id: one for one in self.watches}
        self.buckets: dict[str, Bucket | None] = {}
        self.pending: dict[str, tuple[Firing, ...]] = {}
        self.fired: list[Fired] = []
        for watch in self.watches:
            bucket = first_bucket(watch, BEGIN)
            if bucket is not None:
                self.buckets[key(bucket.trigger, bucket.labels)] = bucket

    def _fold(self) -> Fold:
        return Fold(self.watched, self.buckets, self.pending)

    def _keep(self, fold: Fold) -> None:
        self.buckets.update(fold.changed)
        self.pending.update({name: left for name, (_, left) in fold.pending_changed.items()})
        self.fired += fold.fired

    def portion(self, some: Iterable[Seen], until: float | None = None) -> "World":
        """What a transaction of the service folds."""
        fold = self._fold()
        for one in some:
            for watch in self._interested(one):
                fold.take(watch, one)
        if until is not None:
            fold.pass_time(BEGIN + round(until * SECOND))
        self._keep(fold)
        return self

    def _interested(self, one: Seen) -> list[Watch]:
        return [
            watch
            for watch in self.watches
            if (expects(watch.trigger, one.name) or starts(watch.trigger, one.name))
            and covers(watch.trigger, one.resource, one.related)
        ]

    def times(self) -> list[float]:
        """When it has fired, in seconds."""
        return [(one.firing.at - BEGIN) / SECOND for one in self.fired]


def happened(trigger: Trigger, *some: Seen, until: float | None = None) -> World:
    return World(trigger).portion(some, until)


# --- reactive


def test_a_trigger_without_a_window_fires_each_time() -> None:
    assert happened(reactive(), seen(1), seen(2), seen(2.5)).times() == [1, 2, 2.5]


def test_a_window_of_less_than_a_microsecond_is_none() -> None:
    assert happened(reactive(within=1e-7), seen(1), seen(2)).times() == [1, 2]


def test_one_emission_makes_it_fire_once_even_where_none_at_all_is_enough() -> None:
    world = happened(reactive(threshold=0, within=10), seen(0), seen(25), seen(50))
    assert world.times() == [0, 25, 50]
    assert len({one.firing.id for one in world.fired}) == 3


def test_it_tells_of_the_emission_that_made_it_fire() -> None:
    (one,) = happened(reactive(for_each=("l",)), seen(1, l="v")).fired
    assert (one.firing.position, one.firing.labels) == (seen(1).position, {"l": "v"})


def test_it_fires_at_its_threshold_and_rests_to_the_end_of_the_window() -> None:
    trigger = reactive(threshold=3, within=10)
    world = happened(trigger, seen(0), seen(1), seen(2), seen(3), seen(4), seen(5))
    assert world.times() == [2]
    world.portion([seen(11), seen(12), seen(13)])
    assert world.times() == [2, 13]


def test_what_is_too_far_apart_does_not_count_together() -> None:
    assert happened(reactive(threshold=2, within=5), seen(0), seen(6), seen(12)).times() == []
    assert happened(reactive(threshold=2, within=5), seen(0), seen(6), seen(8)).times() == [8]


def test_each_value_of_a_label_counts_for_itself() -> None:
    trigger = reactive(threshold=2, within=10, for_each=("prefect.resource.id",))
    some = [seen(0, of="a"), seen(1, of="b"), seen(2, of="c"), seen(3, of="b")]
    (one,) = happened(trigger, *some).fired
    assert one.firing.labels == {"prefect.resource.id": "b"}


def test_a_threshold_without_a_window_counts_for_a_while() -> None:
    trigger = reactive(threshold=2)
    assert happened(trigger, seen(0), seen(30)).times() == [30]
    assert happened(trigger, seen(0), seen(CLOSED / SECOND + 1)).times() == []


def test_emissions_may_arrive_in_any_order() -> None:
    trigger = reactive(threshold=2, within=10)
    assert happened(trigger, seen(5), seen(4, late=1.5)).times() == [5.5]
    older = 5 - LOOKBACK / SECOND - 1
    assert happened(trigger, seen(5), seen(older, late=LOOKBACK / SECOND + 2)).times() == []


def test_a_clock_that_is_ahead_does_no_harm() -> None:
    trigger = reactive(threshold=2, within=10)
    ahead = seen(86_400, late=-86_400)
    assert happened(trigger, ahead, seen(1)).times() == [1]


def test_after_something_else_has_come_first() -> None:
    trigger = reactive(after=("begin",), within=10)
    assert happened(trigger, seen(0)).times() == []
    assert happened(trigger, seen(0, "begin"), seen(1), seen(2)).times() == [1]
    assert happened(trigger, seen(0, "begin"), seen(11)).times() == []


def test_what_begins_does_not_count_for_what_it_began() -> None:
    trigger = reactive(after=("x",), within=10)
    assert happened(trigger, seen(0)).times() == []
    assert happened(trigger, seen(0), seen(1)).times() == [1]


# --- proactive


def due(seconds: float) -> float:
    return seconds + LATENESS / SECOND


def test_silence_makes_it_fire_again_and_again() -> None:
    assert happened(proactive(), until=due(20)).times() == [due(10), due(20)]


def test_what_comes_in_time_prevents_it() -> None:
    assert happened(proactive(), seen(9), until=due(10)).times() == []
    assert happened(proactive(), seen(9), until=due(20)).times() == [due(20)]


def test_what_was_on_its_way_counts() -> None:
    assert happened(proactive(), seen(9.9, late=0.5), until=due(10)).times() == []


def test_too_few_are_as_good_as_none() -> None:
    trigger = proactive(threshold=2)
    assert happened(trigger, seen(1), until=due(10)).times() == [due(10)]
    assert happened(trigger, seen(1), seen(2), until=due(10)).times() == []


def test_it_waits_for_what_is_to_follow_something() -> None:
    trigger = proactive(after=("begin",), for_each=("prefect.resource.id",))
    assert happened(trigger, until=due(100)).times() == []
    some = [seen(0, "begin", "a"), seen(0.5, "begin", "b"), seen(5, "x", "a")]
    world = happened(trigger, *some, until=due(100))
    assert world.times() == [due(10.5)]
    assert world.fired[0].firing.labels == {"prefect.resource.id": "b"}
    assert world.fired[0].firing.position == seen(0.5).position


def test_a_heartbeat_is_to_be_followed_by_another() -> None:
    trigger = EventTrigger(
        id="t", posture="Proactive", after=("beat",), expect=("beat", "end"), within=10
    )
    beats = [seen(n, "beat") for n in (0, 8, 16, 24)]
    assert happened(trigger, *beats, until=due(33)).times() == []
    assert happened(trigger, *beats, until=due(100)).times() == [due(34)]
    assert happened(trigger, *beats, seen(30, "end"), until=due(100)).times() == []


def test_what_is_told_long_after_it_happened_makes_it_fire_for_no_window_in_between() -> None:
    each = proactive(for_each=("prefect.resource.id",))
    assert happened(each, seen(0, late=1e6), until=1e6 + due(9)).times() == []
    assert happened(each, seen(0, late=1e6), until=1e6 + due(10)).times() == [1e6 + due(10)]
    follows = proactive(after=("begin",))
    assert happened(follows, seen(0, "begin", late=500), until=1_000).times() == [due(500)]


def test_what_was_held_up_and_comes_at_once_was_not_missed() -> None:
    trigger = EventTrigger(
        id="t", posture="Proactive", after=("beat",), expect=("beat", "end"), within=10
    )
    beats = [seen(n, "beat", late=500 - n * 0.99) for n in (0, 8, 16, 24)]
    assert happened(trigger, *beats, seen(30, "end", late=470.5), until=600).times() == []


# --- several


def both(require: Any = "all", within: float | None = 10) -> CompoundTrigger:
    return CompoundTrigger(
        id="c",
        require=require,
        within=within,
        triggers=(reactive("1", "x"), reactive("2", "y"), reactive("3", "z")),
    )


def test_all_have_to_fire_in_any_order() -> None:
    assert happened(both(), seen(0, "z"), seen(1, "x"), seen(2, "x"), seen(3, "y")).times() == [3]
    assert happened(both(), seen(0, "x"), seen(1, "y")).times() == []


def test_all_have_to_fire_within_the_time() -> None:
    some = [seen(0, "x"), seen(5, "y"), seen(11, "z"), seen(12, "x")]
    assert happened(both(), *some).times() == [12]
    assert happened(both(within=None), *some).times() == [11]


def test_any_will_do() -> None:
    assert happened(both("any"), seen(0, "x"), seen(1, "x"), seen(2, "z")).times() == [0, 1, 2]


def test_some_number_of_them_will_do() -> None:
    world = happened(both(2), seen(0, "x"), seen(1, "x"), seen(2, "z"), seen(3, "y"))
    assert world.times() == [2]
    assert [one.trigger for one in all_of(world.fired[0].firing)] == ["c", "1", "3"]


def test_after_it_has_fired_it_begins_anew() -> None:
    some = [seen(n, name) for n, name in enumerate("xyzxy")]
    assert happened(both(), *some).times() == [2]
    assert happened(both(), *some, seen(6, "z")).times() == [2, 6]


def sequence(within: float | None = 10) -> SequenceTrigger:
    return SequenceTrigger(id="s", within=within, triggers=(reactive("1", "x"), reactive("2", "y")))


def test_a_sequence_has_an_order() -> None:
    assert happened(sequence(), seen(0, "x"), seen(1, "y")).times() == [1]
    assert happened(sequence(), seen(0, "y"), seen(1, "x")).times() == []
    assert happened(sequence(), seen(0, "y"), seen(1, "x"), seen(2, "y")).times() == [2]
    assert happened(sequence(), seen(0, "x"), seen(11, "y")).times() == []


def test_triggers_in_triggers() -> None:
    trigger = CompoundTrigger(
        id="c", require="all", within=None, triggers=(sequence(), proactive("p", "never"))
    )
    world = happened(trigger, seen(0, "x"), seen(1, "y"), until=due(10))
    assert world.times() == [due(10)]


# --- portions


@st.composite
def histories(draw: st.DrawFn) -> list[Seen]:
    steps = draw(
        st.lists(
            st.tuples(
                st.floats(0, 8, allow_nan=False),
                st.sampled_from("xyzb"),
                st.sampled_from("ab"),
                st.floats(0, 3, allow_nan=False),
            ),
            max_size=30,
        )
    )
    now, found = 0.0, []
    for pause, name, of, late in steps:
        now += pause + 0.001
        one = seen(now - late, name, of, late)
        found.append(one)
    return found


TRIGGERS: tuple[Trigger, ...] = (
    reactive(threshold=2, within=5, for_each=("prefect.resource.id",)),
    proactive(),
    proactive(after=("b",), for_each=("prefect.resource.id",), threshold=2),
    reactive(after=("b", "x"), within=7),
    both(),
    both(2, None),
    sequence(),
    CompoundTrigger(id="c", require="all", within=30, triggers=(sequence(), proactive("p", "y"))),
)


@drawn(st.sampled_from(TRIGGERS), histories(), st.data())
def test_portions_change_nothing(
    trigger: Trigger, history: list[Seen], data: st.DataObject
) -> None:
    end = 500.0
    whole = happened(trigger, *history, until=end)
    world, rest = World(trigger), history
    while rest:
        n = data.draw(st.integers(1, len(rest)))
        some, rest = rest[:n], rest[n:]
        # Time may pass without an emission, up to the next one.
        until = data.draw(st.sampled_from((None, (some[-1].at - BEGIN) / SECOND)))
        world.portion(some, until)
    world.portion([], end)
    assert world.fired == whole.fired
    left = {name: one for name, one in world.buckets.items() if one is not None}
    assert left == {name: one for name, one in whole.buckets.items() if one is not None}


@drawn(st.sampled_from(TRIGGERS), histories())
def test_every_firing_has_a_name_of_its_own(trigger: Trigger, history: list[Seen]) -> None:
    fired = happened(trigger, *history, until=500.0).fired
    assert len({one.firing.id for one in fired}) == len(fired)


# --- names and labels


@pytest.mark.parametrize(
    ("wanted", "value", "does"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.bc", False),
        ("a.*", "a.b.c", True),
        ("!a.*", "a.b", False),
        ("!a.*", "b", True),
        ("!a", None, False),
        ("[ab]", "a", True),
        ("[ab]", "[ab]", False),
    ],
)
def test_patterns(wanted: str, value: str | None, does: bool) -> None:
    assert matches(wanted, value) is does


def test_a_related_thing_has_to_have_all_the_labels_itself() -> None:
    trigger = EventTrigger(
        id="t",
        posture="Reactive",
        match_related=({"role": "flow", "name": ("a", "b")}, {"role": "tag"}),
    )
    flow, other, tag = {"role": "flow", "name": "a"}, {"role": "flow"}, {"role": "tag", "name": "a"}
    assert covers(trigger, {}, (flow, tag))
    assert not covers(trigger, {}, (other, tag))
    assert not covers(trigger, {}, (flow,))


def test_what_a_proactive_trigger_watches_begins_with_itself() -> None:
    (watch,) = watches("a", EventTrigger(id="t", posture="Proactive", within=10))
    bucket = first_bucket(watch, BEGIN)
    assert bucket is not None
    assert bucket.end == BEGIN + 10 * SECOND
