"""Pages of the feed of emissions for people, and how dense it is over time.

What an index answers is read from there: a resource's emissions, those of a few names, or the feed
itself. What is asked beyond that (a text, a role) is looked for in a bounded number of them: the
answer then says how far it has looked.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct

from eventstore.codec import from_microseconds, to_microseconds
from eventstore.database import Dialect, Reader, Row, Value
from projections import emission_totals
from projections.emission_conditions import RESOURCE_ID, ROLE, says, starts_with
from projections.emission_filters import (
    EventAnyResourceFilter,
    EventFilter,
    EventNameFilter,
    EventRelatedFilter,
    EventResourceFilter,
    EventTextFilter,
    Glimpse,
    OccurredFilter,
    indexed,
)
from projections.emissions import Place
from projections.run_sums import Bins
from projections.where import Draft

PAGE_EMISSIONS = 50
"""Emissions on a page."""
SEARCHED_MAX = 10_000
"""Emissions that are looked at for one page, or for one picture of the density."""
SEARCHED_DEEP_MAX = 100_000
"""The same for a page where somebody asked to have more searched."""
NAMES_MAX = 12
"""Names of emissions that are looked up one by one; of more, the feed is read."""
RELATED_SHOWN = 12
"""Related resources of an emission that a page has."""

Part = Literal["any", "subject", "related"]
"""As what an emission names a resource."""
_PART_CONDITIONS: Mapping[Part, str] = {"subject": "found.n = 0", "related": "found.n > 0"}
_REPEATS = 4
"""Rows of one emission that are reckoned with where it names a resource more than once."""


class Wanted(Struct, frozen=True):
    """Which emissions: all that is given has to hold."""

    first: int
    """Microseconds since 1970."""
    until: int
    """Excluded."""
    prefixes: Sequence[str] = ()
    """Their names begin with one of these."""
    resources: Sequence[str] = ()
    """They name one of these."""
    part: Part = "any"
    text: str = ""
    """As `projections.text_search` has it."""

    @property
    def searched(self) -> bool:
        """Whether no index and no totals answer."""
        return bool(self.text or (self.resources and (self.prefixes or self.part != "any")))

    def filter(self, *, windowless: bool) -> EventFilter:
        """The same for `projections.emission_conditions.predicate`."""
        ids = list(self.resources)
        return EventFilter(
            occurred=None
            if windowless
            else OccurredFilter(from_microseconds(self.first), from_microseconds(self.until - 1)),
            event=EventNameFilter(prefix=list(self.prefixes)) if self.prefixes else None,
            resource=EventResourceFilter(id=ids) if ids and self.part == "subject" else None,
            related=EventRelatedFilter(id=ids) if ids and self.part == "related" else None,
            any_resource=EventAnyResourceFilter(id=ids) if ids and self.part == "any" else None,
            text=EventTextFilter(self.text) if self.text else None,
        )


class Related(Struct, frozen=True):
    """A resource that an emission names beside its subject."""

    id: str
    role: str
    name: str
    """Empty if it has none."""

    @property
    def is_tag(self) -> bool:
        """Whether it is a tag, of which there may be many."""
        return self.role == "tag"


class Shown(Struct, frozen=True):
    """An emission in a list."""

    position: int
    """In the log."""
    id: str
    occurred: datetime
    event: str
    resource_id: str
    resource_name: str
    related: Sequence[Related]

    @property
    def place(self) -> str:
        """Names its place in the feed."""
        return f"{to_microseconds(self.occurred)}.{self.position}"


class FeedPage(Struct, frozen=True):
    """Some emissions, newest first, and the places where the pages beside them begin."""

    rows: Sequence[Shown]
    before: str | None
    after: str | None
    searched_to: datetime | None
    """Everything since then was looked at, but there may be more that matches before it."""


class Density(Struct, frozen=True):
    """How many emissions there were in each interval."""

    numbers: Sequence[int]
    counted_since: datetime | None
    """There were too many to look at: only those since then are counted."""

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.numbers)

    @property
    def most(self) -> int:
        """In one interval."""
        return max(self.numbers, default=0)


def place(text: str) -> Place | None:
    """From `Shown.place`; None for anything else."""
    occurred, _, position = text.partition(".")
    digits = occurred.removeprefix("-")
    if not all(part.isascii() and part.isdigit() and len(part) < 19 for part in (digits, position)):
        return None
    return Place(int(occurred), int(position))


# --- Where emissions are found


class _Search:
    """A statement over the emissions that are wanted, while it is being put together."""

    def __init__(
        self, wanted: Wanted, dialect: Dialect, names: Sequence[str] | None, limit: int
    ) -> None:
        self.wanted, self.limit = wanted, limit
        self.params: list[Value] = []
        self._dialect, self._names = dialect, names

    def bind(self, value: Value) -> str:
        """The placeholder of a value."""
        self.params.append(value)
        return f"${len(self.params)}"

    def found(self, beyond: Place | None = None, *, ascending: bool = False) -> str:
        """A SELECT of places (n: as which resource) in order: as many as are looked at."""
        order = "ASC" if ascending else "DESC"
        first, until, cursor = self.wanted.first, self.wanted.until, ""
        if beyond is not None:
            # The window as well, so that the index is entered where the page begins.
            if ascending:
                first = max(first, beyond.occurred)
            else:
                until = min(until, beyond.occurred + 1)
            sign = ">" if ascending else "<"
            at = f"({self.bind(beyond.occurred)}, {self.bind(beyond.position)})"
            cursor = f" AND (occurred, position) {sign} {at}"
        window, limit = [self.bind(first), self.bind(until)], self.bind(self.limit)

        def part(table: str, n: str, condition: str) -> str:
            asked = f"occurred >= {window[0]} AND occurred < {window[1]}{cursor}{condition}"
            return (
                f"SELECT position, occurred, {n} AS n FROM {table} WHERE {asked} "
                f"ORDER BY occurred {order}, position {order} LIMIT {limit}"
            )

        wanted = self.wanted
        if wanted.resources:
            parts = [
                part("emission_resources", "n", f" AND resource_id = {self.bind(indexed(id))}")
                for id in wanted.resources
            ]
        elif self._names is not None:
            parts = [
                part("emissions", "0", f" AND event = {self.bind(name)}") for name in self._names
            ]
        else:
            parts = [part("emissions", "0", self._begun("event") if wanted.prefixes else "")]
        if len(parts) == 1:
            return parts[0]
        together = " UNION ALL ".join(f"SELECT * FROM ({one}) AS part" for one in parts)
        return (
            f"SELECT position, occurred, n FROM ({together}) AS parts "
            f"ORDER BY occurred {order}, position {order} LIMIT {limit}"
        )

    def rest(self) -> str:
        """What else is asked of `found` and the `emissions` that it names; begins with AND."""
        wanted, asked = self.wanted, ""
        if wanted.resources and wanted.prefixes:
            asked += self._begun("emissions.event")
        if wanted.resources and wanted.part != "any":
            asked += f" AND {_PART_CONDITIONS[wanted.part]}"
        if wanted.text:
            draft = Draft(self._dialect)
            asked += f" AND {self._taken(says(wanted.text, draft), draft)}"
        return asked

    def _begun(self, column: str) -> str:
        draft = Draft(self._dialect)
        return f" AND {self._taken(starts_with(column, self.wanted.prefixes, draft), draft)}"

    def _taken(self, sql: str, draft: Draft) -> str:
        condition = draft.where(sql, len(self.params) + 1)
        self.params += condition.params
        return condition.sql


async def _names(reader: Reader, dialect: Dialect, wanted: Wanted) -> Sequence[str] | None:
    """The few names that are meant, each of which has an index; None if there are many."""
    if not wanted.prefixes or wanted.resources:
        return None
    found = await emission_totals.names(
        reader, dialect, wanted.first, wanted.until, wanted.prefixes, NAMES_MAX + 1
    )
    # One name at least: a search for it finds nothing, which is what is there.
    return [name for name, _ in found] or wanted.prefixes[:1] if len(found) <= NAMES_MAX else None


# --- Pages


async def page(
    reader: Reader,
    dialect: Dialect,
    wanted: Wanted,
    *,
    after: Place | None = None,
    before: Place | None = None,
    deep: bool = False,
) -> FeedPage:
    """The newest emissions, those older than `after`, or those newer than `before`."""
    limit = (PAGE_EMISSIONS + 1) * (_REPEATS if wanted.resources else 1)
    if wanted.searched:
        limit = SEARCHED_DEEP_MAX if deep else SEARCHED_MAX
    search = _Search(wanted, dialect, await _names(reader, dialect, wanted), limit)
    ascending, beyond = before is not None, after if before is None else before
    found, order = search.found(beyond, ascending=ascending), "ASC" if ascending else "DESC"
    sql = (
        "SELECT DISTINCT emissions.position, emissions.id, emissions.occurred, emissions.event, "
        f"emissions.resource_id, emissions.resource_name FROM ({found}) AS found "
        f"CROSS JOIN emissions WHERE emissions.position = found.position{search.rest()} "
        f"ORDER BY emissions.occurred {order}, emissions.position {order} "
        f"LIMIT {PAGE_EMISSIONS + 1}"
    )
    rows = await reader.fetch(sql, *search.params)
    more = len(rows) > PAGE_EMISSIONS
    shown = await _with_related(reader, rows[:PAGE_EMISSIONS])
    if ascending:
        shown.reverse()
        newer = shown[0].place if more and shown else None
        assert before is not None
        older = shown[-1].place if shown else f"{before.occurred}.{before.position + 1}"
        return FeedPage(shown, newer, older, None)
    last = None if more else await _last(reader, dialect, search, wanted, beyond)
    newer = None if after is None else shown[0].place if shown else None
    if more:
        return FeedPage(shown, newer, shown[-1].place, None)
    if last is None:
        return FeedPage(shown, newer, None, None)
    following = f"{last.occurred}.{last.position}"
    return FeedPage(shown, newer, following, from_microseconds(last.occurred))


async def _last(
    reader: Reader, dialect: Dialect, done: _Search, wanted: Wanted, beyond: Place | None
) -> Place | None:
    """The last of the emissions that were looked at, if not all were."""
    search = _Search(wanted, dialect, done._names, done.limit)
    sql = f"SELECT occurred, position FROM ({search.found(beyond)}) AS found "
    rows = await reader.fetch(f"{sql}LIMIT 1 OFFSET {done.limit - 1}", *search.params)
    return Place(*rows[0]) if rows else None


class _Labels(Struct, frozen=True):
    name: str = msgspec.field(name="prefect.resource.name", default="")


_labels = msgspec.json.Decoder(_Labels)


async def _with_related(reader: Reader, rows: Sequence[Row]) -> list[Shown]:
    if not rows:
        return []
    positions = ", ".join(str(int(row[0])) for row in rows)
    sql = (
        "SELECT position, resource_id, role, labels FROM emission_resources "
        f"WHERE position IN ({positions}) AND n >= 1 AND n <= {RELATED_SHOWN} ORDER BY position, n"
    )
    related: dict[int, list[Related]] = {}
    for position, id, role, labels in await reader.fetch(sql):
        related.setdefault(position, []).append(Related(id, role, _labels.decode(labels).name))
    return [
        Shown(
            row[0],
            row[1],
            from_microseconds(row[2]),
            row[3],
            row[4],
            row[5],
            related.get(row[0], []),
        )
        for row in rows
    ]


# --- Density


async def density(reader: Reader, dialect: Dialect, wanted: Wanted, bins: Bins) -> Density:
    """How many of the wanted emissions there were in each interval."""
    if not wanted.resources and not wanted.text:
        counted = await emission_totals.counted(reader, dialect, bins, wanted.prefixes)
        return Density(counted, None)
    names = await _names(reader, dialect, wanted)
    search = _Search(wanted, dialect, names, SEARCHED_MAX)
    first, width = search.bind(bins.first), search.bind(bins.width)
    found = search.found()
    if wanted.searched:
        places = (
            f"SELECT DISTINCT found.position, found.occurred FROM ({found}) AS found "
            f"CROSS JOIN emissions WHERE emissions.position = found.position{search.rest()}"
        )
    else:
        places = f"SELECT DISTINCT position, occurred FROM ({found}) AS found"
    sql = f"SELECT (occurred - {first}) / {width}, count(*) FROM ({places}) AS placed GROUP BY 1"
    numbers = [0] * bins.number
    for at, number in await reader.fetch(sql, *search.params):
        if 0 <= at < bins.number:
            numbers[at] = int(number)
    last = await _last(reader, dialect, search, wanted, None)
    return Density(numbers, None if last is None else from_microseconds(last.occurred))


# --- One emission


class One(Struct, frozen=True):
    """An emission and where in the log it is."""

    position: int
    document: bytes


_BY_ID = "SELECT position, document FROM emissions WHERE id = $1 ORDER BY position DESC LIMIT 1"
_AT = "SELECT id, occurred FROM emissions WHERE position = $1"


async def one(reader: Reader, id: str) -> One | None:
    """An emission of the feed by its id; None if it is not there, or not any more."""
    rows = await reader.fetch(_BY_ID, id)
    return One(rows[0][0], rows[0][1].encode()) if rows else None


async def at(reader: Reader, position: int) -> tuple[str, datetime] | None:
    """Id and time of the emission that an event of the log gave rise to, if it is in the feed."""
    rows = await reader.fetch(_AT, position)
    return (rows[0][0], from_microseconds(rows[0][1])) if rows else None


def shown(position: int, seen: Glimpse) -> Shown:
    """A row for an emission that was seen in memory."""
    subject, *related = seen.resources
    id = subject[RESOURCE_ID]
    name = subject.get("prefect.resource.name", subject.get("prefect.name", id))
    return Shown(
        position,
        seen.id,
        from_microseconds(seen.occurred),
        seen.event,
        id,
        name,
        [
            Related(
                labels[RESOURCE_ID], labels.get(ROLE, ""), labels.get("prefect.resource.name", "")
            )
            for labels in related[:RELATED_SHOWN]
        ],
    )
