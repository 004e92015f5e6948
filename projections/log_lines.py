"""What runs print: an append-only table beside the log.   Table: migrations/*/0003.log-lines.sql

Not a projection: lines are not events, they cannot be folded again. They share the commits of the
log, and its head counts them: the number of a line is its place among all lines ever written.
"""

import csv
import io
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import lru_cache

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

_encode = msgspec.json.Encoder().encode


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


def shown(row: Row) -> LogLine:
    """A row of the table as the API shows it."""
    line, created, timestamp, level, name, message, flow_run_id, task_run_id = row
    came, _ = _arrival(created)
    return LogLine(
        line_id(line, created),
        came,
        came,
        name,
        level,
        message,
        from_microseconds(timestamp),
        flow_run_id,
        task_run_id,
    )


def line_id(line: int, created: int) -> str:
    """The id of a line: a UUIDv7 of the time it came, with its number where others are random."""
    tail = f"{1 << 63 | line & _LOW:016x}"
    return f"{_arrival(created)[1]}{line >> 62:03x}-{tail[:4]}-{tail[4:]}"


_LOW = (1 << 62) - 1


@lru_cache(maxsize=64)
def _arrival(created: int) -> tuple[datetime, str]:
    """A time and how ids of that time begin. Lines come in batches, which share it."""
    text = f"{created // 1000 & 0xFFFF_FFFF_FFFF:012x}"
    return from_microseconds(created), f"{text[:8]}-{text[8:]}-7"


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
        ", ".join(TABLE.columns),
        Filters(logs=asked),
        sort,
        dialect,
        limit=limit,
        offset=offset,
        wide=True,
    )
    rows = await reader.fetch(query.sql, *query.params)
    return _encode([shown(row) for row in rows])


AFTER = (
    f"SELECT {', '.join(TABLE.columns)} FROM log_lines "
    "WHERE line > $1 AND line <= $2 ORDER BY line LIMIT $3"
)


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
