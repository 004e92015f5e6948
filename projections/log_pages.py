"""Pages of the log for people, newest first: by position, whose places have no gaps.

What no index answers is searched, a bounded stretch of the log at a time: the page then says how
far it has looked, and the next one goes on from there.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from eventstore import log
from eventstore.codec import from_microseconds
from eventstore.database import Dialect, Reader, Row
from eventstore.selection import Selection
from projections import text_search
from projections.emission_conditions import starts_with
from projections.where import Draft, all_of, any_of

PAGE_EVENTS = 50
"""Events on a page."""
SEARCHED_MAX = 20_000
"""Events that are looked at for one page."""
SEARCHED_DEEP_MAX = 200_000
"""The same where somebody asked to have more searched."""
NEIGHBOURS = 500
"""Positions to each side in which others of the same request are looked for."""
TOGETHER_MAX = 50
"""Of those that are named."""


class Entry(Struct, frozen=True):
    """An event of the log as a line shows it."""

    position: int
    stream: str
    version: int
    type: str
    recorded_at: datetime
    actor: str
    correlation: str | None
    causation: int | None
    state_type: str | None
    """Of the state that it gave a run."""
    state_name: str | None
    what: str
    """A name that its data has: of the entity, of the emission. May be empty."""


class _State(Struct, frozen=True):
    type: str | None = None
    name: str | None = None


class _Emission(Struct, frozen=True):
    event: str = ""


class _About(Struct, frozen=True):
    name: Any = None
    """Of what the event is about, where the event itself does not say it."""


class _Glance(Struct, frozen=True):
    """What a line has room for, of the data of any event."""

    state: _State | None = None
    name: str | None = None
    key: str | None = None
    emission: _Emission | None = None
    about: _About | None = None


_glance = msgspec.json.Decoder(_Glance).decode


class LogPage(Struct, frozen=True):
    """Some events, newest first, and the positions where the pages beside them begin."""

    entries: Sequence[Entry]
    before: int | None
    """Newer events than this one are on the page before."""
    after: int | None
    """Older events than this one are on the next page."""
    searched_to: int | None
    """Everything from here on was looked at, but there may be more that matches before it."""


def entry(row: Row) -> Entry:
    """Of a row of `eventstore.codec.EVENTS`."""
    try:
        seen = _glance(row[10])
    except msgspec.DecodeError:
        seen = _Glance()  # Of a newer release, or damaged: the page about it shows it as it is.
    state, emission = seen.state or _State(), seen.emission or _Emission()
    about = seen.about.name if seen.about and isinstance(seen.about.name, str) else ""
    return Entry(
        position=row[0],
        stream=row[1],
        version=row[2],
        type=row[3],
        recorded_at=from_microseconds(row[5]),
        actor=row[7],
        correlation=row[8],
        causation=row[9],
        state_type=state.type,
        state_name=state.name,
        what=seen.name or seen.key or emission.event or about,
    )


class _Line(Struct, frozen=True):
    """What a page is a stretch of: the log, by position, or one stream, by version."""

    column: str
    end: int
    """The last place on it."""
    stream: str | None = None

    async def before(self, reader: Reader, position: int) -> int:
        """The last place that comes before a position of the log."""
        if self.stream is None:
            return min(self.end, position - 1)
        low, high = 0, self.end
        while low < high:
            middle = (low + high + 1) // 2
            if await self.position(reader, middle) < position:
                low = middle
            else:
                high = middle - 1
        return low

    async def position(self, reader: Reader, place: int) -> int:
        """Where in the log a place is."""
        if self.stream is None:
            return place
        rows = await reader.fetch(_IN_STREAM, self.stream, place, place)
        return int(rows[0][0]) if rows else 0


_VERSION = "SELECT version FROM streams WHERE stream = $1"
_IN_STREAM = (
    "SELECT position, version FROM events WHERE stream = $1 AND version >= $2 AND version <= $3 "
    "ORDER BY version"
)


async def page(
    reader: Reader,
    dialect: Dialect,
    wanted: Selection,
    actor: str | None = None,
    *,
    after: int | None = None,
    before: int | None = None,
    deep: bool = False,
) -> LogPage:
    """A page of the events that a selection means, of one actor or of all: the newest ones, those
    older than position `after`, or those newer than `before`. `deep`: search further.

    Of streams a selection may name one.
    """
    if wanted.stream:
        (stream,) = wanted.stream
        rows = await reader.fetch(_VERSION, stream)
        line = _Line("version", rows[0][0] if rows else 0, stream)
    else:
        line = _Line("position", (await log.head(reader)).position)
    draft = Draft(dialect)
    matching = draft.where(_matching(wanted, actor, draft), first=4)
    reach = SEARCHED_DEEP_MAX if deep else SEARCHED_MAX
    if before is None:
        last = line.end if after is None else await line.before(reader, after)
        first, direction = max(1, last - reach + 1), "DESC"
    else:
        first = await line.before(reader, before + 1) + 1
        last, direction = min(line.end, first + reach - 1), "ASC"
    sql = (
        f"SELECT {log.columns(dialect)} FROM events "
        f"WHERE {line.column} >= $1 AND {line.column} <= $2 AND {matching.sql} "
        f"ORDER BY {line.column} {direction} LIMIT $3"
    )
    found = await reader.fetch(sql, first, last, PAGE_EVENTS + 1, *matching.params)
    entries = [entry(row) for row in found[:PAGE_EVENTS]]
    more = len(found) > PAGE_EVENTS
    if before is not None:
        entries.reverse()
        newer = None
        if more:
            newer = entries[0].position
        elif last < line.end:
            newer = await line.position(reader, last)
        return LogPage(entries, newer, entries[-1].position if entries else before + 1, None)
    searched_to = await line.position(reader, first) if not more and first > 1 else None
    newer = None
    if after is not None and last < line.end:
        newer = entries[0].position if entries else after - 1
    return LogPage(entries, newer, entries[-1].position if more else searched_to, searched_to)


def _matching(wanted: Selection, actor: str | None, draft: Draft) -> str:
    """The same as `eventstore.selection.matcher`, in SQL, but that ids are looked for as text."""
    asked = []
    if wanted.stream:
        asked.append(_any("stream", wanted.stream, draft))
    if wanted.category:
        of_kind = [f"stream = {draft.bind(one)}" for one in wanted.category]
        of_kind.append(starts_with("stream", [f"{one}:" for one in wanted.category], draft))
        asked.append(any_of(of_kind))
    if wanted.type:
        exact = [one for one in wanted.type if not one.endswith("*")]
        begun = [one[:-1] for one in wanted.type if one.endswith("*")]
        asked.append(any_of([_any("type", exact, draft), starts_with("type", begun, draft)]))
    if wanted.correlation:
        asked.append(_any("correlation", wanted.correlation, draft))
    if wanted.resource:
        data = "data::text" if draft.dialect.name == "postgres" else "data"
        mentioned = []
        for one in wanted.resource:
            id_ = one.rpartition(".")[2].rpartition(":")[2] or one
            pattern = draft.bind(f"%{text_search.literal(id_)}%")
            mentioned += [
                f"{data} LIKE {pattern} ESCAPE '\\'",
                f"stream LIKE {pattern} ESCAPE '\\'",
            ]
        asked.append(any_of(mentioned))
    if actor is not None:
        asked.append(_any("actor", [actor], draft))
    return all_of(asked)


def _any(column: str, values: Sequence[str], draft: Draft) -> str:
    return any_of(f"{column} = {draft.bind(value)}" for value in values)


class Whole(Struct, frozen=True):
    """One event of the log, and what stands around it."""

    row: Row
    """Of `eventstore.codec.EVENTS`."""
    previous_hash: bytes | None
    """Of the event before it; None for the first one, and where that is missing."""
    versions: int
    """How many events its stream has."""
    stream_before: int | None
    """Position of the event before it in its stream."""
    stream_after: int | None
    together: Sequence[Entry]
    """Others nearby that the same request brought about, in order."""


_TOGETHER = (
    "SELECT {columns} FROM events WHERE position >= $1 AND position <= $2 AND correlation = $3 "
    "AND position <> $4 ORDER BY position LIMIT $5"
)


async def whole(reader: Reader, dialect: Dialect, position: int) -> Whole | None:
    """The event at a position; None if there is none."""
    columns = log.columns(dialect)
    sql = f"SELECT {columns} FROM events WHERE position >= $1 AND position <= $2 ORDER BY position"
    rows = {row[0]: row for row in await reader.fetch(sql, position - 1, position)}
    row = rows.get(position)
    if row is None:
        return None
    stream, version, correlation = row[1], row[2], row[8]
    places = await reader.fetch(_IN_STREAM, stream, version - 1, version + 1)
    beside = {version: position for position, version in places}
    together = []
    if correlation is not None:
        near = (position - NEIGHBOURS, position + NEIGHBOURS)
        sql = _TOGETHER.format(columns=columns)
        found = await reader.fetch(sql, *near, correlation, position, TOGETHER_MAX)
        together = [entry(one) for one in found]
    previous = rows.get(position - 1)
    ((versions,),) = await reader.fetch(_VERSION, stream) or [(version,)]
    return Whole(
        row,
        None if previous is None else bytes(previous[11]),
        versions,
        beside.get(version - 1),
        beside.get(version + 1),
        together,
    )
