"""Block types: /block_types."""

from msgspec import Struct

from api.errors import there
from api.http import NO_CONTENT, Answer, Area, Call, ok
from api.lists import array, limited
from orchestration.block_types import BlockType, BlockTypeCreate, BlockTypeUpdate
from orchestration.documents import document
from projections import block_types
from projections.block_filters import BlockSchemaFilter, BlockTypeFilter
from projections.block_types import Sought
from projections.paging import Offset
from services import block_removal, known_blocks
from services import block_types as commands

ABSENT = "Block type not found"

area = Area("/block_types", "Block types")


class BlockTypeQuery(Struct, frozen=True, kw_only=True):
    """The body of `POST /block_types/filter`."""

    block_types: BlockTypeFilter | None = None
    block_schemas: BlockSchemaFilter | None = None
    limit: int | None = None
    offset: Offset | None = None


@area.post("/", body=BlockTypeCreate, answers={201: BlockType})
async def create_block_type(call: Call, body: BlockTypeCreate) -> Answer:
    """Make a kind of block known."""
    id_, written = await commands.create(call.server.shell, body, call.origin)
    made = there(await block_types.by_id(call.server.database, id_), ABSENT)
    return Answer(201, document(made), position=written.position)


@area.get("/{id:uuid}", answers={200: BlockType})
async def read_block_type(call: Call) -> Answer:
    """Read a block type."""
    found = await block_types.by_id(call.server.database, call.id)
    return Answer(200, document(there(found, ABSENT)))


@area.get("/slug/{slug:str}", answers={200: BlockType})
async def read_block_type_by_slug(call: Call) -> Answer:
    """Read the block type of a slug."""
    found = await block_types.by_slug(call.server.database, call.path["slug"])
    return Answer(200, document(there(found, ABSENT)))


@area.post("/filter", body=BlockTypeQuery, body_optional=True, answers={200: list[BlockType]})
async def read_block_types(call: Call, body: BlockTypeQuery) -> Answer:
    """Block types that match, by name."""
    database = call.server.database
    limit = limited(call, body.limit)
    sought = Sought(body.block_types, body.block_schemas)
    found = await block_types.some(database, database.dialect, sought, limit, body.offset or 0)
    return array(found)


@area.patch("/{id:uuid}", body=BlockTypeUpdate, answers={204: None})
async def update_block_type(call: Call, body: BlockTypeUpdate) -> Answer:
    """Change how a block type is shown."""
    await commands.update(call.server.shell, call.id, body, call.origin)
    return NO_CONTENT


@area.delete("/{id:uuid}", answers={204: None})
async def delete_block_type(call: Call) -> Answer:
    """Delete a block type with its schemas and its blocks."""
    server = call.server
    await block_removal.delete_type(server.shell, server.vault, call.id, call.origin)
    return NO_CONTENT


@area.post("/install_system_block_types", answers={200: None})
async def install_system_block_types(call: Call) -> Answer:
    """Register the protected block types, if they are not there."""
    await known_blocks.register_missing(call.server.shell, protected_only=True)
    return ok(None)
