"""What can be done with the server's default for result storage."""

from collections.abc import Collection

from eventstore.database import Transaction
from eventstore.log import Decision
from orchestration.result_storage import (
    THE_DEFAULT,
    ChooseResultStorage,
    ClearResultStorage,
    ResultStorage,
    ResultStorageCommand,
    decide,
)
from projections import block_documents, block_schemas, result_storage
from services.block_types import CONTENTION
from services.shell import Origin, Shell, appended

CATEGORY = "result-storage"


async def choose(shell: Shell, block_document_id: str, origin: Origin) -> int:
    """Make a block the default: the log's position after.

    Raises NotFound if there is no such block, Unsuitable if results cannot be stored with it.
    """

    async def decide_under_lock(tx: Transaction) -> Decision:
        command = ChooseResultStorage(
            block_document_id=block_document_id,
            capabilities=await _capabilities(tx, block_document_id),
        )
        return _decided(command, await result_storage.current(tx))

    written = await shell.execute_serially(CONTENTION, decide_under_lock, origin)
    return written.position


async def clear(shell: Shell, origin: Origin) -> int:
    """Have no default: the log's position after."""

    async def decide_under_lock(tx: Transaction) -> Decision:
        return _decided(ClearResultStorage(), await result_storage.current(tx))

    written = await shell.execute_serially(CONTENTION, decide_under_lock, origin)
    return written.position


async def _capabilities(tx: Transaction, block_document_id: str) -> Collection[str] | None:
    """What a block can do; None if there is no such block."""
    block = await block_documents.by_id(tx, block_document_id)
    if block is None:
        return None
    schema = await block_schemas.by_id(tx, block.block_schema_id)
    return schema.capabilities if schema is not None else ()


def _decided(command: ResultStorageCommand, storage: ResultStorage | None) -> Decision:
    own = appended(CATEGORY, THE_DEFAULT, decide(command, storage))
    return Decision(appends=(own,))
