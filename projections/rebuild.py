"""Folding the log anew: into the read models themselves, or beside them to compare.

The same `apply` as live, the same `Rows`; only where rows come from and go to differs. A rebuild is
one transaction that holds the log's lock: readers see the old rows until it commits, writers wait,
and a process killed in the middle has changed nothing.
"""

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from eventstore import checkpoints, log, migrate
from eventstore.checkpoints import Checkpoint
from eventstore.codec import Codec
from eventstore.database import Database, Dialect, Reader, Transaction
from eventstore.events import Recorded
from eventstore.ids import new_id
from eventstore.migrate import Target
from eventstore.sqlite import SqliteDatabase
from projections.digests import table_digest
from projections.projection import Projection, Rows, fold

BATCH_EVENTS = 5_000
"""Events folded in memory before their rows are written."""
KEPT_ROWS_MAX = 100_000
"""Rows kept in memory from one batch to the next."""
TIMEOUT_SECONDS = 24 * 60 * 60.0
"""For the database handle of a rebuild: how long its one transaction may take."""

READ_MODEL_MIGRATIONS = ("0002.read-models", "0004.emissions", "0005.run-totals")
"""Migrations that make nothing but read models."""

HOLD_CHECKPOINTS = "UPDATE checkpoints SET position = position"
"""Locks every checkpoint before any table of a read model, in the order in which a running
projector takes them: otherwise the two could wait for each other."""

Progress = Callable[[int, int], None]
"""Told the position reached and the position to reach."""


def no_progress(position: int, until: int) -> None:
    """For callers that do not watch."""


async def fold_page(
    tx: Transaction,
    rows: Rows,
    projections: Sequence[Projection],
    page: Sequence[Recorded[Any]],
) -> None:
    """Fold some events on top of the tables of `tx`, and write each touched row once."""
    wanted = [
        key
        for fact in page
        for projection in projections
        if type(fact.event) in projection.handles
        for key in projection.reads(fact)
    ]
    await rows.load(tx, wanted)
    for fact in page:
        fold(projections, rows, fact)
    await rows.write(tx)


async def replay(
    tx: Transaction,
    dialect: Dialect,
    codec: Codec,
    projections: Sequence[Projection],
    until: int,
    progress: Progress = no_progress,
) -> None:
    """Fold the log up to `until` into empty tables, all in the one transaction."""
    rows, after = Rows(), 0
    while after < until:
        page = await log.read_all(tx, dialect, codec, after, until, BATCH_EVENTS)
        if not page:
            return
        await fold_page(tx, rows, projections, page)
        rows = rows.carried(KEPT_ROWS_MAX)
        after = page[-1].position
        progress(after, until)


async def rebuild(
    database: Database,
    codec: Codec,
    projections: Sequence[Projection],
    progress: Progress = no_progress,
) -> int:
    """Empty the tables of these projections and fold them anew; the position they are at then.

    `database` should be opened with `TIMEOUT_SECONDS`.
    """

    async def work(tx: Transaction) -> int:
        head, _ = await log.lock(tx, database.dialect)
        await tx.execute(HOLD_CHECKPOINTS)
        for projection in projections:
            for model in projection.models:
                await tx.execute(f"DELETE FROM {model.table.name}")
        await _refill(tx, database.dialect, codec, projections, head.position, progress)
        return head.position

    return await database.transact(work)


async def outdated(reader: Reader, projections: Sequence[Projection]) -> list[Projection]:
    """The inline projections whose rows were folded by another version of their code."""
    folded = {
        checkpoint.name: checkpoint.version for checkpoint in await checkpoints.load_all(reader)
    }
    return [p for p in projections if p.mode == "inline" and folded.get(p.name) != p.version]


async def bring_up_to_date(
    database: Database,
    codec: Codec,
    projections: Sequence[Projection],
    progress: Progress = no_progress,
) -> list[str]:
    """Fold inline read models anew whose code has changed; their names. Safe for many starters.

    Derived ones see to themselves. `database` should be opened with `TIMEOUT_SECONDS`.
    """
    if not await outdated(database, projections):
        return []

    async def work(tx: Transaction) -> list[str]:
        head, _ = await log.lock(tx, database.dialect)
        await tx.execute(HOLD_CHECKPOINTS)
        # Asked again under the lock: another starter may have been quicker.
        old = await outdated(tx, projections)
        for projection in old:
            for model in projection.models:
                await tx.execute(f"DELETE FROM {model.table.name}")
        await _refill(tx, database.dialect, codec, old, head.position, progress)
        return [projection.name for projection in old] if head.position else []

    return await database.transact(work)


async def reset(
    database: Database,
    target: Target,
    codec: Codec,
    projections: Sequence[Projection],
    progress: Progress = no_progress,
    *,
    erase_log: bool = False,
) -> int:
    """Drop every read model, apply their schema anew and replay the log from scratch.

    With `erase_log` the log and what stands beside it are emptied first, under a new epoch. Returns
    the position replayed to.
    """

    async def work(tx: Transaction) -> int:
        head, _ = await log.lock(tx, database.dialect)
        await tx.execute(HOLD_CHECKPOINTS)
        for name in reversed(READ_MODEL_MIGRATIONS):
            await tx.script(migrate.sql_of(target, name, rollback=True))
        for name in READ_MODEL_MIGRATIONS:
            await tx.script(migrate.sql_of(target, name))
        position = head.position
        if erase_log:
            await log.erase(tx, database.dialect, new_id().replace("-", ""))
            await tx.execute("DELETE FROM log_lines")
            position = 0
        await tx.execute("DELETE FROM checkpoints")
        await _refill(tx, database.dialect, codec, projections, position, progress)
        return position

    return await database.transact(work)


async def _refill(
    tx: Transaction,
    dialect: Dialect,
    codec: Codec,
    projections: Sequence[Projection],
    until: int,
    progress: Progress,
) -> None:
    await replay(tx, dialect, codec, projections, until, progress)
    for projection in projections:
        await checkpoints.save(tx, Checkpoint(projection.name, projection.version, until))


class Difference(Struct, frozen=True):
    """A table that is not what the log says."""

    projection: str
    table: str
    position: int
    live: str
    rebuilt: str


async def verify(
    database: Database,
    codec: Codec,
    projections: Sequence[Projection],
    progress: Progress = no_progress,
) -> list[Difference]:
    """Fold the log beside the read models and compare; empty if live and rebuilt are the same.

    Reads one snapshot, so it may run while others write. Derived projections are compared at their
    own checkpoint.
    """
    differences: list[Difference] = []
    async with database.snapshot() as snapshot:
        head = await log.head(snapshot)
        inline = [p for p in projections if p.mode == "inline"]
        groups = [(inline, head.position)]
        for projection in projections:
            if projection.mode == "derived":
                checkpoint = await checkpoints.load(snapshot, projection.name)
                groups.append(([projection], checkpoint.position if checkpoint else 0))
        for group, position in groups:
            async with scratch() as beside:
                await _fold_beside(
                    snapshot, database.dialect, codec, beside, group, position, progress
                )
                for projection in group:
                    for model in projection.models:
                        live = await table_digest(snapshot, model.table)
                        rebuilt = await table_digest(beside, model.table)
                        if live != rebuilt:
                            differences.append(
                                Difference(
                                    projection.name, model.table.name, position, live, rebuilt
                                )
                            )
    return differences


async def _fold_beside(
    source: Reader,
    dialect: Dialect,
    codec: Codec,
    beside: Database,
    projections: Sequence[Projection],
    until: int,
    progress: Progress,
) -> None:
    """Page by page: the source is read between the transactions of the scratch database."""
    after = 0
    rows = Rows()
    while after < until:
        page = await log.read_all(source, dialect, codec, after, until, BATCH_EVENTS)
        if not page:
            return

        async def work(tx: Transaction, rows: Rows = rows, page: Sequence[Any] = page) -> None:
            await fold_page(tx, rows, projections, page)

        await beside.transact(work)
        rows = rows.carried(KEPT_ROWS_MAX)
        after = page[-1].position
        progress(after, until)


@asynccontextmanager
async def scratch() -> AsyncIterator[Database]:
    """An empty database with the read models' tables, gone afterwards.

    Always SQLite: a digest is the same on either engine, and a file needs nobody's permission.
    """
    folder = Path(tempfile.mkdtemp(prefix="pluperfect-"))
    try:
        path = folder / "scratch.db"
        path.touch()
        database = SqliteDatabase(path, TIMEOUT_SECONDS, durable=False)
        try:

            async def create(tx: Transaction) -> None:
                for name in READ_MODEL_MIGRATIONS:
                    await tx.script(migrate.sql_of(Target(path=path), name))

            await database.transact(create)
            yield database
        finally:
            await database.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
