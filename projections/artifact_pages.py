"""Artifacts for people: the keys with their latest value, the versions of a key, one artifact.

Documents of artifacts may be megabytes. Lists read them for a page at a time, and make a preview.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from eventstore.codec import from_microseconds
from eventstore.database import Dialect, Reader, Row, Value
from orchestration.artifacts import Artifact
from orchestration.documents import parse
from projections.criteria import like
from projections.keyset import Asked, Cut, Place, place
from projections.run_pages import Named
from projections.where import Draft, all_of

PAGE_KEYS = 50
"""Keys on a page."""
PAGE_VERSIONS = 25
"""Versions of a key on a page."""
VALUES_MAX = 200
"""Versions whose values are drawn over time."""
OF_RUN_MAX = 200
"""Artifacts of one run that are listed."""
PREVIEW_CHARACTERS_MAX = 120
PREVIEWED_BYTES_MAX = 64 * 1024
"""A value that is larger is not read for its preview."""


class Listed(Struct, frozen=True):
    """An artifact in a list."""

    id: str
    key: str | None
    type: str | None
    description: str | None
    """Its first line."""
    preview: str
    """What it says, in a line."""
    progress: float | None
    """Percent, of a progress."""
    created: datetime
    updated: datetime
    flow_run: Named | None
    task_run: Named | None


class Page(Struct, frozen=True):
    """Some artifacts, and where the pages beside them begin, if there are any."""

    artifacts: Sequence[Listed]
    before: str | None
    after: str | None


class _Peek(Struct):
    description: str | None = None
    data: Raw = Raw(b"null")


_peek = msgspec.json.Decoder(_Peek)

_COLUMNS = (
    "{t}.{id}, {t}.key, {t}.type, {t}.created, {t}.updated, "
    "flow_runs.id, flow_runs.name, task_runs.id, task_runs.name, {t}.document"
)
_JOINS = (
    "LEFT JOIN flow_runs ON flow_runs.id = {t}.flow_run_id "
    "LEFT JOIN task_runs ON task_runs.id = {t}.task_run_id"
)
_KEYS = (
    f"SELECT {_COLUMNS.format(t='latest', id='latest_id')} FROM artifact_collections AS latest "
    f"{_JOINS.format(t='latest')} "
    "WHERE latest.key IN (SELECT key FROM artifact_collections WHERE {matching} "
    "ORDER BY {order} LIMIT {limit}) ORDER BY {latest_order}"
)


async def keys(
    reader: Reader,
    dialect: Dialect,
    *,
    text: str = "",
    types: Sequence[str] = (),
    by_name: bool = False,
    after: str | None = None,
    before: str | None = None,
) -> Page:
    """The keys with their latest artifacts, the last changed ones first, or by name.

    Raises Invalid for what is no cursor.
    """
    asked = Asked(by_name, after, before)
    draft = Draft(dialect)
    where = draft.where(all_of(_matching(draft, text, types)))
    params: list[Value] = list(where.params)
    ranks = ("key",) if by_name else ("updated", "key")
    if by_name and asked.cursor is not None:
        params.append(place(asked.cursor, int).id)
        beyond = [f"key {asked.sign} ${len(params)}"]  # There is one row of a key.
    else:
        beyond = asked.beyond("updated", "key", int, params)
    sql = _KEYS.format(
        matching=all_of([where.sql, *beyond]),
        order=asked.order(*ranks),
        limit=PAGE_KEYS + 1,
        # Tables that are joined have columns of these names as well.
        latest_order=asked.order(*(f"latest.{rank}" for rank in ranks)),
    )
    rows = await reader.fetch(sql, *params)
    return _page(asked.cut(rows, PAGE_KEYS, lambda row: Place(row[4], row[1])))


def _matching(draft: Draft, text: str, types: Sequence[str]) -> list[str]:
    named = like("key", text, draft)
    conditions = [] if named is None else [named]
    if types:
        conditions.append(f"type IN ({', '.join(draft.bind(kind) for kind in types)})")
    return conditions


_COUNT = "SELECT count(*) FROM artifact_collections WHERE {matching}"
_TYPES = "SELECT DISTINCT type FROM artifact_collections WHERE type IS NOT NULL ORDER BY type"


async def count(
    reader: Reader, dialect: Dialect, *, text: str = "", types: Sequence[str] = ()
) -> int:
    """How many keys match."""
    draft = Draft(dialect)
    where = draft.where(all_of(_matching(draft, text, types)))
    ((number,),) = await reader.fetch(_COUNT.format(matching=where.sql), *where.params)
    return int(number)


async def types(reader: Reader) -> Sequence[str]:
    """The types of the latest artifacts."""
    return [row[0] for row in await reader.fetch(_TYPES)]


_VERSIONS = (
    f"SELECT {_COLUMNS.format(t='artifacts', id='id')} FROM artifacts "
    f"{_JOINS.format(t='artifacts')} WHERE {{matching}} ORDER BY {{order}} LIMIT $2"
)


async def versions(
    reader: Reader, key: str, *, after: str | None = None, before: str | None = None
) -> Page:
    """The artifacts of a key, newest first. Raises Invalid for what is no cursor."""
    asked = Asked(False, after, before)
    params: list[Value] = [key, PAGE_VERSIONS + 1]
    beyond = asked.beyond("artifacts.created", "artifacts.id", int, params)
    sql = _VERSIONS.format(
        matching=all_of(["artifacts.key = $1", *beyond]),
        order=asked.order("artifacts.created", "artifacts.id"),
    )
    rows = await reader.fetch(sql, *params)
    return _page(asked.cut(rows, PAGE_VERSIONS, lambda row: Place(row[3], row[0])))


_NUMBER = "SELECT count(*) FROM artifacts WHERE key = $1"
_NUMBER_UNTIL = (
    "SELECT count(*) FROM artifacts WHERE key = $1 "
    "AND (created < $2 OR (created = $2 AND id <= $3))"
)


async def number_of_versions(reader: Reader, key: str) -> int:
    """How many artifacts have this key."""
    ((number,),) = await reader.fetch(_NUMBER, key)
    return int(number)


async def version(reader: Reader, key: str, created: int, id: str) -> int:
    """Which version of its key an artifact is: 1, 2, 3 … among those that are there."""
    ((number,),) = await reader.fetch(_NUMBER_UNTIL, key, created, id)
    return int(number)


_BEFORE = (
    "SELECT id FROM artifacts WHERE key = $1 AND (created < $2 OR (created = $2 AND id < $3)) "
    "ORDER BY created DESC, id DESC LIMIT 1"
)
_AFTER = (
    "SELECT id FROM artifacts WHERE key = $1 AND (created > $2 OR (created = $2 AND id > $3)) "
    "ORDER BY created, id LIMIT 1"
)


async def beside(reader: Reader, key: str, created: int, id: str) -> tuple[str | None, str | None]:
    """Ids of the version of a key before an artifact, and of the one after it."""
    before = await reader.fetch(_BEFORE, key, created, id)
    after = await reader.fetch(_AFTER, key, created, id)
    return (before[0][0] if before else None, after[0][0] if after else None)


class Point(Struct, frozen=True):
    """A value at a time."""

    id: str
    created: datetime
    value: float


_VALUES = (
    "SELECT id, created, document FROM artifacts WHERE key = $1 "
    "ORDER BY created DESC, id DESC LIMIT $2"
)


async def values(reader: Reader, key: str) -> Sequence[Point]:
    """The newest values of a key whose artifacts are numbers, oldest first."""
    points = []
    for id_, created, text in await reader.fetch(_VALUES, key, VALUES_MAX):
        value = _number(_peek.decode(text).data)
        if value is not None:
            points.append(Point(id_, from_microseconds(created), value))
    return points[::-1]


def _number(data: Raw) -> float | None:
    try:
        return float(msgspec.json.decode(data, type=float))
    except msgspec.DecodeError:
        return None


class Whole(Struct, frozen=True):
    """An artifact with the names of what surrounds it."""

    artifact: Artifact
    flow_run: Named | None
    task_run: Named | None
    created: int
    """Microseconds."""


_ONE = (
    "SELECT artifacts.document, flow_runs.id, flow_runs.name, task_runs.id, task_runs.name, "
    f"artifacts.created FROM artifacts {_JOINS.format(t='artifacts')} WHERE "
)


async def one(reader: Reader, id: str) -> Whole | None:
    """An artifact; None if there is no such one."""
    rows = await reader.fetch(f"{_ONE}artifacts.id = $1", id)
    return _whole(rows[0]) if rows else None


async def newest(reader: Reader, key: str, limit: int) -> Sequence[Whole]:
    """The newest artifacts of a key, the newest first."""
    rows = await reader.fetch(
        f"{_ONE}artifacts.key = $1 ORDER BY artifacts.created DESC, artifacts.id DESC LIMIT $2",
        key,
        limit,
    )
    return [_whole(row) for row in rows]


def _whole(row: Row) -> Whole:
    return Whole(parse(Artifact, row[0]), _named(row[1], row[2]), _named(row[3], row[4]), row[5])


_OF_FLOW_RUN = (
    f"SELECT {_COLUMNS.format(t='artifacts', id='id')} FROM artifacts "
    f"{_JOINS.format(t='artifacts')} WHERE artifacts.{{of}} = $1 "
    "AND (artifacts.type IS NULL OR artifacts.type <> 'result') "
    "ORDER BY artifacts.created, artifacts.id LIMIT $2"
)


async def of_flow_run(reader: Reader, id: str) -> Sequence[Listed]:
    """What a flow run and its task runs left behind, oldest first; stored results are left out."""
    rows = await reader.fetch(_OF_FLOW_RUN.format(of="flow_run_id"), id, OF_RUN_MAX)
    return [_listed(row) for row in rows]


async def of_task_run(reader: Reader, id: str) -> Sequence[Listed]:
    """What a task run left behind, oldest first; stored results are left out."""
    rows = await reader.fetch(_OF_FLOW_RUN.format(of="task_run_id"), id, OF_RUN_MAX)
    return [_listed(row) for row in rows]


def _page(cut: Cut) -> Page:
    return Page([_listed(row) for row in cut.rows], cut.before, cut.after)


def _listed(row: Row) -> Listed:
    id_, key, kind, created, updated, run_id, run, task_id, task, text = row
    peek = _peek.decode(text)
    small = len(bytes(peek.data)) <= PREVIEWED_BYTES_MAX
    return Listed(
        id=id_,
        key=key,
        type=kind,
        description=_line(peek.description or "") or None,
        preview=preview(kind, msgspec.json.decode(peek.data)) if small else "large",
        progress=_number(peek.data) if kind == "progress" else None,
        created=from_microseconds(created),
        updated=from_microseconds(updated),
        flow_run=_named(run_id, run),
        task_run=_named(task_id, task),
    )


def _named(id_: str | None, name: str | None) -> Named | None:
    return None if id_ is None else Named(id_, name or "")


_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def preview(kind: str | None, data: Any) -> str:
    """What an artifact says, in a line."""
    if kind == "table":
        rows, columns = table(data)
        if rows:
            return f"{len(rows)} × {len(columns)}: {', '.join(columns)}"[:PREVIEW_CHARACTERS_MAX]
        return "an empty table"
    if isinstance(data, str):
        return _line(_LINK.sub(r"\1", data) if kind == "markdown" else data)
    return "" if data is None else _line(msgspec.json.encode(data).decode())


def _line(text: str) -> str:
    """The first line that says something, without the signs of Markdown."""
    for line in text.splitlines():
        said = line.strip().lstrip("#>*-| ").strip().replace("**", "").replace("`", "")
        if said:
            long = len(said) > PREVIEW_CHARACTERS_MAX
            return f"{said[:PREVIEW_CHARACTERS_MAX]}…" if long else said
    return ""


def table(data: Any) -> tuple[list[list[Any]], list[str]]:
    """Rows and columns of a table as clients send it: rows as objects or lists, or columns."""
    if isinstance(data, str):
        try:
            data = msgspec.json.decode(data)
        except msgspec.DecodeError:
            return [], []
    if isinstance(data, dict):
        columns = [str(name) for name in data]
        held = [list(one.values()) if isinstance(one, dict) else one for one in data.values()]
        lists = [one if isinstance(one, list) else [one] for one in held]
        length = max(map(len, lists), default=0)
        return [
            [one[at] if at < len(one) else None for one in lists] for at in range(length)
        ], columns
    if not isinstance(data, list):
        return [], []
    if all(isinstance(row, dict) for row in data):
        columns = list(dict.fromkeys(str(name) for row in data for name in row))
        return [[row.get(name) for name in columns] for row in data], columns
    rows = [row if isinstance(row, list) else [row] for row in data]
    width = max(map(len, rows), default=0)
    return [[*row, *[None] * (width - len(row))] for row in rows], [
        str(at + 1) for at in range(width)
    ]
