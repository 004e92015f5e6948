"""Events: facts of the past, and the envelope in which the log keeps them."""

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar, Generic, TypeVar

from msgspec import Struct


class Event(Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    """Base of every event. A subclass is one stored type: `class X(Event, frozen=True, tag="x.y")`.

    The tag is the stored type name and is for ever. A new field needs a default; any other change
    of shape needs a higher `type_version` and an upcaster (see `eventstore.codec`).
    """

    type_version: ClassVar[int] = 1


E = TypeVar("E", bound=Event, covariant=True)


def type_name(event: type[Event]) -> str:
    """The stored type name of an event class, for example `flow-run.created`."""
    return str(event.__struct_config__.tag)


class Recorded(Struct, Generic[E], frozen=True):
    """One event as the log keeps it."""

    position: int
    """Place in the log: 1, 2, 3 … without gaps; order of positions is order of commits."""
    stream: str
    version: int
    """Place in its stream: 1, 2, 3 …"""
    event: E
    recorded_at: datetime
    """UTC; strictly increases with position, whatever the clock did."""
    event_id: str
    """UUID. Minted by the caller; a natural key where there is one, so a repeat is recognised."""
    actor: str
    """Who asked: `anonymous`, a token's name, a service's name."""
    correlation: str | None = None
    """Shared by everything that one request or one decision of a service brought about."""
    causation: int | None = None
    """Position of the event that this one answers, if any."""


class NewEvents(Struct, frozen=True):
    """Events that follow from one decision, for one stream; recorded together or not at all."""

    stream: str
    expected: int
    """Version the stream must be at (0: must not exist), or `ANY_VERSION`."""
    events: Sequence[Event]
    event_ids: Sequence[str]
    """One UUID per event."""


ANY_VERSION = -1
"""Expected version of a stream whose events do not depend on each other."""


def category(stream: str) -> str:
    """The part of a stream's name before its id: `flow-run` of `flow-run:0199…`."""
    return stream.partition(":")[0]
