"""What can be done with block types. Slugs are unique, so commands are decided one by one."""

from eventstore.committer import Written
from eventstore.database import Transaction
from eventstore.ids import new_id
from eventstore.log import Decision
from orchestration.block_types import (
    BlockTypeCreate,
    BlockTypeUpdate,
    CreateBlockType,
    UpdateBlockType,
    decide,
)
from projections import block_types
from services.shell import Origin, Shell, appended

CATEGORY = "block-type"
CONTENTION = "blocks"
"""Types, schemas and documents look at each other: one command on any of them at a time."""


async def create(shell: Shell, body: BlockTypeCreate, origin: Origin) -> tuple[str, Written]:
    """Make a kind of block known: its id. Raises Conflict if the slug is taken, and Protected."""
    id_ = new_id()

    async def decide_under_lock(tx: Transaction) -> Decision:
        taken = await block_types.by_slug(tx, body.slug) is not None
        command = CreateBlockType(id=id_, body=body, slug_is_taken=taken)
        return Decision(appends=(appended(CATEGORY, id_, decide(command, None)),))

    return id_, await shell.execute_serially(CONTENTION, decide_under_lock, origin)


async def update(shell: Shell, id_: str, body: BlockTypeUpdate, origin: Origin) -> None:
    """Change how a type is shown. Raises NotFound."""

    async def decide_under_lock(tx: Transaction) -> Decision:
        events = decide(UpdateBlockType(id=id_, body=body), await block_types.by_id(tx, id_))
        return Decision(appends=(appended(CATEGORY, id_, events),))

    await shell.execute_serially(CONTENTION, decide_under_lock, origin)
