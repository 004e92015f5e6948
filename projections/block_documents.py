"""Read model: block documents.   Table: migrations/0021.blocks.sql

A row holds a document by itself, secret values obscured. As the API shows it, it has its type, its
schema, and the documents that it refers to in place of the references: that is put together here.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, get_args

from msgspec import Struct

from eventstore.database import Dialect, Reader, Row, Table
from orchestration.block_documents import BlockDocument, BlockDocumentEvent, Data, evolve
from orchestration.block_secrets import Path, put_in
from orchestration.block_types import BlockType
from orchestration.documents import document, parse
from orchestration.refusals import Conflict
from projections import block_schemas, block_types
from projections.block_filters import (
    BlockDocumentFilter,
    BlockDocumentSort,
    BlockSchemaFilter,
    BlockTypeFilter,
    documents_where,
    schemas_where,
    types_where,
)
from projections.block_schemas import ShownSchema
from projections.columns import micros
from projections.entities import entity_projection
from projections.projection import Model
from projections.where import Draft, Where, all_of

NESTED_MAX = 1_000
"""Documents that are shown within one other."""
NESTING_MAX = 50
"""Levels of documents within each other."""

TABLE = Table(
    "block_documents",
    {
        "id": "text",
        "created": "bigint",
        "updated": "bigint",
        "name": "text",
        "is_anonymous": "bigint",
        "block_type_id": "text",
        "block_type_name": "text",
        "block_schema_id": "text",
        "document": "text",
    },
)


def render(block: BlockDocument) -> Row:
    """The document's row."""
    return (
        block.id,
        micros(block.created),
        micros(block.updated),
        block.name,
        int(block.is_anonymous),
        block.block_type_id,
        block.block_type_name,
        block.block_schema_id,
        document(block).decode(),
    )


def from_row(row: Row) -> BlockDocument:
    """The document of a row."""
    return parse(BlockDocument, row[-1])


BLOCK_DOCUMENTS = Model(TABLE, render, from_row)

projection = entity_projection(
    "block_documents", 1, BLOCK_DOCUMENTS, get_args(BlockDocumentEvent), evolve
)


class Sought(Struct, frozen=True):
    """Which documents a request means."""

    documents: BlockDocumentFilter | None = None
    types: BlockTypeFilter | None = None
    schemas: BlockSchemaFilter | None = None


async def by_id(reader: Reader, id: str) -> BlockDocument | None:
    """The document of this id."""
    rows = await reader.fetch_keys(TABLE, [(id,)])
    return from_row(rows[0]) if rows else None


async def by_ids(reader: Reader, ids: Iterable[str]) -> dict[str, BlockDocument]:
    """The documents of these ids, by id."""
    wanted = [(id,) for id in dict.fromkeys(ids)]
    if not wanted:
        return {}
    return {found.id: found for found in map(from_row, await reader.fetch_keys(TABLE, wanted))}


async def by_name(reader: Reader, block_type_id: str, name: str) -> BlockDocument | None:
    """The document of a type under this name."""
    found = await _all(reader, "block_type_id = $1 AND name = $2", block_type_id, name)
    return found[0] if found else None


async def of_type(reader: Reader, block_type_id: str) -> list[BlockDocument]:
    """Every document of a type, anonymous ones as well."""
    return await _all(reader, "block_type_id = $1", block_type_id)


async def named_of_type(reader: Reader, block_type_id: str) -> list[BlockDocument]:
    """Every document of a type that is not anonymous, by name."""
    where = "block_type_id = $1 AND is_anonymous = 0 ORDER BY name"
    return await _all(reader, where, block_type_id)


async def of_schema(reader: Reader, block_schema_id: str) -> list[BlockDocument]:
    """Every document of a schema, anonymous ones as well."""
    return await _all(reader, "block_schema_id = $1", block_schema_id)


async def _all(reader: Reader, where: str, *params: str) -> list[BlockDocument]:
    rows = await reader.fetch(f"SELECT document FROM block_documents WHERE {where}", *params)
    return [parse(BlockDocument, row[0]) for row in rows]


_ORDERS: Mapping[BlockDocumentSort, str] = {
    "NAME_ASC": "name, id",
    "NAME_DESC": "name DESC, id DESC",
    "BLOCK_TYPE_AND_NAME_ASC": "block_type_name, name, id",
}


def _where(sought: Sought, dialect: Dialect, first: int) -> Where:
    draft = Draft(dialect)
    asked = [documents_where(sought.documents, draft)]
    if sought.types is not None:
        asked.append(
            "EXISTS (SELECT 1 FROM block_types WHERE block_types.id = "
            f"block_documents.block_type_id AND {types_where(sought.types, draft)})"
        )
    if sought.schemas is not None:
        asked.append(
            "EXISTS (SELECT 1 FROM block_schemas WHERE block_schemas.id = "
            f"block_documents.block_schema_id AND {schemas_where(sought.schemas, draft)})"
        )
    return draft.where(all_of(asked), first)


async def some(
    reader: Reader,
    dialect: Dialect,
    sought: Sought,
    sort: BlockDocumentSort,
    limit: int,
    offset: int,
) -> list[BlockDocument]:
    """Documents that match."""
    where = _where(sought, dialect, first=3)
    rows = await reader.fetch(
        f"SELECT document FROM block_documents WHERE {where.sql} "
        f"ORDER BY {_ORDERS[sort]} LIMIT $1 OFFSET $2",
        limit,
        offset,
        *where.params,
    )
    return [parse(BlockDocument, row[0]) for row in rows]


async def number(reader: Reader, dialect: Dialect, sought: Sought) -> int:
    """How many documents match."""
    where = _where(sought, dialect, first=1)
    sql = f"SELECT count(*) FROM block_documents WHERE {where.sql}"
    ((count,),) = await reader.fetch(sql, *where.params)
    return int(count)


async def reaches(reader: Reader, starts: Iterable[str], goal: str) -> str | None:
    """Of some documents the first from which references lead to another one, or that are it."""
    for start in starts:
        seen: set[str] = set()
        ahead = {start}
        while ahead:
            if goal in ahead:
                return start
            seen |= ahead
            found = await by_ids(reader, sorted(ahead))
            ahead = {id for one in found.values() for id in one.references.values()} - seen
    return None


# --- as the API shows them ------------------------------------------------------------------------


class ShownDocument(Struct, frozen=True, kw_only=True):
    """A document as the API shows it."""

    id: str
    created: datetime | None
    updated: datetime | None
    name: str
    data: Data
    block_schema_id: str
    block_schema: ShownSchema | None
    block_type_id: str
    block_type_name: str
    block_type: BlockType | None
    block_document_references: dict[str, dict[str, Any]]
    is_anonymous: bool


Secrets = Mapping[str, Sequence[tuple[Path, Any]]]
"""Secret values by the ids under which they are kept."""


class SecretsLost(Conflict):
    """The values of a block's secret fields are asked for, and are not here."""

    def __init__(self, block: BlockDocument) -> None:
        super().__init__(
            f"The secret values of the block {block.name!r} ({block.block_type_name}) are not in "
            "this database: they are no part of a log that is exported and imported. Save the "
            "block again with its secrets."
        )


class Gathered:
    """Documents with everything that is shown within them."""

    def __init__(
        self,
        wanted: Sequence[BlockDocument],
        documents: Mapping[str, BlockDocument],
        schemas: Mapping[str, ShownSchema],
        types: Mapping[str, BlockType],
    ) -> None:
        self._wanted = wanted
        self._documents = documents
        self._schemas = schemas
        self._types = types
        self._nested = 0

    @property
    def secrets(self) -> list[str]:
        """Where the secrets of all of them are."""
        return [one.secret for one in self._documents.values() if one.secret is not None]

    def shown(self, secrets: Secrets | None) -> list[ShownDocument]:
        """The documents, with their secrets if there are any given.

        Raises SecretsLost for one whose secrets are not among these.
        """
        return [self._whole(one, secrets) for one in self._wanted]

    def _whole(self, block: BlockDocument, secrets: Secrets | None) -> ShownDocument:
        self._nested = 0
        data, references = self._inside(block, secrets, 0)
        return ShownDocument(
            id=block.id,
            created=block.created,
            updated=block.updated,
            name=block.name,
            data=data,
            block_schema_id=block.block_schema_id,
            block_schema=self._schemas.get(block.block_schema_id),
            block_type_id=block.block_type_id,
            block_type_name=block.block_type_name,
            block_type=self._types.get(block.block_type_id),
            block_document_references=references,
            is_anonymous=block.is_anonymous,
        )

    def _inside(
        self, block: BlockDocument, secrets: Secrets | None, depth: int
    ) -> tuple[Data, dict[str, dict[str, Any]]]:
        data = dict(block.data)
        if secrets is not None and block.secret is not None:
            if block.secret not in secrets:
                raise SecretsLost(block)
            data = put_in(data, iter(secrets[block.secret]))
        references: dict[str, dict[str, Any]] = {}
        for name, id in block.references.items():
            other = self._documents.get(id)
            if other is None:
                continue  # Deleted since.
            self._nested += 1
            if depth == NESTING_MAX or self._nested > NESTED_MAX:
                raise Conflict(
                    f"The block refers to others, and these to others again, more than "
                    f"{NESTING_MAX} levels deep or more than {NESTED_MAX} times"
                )
            data[name], beneath = self._inside(other, secrets, depth + 1)
            references[name] = {
                "block_document": {
                    "id": other.id,
                    "name": other.name,
                    "block_type": self._types.get(other.block_type_id),
                    "is_anonymous": other.is_anonymous,
                    "block_document_references": beneath,
                }
            }
        return data, references


async def gathered(reader: Reader, blocks: Sequence[BlockDocument]) -> Gathered:
    """Documents with everything that they refer to."""
    known = {one.id: one for one in blocks}
    ahead = list(blocks)
    while ahead:
        referred = {id for one in ahead for id in one.references.values()} - known.keys()
        found = await by_ids(reader, sorted(referred))
        known |= found
        ahead = list(found.values())
    schemas = await block_schemas.by_ids(reader, (one.block_schema_id for one in blocks))
    shown = await block_schemas.shown(reader, schemas.values())
    types = await block_types.by_ids(reader, (one.block_type_id for one in known.values()))
    return Gathered(blocks, known, {one.id: one for one in shown}, types)
