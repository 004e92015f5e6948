"""What can be done with block documents. Names are unique, and they refer to each other, so
commands are decided one by one.

Secrets are encrypted on the way in and destroyed on the way out, in the transaction that records
what happened: the log never tells of a secret that is not kept, and none is kept that it tells is
gone.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import UNSET

from eventstore.committer import Written
from eventstore.database import Transaction
from eventstore.events import NewEvents
from eventstore.ids import new_id
from eventstore.log import Decision, Effect
from orchestration.block_documents import (
    BlockDocument,
    BlockDocumentCreate,
    BlockDocumentUpdate,
    Content,
    CreateBlockDocument,
    Data,
    DeleteBlockDocument,
    UpdateBlockDocument,
    check_size,
    decide,
    without_references,
)
from orchestration.block_schemas import BlockSchema
from orchestration.block_secrets import lost, put_in, take_apart, with_present
from orchestration.refusals import Conflict, NotFound, NotNow
from projections import block_documents, block_schemas, block_types
from projections.block_documents import SecretsLost
from services.block_types import CONTENTION
from services.shell import Origin, Shell, appended
from services.vault import Values, Vault, sealed_alike

CATEGORY = "block-document"


async def create(
    shell: Shell, vault: Vault, body: BlockDocumentCreate, origin: Origin
) -> tuple[str, Written]:
    """Save a block: its id. Raises Conflict, NotFound, NotNow, Invalid and SecretsLocked."""
    check_size(body.data)
    id_ = new_id()
    data, references = without_references(body.data)

    async def decide_under_lock(tx: Transaction) -> Decision:
        of_type = await block_types.by_id(tx, body.block_type_id)
        if of_type is None:
            raise NotFound("Block type", body.block_type_id)
        taken = body.name and await block_documents.by_name(tx, of_type.id, body.name)
        schema = await _schema(tx, body.block_schema_id)
        await _check_references(tx, id_, references)
        parts = take_apart(data, schema.secret_fields)
        secret, effects = None, []
        if parts.secrets:
            secret, keep = await vault.seal(tx, parts.secrets)
            effects.append(keep)
        command = CreateBlockDocument(
            id=id_,
            body=body,
            block_type_name=of_type.name,
            content=Content(parts.shown, references, secret),
            name_is_taken=bool(taken),
            capabilities=schema.capabilities,
        )
        own = appended(CATEGORY, id_, decide(command, None))
        return Decision(appends=(own,), effects=effects)

    return id_, await shell.execute_serially(CONTENTION, decide_under_lock, origin)


async def update(
    shell: Shell, vault: Vault, id_: str, body: BlockDocumentUpdate, origin: Origin
) -> None:
    """Save a block again. Raises what `create` raises."""
    sent: Data | None = None
    if body.data is not UNSET:
        check_size(body.data)
        sent = body.data
    elif not body.merge_existing_data:
        sent = {}
    destroyed: list[str] = []

    async def decide_under_lock(tx: Transaction) -> Decision:
        destroyed.clear()
        block = await block_documents.by_id(tx, id_)
        if block is None:
            raise NotFound("Block document", id_)
        if sent is None:
            return Decision()  # Without data Prefect looks at nothing else.
        present = await _present(tx, vault, block)
        data = with_present(sent, present or ())
        if body.merge_existing_data:
            data = {**put_in(block.data, iter(present or ())), **data}
        data, references = without_references(data)
        check_size(data)
        schema = await _schema(tx, body.block_schema_id or block.block_schema_id)
        await _check_references(tx, id_, references)
        parts = take_apart(data, schema.secret_fields)
        if present is None and lost(parts) is not None:
            raise SecretsLost(block)
        secret, effects = block.secret, []
        if present is None or not sealed_alike(parts.secrets, present):
            secret = None
            if parts.secrets:
                secret, keep = await vault.seal(tx, parts.secrets)
                effects.append(keep)
            if block.secret is not None:
                destroyed.append(block.secret)
                effects.append(vault.destroying((block.secret,)))
        command = UpdateBlockDocument(
            id=id_,
            block_schema_id=schema.id,
            schema_type_id=schema.block_type_id,
            content=Content(parts.shown, references, secret),
            capabilities=schema.capabilities,
        )
        own = appended(CATEGORY, id_, decide(command, block))
        return Decision(appends=(own,), effects=effects)

    await shell.execute_serially(CONTENTION, decide_under_lock, origin)
    if destroyed:
        await vault.destroyed()


async def delete(shell: Shell, vault: Vault, id_: str, origin: Origin) -> None:
    """Forget a block. Raises NotFound."""
    doomed: list[BlockDocument] = []

    async def decide_under_lock(tx: Transaction) -> Decision:
        block = await block_documents.by_id(tx, id_)
        doomed[:] = [] if block is None else [block]
        schema = await block_schemas.by_id(tx, block.block_schema_id) if block else None
        own = appended(CATEGORY, id_, decide(_deleting(id_, schema), block))
        return Decision(appends=(own,), effects=destroying(vault, doomed))

    await shell.execute_serially(CONTENTION, decide_under_lock, origin)
    await tidied(vault, doomed)


def _deleting(id_: str, schema: BlockSchema | None) -> DeleteBlockDocument:
    return DeleteBlockDocument(id=id_, capabilities=schema.capabilities if schema else ())


async def _schema(tx: Transaction, id_: str) -> BlockSchema:
    schema = await block_schemas.by_id(tx, id_)
    if schema is None:
        raise Conflict(f"Block schema {id_} does not exist; register it before its documents")
    return schema


async def _present(tx: Transaction, vault: Vault, block: BlockDocument) -> Values | None:
    """The present secret values of a block; None if they are not here."""
    if block.secret is None:
        return ()
    return (await vault.open_all(tx, (block.secret,))).get(block.secret)


async def _check_references(tx: Transaction, id_: str, references: Mapping[str, Any]) -> None:
    found = await block_documents.by_ids(tx, references.values())
    for name, other in references.items():
        if other not in found and other != id_:
            raise Conflict(
                f"The field {name!r} refers to block document {other}, which does not exist; "
                "save that one first"
            )
    start = await block_documents.reaches(tx, references.values(), id_)
    if start is not None:
        raise NotNow(
            f"The block {id_} cannot refer to {start}: that one refers to it, directly or through "
            "others, and would then contain itself"
        )


# --- documents that go with their type or schema --------------------------------------------------


def deleted(blocks: Iterable[BlockDocument], schemas: Iterable[BlockSchema]) -> list[NewEvents]:
    """What is recorded when documents go with their type or schema. `schemas`: theirs."""
    by_id = {schema.id: schema for schema in schemas}
    return [
        appended(CATEGORY, one.id, decide(_deleting(one.id, by_id.get(one.block_schema_id)), one))
        for one in blocks
    ]


def destroying(vault: Vault, blocks: Iterable[BlockDocument]) -> list[Effect]:
    """What destroys the secrets of documents that go."""
    ids = [one.secret for one in blocks if one.secret is not None]
    return [vault.destroying(ids)] if ids else []


async def tidied(vault: Vault, blocks: Sequence[BlockDocument]) -> None:
    """Documents are gone: no trace of their secrets is to be left."""
    if any(one.secret is not None for one in blocks):
        await vault.destroyed()
