"""A picture of the past: a copy of the log up to a position, and the read models folded from it."""

from collections.abc import Sequence
from datetime import datetime

from eventstore import checkpoints, log
from eventstore.checkpoints import Checkpoint
from eventstore.codec import EVENTS, Codec, to_microseconds
from eventstore.database import Database, Reader, Row, Transaction
from projections import log_lines
from projections.projection import Projection, Rows
from projections.rebuild import KEPT_ROWS_MAX, Progress, fold_page, no_progress

PAGE = 2_000
"""Events, or log lines, copied at a time."""

POSITION_AT = "SELECT coalesce(max(position), 0) FROM events WHERE recorded_at <= $1"


async def position_at(reader: Reader, moment: datetime) -> int:
    """Position of the last event that was recorded by then; 0 if there was none."""
    ((position,),) = await reader.fetch(POSITION_AT, to_microseconds(moment))
    return int(position)


async def copy(
    source: Database,
    picture: Database,
    codec: Codec,
    projections: Sequence[Projection],
    until: int,
    progress: Progress = no_progress,
) -> None:
    """Bring the empty database `picture` to where `source` was after event `until`."""
    async with source.snapshot() as snapshot:
        until = min(until, (await log.head(snapshot)).position)
        rows, after, last = Rows(), 0, None
        while after < until:
            page = await log.read_rows(snapshot, source.dialect, after, until, PAGE)
            if not page:
                break
            rows = await _copy_page(picture, codec, projections, rows, page)
            last = page[-1]
            after = last[0]
            progress(after, until)
        moment = last[5] if last is not None else 0
        await _copy_lines(snapshot, picture, moment)

    async def finish(tx: Transaction) -> None:
        for projection in projections:
            await checkpoints.save(tx, Checkpoint(projection.name, projection.version, after))

    await picture.transact(finish)


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


async def _copy_lines(snapshot: Reader, picture: Database, moment: int) -> None:
    after = 0
    while rows := await snapshot.fetch(LINES, after, moment, PAGE):

        async def work(tx: Transaction, rows: Sequence[Row] = rows) -> None:
            await tx.insert(log_lines.TABLE, rows)
            await tx.execute(COUNT_LINES, rows[-1][0])

        await picture.transact(work)
        after = rows[-1][0]
