"""Filters of emissions as they arrive, and what of an emission they look at."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from msgspec import Meta, Struct
from msgspec.structs import replace

from projections import text_search

WINDOW_DAYS = 180
"""How far back a filter looks that does not say since when, in days before today."""

# --- Filters, as they arrive

Labels: TypeAlias = dict[str, str | list[str]]
"""Patterns by label, one of which has to match: `*` and `?` are wildcards, `!` in front is not."""


class OccurredFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """A window of time; both ends are included."""

    since: datetime | None = None
    until: datetime | None = None


class EventNameFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """What happened, by name. An empty list asks nothing."""

    prefix: list[str] | None = None
    exclude_prefix: list[str] | None = None
    name: list[str] | None = None
    exclude_name: list[str] | None = None


class EventResourceFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """The resource that an emission is about."""

    id: list[str] | None = None
    id_prefix: list[str] | None = None
    labels: Labels | None = None
    distinct: bool = False
    """Only the newest (or, in ascending order, the oldest) emission of each resource."""


class EventRelatedFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """One of the related resources."""

    id: list[str] | None = None
    role: list[str] | None = None
    resources_in_roles: list[tuple[str, str]] | None = None
    labels: Labels | None = None


class EventAnyResourceFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """The resource that an emission is about, or one of the related ones."""

    id: list[str] | None = None
    id_prefix: list[str] | None = None
    labels: Labels | None = None


class EventIDFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Emissions by id."""

    id: list[UUID] | None = None


class EventTextFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """A text search in everything that an emission says, see `projections.text_search`."""

    query: Annotated[str, Meta(max_length=text_search.QUERY_LENGTH_MAX)]


RESOURCE_FILTERS_MAX = 1_000
"""Filters in a list, all of which have to hold. Prefect on SQLite fails above nearly as many."""
RelatedFilters: TypeAlias = Annotated[
    list[EventRelatedFilter], Meta(max_length=RESOURCE_FILTERS_MAX)
]
AnyResourceFilters: TypeAlias = Annotated[
    list[EventAnyResourceFilter], Meta(max_length=RESOURCE_FILTERS_MAX)
]

EventOrder = Literal["ASC", "DESC"]


class EventFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which emissions are wanted: every part that is given has to hold."""

    occurred: OccurredFilter | None = None
    event: EventNameFilter | None = None
    resource: EventResourceFilter | None = None
    related: EventRelatedFilter | RelatedFilters | None = None
    any_resource: EventAnyResourceFilter | AnyResourceFilters | None = None
    id: EventIDFilter | None = None
    text: EventTextFilter | None = None
    order: EventOrder = "DESC"


def within_window(filter: EventFilter, now: datetime) -> EventFilter:
    """The filter with both ends of its window of time filled in."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    asked = filter.occurred or OccurredFilter()
    return replace(
        filter,
        occurred=OccurredFilter(
            since=asked.since or midnight - timedelta(days=WINDOW_DAYS), until=asked.until or now
        ),
    )


# --- What a filter looks at

INDEXED_BYTES_MAX = 1_200
"""Of an emission's name, and of a resource's id and role: two stand in one index, where Postgres
takes 2,704 bytes. A longer one would stop the feed, which never skips."""


def indexed(text: str) -> str:
    """By how much of a name, id or role emissions are told apart: that many bytes of it."""
    if len(text) <= INDEXED_BYTES_MAX // 4:
        return text
    return text.encode()[:INDEXED_BYTES_MAX].decode(errors="ignore")


class Glimpse(Struct, frozen=True):
    """What filters see of one emission, in memory."""

    occurred: int
    """Microseconds since 1970."""
    event: str
    id: str
    resources: Sequence[dict[str, str]]
    """Labels of the resource that it is about, then of the related ones."""
    document: str
    """The whole emission as JSON."""
