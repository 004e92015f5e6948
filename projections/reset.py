"""Read models from nothing: their tables made again, and the log replayed, or erased as well."""

from collections.abc import Sequence
from contextlib import suppress

from eventstore import checkpoints, log
from eventstore.checkpoints import Checkpoint
from eventstore.codec import Codec
from eventstore.database import Database, Transaction
from eventstore.errors import DatabaseUnavailable
from eventstore.ids import new_epoch
from eventstore.migrate import Target
from projections import secrets
from projections.projection import Projection
from projections.rebuild import HOLD_CHECKPOINTS, rebuild
from projections.replay import Progress, no_progress
from projections.schema import create_anew


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

    Until the new ones are complete the old ones are there. With `erase_log` the log and what stands
    beside it are emptied instead, under a new epoch. Returns the position replayed to.
    """
    if not erase_log:
        return (await rebuild(database, codec, projections, progress, recreate=True)).position

    async def erase(tx: Transaction) -> int:
        await log.lock(tx, database.dialect)
        await tx.execute(HOLD_CHECKPOINTS)
        await create_anew(tx, target)
        await log.erase(tx, database.dialect, new_epoch())
        await tx.execute("DELETE FROM log_lines")
        await secrets.forget_all(tx)
        await tx.execute(log.NEXT_GENERATION)
        for one in projections:
            await checkpoints.save(tx, Checkpoint(one.name, one.version, 0))
        return 0

    position = await database.transact(erase)
    if database.dialect.name == "sqlite":
        # Rebuilds have left pages behind that they did not overwrite. If others are writing again
        # already, these are overwritten as they are used.
        with suppress(DatabaseUnavailable):
            await database.fetch("VACUUM")
    return position
