"""Blocks: the list of those that were saved, and the catalogue of their types."""

from collections.abc import Sequence

from markupsafe import Markup
from msgspec import Struct

from api.ui import block_actions
from api.ui.artifact_shown import markdown
from api.ui.block_looks import unescaped
from api.ui.page import Missing, Nav, Page, Region, Visit
from eventstore.selection import Selection
from orchestration.block_types import BlockType
from projections import block_documents, block_pages, block_schemas, block_types
from projections.block_filters import BlockSchemaFilter
from projections.block_pages import DocumentPage, TypeLine
from projections.criteria import Ids

SCHEMAS_SHOWN = 20


class Bar(Struct, frozen=True):
    """What the filter bars hold and offer."""

    text: str
    type: str
    capability: str
    types: Sequence[BlockType]
    """That there are blocks of."""
    capabilities: Sequence[str]
    used: str
    """Name of the block that is referred to; its id if there is none any more. Empty: any."""


class Listed(Struct, frozen=True):
    """The list of blocks."""

    page: DocumentPage
    filtered: bool
    api_url: str


class Catalogue(Struct, frozen=True):
    """The types that match."""

    types: Sequence[TypeLine]
    filtered: bool
    api_url: str


class SchemaLine(Struct, frozen=True):
    """A form that blocks of a type can have."""

    id: str
    version: str
    checksum: str


class OfType(Struct, frozen=True):
    """A type, its schemas, its blocks."""

    line: TypeLine
    description: Markup | None
    example: Markup | None
    schemas: Sequence[SchemaLine]
    """The newest first; at most `SCHEMAS_SHOWN`."""
    page: DocumentPage


def _asked(visit: Visit, name: str) -> str:
    return visit.query.text(name)


async def _used(visit: Visit) -> str:
    id_ = _asked(visit, "refers_to")
    found = await block_documents.by_id(visit.server.database, id_) if id_ else None
    return id_ if found is None else found.name


async def bar(visit: Visit) -> Bar:
    """What stands above both lists."""
    database = visit.server.database
    lines = await block_pages.catalogue(database)
    return Bar(
        text=_asked(visit, "q"),
        type=_asked(visit, "type"),
        capability=_asked(visit, "capability"),
        types=[line.type for line in lines if line.documents],
        capabilities=sorted({one for line in lines for one in line.capabilities}),
        used=await _used(visit),
    )


async def listed(visit: Visit) -> Listed:
    """The blocks that match."""
    database = visit.server.database
    text, slug, capability = (_asked(visit, name) for name in ("q", "type", "capability"))
    of_type = await block_types.by_slug(database, slug) if slug else None
    user = _asked(visit, "refers_to")
    page = (
        DocumentPage((), None, None, 0)
        if slug and of_type is None
        else await block_pages.page(
            database,
            database.dialect,
            text=text,
            type_id=of_type.id if of_type else "",
            capability=capability,
            refers_to=user,
            after=visit.query.one("after") or None,
            before=visit.query.one("before") or None,
        )
    )
    return Listed(page, bool(text or slug or capability or user), visit.api_url)


async def catalogue(visit: Visit) -> Catalogue:
    """The types that match."""
    text, capability = _asked(visit, "q"), _asked(visit, "capability")
    found = await block_pages.catalogue(visit.server.database, text=text, capability=capability)
    return Catalogue(found, bool(text or capability), visit.api_url)


async def block_type(visit: Visit) -> BlockType:
    """The type that the page is about. Raises Missing."""
    slug = visit.parameters["slug"]
    found = await block_types.by_slug(visit.server.database, slug)
    if found is None:
        raise Missing(f"There is no block type {slug[:80]}")
    return found


async def of_type(visit: Visit) -> OfType:
    """The type, its schemas and its blocks. Raises Missing."""
    database, type = visit.server.database, await block_type(visit)
    line = await block_pages.line(database, type)
    wanted = BlockSchemaFilter(block_type_id=Ids(any_=[type.id]))  # type: ignore[list-item]
    schemas = await block_schemas.some(database, database.dialect, wanted, SCHEMAS_SHOWN, 0)
    page = await block_pages.page(
        database,
        database.dialect,
        type_id=type.id,
        after=visit.query.one("after") or None,
        before=visit.query.one("before") or None,
    )
    return OfType(
        line=line,
        description=_prose(type.description),
        example=_prose(type.code_example),
        schemas=[SchemaLine(one.id, one.version, one.checksum) for one in schemas],
        page=page,
    )


def _prose(text: str | None) -> Markup | None:
    return markdown(unescaped(text)) if text else None


def any_block(_: Visit) -> Selection:
    """Types, schemas and documents."""
    return Selection(category=("block-type", "block-schema", "block-document"))


page = Page(
    path="/blocks",
    template="blocks.html",
    title="Blocks",
    view=bar,
    regions=(Region("blocks", listed, any_block),),
    actions=block_actions.ACTIONS,
    nav=Nav("Blocks", "blocks", "b"),
    styles=("blocks.css",),
)
catalogue_page = Page(
    path="/blocks/catalog",
    template="block_catalogue.html",
    title="Block types",
    section="/blocks",
    view=bar,
    regions=(Region("catalogue", catalogue, any_block),),
    styles=("blocks.css",),
)
type_page = Page(
    path="/blocks/catalog/{slug:str}",
    template="block_type.html",
    title="Block type",
    section="/blocks",
    regions=(Region("of_type", of_type, any_block),),
    styles=("flow_run.css", "artifacts.css", "blocks.css"),
)
