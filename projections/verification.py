"""Whether read models are what the log says: it is folded beside them, and the two are compared."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from eventstore import checkpoints, log, migrate
from eventstore.codec import Codec
from eventstore.database import Database, Dialect, Reader, Transaction
from eventstore.migrate import Target
from eventstore.sqlite import SqliteDatabase
from projections.digests import table_digest
from projections.projection import Projection, Rows
from projections.rebuild import TIMEOUT_SECONDS
from projections.replay import KEPT_ROWS_MAX, Progress, fold_page, no_progress
from projections.schema import READ_MODEL_MIGRATIONS

BATCH_EVENTS = 5_000
"""Events folded in memory before their rows are written into a scratch database."""


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
    while True:
        generation, differences = await _compare(database, codec, projections, progress)
        # A name means the newest table of that name even to an older snapshot of Postgres, which
        # sees only a part of its rows.
        if (await log.head(database)).generation == generation:
            return differences


async def _compare(
    database: Database, codec: Codec, projections: Sequence[Projection], progress: Progress
) -> tuple[int, list[Difference]]:
    """The generation of the read models that were compared, and what was found."""
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
    return head.generation, differences


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
