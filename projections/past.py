"""A picture of the past: a copy of the log up to a position, the read models folded from it, and
what runs had printed by then.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from eventstore import checkpoints, log
from eventstore.checkpoints import Checkpoint
from eventstore.codec import EVENTS, Codec, to_microseconds
from eventstore.database import Database, Reader, Row, Transaction
from projections import log_lines
from projections.projection import Projection, Rows
from projections.replay import KEPT_ROWS_MAX, Progress, fold_page, no_progress

PAGE = 2_000
"""Events, or log lines, copied at a time."""
EVER = 2**63 - 1
"""Microseconds: later than anything."""

POSITION_AT = "SELECT coalesce(max(position), 0) FROM events WHERE recorded_at <= $1"
TIME_AFTER = "SELECT min(recorded_at) FROM events WHERE position = $1"


class Copied(Struct, frozen=True):
    """What a picture shows."""

    position: int
    """Of the last event."""
    lines: int
    """How many run log lines."""


async def copy(
    source: Database,
    picture: Database,
    codec: Codec,
    projections: Sequence[Projection],
    until: int | datetime,
    progress: Progress = no_progress,
) -> Copied:
    """Bring the empty database `picture` to where `source` was at a time, or after an event.

    After an event means until just before the next one: what a run printed in between is there.
    Log lines of runs that were deleted since are gone.
    """
    async with source.snapshot() as snapshot:
        until, moment = await _end(snapshot, until)
        rows, after = Rows(), 0
        while after < until:
            page = await log.read_rows(snapshot, source.dialect, after, until, PAGE)
            if not page:
                break
            rows = await _copy_page(picture, codec, projections, rows, page)
            after = page[-1][0]
            progress(after, until)
        lines = await _copy_lines(snapshot, picture, moment)

    async def finish(tx: Transaction) -> None:
        for projection in projections:
            await checkpoints.save(tx, Checkpoint(projection.name, projection.version, after))

    await picture.transact(finish)
    return Copied(after, lines)


async def _end(reader: Reader, until: int | datetime) -> tuple[int, int]:
    """The last position, and the last microsecond, that the picture shows."""
    if isinstance(until, datetime):
        moment = to_microseconds(until)
        ((position,),) = await reader.fetch(POSITION_AT, moment)
        return int(position), moment
    head = await log.head(reader)
    if until >= head.position:
        return head.position, EVER
    ((after,),) = await reader.fetch(TIME_AFTER, until + 1)
    return until, int(after) - 1


async def _copy_page(
    picture: Database,
    codec: Codec,
    projections: Sequence[Projection],
    rows: Rows,
    page: Sequence[Row],
) -> Rows:
    async def work(tx: Transaction) -> None:
        await tx.insert(EVENTS, page)
        await tx.upsert(log.STREAMS, list({row[1]: (row[1], row[2]) for row in page}.values()))
        await fold_page(tx, rows, projections, [codec.recorded(row) for row in page])
        last = page[-1]
        await tx.execute(log.ADVANCE_HEAD, last[0], last[5], bytes(last[-1]), 0)

    await picture.transact(work)
    return rows.carried(KEPT_ROWS_MAX)


LINES = (
    f"SELECT {', '.join(log_lines.TABLE.columns)} FROM log_lines "
    "WHERE line > $1 AND created <= $2 ORDER BY line LIMIT $3"
)
COUNT_LINES = "UPDATE log_head SET lines = $1"


async def _copy_lines(snapshot: Reader, picture: Database, moment: int) -> int:
    """How many there were."""
    copied, after = 0, 0
    while rows := await snapshot.fetch(LINES, after, moment, PAGE):

        async def work(tx: Transaction, rows: Sequence[Row] = rows) -> None:
            await tx.insert(log_lines.TABLE, rows)
            await tx.execute(COUNT_LINES, rows[-1][0])

        await picture.transact(work)
        copied += len(rows)
        after = rows[-1][0]
    return copied
