"""Read model: block types.   Table: migrations/0021.blocks.sql"""

from collections.abc import Iterable
from typing import get_args

from msgspec import Struct

from eventstore.database import Dialect, Reader, Row, Table
from orchestration.block_types import BlockType, BlockTypeEvent, evolve
from orchestration.documents import document, parse
from projections.block_filters import BlockSchemaFilter, BlockTypeFilter, schemas_where, types_where
from projections.columns import micros
from projections.entities import entity_projection
from projections.projection import Model
from projections.where import Draft, all_of

TABLE = Table(
    "block_types",
    {
        "id": "text",
        "created": "bigint",
        "updated": "bigint",
        "name": "text",
        "slug": "text",
        "document": "text",
    },
)


def render(block_type: BlockType) -> Row:
    """The type's row."""
    return (
        block_type.id,
        micros(block_type.created),
        micros(block_type.updated),
        block_type.name,
        block_type.slug,
        document(block_type).decode(),
    )


def from_row(row: Row) -> BlockType:
    """The type of a row."""
    return parse(BlockType, row[-1])


BLOCK_TYPES = Model(TABLE, render, from_row)

projection = entity_projection("block_types", 1, BLOCK_TYPES, get_args(BlockTypeEvent), evolve)


class Sought(Struct, frozen=True):
    """Which types a request means."""

    types: BlockTypeFilter | None = None
    schemas: BlockSchemaFilter | None = None


async def by_slug(reader: Reader, slug: str) -> BlockType | None:
    """The type of this slug."""
    rows = await reader.fetch("SELECT document FROM block_types WHERE slug = $1", slug)
    return parse(BlockType, rows[0][0]) if rows else None


async def by_id(reader: Reader, id: str) -> BlockType | None:
    """The type of this id."""
    rows = await reader.fetch_keys(TABLE, [(id,)])
    return from_row(rows[0]) if rows else None


async def by_ids(reader: Reader, ids: Iterable[str]) -> dict[str, BlockType]:
    """The types of these ids, by id."""
    wanted = [(id,) for id in dict.fromkeys(ids)]
    rows = await reader.fetch_keys(TABLE, wanted) if wanted else []
    return {found.id: found for found in map(from_row, rows)}


async def slugs(reader: Reader) -> dict[str, BlockType]:
    """Every type, by slug."""
    rows = await reader.fetch("SELECT document FROM block_types")
    return {found.slug: found for found in (parse(BlockType, row[0]) for row in rows)}


async def some(
    reader: Reader, dialect: Dialect, sought: Sought, limit: int, offset: int
) -> list[str]:
    """Documents of types that match, by name."""
    draft = Draft(dialect)
    asked = [types_where(sought.types, draft)]
    if sought.schemas is not None:
        asked.append(
            "EXISTS (SELECT 1 FROM block_schemas WHERE block_schemas.block_type_id = "
            f"block_types.id AND {schemas_where(sought.schemas, draft)})"
        )
    where = draft.where(all_of(asked), first=3)
    rows = await reader.fetch(
        f"SELECT document FROM block_types WHERE {where.sql} ORDER BY name, id LIMIT $1 OFFSET $2",
        limit,
        offset,
        *where.params,
    )
    return [row[0] for row in rows]
