"""Block schemas: /block_schemas."""

from msgspec import Struct

from api.errors import not_found, there
from api.http import NO_CONTENT, Answer, Area, Call, Parameter, ok
from api.lists import limited
from orchestration.block_schemas import BlockSchema, BlockSchemaCreate
from projections import block_schemas
from projections.block_filters import BlockSchemaFilter
from projections.block_schemas import ShownSchema
from projections.paging import Offset
from services import block_removal
from services import block_schemas as commands

_ABSENT = "Block schema not found"

area = Area("/block_schemas", "Block schemas")


class BlockSchemaQuery(Struct, frozen=True, kw_only=True):
    """The body of `POST /block_schemas/filter`."""

    block_schemas: BlockSchemaFilter | None = None
    limit: int | None = None
    offset: Offset | None = None


async def _shown(call: Call, schema: BlockSchema | None) -> ShownSchema:
    known = there(schema, _ABSENT)
    (shown,) = await block_schemas.shown(call.server.database, [known])
    return shown


@area.post("/", body=BlockSchemaCreate, answers={200: ShownSchema, 201: ShownSchema})
async def create_block_schema(call: Call, body: BlockSchemaCreate) -> Answer:
    """Register a schema; 200 if it was known already."""
    registered = await commands.register(call.server.shell, body, call.origin)
    made = await block_schemas.by_id(call.server.database, registered.id)
    answer = ok(await _shown(call, made), 201 if registered.is_new else 200)
    return answer._replace(position=registered.written.position if registered.is_new else None)


@area.get("/{id:uuid}", answers={200: ShownSchema})
async def read_block_schema(call: Call) -> Answer:
    """Read a schema."""
    return ok(await _shown(call, await block_schemas.by_id(call.server.database, call.id)))


@area.get(
    "/checksum/{checksum:str}",
    answers={200: ShownSchema},
    query=(Parameter("version", str, description="Only the schema of this version."),),
)
async def read_block_schema_by_checksum(call: Call) -> Answer:
    """Read the schema of a checksum, the newest unless a version is named."""
    version = call.query.get("version")
    if version is not None and "\x00" in version:
        raise not_found(_ABSENT)  # Postgres could not even look for it.
    found = await block_schemas.by_checksum(call.server.database, call.path["checksum"], version)
    return ok(await _shown(call, found))


@area.post("/filter", body=BlockSchemaQuery, body_optional=True, answers={200: list[ShownSchema]})
async def read_block_schemas(call: Call, body: BlockSchemaQuery) -> Answer:
    """Schemas that match, the newest first."""
    database = call.server.database
    limit = limited(call, body.limit)
    found = await block_schemas.some(
        database, database.dialect, body.block_schemas, limit, body.offset or 0
    )
    return ok(await block_schemas.shown(database, found))


@area.delete("/{id:uuid}", answers={204: None})
async def delete_block_schema(call: Call) -> Answer:
    """Delete a schema with its blocks."""
    server = call.server
    await block_removal.delete_schema(server.shell, server.vault, call.id, call.origin)
    return NO_CONTENT
