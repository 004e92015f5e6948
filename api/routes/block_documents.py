"""Block documents: /block_documents, and those of one type: /block_types/slug/…/block_documents.

Secret values are obscured unless `include_secrets` asks for them.
"""

from collections.abc import Sequence

from msgspec import Struct

from api.errors import there
from api.http import NO_CONTENT, Answer, Area, Call, Parameter, ok
from api.lists import limited
from api.truth import truth
from orchestration.block_documents import BlockDocument, BlockDocumentCreate, BlockDocumentUpdate
from projections import block_documents
from projections.block_documents import ShownDocument, Sought
from projections.block_filters import (
    BlockDocumentFilter,
    BlockDocumentSort,
    BlockSchemaFilter,
    BlockTypeFilter,
)
from projections.paging import Offset
from services import block_documents as commands

area = Area("/block_documents", "Block documents")

INCLUDE_SECRETS = Parameter(
    "include_secrets", bool, description="Show secret values instead of asterisks."
)


class BlockDocumentQuery(Struct, frozen=True, kw_only=True):
    """The body of `POST /block_documents/filter`."""

    block_documents: BlockDocumentFilter | None = None
    block_types: BlockTypeFilter | None = None
    block_schemas: BlockSchemaFilter | None = None
    include_secrets: bool = False
    sort: BlockDocumentSort | None = "NAME_ASC"
    limit: int | None = None
    offset: Offset | None = None


class BlockDocumentCount(Struct, frozen=True, kw_only=True):
    """The body of `POST /block_documents/count`."""

    block_documents: BlockDocumentFilter | None = None
    block_types: BlockTypeFilter | None = None
    block_schemas: BlockSchemaFilter | None = None


def _sought(body: BlockDocumentQuery | BlockDocumentCount) -> Sought:
    return Sought(body.block_documents, body.block_types, body.block_schemas)


async def shown(
    call: Call, blocks: Sequence[BlockDocument], include_secrets: bool
) -> list[ShownDocument]:
    """Documents as they are answered with."""
    database, vault = call.server.database, call.server.vault
    gathered = await block_documents.gathered(database, blocks)
    if not include_secrets:
        return gathered.shown(None)
    return gathered.shown(await vault.open_all(database, gathered.secrets))


async def one(
    call: Call, block: BlockDocument | None, include_secrets: bool, status: int = 200
) -> Answer:
    """The answer that is one document. Raises HttpError 404 if there is none."""
    (found,) = await shown(call, [there(block, "Block document not found")], include_secrets)
    return ok(found, status)


@area.post("/", body=BlockDocumentCreate, answers={201: ShownDocument})
async def create_block_document(call: Call, body: BlockDocumentCreate) -> Answer:
    """Save a block."""
    server = call.server
    id_, written = await commands.create(server.shell, server.vault, body, call.origin)
    made = await block_documents.by_id(server.database, id_)
    return (await one(call, made, False, 201))._replace(position=written.position)


@area.get("/{id:uuid}", answers={200: ShownDocument}, query=(INCLUDE_SECRETS,))
async def read_block_document(call: Call) -> Answer:
    """Read a block."""
    found = await block_documents.by_id(call.server.database, call.id)
    return await one(call, found, truth(call, "include_secrets"))


@area.post(
    "/filter", body=BlockDocumentQuery, body_optional=True, answers={200: list[ShownDocument]}
)
async def read_block_documents(call: Call, body: BlockDocumentQuery) -> Answer:
    """Blocks that match; no anonymous ones unless the filter says otherwise."""
    database = call.server.database
    limit = limited(call, body.limit)
    found = await block_documents.some(
        database, database.dialect, _sought(body), body.sort or "NAME_ASC", limit, body.offset or 0
    )
    return ok(await shown(call, found, body.include_secrets))


@area.post("/count", body=BlockDocumentCount, body_optional=True, answers={200: int})
async def count_block_documents(call: Call, body: BlockDocumentCount) -> Answer:
    """How many blocks match."""
    database = call.server.database
    return ok(await block_documents.number(database, database.dialect, _sought(body)))


@area.patch("/{id:uuid}", body=BlockDocumentUpdate, answers={204: None})
async def update_block_document(call: Call, body: BlockDocumentUpdate) -> Answer:
    """Save a block again. What is shown of a secret, sent back, leaves the secret as it is."""
    server = call.server
    await commands.update(server.shell, server.vault, call.id, body, call.origin)
    return NO_CONTENT


@area.delete("/{id:uuid}", answers={204: None})
async def delete_block_document(call: Call) -> Answer:
    """Delete a block, and destroy its secrets."""
    server = call.server
    await commands.delete(server.shell, server.vault, call.id, call.origin)
    return NO_CONTENT
