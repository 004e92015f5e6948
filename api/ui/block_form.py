"""Pages to save a block and to change one: forms from the schema of its type.

Fields that hold other blocks are choices of those that there are. Secrets are never shown: what
stands for one, sent back, leaves it as it is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from api.ui import schema_form
from api.ui.blocks import block_type
from api.ui.editing import ChangedMeanwhile
from api.ui.page import Action, Deed, Edited, Missing, Page, Said, Visit
from api.ui.query import Query
from api.ui.schema_fields import Form
from api.ui.schema_shapes import escaped
from eventstore.database import Reader
from orchestration.block_documents import BlockDocument, BlockDocumentCreate, BlockDocumentUpdate
from orchestration.block_schemas import DEFINITIONS, REFERENCES, Fields
from orchestration.block_secrets import OBSCURED
from orchestration.block_types import BlockType
from orchestration.identifiers import INDEXED_CHARACTERS_MAX, canonical
from orchestration.refusals import Conflict, Invalid, Refusal
from projections import block_documents, block_pages, block_schemas, block_types
from projections.block_filters import BlockSchemaFilter
from projections.block_pages import Choice
from projections.block_schemas import ShownSchema
from projections.criteria import Ids
from services import block_documents as commands

CHOICE = "block/"
"""Begins the names of inputs that choose a block."""
SECRETS = "Secret values"
NAME_WRONG = "A name consists of small letters, digits and dashes, and is not empty."
NAME_TAKEN = "There is a block of this type with this name already."
_OTHER_SCHEMAS: Fields = {"JsonValue": {}}
"""What schemas of pydantic refer to without a definition: any JSON."""


class Group(Struct, frozen=True):
    """The blocks of one type in a choice."""

    slug: str
    type_name: str
    choices: Sequence[Choice]


class ReferenceField(Struct, frozen=True):
    """A field that holds another block."""

    name: str
    """Of its input."""
    label: str
    description: str
    required: bool
    chosen: str
    """Id of a block; empty: none."""
    groups: Sequence[Group]

    @property
    def id(self) -> str:
        """Of its input in the page."""
        return self.name.replace("/", "-")


class Filling(Struct, frozen=True):
    """What is asked of a block of a type."""

    type: BlockType
    form: Form
    references: Sequence[ReferenceField]
    name: str = ""
    characters_max: int = INDEXED_CHARACTERS_MAX


class Schema(Struct, frozen=True):
    """A schema as a form has it."""

    id: str
    plain: Fields
    """Without the fields that are choices of blocks."""
    slugs: Mapping[str, Sequence[str]]
    """Types of the blocks that a field may hold, by fields that are choices of blocks."""
    fields: Fields
    """All of it."""


def _for_form(shown: ShownSchema, data: Mapping[str, Any]) -> Schema:
    fields = {**shown.fields, DEFINITIONS: _OTHER_SCHEMAS | (shown.fields.get(DEFINITIONS) or {})}
    members = fields.get("properties")
    members = members if isinstance(members, dict) else {}
    slugs: dict[str, Sequence[str]] = {}
    for name, named in (fields.get(REFERENCES) or {}).items():
        one = members.get(name)
        # Of a list of blocks, and of a block that was saved within this one, the JSON is shown.
        if isinstance(one, dict) and one.get("type") != "array" and name not in data:
            several = named if isinstance(named, list) else [named]
            slugs[name] = list(dict.fromkeys(each["block_type_slug"] for each in several))
    needed = fields.get("required")
    needed = needed if isinstance(needed, list) else []
    plain = {
        **fields,
        "type": "object",
        "properties": {name: one for name, one in members.items() if name not in slugs},
        "required": [name for name in needed if name not in slugs],
    }
    return Schema(shown.id, plain, slugs, fields)


async def _newest_schema(visit: Visit, type: BlockType) -> Schema:
    """Raises Missing for a type without one."""
    database = visit.server.database
    wanted = BlockSchemaFilter(block_type_id=Ids(any_=[type.id]))  # type: ignore[list-item]
    found = await block_schemas.some(database, database.dialect, wanted, 1, 0)
    if not found:
        raise Missing(f"The block type {type.name} has no schema yet: register it again")
    (shown,) = await block_schemas.shown(database, found)
    return _for_form(shown, {})


async def block(visit: Visit) -> BlockDocument:
    """The block that the page is about. Raises Missing."""
    found = await block_documents.by_id(visit.server.database, visit.id)
    if found is None:
        raise Missing("This block does not exist")
    return found


async def _own_schema(visit: Visit, of: BlockDocument) -> Schema:
    """Raises Missing."""
    database = visit.server.database
    found = await block_schemas.by_id(database, of.block_schema_id)
    if found is None:
        raise Missing("The schema of this block does not exist any more")
    (shown,) = await block_schemas.shown(database, [found])
    return _for_form(shown, of.data)


async def _references(
    visit: Visit, schema: Schema, chosen: Mapping[str, str]
) -> list[ReferenceField]:
    database = visit.server.database
    every = list(dict.fromkeys(slug for slugs in schema.slugs.values() for slug in slugs))
    if not every:
        return []
    choices = await block_pages.choices(database, database.dialect, every)
    names = {one.slug: one.name for one in (await block_types.slugs(database)).values()}
    members, needed = schema.fields["properties"], schema.fields.get("required", ())
    return [
        ReferenceField(
            name=f"{CHOICE}{escaped(field)}",
            label=_text(members[field], "title") or field.replace("_", " ").capitalize(),
            description=_text(members[field], "description"),
            required=field in needed,
            chosen=chosen.get(field, ""),
            groups=[Group(slug, names.get(slug, slug), choices.get(slug, ())) for slug in slugs],
        )
        for field, slugs in schema.slugs.items()
    ]


def _text(schema: Mapping[str, Any], name: str) -> str:
    found = schema.get(name)
    return found if isinstance(found, str) else ""


async def creation(visit: Visit) -> Filling:
    """What is asked of a new block. Raises Missing."""
    type = await block_type(visit)
    schema = await _newest_schema(visit, type)
    form = schema_form.form(schema.plain)
    return Filling(type, form, await _references(visit, schema, {}))


async def change(visit: Visit) -> Filling:
    """The block as it is. Raises Missing."""
    of = await block(visit)
    type = await block_types.by_id(visit.server.database, of.block_type_id)
    if type is None:
        raise Missing("The type of this block does not exist any more")
    schema = await _own_schema(visit, of)
    form = schema_form.form(schema.plain, of.data, hidden=OBSCURED)
    return Filling(type, form, await _references(visit, schema, of.references), of.name)


async def edits(visit: Visit, _: Query) -> Edited:
    """What can be changed of the block. Of its secrets only that they are others can be seen."""

    async def values(reader: Reader) -> Mapping[str, Any] | None:
        found = await block_documents.by_id(reader, visit.id)
        if found is None:
            return None
        return {**found.data, **found.references, SECRETS: found.secret}

    return Edited(f"{commands.CATEGORY}:{visit.id}", values, unseen=(SECRETS,))


# --- actions --------------------------------------------------------------------------------------


def _filled(deed: Deed, schema: Schema) -> tuple[dict[str, Any], dict[str, str]]:
    """The data that was filled in, and what is wrong with it by the names of inputs."""
    read = schema_form.read(schema.plain, deed.form, hidden=OBSCURED)
    errors = dict(read.errors)
    data: dict[str, Any] = {} if read.value is UNSET else dict(read.value)
    for field in schema.slugs:
        name = f"{CHOICE}{escaped(field)}"
        chosen = deed.form.one(name)
        if chosen:
            try:
                data[field] = {"$ref": {"block_document_id": canonical(chosen)}}
            except ValueError:
                errors[name] = "Choose one of the blocks."
        elif field in schema.fields.get("required", ()):
            errors[name] = "This is required: choose a block."
    return data, errors


async def create(deed: Deed) -> Said:
    """Save a block."""
    server, type = deed.visit.server, await block_type(deed.visit)
    schema = await _newest_schema(deed.visit, type)
    data, errors = _filled(deed, schema)
    name = deed.form.one("name").strip()
    fields = {"name": name, "block_type_id": type.id, "block_schema_id": schema.id}
    try:
        body = msgspec.convert({**fields, "data": data}, BlockDocumentCreate)
    except msgspec.ValidationError:
        errors["name"] = NAME_WRONG
    if errors:
        return Said.wrong(errors)
    if await block_documents.by_name(server.database, type.id, name) is not None:
        return Said.wrong({"name": NAME_TAKEN})
    try:
        id_, _ = await commands.create(server.shell, server.vault, body, deed.origin)
    except (Conflict, Invalid) as refused:
        return Said(str(refused), failed=True)
    return Said(f"Saved the {type.name} block {name}.", go=f"blocks/block/{id_}")


async def update(deed: Deed) -> Said:
    """Save a block again."""
    server, of = deed.visit.server, await block(deed.visit)
    data, errors = _filled(deed, await _own_schema(deed.visit, of))
    if errors:
        return Said.wrong(errors)
    body = BlockDocumentUpdate(data=data, merge_existing_data=False)
    try:
        await commands.update(server.shell, server.vault, of.id, body, deed.origin)
    except ChangedMeanwhile:
        raise
    except Refusal as refused:
        return Said(str(refused), failed=True)
    return Said(f"Saved the block {of.name}.", go=f"blocks/block/{of.id}")


async def _plain_of_type(deed: Deed) -> Fields:
    return (await _newest_schema(deed.visit, await block_type(deed.visit))).plain


async def _plain_of_block(deed: Deed) -> Fields:
    return (await _own_schema(deed.visit, await block(deed.visit))).plain


create_page = Page(
    path="/blocks/catalog/{slug:str}/create",
    template="block_create.html",
    title="New block",
    section="/blocks",
    view=creation,
    actions=(
        Action("/blocks/catalog/{slug:str}/create", create),
        schema_form.switch("/blocks/catalog/{slug:str}/fields", _plain_of_type),
    ),
    scripts=("schema_form.js",),
    styles=("forms.css", "blocks.css"),
)
edit_page = Page(
    path="/blocks/block/{id:uuid}/edit",
    template="block_edit.html",
    title="Edit block",
    edits=edits,
    section="/blocks",
    view=change,
    actions=(
        Action("/blocks/block/{id:uuid}/edit", update, edits=edits),
        schema_form.switch("/blocks/block/{id:uuid}/fields", _plain_of_block, hidden=OBSCURED),
    ),
    scripts=("schema_form.js",),
    styles=("forms.css", "blocks.css"),
)
