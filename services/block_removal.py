"""Deleting block types and schemas, with all that goes with them, each with an event of its own."""

from eventstore.database import Transaction
from eventstore.events import NewEvents
from eventstore.log import Decision
from orchestration import block_schemas as schema_decider
from orchestration import block_types as type_decider
from orchestration.block_documents import BlockDocument
from orchestration.block_schemas import BlockSchema, DeleteBlockSchema
from orchestration.block_types import DeleteBlockType
from projections import block_documents, block_schemas, block_types
from services import block_schemas as schema_commands
from services import block_types as type_commands
from services.block_documents import deleted, destroying, tidied
from services.block_types import CONTENTION
from services.shell import Origin, Shell, appended
from services.vault import Vault


async def delete_type(shell: Shell, vault: Vault, id_: str, origin: Origin) -> None:
    """Forget a type, its schemas and its documents. Raises NotFound and Protected."""
    doomed: list[BlockDocument] = []

    async def decide_under_lock(tx: Transaction) -> Decision:
        events = type_decider.decide(DeleteBlockType(id=id_), await block_types.by_id(tx, id_))
        doomed[:] = await block_documents.of_type(tx, id_)
        schemas = await block_schemas.of_type(tx, id_)
        appends = [
            *deleted(doomed, schemas),
            *(_schema_deleted(schema) for schema in schemas),
            appended(type_commands.CATEGORY, id_, events),
        ]
        return Decision(appends=appends, effects=destroying(vault, doomed))

    await shell.execute_serially(CONTENTION, decide_under_lock, origin)
    await tidied(vault, doomed)


async def delete_schema(shell: Shell, vault: Vault, id_: str, origin: Origin) -> None:
    """Forget a schema and its documents. Raises NotFound and Protected."""
    doomed: list[BlockDocument] = []

    async def decide_under_lock(tx: Transaction) -> Decision:
        schema = await block_schemas.by_id(tx, id_)
        found = await block_types.by_ids(tx, () if schema is None else (schema.block_type_id,))
        own = _schema_deleted(schema, id_, any(one.is_protected for one in found.values()))
        doomed[:] = await block_documents.of_schema(tx, id_)
        appends = [*deleted(doomed, () if schema is None else (schema,)), own]
        return Decision(appends=appends, effects=destroying(vault, doomed))

    await shell.execute_serially(CONTENTION, decide_under_lock, origin)
    await tidied(vault, doomed)


def _schema_deleted(
    schema: BlockSchema | None, id_: str = "", type_is_protected: bool = False
) -> NewEvents:
    id_ = schema.id if schema is not None else id_
    command = DeleteBlockSchema(id=id_, type_is_protected=type_is_protected)
    return appended(schema_commands.CATEGORY, id_, schema_decider.decide(command, schema))
