"""The block types that a server knows by itself: Prefect's own, and those of its packages.

They are what a client of Prefect 3.8.4 would register, so that blocks can be made before one has.
`known_blocks.json` has their names, fields and the checksums that clients compute; descriptions are
ours, and those of single fields are left out, so the checksums are not computed but written there.
A client of another version registers schemas of its own.
"""

from collections.abc import Mapping
from importlib.resources import files

import msgspec
from msgspec import Struct

from eventstore.database import Reader, Transaction
from eventstore.events import NewEvents
from eventstore.ids import new_id
from eventstore.log import Decision
from orchestration import block_schemas as schema_decider
from orchestration import block_types as type_decider
from orchestration.block_schemas import (
    BlockSchemaCreate,
    CreateBlockSchema,
    Fields,
    SchemaReference,
    definitions_of,
)
from orchestration.block_types import KNOWN, BlockTypeCreate, CreateBlockType
from projections import block_schemas, block_types
from services import block_schemas as schema_commands
from services import block_types as type_commands
from services.block_types import CONTENTION
from services.shell import Origin, Shell, appended

ORIGIN = Origin(KNOWN)


class KnownBlock(Struct, frozen=True, forbid_unknown_fields=True):
    """A block type with its schema."""

    slug: str
    name: str
    package: str
    """What has to be installed to use it."""
    description: str
    logo_url: str | None
    documentation_url: str | None
    is_protected: bool
    """Without it the server's own features would not work; clients cannot delete it."""
    checksum: str
    version: str
    capabilities: tuple[str, ...]
    references: tuple[tuple[str, str], ...]
    """Fields that hold blocks, and the slugs of their types."""
    fields: Fields


def known_blocks() -> list[KnownBlock]:
    """All of them. Read when they are asked for, and not kept: that is once in a server's life."""
    text = files("services").joinpath("known_blocks.json").read_bytes()
    return msgspec.json.decode(text, type=list[KnownBlock])


async def register_missing(shell: Shell, *, protected_only: bool = False) -> int:
    """Record the types and schemas that are not there; how many events that took.

    Safe for any number of processes at a time. A type whose slug is taken is left as it is.
    """
    wanted = [one for one in known_blocks() if one.is_protected or not protected_only]
    if not await _missing(shell.store.database, wanted):
        return 0

    async def decide_under_lock(tx: Transaction) -> Decision:
        missing = await _missing(tx, wanted)
        types = {slug: one.id for slug, one in (await block_types.slugs(tx)).items()}
        appends: list[NewEvents] = []
        for one in missing:
            if one.slug not in types:
                types[one.slug] = id_ = new_id()
                events = type_decider.decide(_type(one, id_), None)
                appends.append(appended(type_commands.CATEGORY, id_, events))
        appends += await _schemas(tx, missing, types)
        return Decision(appends=appends)

    written = await shell.execute_serially(CONTENTION, decide_under_lock, ORIGIN)
    return len(written.recorded)


async def _missing(reader: Reader, wanted: list[KnownBlock]) -> list[KnownBlock]:
    types = await block_types.slugs(reader)
    schemas = await block_schemas.versions(reader)
    return [
        one for one in wanted if one.slug not in types or (one.checksum, one.version) not in schemas
    ]


def _type(one: KnownBlock, id_: str) -> CreateBlockType:
    body = BlockTypeCreate(
        name=one.name,
        slug=one.slug,
        logo_url=one.logo_url,
        documentation_url=one.documentation_url,
        description=_described(one),
    )
    return CreateBlockType(
        id=id_, body=body, slug_is_taken=False, by_server=True, is_protected=one.is_protected
    )


def _described(one: KnownBlock) -> str:
    if one.package == "prefect":
        return one.description
    return f"{one.description} Needs the package {one.package}."


async def _schemas(
    tx: Transaction, missing: list[KnownBlock], types: Mapping[str, str]
) -> list[NewEvents]:
    """What records the schemas; those that others refer to come first."""
    present = await block_schemas.versions(tx)
    ids: dict[str, str] = {}
    by_slug = {one.slug: one for one in known_blocks()}
    appends: list[NewEvents] = []

    def record(one: KnownBlock) -> str:
        if one.slug not in ids:
            known = present.get((one.checksum, one.version))
            ids[one.slug] = id_ = known or new_id()
            if known is None:
                references = tuple(
                    SchemaReference(name, record(by_slug[slug])) for name, slug in one.references
                )
                command = CreateBlockSchema(
                    id=id_,
                    body=BlockSchemaCreate(
                        fields=one.fields,
                        block_type_id=types[one.slug],
                        capabilities=one.capabilities,
                        version=one.version,
                    ),
                    checksum=one.checksum,
                    references=references,
                    definitions=definitions_of(one.fields),
                )
                events = schema_decider.decide(command, None)
                appends.append(appended(schema_commands.CATEGORY, id_, events))
        return ids[one.slug]

    for one in missing:
        record(one)
    return appends


def by_package() -> dict[str, dict[str, object]]:
    """The known blocks as Prefect lists what its packages bring."""
    found: dict[str, dict[str, object]] = {}
    for one in known_blocks():
        found.setdefault(one.package, {})[one.slug] = {
            "name": one.name,
            "slug": one.slug,
            "logo_url": one.logo_url,
            "documentation_url": one.documentation_url,
            "description": one.description,
            "code_example": None,
            "block_schema": {
                "checksum": one.checksum,
                "fields": one.fields,
                "capabilities": one.capabilities,
                "version": one.version,
            },
        }
    return found
