"""Log lines of one run for people to read: whole, in order, some thousands at a time.

A part of them begins behind the last line of the one before, named by time and number, so that
each costs the same and none is skipped while lines are written.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from eventstore.database import Dialect, Reader, Row
from orchestration.refusals import Invalid

PART_LINES = 5_000
"""Lines in one part."""

Of: TypeAlias = Literal["flow_run_id", "task_run_id"]
Line: TypeAlias = tuple[int, int, int, str | None, str, str]
"""Number, time in microseconds, level, task run, logger, message."""


class Part(Struct, frozen=True):
    """Some lines, oldest first."""

    lines: Sequence[Line]
    tasks: Mapping[str, str]
    """Names of the task runs that wrote them, by id."""
    more: bool
    """Whether there are lines beyond, in the direction that was read."""
    began: int | None
    """Time of the run's first line, which may be none of these."""


_COLUMNS = "line, timestamp, level, task_run_id, name, message"
_PART = (
    f"SELECT {_COLUMNS} FROM log_lines WHERE {{of}} = $1 "
    "AND (timestamp, line) {sign} ($2, $3) ORDER BY timestamp {way}, line {way} LIMIT $4"
)
# Python's SQLite lets go of the interpreter for each row; a part is one row, and decoded at once.
_AS_ONE_ROW = f"SELECT json_group_array(json_array({_COLUMNS})) FROM ({{}})"
_decode = msgspec.json.Decoder(list[Line]).decode

_BEGAN = "SELECT timestamp FROM log_lines WHERE {of} = $1 ORDER BY timestamp, line LIMIT 1"
_TIME = "SELECT timestamp FROM log_lines WHERE line = $1 AND {of} = $2"

LINE_MAX = 2**63 - 1
_START = (-(2**63), 0)
_END = (LINE_MAX, LINE_MAX)


def statement(of: Of, backward: bool) -> str:
    """The query of a part; its parameters are the run, a time, a line and a limit."""
    sign, way = ("<", "DESC") if backward else (">", "ASC")
    return _PART.format(of=of, sign=sign, way=way)


async def part(
    reader: Reader,
    dialect: Dialect,
    of: Of,
    id: str,
    *,
    after: str | None = None,
    before: str | None = None,
    line: int | None = None,
    backward: bool = False,
) -> Part:
    """Lines of a run from its first one on, or from its last one back if `backward`.

    `after` and `before` say behind or before which line: `TIME~LINE`. `line` says from which one
    on, by its number: none, if the run has no such line. Raises Invalid.
    """
    backward = backward or before is not None
    place = before or after
    if line is not None:
        found = await reader.fetch(_TIME.format(of=of), line, id)
        at = (found[0][0], line - 1) if found else _END
    else:
        at = (_END if backward else _START) if place is None else _place(place)
    sql = statement(of, backward)
    if dialect.name == "postgres":
        lines = [_line(row) for row in await reader.fetch(sql, id, *at, PART_LINES + 1)]
    else:
        rows = await reader.fetch(_AS_ONE_ROW.format(sql), id, *at, PART_LINES + 1)
        lines = _decode(rows[0][0])
    more = len(lines) > PART_LINES
    lines = lines[:PART_LINES]
    if backward:
        lines.reverse()
    first = await reader.fetch(_BEGAN.format(of=of), id)
    began = first[0][0] if first else None
    return Part(lines, await task_names(reader, dialect, lines), more, began)


def _line(row: Row) -> Line:
    return (row[0], row[1], row[2], row[3], row[4], row[5])


def _place(text: str) -> tuple[int, int]:
    time, _, line = text.partition("~")
    try:
        place = int(time), int(line)
    except ValueError:
        raise Invalid(f"{text[:40]!r} names no log line") from None
    if not all(-(2**63) <= number < 2**63 for number in place):
        raise Invalid(f"{text[:40]!r} names no log line")
    return place


_TASK_NAMES = "SELECT id, name FROM task_runs WHERE {in_ids}"


async def task_names(reader: Reader, dialect: Dialect, lines: Sequence[Line]) -> dict[str, str]:
    """Names of the task runs that wrote these lines, by id."""
    ids = sorted({line[3] for line in lines if line[3] is not None})
    if not ids:
        return {}
    sql = _TASK_NAMES.format(in_ids=dialect.in_list("id", "$1"))
    rows = await reader.fetch(sql, msgspec.json.encode(ids).decode())
    return {row[0]: row[1] for row in rows}
