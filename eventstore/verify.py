"""Reads the whole log and says where it is not what it has to be.

Nothing of the log is kept in memory but one page: what an event is compared with (the version
before it in its stream, its stream's row) is joined to it by the database. Others may append
meanwhile.
"""

from collections.abc import AsyncIterator, Callable
from typing import Literal

from msgspec import Struct

from eventstore import log
from eventstore.chain import GENESIS, chained
from eventstore.codec import EVENTS
from eventstore.database import Database, Dialect, Row, Table
from eventstore.errors import LogCorrupted

FINDINGS_MAX = 1_000
"""After so many the reader has understood."""
PAGE = 1_000
"""Events, or streams, read from the database at a time."""

Kind = Literal["gap", "version", "stream", "hash", "time", "head"]


class Finding(Struct, frozen=True):
    """One thing that is wrong."""

    kind: Kind
    position: int | None
    """Where in the log; None if it is about a table beside it."""
    text: str


async def verify(
    database: Database,
    progress: Callable[[int], None] = lambda position: None,
    lines: Table | None = None,
) -> list[Finding]:
    """What is wrong with the log, `FINDINGS_MAX` findings at most; empty if nothing is.

    `progress` is told the position reached; `lines` is the table of the lines that the head
    numbers. Raises DatabaseUnavailable.
    """
    findings: list[Finding] = []
    checks = [_events(database, progress), _streams(database), _beyond_the_head(database)]
    if lines is not None:
        checks.append(_lines_beyond_the_head(database, lines))
    for check in checks:
        async for finding in check:
            findings.append(finding)
            if len(findings) == FINDINGS_MAX:
                return findings
    return findings


async def _events(database: Database, progress: Callable[[int], None]) -> AsyncIterator[Finding]:
    try:
        head = await log.head(database)
    except LogCorrupted as error:
        yield Finding("head", None, str(error))
        return
    position, time, chain = 0, 0, GENESIS
    sql = _page_sql(database.dialect)
    while position < head.position:
        rows = await database.fetch(sql, position, head.position, PAGE)
        if not rows:
            break
        for row in rows:
            event, stored, before, stream = tuple(row[:-3]), bytes(row[-3]), row[-2], row[-1]
            whole = row[0] == position + 1
            if not whole:
                yield _gap(position + 1, row[0] - 1)
            elif chained(chain, event) != stored:
                # What follows is chained to the stored hash: one forged row is one finding.
                yield Finding("hash", row[0], "the hash does not follow from the event")
            if row[5] <= time:
                yield Finding("time", row[0], "recorded no later than the event before it")
            for text in _version_errors(row[0], row[1], row[2], before, stream):
                yield Finding("version", row[0], text)
            position, time, chain = row[0], row[5], stored
        progress(position)
    if position < head.position:
        yield _gap(position + 1, head.position)
    elif (time, chain) != (head.recorded_at, head.hash):
        yield Finding("head", position, "log_head and the last event differ in time or hash")


def _page_sql(dialect: Dialect) -> str:
    columns = ", ".join(
        f"e.{name}::text" if kind == "json" and dialect.name == "postgres" else f"e.{name}"
        for name, kind in EVENTS.columns.items()
    )
    return (
        f"SELECT {columns}, p.position, s.version FROM events e "
        "LEFT JOIN events p ON p.stream = e.stream AND p.version = e.version - 1 "
        "LEFT JOIN streams s ON s.stream = e.stream "
        "WHERE e.position > $1 AND e.position <= $2 ORDER BY e.position LIMIT $3"
    )


def _gap(first: int, last: int) -> Finding:
    text = "this event is missing" if first == last else f"the events up to {last} are missing"
    return Finding("gap", first, text)


def _version_errors(
    position: int, stream: str, version: int, before: int | None, known: int | None
) -> list[str]:
    errors: list[str] = []
    if version < 1:
        errors.append(f"stream {stream!r} has version {version}")
    elif version > 1 and before is None:
        errors.append(f"stream {stream!r} has no version {version - 1}")
    elif before is not None and before > position:
        errors.append(f"version {version - 1} of stream {stream!r} comes later, at {before}")
    if version == 1 and known is None:
        errors.append(f"stream {stream!r} is not in the table of streams")
    return errors


STREAMS_AND_EVENTS = """
SELECT s.stream, s.version, (SELECT max(e.version) FROM events e WHERE e.stream = s.stream)
FROM streams s WHERE s.stream > $1 ORDER BY s.stream LIMIT $2
"""


async def _streams(database: Database) -> AsyncIterator[Finding]:
    after = ""
    while rows := await database.fetch(STREAMS_AND_EVENTS, after, PAGE):
        for stream, version, last in rows:
            if version != last:
                text = f"stream {stream!r} is said to be at version {version}, not {last or 0}"
                yield Finding("stream", None, text)
        after = rows[-1][0]


# One statement, so that an append in between is in both numbers or in neither.
HEAD_AND_LAST = "SELECT (SELECT position FROM log_head), (SELECT max(position) FROM events)"


async def _beyond_the_head(database: Database) -> AsyncIterator[Finding]:
    row: Row
    (row,) = await database.fetch(HEAD_AND_LAST)
    head, last = row[0] or 0, row[1] or 0
    if last > head:
        yield Finding("head", head + 1, f"log_head is at {head}, but there are events up to {last}")


async def _lines_beyond_the_head(database: Database, table: Table) -> AsyncIterator[Finding]:
    # One statement, as above. The next line would be given a number that is taken.
    (key,) = table.key
    ((numbered, last),) = await database.fetch(
        f"SELECT (SELECT lines FROM log_head), (SELECT max({key}) FROM {table.name})"
    )
    if (last or 0) > (numbered or 0):
        text = f"log_head has numbered {numbered or 0} lines of {table.name}, but there is {last}"
        yield Finding("head", None, text)
