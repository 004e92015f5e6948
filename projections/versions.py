"""Whether read models are as the code of this release folds them; if not, they are folded anew."""

import asyncio
from collections.abc import Sequence

from eventstore import checkpoints, log
from eventstore.checkpoints import Checkpoint
from eventstore.codec import Codec
from eventstore.database import Database, Reader, Transaction
from projections.projection import Projection
from projections.rebuild import REBUILDING, TakenOver, rebuild
from projections.replay import Progress, no_progress

STANDSTILL_SECONDS = 2.0
"""A rebuild whose checkpoint stands still for so long may have lost its process."""


async def outdated(reader: Reader, projections: Sequence[Projection]) -> list[Projection]:
    """The projections whose rows an older version of their code has folded, or none.

    What a newer one has folded is left alone: an older server that is started again, while others
    are replaced by newer ones, must not take it back.
    """
    folded = {
        checkpoint.name: checkpoint.version for checkpoint in await checkpoints.load_all(reader)
    }
    return [p for p in projections if folded.get(p.name, 0) < p.version]


async def nothing_folded(reader: Reader, projections: Sequence[Projection]) -> bool:
    """Whether no release has ever folded any of these read models: their tables are new, or were
    dropped."""
    names = {one.name for one in projections}
    found = await checkpoints.load_all(reader)
    return not any(one.version for one in found if one.name in names)


async def bring_up_to_date(
    database: Database,
    codec: Codec,
    projections: Sequence[Projection],
    progress: Progress = no_progress,
) -> list[str]:
    """Fold read models anew whose code has changed; their names. Safe for many starters.

    `database` should be opened with `TIMEOUT_SECONDS`. Raises what `rebuild` raises.
    """
    if not await outdated(database, projections):
        return []

    async def claim(tx: Transaction) -> bool:
        head, _ = await log.lock(tx, database.dialect)
        if head.position == 0:
            for one in await outdated(tx, projections):
                await checkpoints.save(tx, Checkpoint(one.name, one.version, 0))
        return head.position == 0

    if await database.transact(claim):
        return []
    while old := await outdated(database, projections):
        if await _somebody_rebuilds(database):
            continue
        try:
            await rebuild(database, codec, old, progress)
        except TakenOver:
            continue
        return [one.name for one in old]
    return []


async def _somebody_rebuilds(database: Database) -> bool:
    """Whether a rebuild is seen to make progress, within `STANDSTILL_SECONDS`."""

    async def seen() -> list[Checkpoint]:
        found = await checkpoints.load_all(database)
        return [one for one in found if one.name.startswith(REBUILDING)]

    before = await seen()
    if not before:
        return False
    await asyncio.sleep(STANDSTILL_SECONDS)
    return await seen() != before
