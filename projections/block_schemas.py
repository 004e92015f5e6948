"""Read model: block schemas.   Table: migrations/0021.blocks.sql

A row holds a schema by itself. As the API shows it, it names the schemas that its fields refer to
and brings their fields along as definitions: that is put together here when it is read, so that
there is one truth of each.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, get_args

import msgspec
from msgspec import Struct

from eventstore.database import Dialect, Reader, Row, Table
from orchestration.block_schemas import (
    DEFINITIONS,
    REFERENCES,
    BlockSchema,
    BlockSchemaEvent,
    Fields,
    evolve,
)
from orchestration.block_types import BlockType
from orchestration.documents import document, parse
from projections import block_types
from projections.block_filters import BlockSchemaFilter, schemas_where
from projections.columns import json_array, micros
from projections.entities import entity_projection
from projections.projection import Model
from projections.where import Draft

TABLE = Table(
    "block_schemas",
    {
        "id": "text",
        "created": "bigint",
        "updated": "bigint",
        "checksum": "text",
        "version": "text",
        "block_type_id": "text",
        "capabilities": "text",
        "document": "text",
    },
)


def render(schema: BlockSchema) -> Row:
    """The schema's row."""
    return (
        schema.id,
        micros(schema.created),
        micros(schema.updated),
        schema.checksum,
        schema.version,
        schema.block_type_id,
        json_array(schema.capabilities),
        document(schema).decode(),
    )


def from_row(row: Row) -> BlockSchema:
    """The schema of a row."""
    return parse(BlockSchema, row[-1])


BLOCK_SCHEMAS = Model(TABLE, render, from_row)

projection = entity_projection(
    "block_schemas", 1, BLOCK_SCHEMAS, get_args(BlockSchemaEvent), evolve
)


async def by_id(reader: Reader, id: str) -> BlockSchema | None:
    """The schema of this id."""
    rows = await reader.fetch_keys(TABLE, [(id,)])
    return from_row(rows[0]) if rows else None


async def by_ids(reader: Reader, ids: Iterable[str]) -> dict[str, BlockSchema]:
    """The schemas of these ids, by id."""
    wanted = [(id,) for id in dict.fromkeys(ids)]
    rows = await reader.fetch_keys(TABLE, wanted) if wanted else []
    return {found.id: found for found in map(from_row, rows)}


async def by_checksum(
    reader: Reader, checksum: str, version: str | None = None
) -> BlockSchema | None:
    """The newest schema of this checksum, or the one of this version as well."""
    named = "" if version is None else " AND version = $2"
    rows = await reader.fetch(
        f"SELECT document FROM block_schemas WHERE checksum = $1{named} "
        "ORDER BY created DESC LIMIT 1",
        *((checksum,) if version is None else (checksum, version)),
    )
    return parse(BlockSchema, rows[0][0]) if rows else None


async def versions(reader: Reader) -> dict[tuple[str, str], str]:
    """The ids of all schemas, by checksum and version."""
    rows = await reader.fetch("SELECT checksum, version, id FROM block_schemas")
    return {(row[0], row[1]): row[2] for row in rows}


async def of_type(reader: Reader, block_type_id: str) -> list[BlockSchema]:
    """Every schema of a type."""
    rows = await reader.fetch(
        "SELECT document FROM block_schemas WHERE block_type_id = $1", block_type_id
    )
    return [parse(BlockSchema, row[0]) for row in rows]


async def some(
    reader: Reader, dialect: Dialect, filter: BlockSchemaFilter | None, limit: int, offset: int
) -> list[BlockSchema]:
    """Schemas that match, the newest first."""
    draft = Draft(dialect)
    where = draft.where(schemas_where(filter, draft), first=3)
    rows = await reader.fetch(
        f"SELECT document FROM block_schemas WHERE {where.sql} "
        "ORDER BY created DESC, id DESC LIMIT $1 OFFSET $2",
        limit,
        offset,
        *where.params,
    )
    return [parse(BlockSchema, row[0]) for row in rows]


async def capabilities(reader: Reader) -> list[str]:
    """Everything that blocks of some schema can do."""
    rows = await reader.fetch("SELECT DISTINCT capabilities FROM block_schemas")
    return sorted({one for row in rows for one in msgspec.json.decode(row[0], type=list[str])})


class ShownSchema(Struct, frozen=True, kw_only=True):
    """A schema as the API shows it."""

    id: str
    created: datetime | None
    updated: datetime | None
    checksum: str
    fields: Fields
    block_type_id: str
    block_type: BlockType | None
    capabilities: tuple[str, ...]
    version: str


async def shown(reader: Reader, schemas: Iterable[BlockSchema]) -> list[ShownSchema]:
    """Schemas as the API shows them, with their types and what they refer to."""
    wanted = list(schemas)
    known = {schema.id: schema for schema in wanted}
    ahead = wanted
    while ahead:
        missing = {
            reference.block_schema_id
            for schema in ahead
            for reference in schema.references
            if reference.block_schema_id not in known
        }
        found = await by_ids(reader, sorted(missing)) if missing else {}
        known |= found
        ahead = list(found.values())
    types = await block_types.by_ids(reader, (schema.block_type_id for schema in known.values()))
    whole = _Whole(known, types)
    return [
        ShownSchema(
            id=schema.id,
            created=schema.created,
            updated=schema.updated,
            checksum=schema.checksum,
            fields=whole.fields(schema),
            block_type_id=schema.block_type_id,
            block_type=types.get(schema.block_type_id),
            capabilities=schema.capabilities,
            version=schema.version,
        )
        for schema in wanted
    ]


class _Whole:
    """Puts the fields of schemas together with those that they refer to, each of them once."""

    def __init__(self, schemas: Mapping[str, BlockSchema], types: Mapping[str, BlockType]) -> None:
        self._schemas = schemas
        self._types = types
        self._parts: dict[str, tuple[Fields, Fields]] = {}

    def fields(self, schema: BlockSchema) -> Fields:
        """The fields of a schema with references and definitions."""
        own, definitions = self._of(schema)
        return {**own, DEFINITIONS: definitions} if definitions else own

    def _of(self, schema: BlockSchema) -> tuple[Fields, Fields]:
        """The fields of a schema without definitions, and the definitions; what a schema refers to
        is older than itself, so this comes to an end."""
        made = self._parts.get(schema.id)
        if made is not None:
            return made
        own = dict(schema.fields)
        definitions: Fields = dict(own.pop(DEFINITIONS, None) or {})
        references: dict[str, Any] = {}
        for reference in schema.references:
            nested = self._schemas.get(reference.block_schema_id)
            if nested is None or nested.block_type_id not in self._types:
                continue  # Deleted since.
            of_type = self._types[nested.block_type_id]
            one = {"block_schema_checksum": nested.checksum, "block_type_slug": of_type.slug}
            _add(references, reference.name, one)
            inner, beneath = self._of(nested)
            title = inner.get("title")
            if isinstance(title, str):
                definitions |= {title: inner, **beneath}
        own[REFERENCES] = references
        self._parts[schema.id] = own, definitions
        return own, definitions


def _add(references: dict[str, Any], name: str, one: Mapping[str, str]) -> None:
    """A field that can hold blocks of several schemas names them in a list."""
    present = references.get(name)
    if present is None:
        references[name] = one
    elif isinstance(present, list):
        if one not in present:
            present.append(one)
    elif present != one:
        references[name] = [present, one]
