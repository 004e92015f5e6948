"""Read model: the feed of emissions and the index of the resources that they name.

Tables: migrations/0004.emissions.sql; totals of them: `projections/emission_totals.py`. Derived: it
follows the log from its checkpoint.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from eventstore.codec import from_microseconds, to_microseconds
from eventstore.database import Dialect, Reader, Row, Table, Value
from eventstore.events import Recorded
from orchestration.emissions import FeedTrimmed
from orchestration.identifiers import utc
from orchestration.own_emissions import EMITTING, emission_of
from projections.emission_conditions import RESOURCE_ID, ROLE, where
from projections.emission_filters import INDEXED_BYTES_MAX, EventFilter, Glimpse, indexed
from projections.emission_totals import EMISSION_TOTALS, TOTALS_OF_EMISSIONS
from projections.projection import Model, Projection, Rows, rows_of

EMISSIONS: Model[Row] = Model(
    Table(
        "emissions",
        {
            "position": "bigint",
            "id": "text",
            "occurred": "bigint",
            "received": "bigint",
            "event": "text",
            "resource_id": "text",
            "resource_name": "text",
            "follows": "text",
            "document": "text",
        },
        key=("position",),
    ),
    render=lambda row: row,
    parse=lambda row: row,
    totals=TOTALS_OF_EMISSIONS,
)
EMISSION_RESOURCES = rows_of(
    Table(
        "emission_resources",
        {
            "position": "bigint",
            "n": "bigint",
            "occurred": "bigint",
            "resource_id": "text",
            "role": "text",
            "labels": "text",
        },
        key=("position", "n"),
    )
)


class _Shown(Struct, frozen=True):
    occurred: datetime
    event: str
    resource: dict[str, str]
    id: str
    related: tuple[dict[str, str], ...] = ()
    follows: str | None = None


_decode = msgspec.json.Decoder(_Shown).decode
_encode = msgspec.json.Encoder().encode

_SURELY_INDEXED_CHARACTERS = INDEXED_BYTES_MAX // 4
"""Longer names and ids may be too long for an index: states and tags can be called anything."""
_NUL = "\x00"
_NUL_IN_JSON = b"\\u0000"
_REPLACEMENT = "\ufffd"


def _storable(shown: _Shown) -> _Shown:
    """Columns hold no NUL, indexes no long texts; the document still tells the truth."""

    def clean(text: str) -> str:
        return text.replace(_NUL, _REPLACEMENT)

    def cleaned(labels: dict[str, str]) -> dict[str, str]:
        storable = {clean(label): clean(value) for label, value in labels.items()}
        return storable | {
            label: indexed(storable[label]) for label in (RESOURCE_ID, ROLE) if label in storable
        }

    return _Shown(
        shown.occurred,
        indexed(clean(shown.event)),
        cleaned(shown.resource),
        shown.id,
        tuple(map(cleaned, shown.related)),
        shown.follows,
    )


def _read(document: bytes) -> _Shown:
    shown = _decode(document)
    if _NUL_IN_JSON in document or any(
        len(text) > _SURELY_INDEXED_CHARACTERS for text in _indexed_texts(shown)
    ):
        return _storable(shown)
    return shown


def _indexed_texts(shown: _Shown) -> Iterator[str]:
    yield shown.event
    yield shown.resource[RESOURCE_ID]
    for labels in shown.related:
        yield labels[RESOURCE_ID]
        yield labels.get(ROLE, "")


def glimpse(document: bytes) -> Glimpse:
    """What filters see of an emission; exactly what the columns of its rows hold."""
    shown = _read(document)
    return Glimpse(
        to_microseconds(utc(shown.occurred)),
        shown.event,
        shown.id,
        (shown.resource, *shown.related),
        document.decode(),
    )


EMISSIONS_UNTIL = "DELETE FROM emissions WHERE position <= $1"
RESOURCES_UNTIL = "DELETE FROM emission_resources WHERE position <= $1"


def apply(rows: Rows, recorded: Recorded[Any]) -> None:
    """The event's emission, if it gives rise to one, and every resource that it names."""
    if isinstance(recorded.event, FeedTrimmed):
        until = recorded.event.until
        rows.cascade(EMISSIONS, EMISSIONS_UNTIL, until, lambda row: row[0] <= until)
        rows.cascade(EMISSION_RESOURCES, RESOURCES_UNTIL, until, lambda row: row[0] <= until)
        return
    document = emission_of(recorded)
    if document is None:
        return
    shown = _read(document)
    position = recorded.position
    occurred = to_microseconds(utc(shown.occurred))
    resource = shown.resource
    resource_id = resource[RESOURCE_ID]
    # Positions are new each time: that there is no such row yet is known without asking.
    rows.hold(EMISSIONS, (position,), None)
    rows.put(
        EMISSIONS,
        (position,),
        (
            position,
            shown.id,
            occurred,
            to_microseconds(recorded.recorded_at),
            shown.event,
            resource_id,
            resource.get("prefect.resource.name", resource.get("prefect.name", resource_id)),
            shown.follows,
            document.decode(),
        ),
    )
    for n, labels in enumerate((resource, *shown.related)):
        rows.hold(EMISSION_RESOURCES, (position, n), None)
        rows.put(
            EMISSION_RESOURCES,
            (position, n),
            (
                position,
                n,
                occurred,
                labels[RESOURCE_ID],
                labels.get(ROLE, "") if n else "",
                _encode(labels).decode(),
            ),
        )


def reads(recorded: Recorded[Any]) -> Iterable[tuple[Model[Any], tuple[Value, ...]]]:
    """An emission depends on nothing before it."""
    return ()


projection = Projection(
    name="emissions",
    version=7,
    mode="derived",
    models=(EMISSIONS, EMISSION_RESOURCES, EMISSION_TOTALS),
    handles=frozenset({*EMITTING, FeedTrimmed}),
    apply=apply,
    reads=reads,
)

OLDEST = "SELECT position FROM emissions WHERE position <= $1 ORDER BY position LIMIT $2"


async def oldest(reader: Reader, until: int, limit: int) -> list[int]:
    """Log positions of the oldest emissions in the feed, of those up to `until`, in order."""
    return [row[0] for row in await reader.fetch(OLDEST, until, limit)]


# --- Pages of the feed


class Place(Struct, frozen=True):
    """Where in the feed a page ended."""

    occurred: int
    """Microseconds since 1970."""
    position: int


class Page(Struct, frozen=True):
    """Some emissions, as JSON, and where they end (None: nowhere, there are none)."""

    documents: Sequence[str]
    end: Place | None


_COLUMNS = "emissions.document, emissions.occurred, emissions.position"


async def page(
    database: Reader,
    filter: EventFilter,
    dialect: Dialect,
    *,
    until: int,
    limit: int,
    after: Place | None = None,
) -> Page:
    """A page of the feed in the filter's order, of emissions up to log position `until`."""
    descending = filter.order == "DESC"
    direction, beyond = ("DESC", "<") if descending else ("ASC", ">")
    matching = where(filter, dialect, first=3)
    asked = f"{matching.sql} AND emissions.position <= $1"
    params: list[Value] = [until, limit, *matching.params]
    distinct = filter.resource is not None and filter.resource.distinct
    rest = "TRUE"
    if after is not None:
        occurred, position = f"${len(params) + 1}", f"${len(params) + 2}"
        rest = f"(emissions.occurred, emissions.position) {beyond} ({occurred}, {position})"
        params += [after.occurred, after.position]
    order = f"emissions.occurred {direction}, emissions.position {direction}"
    if distinct:
        ranked = (
            f"SELECT {_COLUMNS}, row_number() OVER (PARTITION BY emissions.resource_id "
            f"ORDER BY {order}) AS place FROM emissions WHERE {asked}"
        )
        sql = (
            f"SELECT document, occurred, position FROM ({ranked}) AS emissions "
            f"WHERE place = 1 AND {rest} ORDER BY {order} LIMIT $2"
        )
    else:
        sql = f"SELECT {_COLUMNS} FROM emissions WHERE {asked} AND {rest} ORDER BY {order} LIMIT $2"
    rows = await database.fetch(sql, *params)
    return Page([row[0] for row in rows], Place(rows[-1][1], rows[-1][2]) if rows else None)


async def total(database: Reader, filter: EventFilter, dialect: Dialect, *, until: int) -> int:
    """How many emissions up to a log position match; of distinct resources, how many resources."""
    matching = where(filter, dialect, first=2)
    distinct = filter.resource is not None and filter.resource.distinct
    what = "DISTINCT emissions.resource_id" if distinct else "*"
    sql = f"SELECT count({what}) FROM emissions WHERE {matching.sql} AND emissions.position <= $1"
    ((number,),) = await database.fetch(sql, until, *matching.params)
    return int(number)


# --- Counts


class Count(Struct, frozen=True):
    """How often something is in the feed."""

    value: str
    label: str
    count: int
    start_time: datetime
    end_time: datetime


async def counts_by_event(database: Reader, filter: EventFilter, dialect: Dialect) -> list[Count]:
    """Counts by the emissions' names."""
    return await _counts(database, filter, dialect, "event", "event")


async def counts_by_resource(
    database: Reader, filter: EventFilter, dialect: Dialect
) -> list[Count]:
    """Counts by the resources that emissions are about, under the names they had last."""
    return await _counts(database, filter, dialect, "resource_id", "resource_name")


async def _counts(
    database: Reader, filter: EventFilter, dialect: Dialect, value: str, label: str
) -> list[Count]:
    matching = where(filter, dialect)
    group = f"emissions.{value}" + ("" if label == value else f", emissions.{label}")
    sql = (
        f"SELECT emissions.{value}, emissions.{label}, count(*), min(emissions.occurred), "
        f"max(emissions.occurred) FROM emissions WHERE {matching.sql} GROUP BY {group}"
    )
    merged: dict[str, Row] = {}
    for row in await database.fetch(sql, *matching.params):
        known = merged.setdefault(row[0], row)
        if known is not row:
            # The resource had another name before: the last one stands for it.
            last = max(known, row, key=lambda one: (one[4], one[1]))
            number, oldest = known[2] + row[2], min(known[3], row[3])
            merged[row[0]] = (row[0], last[1], number, oldest, last[4])
    counts = (
        Count(value, label, count, from_microseconds(oldest), from_microseconds(latest))
        for value, label, count, oldest, latest in merged.values()
    )
    return sorted(counts, key=lambda count: (-count.count, count.label))


async def counts_by_time(
    database: Reader,
    filter: EventFilter,
    dialect: Dialect,
    spans: Sequence[datetime],
    width: timedelta,
) -> list[Count]:
    """Counts by spans of equal width; `spans` are their beginnings, all of them, in order."""
    if not spans:
        return []
    matching = where(filter, dialect, first=3)
    first, microseconds = to_microseconds(spans[0]), width // timedelta(microseconds=1)
    sql = (
        "SELECT span, count(*) FROM (SELECT (emissions.occurred - $1) / $2 AS span "
        f"FROM emissions WHERE {matching.sql}) AS placed GROUP BY span"
    )
    found = await database.fetch(sql, first, microseconds, *matching.params)
    counted = {int(row[0]): int(row[1]) for row in found}
    return [
        Count(
            str(n),
            start.isoformat(),
            counted.get(n, 0),
            start,
            start + width - timedelta(microseconds=1),
        )
        for n, start in enumerate(spans)
    ]
