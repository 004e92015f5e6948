"""Queries: blocks for people, page by page; the catalogue of their types."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eventstore.codec import from_microseconds
from eventstore.database import Dialect, Reader, Value
from orchestration.block_types import BlockType
from orchestration.documents import parse
from projections import block_types
from projections.block_filters import (
    BlockDocumentFilter,
    BlockSchemaFilter,
    documents_where,
    schemas_where,
)
from projections.criteria import Ids, Tags, like
from projections.keyset import Asked, Place
from projections.where import Draft, all_of

PAGE_DOCUMENTS = 50
"""Documents on a page."""
TYPES_MAX = 1_000
"""Types of the catalogue; packages for Prefect bring fewer than a hundred."""
CHOICES_MAX = 500
"""Documents that a field is filled in with a choice of."""


class TypeLine(Struct, frozen=True):
    """A type in the catalogue."""

    type: BlockType
    capabilities: Sequence[str]
    """Of its newest schema."""
    documents: int
    """That have a name."""


class DocumentLine(Struct, frozen=True):
    """A document in a list."""

    id: str
    name: str
    type: BlockType
    updated: datetime


class DocumentPage(Struct, frozen=True):
    """Some documents, and where the pages beside them begin, if there are any."""

    documents: Sequence[DocumentLine]
    before: str | None
    after: str | None
    total: int


class Choice(Struct, frozen=True):
    """A document that a field can refer to."""

    id: str
    name: str
    slug: str
    type_name: str


_TYPES = "SELECT id, document FROM block_types ORDER BY name, id LIMIT $1"
# The last row of a type is its newest schema.
_CAPABILITIES = "SELECT block_type_id, capabilities FROM block_schemas ORDER BY created, id"
_NUMBERS = (
    "SELECT block_type_id, count(*) FROM block_documents WHERE is_anonymous = 0 "
    "GROUP BY block_type_id"
)


async def catalogue(reader: Reader, *, text: str = "", capability: str = "") -> Sequence[TypeLine]:
    """Types whose names or slugs contain a text and whose blocks can do something, by name."""
    able = {
        row[0]: msgspec.json.decode(row[1], type=list[str])
        for row in await reader.fetch(_CAPABILITIES)
    }
    numbers = {row[0]: int(row[1]) for row in await reader.fetch(_NUMBERS)}
    lines = [
        TypeLine(parse(BlockType, row[1]), able.get(row[0], ()), numbers.get(row[0], 0))
        for row in await reader.fetch(_TYPES, TYPES_MAX)
    ]
    wanted = text.casefold()
    return [
        line
        for line in lines
        if wanted in f"{line.type.name}\n{line.type.slug}".casefold()
        and (not capability or capability in line.capabilities)
    ]


_NEWEST = (
    "SELECT capabilities FROM block_schemas WHERE block_type_id = $1 "
    "ORDER BY created DESC, id DESC LIMIT 1"
)
_NUMBER = "SELECT count(*) FROM block_documents WHERE block_type_id = $1 AND is_anonymous = 0"


async def line(reader: Reader, type: BlockType) -> TypeLine:
    """One type as the catalogue has it, which may have too many to name this one."""
    newest = await reader.fetch(_NEWEST, type.id)
    ((documents,),) = await reader.fetch(_NUMBER, type.id)
    able = msgspec.json.decode(newest[0][0], type=list[str]) if newest else ()
    return TypeLine(type, able, int(documents))


async def page(
    reader: Reader,
    dialect: Dialect,
    *,
    text: str = "",
    type_id: str = "",
    capability: str = "",
    refers_to: str = "",
    after: str | None = None,
    before: str | None = None,
) -> DocumentPage:
    """Documents that have a name, by it; with a part of it, of a type, that can do something, and
    that refer to another document: of these those without a name as well.

    Raises Invalid for what is no cursor of this list.
    """
    asked, draft = Asked(True, after, before), Draft(dialect)
    own = BlockDocumentFilter(block_type_id=Ids(any_=[type_id]) if type_id else None)  # type: ignore[list-item]
    if refers_to:
        own = replace(own, is_anonymous=None)
    conditions = [documents_where(own, draft)]
    if text:
        conditions.append(like("block_documents.name", text, draft) or "")
    if capability:
        able = BlockSchemaFilter(block_capabilities=Tags(all_=[capability]))
        conditions.append(
            "EXISTS (SELECT 1 FROM block_schemas WHERE block_schemas.id = "
            f"block_documents.block_schema_id AND {schemas_where(able, draft)})"
        )
    if refers_to:
        conditions.append(
            "block_documents.id IN (SELECT block_references.document_id FROM block_references "
            f"WHERE block_references.refers_to = {draft.bind(refers_to)})"
        )
    where = draft.where(all_of(conditions))
    params: list[Value] = list(where.params)
    place = ("block_documents.name", "block_documents.id")
    rows = await reader.fetch(
        "SELECT block_documents.id, block_documents.name, block_documents.block_type_id, "
        "block_documents.updated FROM block_documents "
        f"WHERE {all_of([where.sql, *asked.beyond(*place, str, params)])} "
        f"ORDER BY {asked.order(*place)} LIMIT {PAGE_DOCUMENTS + 1}",
        *params,
    )
    cut = asked.cut(rows, PAGE_DOCUMENTS, lambda row: Place(row[1], row[0]))
    ((total,),) = await reader.fetch(
        f"SELECT count(*) FROM block_documents WHERE {where.sql}", *where.params
    )
    types = await block_types.by_ids(reader, [row[2] for row in cut.rows]) if cut.rows else {}
    lines = [
        DocumentLine(id_, name, types[type_id], from_microseconds(updated))
        for id_, name, type_id, updated in cut.rows
        if type_id in types
    ]
    return DocumentPage(lines, cut.before, cut.after, int(total))


_CHOICES = (
    "SELECT block_documents.id, block_documents.name, block_types.slug, block_types.name "
    "FROM block_documents JOIN block_types ON block_types.id = block_documents.block_type_id "
    "WHERE block_documents.is_anonymous = 0 AND {among} "
    "ORDER BY block_types.name, block_documents.name LIMIT $2"
)


async def choices(
    reader: Reader, dialect: Dialect, slugs: Sequence[str]
) -> Mapping[str, Sequence[Choice]]:
    """Documents of these types, by the type's slug."""
    among = dialect.in_list("block_types.slug", "$1")
    wanted = msgspec.json.encode(slugs).decode()
    found: dict[str, list[Choice]] = {}
    for row in await reader.fetch(_CHOICES.format(among=among), wanted, CHOICES_MAX):
        one = Choice(*row)
        found.setdefault(one.slug, []).append(one)
    return found
