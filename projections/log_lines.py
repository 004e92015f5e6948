"""What runs print: an append-only table beside the log.   Table: migrations/*/0003.log-lines.sql

Not a projection: lines are not events, they cannot be folded again. They share the commits of the
log, and its head counts them: the number of a line is its place among all lines ever written.
"""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from json.encoder import encode_basestring

import msgspec
from msgspec import Struct

from eventstore.codec import from_microseconds
from eventstore.database import Dialect, Reader, Row, Table, Transaction
from eventstore.log import Effect
from projections import queries
from projections.filters import Filters, LogFilter
from projections.sorting import LogSort

CSV_PAGE_LINES = 1_000
"""Lines read from the database at a time while a CSV file is sent."""

TABLE = Table(
    "log_lines",
    {
        "line": "bigint",
        "created": "bigint",
        "timestamp": "bigint",
        "level": "bigint",
        "name": "text",
        "message": "text",
        "flow_run_id": "text",
        "task_run_id": "text",
    },
    key=("line",),
)

OPTIONAL = frozenset({"flow_run_id", "task_run_id"})
"""Columns that may be null."""

_COLUMNS = ", ".join(TABLE.columns)
_quoted = encode_basestring


class LogLine(Struct, frozen=True):
    """A line as the API shows it."""

    id: str
    created: datetime | None
    updated: datetime | None
    name: str
    level: int
    message: str
    timestamp: datetime
    flow_run_id: str | None
    task_run_id: str | None


def texts(rows: Iterable[Row], *, stored: bool = True) -> list[str]:
    """Rows of the table as the API shows them, a JSON object each; unless `stored`, without the
    times at which they came."""
    # Written for the many: what lines have in common is made once, also if several tasks speak at
    # the same time, each in requests of its own.
    lines: list[str] = []
    heads: dict[tuple[int, int, str, int], tuple[str, str]] = {}
    runs, tail = (None, None), _tail(None, None)
    second, at = 0, _text(0)[:-1]
    for line, created, timestamp, level, name, message, flow_run_id, task_run_id in rows:
        common = (created, level, name, line >> _LOW_BITS)
        head = heads.get(common)
        if head is None:
            came = f'"{_text(created)}"' if stored else "null"
            head = heads[common] = (
                f'{{"id":"{_beginning(created, line >> _LOW_BITS)}',
                f'","created":{came},"updated":{came},"name":{_quoted(name)},"level":{level},'
                '"message":',
            )
        if timestamp // 1_000_000 != second:
            second = timestamp // 1_000_000
            at = _text(second * 1_000_000)[:-1]
        if (flow_run_id, task_run_id) != runs:
            runs = (flow_run_id, task_run_id)
            tail = _tail(flow_run_id, task_run_id)
        microsecond = timestamp - second * 1_000_000
        parts = f".{microsecond:06d}" if microsecond else ""
        lines.append(
            f'{head[0]}{line & _LOW:012x}{head[1]}{_quoted(message)},"timestamp":"{at}{parts}{tail}'
        )
    return lines


def _tail(flow_run_id: str | None, task_run_id: str | None) -> str:
    """The end of a line, from the end of its time on."""
    ids = (f'"{id}"' if id else "null" for id in (flow_run_id, task_run_id))
    return 'Z","flow_run_id":{},"task_run_id":{}}}'.format(*ids)


_LOW_BITS = 48
_LOW = (1 << _LOW_BITS) - 1


def _beginning(created: int, high: int) -> str:
    """The id of a line up to its last 48 bits: a UUIDv7 of the time it came, with its number where
    others are random. `high` are the bits of the number above those 48."""
    time = f"{created // 1000 & 0xFFFF_FFFF_FFFF:012x}"
    return f"{time[:8]}-{time[8:]}-7{high >> 14:03x}-{0x8000 | high & 0x3FFF:04x}-"


def _text(microseconds: int) -> str:
    time = from_microseconds(microseconds).replace(tzinfo=None)
    return f"{time.isoformat()}Z"


async def page(
    reader: Reader,
    dialect: Dialect,
    asked: LogFilter | None,
    sort: LogSort,
    *,
    limit: int,
    offset: int = 0,
) -> bytes:
    """The matching lines in order, as a JSON array."""
    query = queries.page(
        "log_lines",
        _COLUMNS,
        Filters(logs=asked),
        sort,
        dialect,
        limit=limit,
        offset=offset,
        wide=not _of_one_run(asked),
    )
    if dialect.name == "postgres":
        return _array(await reader.fetch(query.sql, *query.params))
    # Python's SQLite gives the interpreter lock away for each row, and gets it back late while the
    # event loop is busy; so there a page is one row.
    ((text,),) = await reader.fetch(AS_ONE_ROW.format(query.sql), *query.params)
    return _array(_decode_rows(text))


def _array(rows: Iterable[Row]) -> bytes:
    return f"[{','.join(texts(rows))}]".encode()


AS_ONE_ROW = f"SELECT json_group_array(json_array({_COLUMNS})) FROM ({{}})"
_decode_rows = msgspec.json.Decoder(
    list[tuple[int, int, int, int, str, str, str | None, str | None]]
).decode


def _of_one_run(asked: LogFilter | None) -> bool:
    """Whether the index that finds the lines also has them in order, so that nothing is sorted."""
    if asked is None or asked.operator != "and_":
        return False
    ids = (asked.flow_run_id, asked.task_run_id)
    return any(of is not None and of.any_ is not None and len(of.any_) == 1 for of in ids)


AFTER = f"SELECT {_COLUMNS} FROM log_lines WHERE line > $1 AND line <= $2 ORDER BY line LIMIT $3"


async def after(reader: Reader, line: int, until: int, limit: int) -> Sequence[Row]:
    """Rows with a number > `line` and <= `until` in order of arrival, `limit` at most.

    Fewer than `limit` are all there are; numbers of deleted lines are missing.
    """
    return await reader.fetch(AFTER, line, until, limit)


CSV_PAGE = (
    "SELECT timestamp, line, level, flow_run_id, task_run_id, message FROM log_lines "
    "WHERE flow_run_id = $1 AND (timestamp, line) > ($2, $3) ORDER BY timestamp, line LIMIT $4"
)
CSV_COLUMNS = ("timestamp", "level", "flow_run_id", "task_run_id", "message")


async def csv_pages(reader: Reader, flow_run_id: str) -> AsyncIterator[bytes]:
    """All lines of a flow run and its task runs, oldest first, as the parts of a CSV file."""
    text = io.StringIO()
    write = csv.writer(text).writerow
    write(CSV_COLUMNS)
    timestamp, line = -(2**63), 0
    while True:
        rows = await reader.fetch(CSV_PAGE, flow_run_id, timestamp, line, CSV_PAGE_LINES)
        for timestamp, line, level, flow_run, task_run, message in rows:  # noqa: B007
            write((from_microseconds(timestamp), level, flow_run, task_run, message))
        yield text.getvalue().encode()
        if len(rows) < CSV_PAGE_LINES:
            return
        text.seek(0)
        text.truncate()


DELETE_OF_FLOW_RUN = "DELETE FROM log_lines WHERE flow_run_id = $1"


def deletion(flow_run_id: str) -> Effect:
    """Removes the lines of a flow run, its task runs' included, with the command's commit."""

    async def delete(tx: Transaction) -> None:
        await tx.execute(DELETE_OF_FLOW_RUN, flow_run_id)

    return delete


DELETE_OF_TASK_RUN = "DELETE FROM log_lines WHERE task_run_id = $1"


def deletion_of_task_run(task_run_id: str) -> Effect:
    """Removes the lines of a task run, with the command's commit."""

    async def delete(tx: Transaction) -> None:
        await tx.execute(DELETE_OF_TASK_RUN, task_run_id)

    return delete
