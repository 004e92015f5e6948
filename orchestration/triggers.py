"""Triggers of automations: what they are, and which emissions each of them is about.

A trigger says nothing of what was seen so far; that is `orchestration/trigger_fold.py`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Literal, TypeAlias

from msgspec import Struct

Labels: TypeAlias = Mapping[str, str]
"""Of one resource."""
Specification: TypeAlias = dict[str, str | tuple[str, ...]]
"""Labels and the patterns that their values have to match: one of several."""

REACTIVE, PROACTIVE = "Reactive", "Proactive"
Posture: TypeAlias = Literal["Reactive", "Proactive"]
RESOURCE_ID, ROLE = "prefect.resource.id", "prefect.resource.role"
_RELATED = "related"


class EventTrigger(Struct, frozen=True, kw_only=True, tag_field="type", tag="event"):
    """Fires when enough of the expected emissions come, or (proactive) when too few do."""

    id: str
    match: Specification = {}
    match_related: Specification | tuple[Specification, ...] = {}
    after: tuple[str, ...] = ()
    """Names of emissions, with wildcards, one of which has to come first."""
    expect: tuple[str, ...] = ()
    """Names of the emissions that count; none: all do."""
    for_each: tuple[str, ...] = ()
    """Labels whose values are counted apart; `related:<role>:<label>` is one of a related thing."""
    posture: Posture
    threshold: int = 1
    within: float = 0.0
    """Seconds."""


class CompoundTrigger(Struct, frozen=True, kw_only=True, tag_field="type", tag="compound"):
    """Fires when some, any or all of its triggers have fired within a time."""

    id: str
    triggers: "tuple[Trigger, ...]"
    within: float | None
    """Seconds; None: no matter when."""
    require: int | Literal["any", "all"]


class SequenceTrigger(Struct, frozen=True, kw_only=True, tag_field="type", tag="sequence"):
    """Fires when all of its triggers have fired, in their order, within a time."""

    id: str
    triggers: "tuple[Trigger, ...]"
    within: float | None


Composite: TypeAlias = CompoundTrigger | SequenceTrigger
Trigger: TypeAlias = EventTrigger | CompoundTrigger | SequenceTrigger


def needed(trigger: Composite) -> int:
    """How many of its triggers have to fire."""
    if isinstance(trigger, SequenceTrigger) or trigger.require == "all":
        return len(trigger.triggers)
    return 1 if trigger.require == "any" else int(trigger.require)


def leaves(
    trigger: Trigger, *parents: Composite
) -> Iterator[tuple[EventTrigger, tuple[Composite, ...]]]:
    """The event triggers in a trigger, in order, each with what it is part of, nearest first."""
    if isinstance(trigger, EventTrigger):
        yield trigger, parents
        return
    for one in trigger.triggers:
        yield from leaves(one, trigger, *parents)


# --- Which emissions ------------------------------------------------------------------------------


_WILDCARDS = frozenset("*?[")


def is_plain(wanted: str) -> bool:
    """Whether a pattern is matched by nothing but itself."""
    return _WILDCARDS.isdisjoint(wanted) and not wanted.startswith("!")


@lru_cache(maxsize=4_096)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(translate(text))


def matches(wanted: str, value: str | None) -> bool:
    """Whether a value is what a pattern wants: `*`, `?` and `[…]` are wildcards, `!` in front says
    anything but this. What is not there matches nothing."""
    if value is None:
        return False
    text = wanted.removeprefix("!")
    if _WILDCARDS.isdisjoint(text):
        found = value == text
    else:
        found = _pattern(text).match(value) is not None
    return found is (text == wanted)


def names_of_interest(trigger: EventTrigger) -> Sequence[str]:
    """The names, with wildcards, of the emissions that a trigger may be about."""
    return (*trigger.expect, *trigger.after) if trigger.expect else ("*",)


def starts(trigger: EventTrigger, name: str) -> bool:
    """Whether an emission of this name is one that has to come first."""
    return any(matches(one, name) for one in trigger.after)


def expects(trigger: EventTrigger, name: str) -> bool:
    """Whether an emission of this name counts."""
    return not trigger.expect or any(matches(one, name) for one in trigger.expect)


def covers(trigger: EventTrigger, resource: Labels, related: Sequence[Labels]) -> bool:
    """Whether a trigger is about an emission of these resources, whatever its name."""
    if not _has_one(trigger.match, (resource,)):
        return False
    wanted = trigger.match_related
    wanted = (wanted,) if isinstance(wanted, dict) else wanted
    return all(_has_one(one, related) for one in wanted)


def _has_one(wanted: Specification, resources: Iterable[Labels]) -> bool:
    return not wanted or any(
        all(_one_matches(values, labels.get(label)) for label, values in wanted.items())
        for labels in resources
    )


def _one_matches(wanted: str | tuple[str, ...], value: str | None) -> bool:
    if isinstance(wanted, str):
        return matches(wanted, value)
    return any(matches(one, value) for one in wanted)


def bucket_of(
    trigger: EventTrigger, resource: Labels, related: Sequence[Labels]
) -> tuple[str, ...]:
    """The values of the labels by which a trigger counts apart, in the order of the labels."""
    return tuple(_label(label, resource, related) for label in sorted(trigger.for_each))


def _label(label: str, resource: Labels, related: Sequence[Labels]) -> str:
    directive, _, rest = label.partition(":")
    if directive == _RELATED and ":" in rest:
        role, _, inner = rest.rpartition(":")
        for one in related:
            if one.get(ROLE) == role:
                return one.get(inner) or ""
    return resource.get(label) or ""


def every_one_of(kind: str, wanted: Specification) -> bool:
    """Whether a specification leaves out no resource of a kind, for example `prefect.flow-run`."""
    if not wanted:
        return True
    ids = wanted.get(RESOURCE_ID)
    if len(wanted) > 1 or not ids:
        return False
    return f"{kind}.*" in ((ids,) if isinstance(ids, str) else ids)
