"""Entities from the fields of events: as the first one makes them, and after one that changes some;
and what a PATCH really changes.

Bodies and events of a change have the fields of their entity, unset where nothing changes.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from msgspec import UNSET, Struct
from msgspec.structs import replace

V = TypeVar("V", bound=Struct)


def changes(
    entity: Struct, body: Struct, nullable: Sequence[str], required: Sequence[str]
) -> dict[str, Any]:
    """The fields that a body changes, with their new values.

    A null for a `required` one leaves it as it is.
    """
    return {
        name: value
        for name in (*nullable, *required)
        if (value := getattr(body, name)) is not UNSET
        and not (value is None and name in required)
        and value != getattr(entity, name)
    }


def made(kind: type[V], event: Struct) -> V:
    """The entity as its first event makes it, with those of its fields that the event has."""
    known = frozenset(kind.__struct_fields__)
    return kind(**{name: getattr(event, name) for name in event.__struct_fields__ if name in known})


def changed(entity: V, event: Struct, names: Sequence[str]) -> V:
    """The entity after an event that sets some of these fields, and what nobody here knows of."""
    new: dict[str, Any] = {
        name: value for name in names if (value := getattr(event, name)) is not UNSET
    }
    extras: Any = getattr(event, "extras")  # noqa: B009 - not every Struct has them
    if extras is not UNSET:
        known: Any = getattr(entity, "extras")  # noqa: B009
        new["extras"] = {**(known if known is not UNSET else {}), **extras}
    return replace(entity, **new)
