"""The shapes of what clients send — ids, times, names — and how they are brought to one form."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, TypeAlias
from uuid import UUID

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from orchestration.refusals import Invalid

# Dashes and capitals are optional, as they are for Prefect; `canonical` makes them uniform.
Id: TypeAlias = Annotated[
    str, Meta(pattern=r"^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$")
]
"""A UUID as text."""

INDEXED_CHARACTERS_MAX = 600
"""Longest text that stands alone in an index: four bytes a character at the worst, and Postgres
takes 2,704 bytes. One longer entry would fail the whole batch it is written in."""
PART_CHARACTERS_MAX = 300
"""Longest text of which two stand in one index."""
STATE_NAME_CHARACTERS_MAX = 250

Text: TypeAlias = Annotated[str, Meta(pattern=r"^[^\x00]*$")]
"""Text that a column can hold: Postgres knows no NUL."""

Name: TypeAlias = Annotated[
    str, Meta(pattern=r"^[^/%&><\x00]+$", max_length=INDEXED_CHARACTERS_MAX)
]
"""A name that can be part of a path: without / % & > <."""

IndexedText: TypeAlias = Annotated[
    str, Meta(pattern=r"^[^\x00]*$", max_length=INDEXED_CHARACTERS_MAX)
]
"""Text that is looked up: an idempotency key."""

StateName: TypeAlias = Annotated[
    str, Meta(pattern=r"^[^\x00]*$", max_length=STATE_NAME_CHARACTERS_MAX)
]
"""What a state is called."""

ArtifactKey: TypeAlias = Annotated[
    str, Meta(pattern=r"^[a-z0-9-]*$", max_length=INDEXED_CHARACTERS_MAX)
]
"""Small letters, digits and dashes."""

Label: TypeAlias = bool | int | float | str
Labels: TypeAlias = dict[str, Label]

_CANONICAL_LENGTH = 36


def canonical(id: str) -> str:
    """A UUID in the one form we store: dashed, lower case."""
    if len(id) == _CANONICAL_LENGTH and id.islower():
        return id
    return str(UUID(id))


def utc(moment: datetime) -> datetime:
    """The same moment in UTC. A time without a zone is taken as UTC, as Prefect does.

    Raises Invalid for one at the edge of the calendar, which in UTC would be beyond it.
    """
    zone = moment.tzinfo
    if zone is UTC:
        return moment
    try:
        return moment.replace(tzinfo=UTC) if zone is None else moment.astimezone(UTC)
    except OverflowError:
        raise Invalid(f"{moment.isoformat()} is no time in UTC") from None


def tidy(body: Struct, ids: Sequence[str] = (), times: Sequence[str] = ()) -> None:
    """Bring the named fields of a freshly decoded body to their one form. For `__post_init__`.

    Nearly always there is nothing to do, and this is done for every request: hence no helpers.
    """
    for name in ids:
        id = getattr(body, name)
        if id.__class__ is str and not (len(id) == _CANONICAL_LENGTH and id.islower()):
            force_setattr(body, name, canonical(id))
    for name in times:
        moment = getattr(body, name)
        if moment.__class__ is datetime and moment.tzinfo is not UTC:
            force_setattr(body, name, utc(moment))
