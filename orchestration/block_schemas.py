"""Block schemas: what the documents of a block type look like, told apart by checksum and version.

A schema is immutable. Fields that hold other blocks refer to the schemas of these; what a client
sends brings their definitions along, and those that are not known yet are recorded together with it
(`services/block_schemas.py`).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypeAlias, assert_never

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from eventstore.decider import Decider
from eventstore.events import Event
from orchestration.identifiers import Id, IndexedText, Text, tidy
from orchestration.refusals import AlreadyExists, Invalid, NotFound, Protected

UNVERSIONED = "non-versioned"
"""The version of a schema whose client names none."""
FIELDS_BYTES_MAX = 1024 * 1024
"""Of a schema's fields as JSON; of those that packages for Prefect bring the largest is 60 kB."""
NESTED_SCHEMAS_MAX = 200
"""Fields with other blocks in the schemas that one request brings along."""
NESTED_DEPTH_MAX = 50
"""Levels of schemas in each other."""

Fields: TypeAlias = dict[str, Any]
DEFINITIONS, REFERENCES, SECRETS = "definitions", "block_schema_references", "secret_fields"
_POINTER = "#/definitions/"

# --- events ---------------------------------------------------------------------------------------


class SchemaReference(Struct, frozen=True):
    """A field that holds a block, and that block's schema."""

    name: str
    block_schema_id: str


class BlockSchemaCreated(Event, frozen=True, tag="block-schema.created"):
    """A client brought a form that the documents of a type can have."""

    id: str
    checksum: str
    version: str
    block_type_id: str
    fields: Fields
    capabilities: tuple[str, ...] = ()
    references: tuple[SchemaReference, ...] = ()


class BlockSchemaDeleted(Event, frozen=True, tag="block-schema.deleted"):
    """The schema is gone, alone or with its type."""

    checksum: str
    version: str


BlockSchemaEvent: TypeAlias = BlockSchemaCreated | BlockSchemaDeleted

# --- commands -------------------------------------------------------------------------------------


class BlockSchemaCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /block_schemas/`."""

    fields: Fields = msgspec.field(default_factory=dict)
    block_type_id: Id
    capabilities: tuple[Text, ...] = ()
    version: IndexedText = UNVERSIONED

    def __post_init__(self) -> None:
        tidy(self, ids=("block_type_id",))


class CreateBlockSchema(Struct, frozen=True, kw_only=True):
    """Record a schema. Whoever asks knows that there is none of this checksum and version."""

    id: str
    body: BlockSchemaCreate
    checksum: str
    references: tuple[SchemaReference, ...]
    definitions: Mapping[str, Any]
    """What the fields, or those of a schema around this one, refer to."""


class DeleteBlockSchema(Struct, frozen=True, kw_only=True):
    """Forget a schema. Its documents go with it."""

    id: str
    type_is_protected: bool


BlockSchemaCommand: TypeAlias = CreateBlockSchema | DeleteBlockSchema

# --- value ----------------------------------------------------------------------------------------


class BlockSchema(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A schema by itself. How the API shows it, with those that it refers to, is put together
    where it is read (`projections/block_schemas.py`)."""

    id: str
    created: datetime | None = None
    updated: datetime | None = None
    checksum: str
    version: str
    block_type_id: str
    fields: Fields
    """As they were sent, without what is said of blocks that they refer to."""
    capabilities: tuple[str, ...] = ()
    references: tuple[SchemaReference, ...] = ()

    @property
    def secret_fields(self) -> tuple[str, ...]:
        """Dotted paths of the values that are secret; `*` stands for all that is beneath."""
        named = self.fields.get(SECRETS)
        named = named if isinstance(named, list) else []
        return tuple(one for one in named if isinstance(one, str))


# --- decide ---------------------------------------------------------------------------------------


def decide(command: BlockSchemaCommand, schema: BlockSchema | None) -> list[BlockSchemaEvent]:
    """What follows from a command. Raises `NotFound` and `Protected`."""
    match command:
        case CreateBlockSchema():
            if schema is not None:
                raise AlreadyExists("Block schema", command.id)
            return [_created(command)]
        case DeleteBlockSchema():
            if schema is None:
                raise NotFound("Block schema", command.id)
            if command.type_is_protected:
                raise Protected("Block schemas for protected block types cannot be deleted.")
            return [BlockSchemaDeleted(checksum=schema.checksum, version=schema.version)]
        case _:
            assert_never(command)


def _created(command: CreateBlockSchema) -> BlockSchemaEvent:
    body, definitions = command.body, command.definitions
    kept = {name: value for name, value in body.fields.items() if name != REFERENCES}
    if definitions:
        # Those of blocks are schemas of their own, and put back where the schema is read.
        kept.pop(DEFINITIONS, None)
        if plain := plain_definitions({**body.fields, DEFINITIONS: definitions}, definitions):
            kept[DEFINITIONS] = plain
    return BlockSchemaCreated(
        id=command.id,
        checksum=command.checksum,
        version=body.version,
        block_type_id=body.block_type_id,
        fields=kept,
        capabilities=body.capabilities,
        references=command.references,
    )


# --- evolve ---------------------------------------------------------------------------------------


def evolve(schema: BlockSchema | None, event: BlockSchemaEvent) -> BlockSchema | None:
    """The schema after the event."""
    match event:
        case BlockSchemaCreated():
            return BlockSchema(**asdict(event))
        case BlockSchemaDeleted():
            return None
        case _:
            assert_never(event)


decider: Decider[BlockSchemaCommand, BlockSchema, BlockSchemaEvent] = Decider(decide, evolve)

# --- what is in the fields ------------------------------------------------------------------------


def checksum(fields: Fields, definitions: Mapping[str, Any] | None = None) -> str:
    """The checksum of a schema: to the letter what clients compute of their own classes.

    Secrets' names do not count, nor do definitions of blocks, which have checksums of their own.
    `definitions` take the place of those in `fields`.
    """
    counted = _without_secrets({**fields, DEFINITIONS: definitions} if definitions else fields)
    if counted.get(DEFINITIONS):
        plain = plain_definitions(counted, definitions_of(counted))
        if plain:
            counted[DEFINITIONS] = plain
        else:
            del counted[DEFINITIONS]
    text = json.dumps([[counted], {}], sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _without_secrets(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_secrets(inner) for key, inner in value.items() if key != SECRETS}


def definitions_of(fields: Fields) -> dict[str, Any]:
    """The definitions that fields bring along."""
    found = fields.get(DEFINITIONS)
    return found if isinstance(found, dict) else {}


def plain_definitions(value: Any, definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Of the definitions that `value` refers to, directly or through others, those of no block."""
    found: dict[str, Any] = {}
    ahead = [_defined(pointer) for pointer in _pointers(value)]
    while ahead:
        name = ahead.pop()
        definition = definitions.get(name)
        if name in found or not isinstance(definition, dict) or not definition:
            continue
        if definition.get("block_type_slug") is None:
            found[name] = definition
            ahead += [_defined(pointer) for pointer in _pointers(definition)]
    return found


def _pointers(value: Any) -> Iterator[str]:
    """Every `$ref` in a value, however deep."""
    if isinstance(value, dict):
        pointer = value.get("$ref")
        if pointer and isinstance(pointer, str):
            yield pointer
        for inner in value.values():
            yield from _pointers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _pointers(inner)


def _defined(pointer: str) -> str:
    return pointer.replace(_POINTER, "")


class Mentioned(Struct, frozen=True):
    """A block's schema, as the schema around it mentions it."""

    name: str
    """Of the field that holds the block."""
    checksum: str
    slug: str
    """Of its type."""


def mentioned(fields: Fields) -> list[Mentioned]:
    """The schemas that fields refer to. Raises Invalid for references of another form."""
    found = []
    references = fields.get(REFERENCES) or {}
    if not isinstance(references, dict):
        raise _misshapen(REFERENCES)
    for name, values in references.items():
        # A field of several types has a list of them.
        for value in values if isinstance(values, list) else [values]:
            try:
                found.append(
                    Mentioned(
                        name,
                        msgspec.convert(value["block_schema_checksum"], str),
                        msgspec.convert(value["block_type_slug"], str),
                    )
                )
            except (TypeError, KeyError, msgspec.ValidationError):
                raise _misshapen(f"{REFERENCES}.{name}") from None
    return found


def _misshapen(where: str) -> Invalid:
    return Invalid(
        f"{where} has to name, by field, a block_schema_checksum and a block_type_slug", ("fields",)
    )


def fields_of_nested(fields: Fields, one: Mentioned, definitions: Mapping[str, Any]) -> Fields:
    """The fields of a schema that is only mentioned, from the definitions that came along.

    Raises Invalid if they are not among these.
    """
    properties = fields.get("properties")
    spoken_of = properties.get(one.name) if isinstance(properties, dict) else None
    candidates = [definitions.get(_defined(pointer)) for pointer in _pointers(spoken_of)]
    known = [found for found in candidates if isinstance(found, dict)]
    if len(candidates) > 1:
        known = [found for found in known if found.get("block_type_slug") == one.slug]
    if not known:
        raise Invalid(
            f"The schema that the field {one.name!r} refers to, of block type {one.slug!r}, is "
            "neither registered nor among the definitions of these fields",
            ("fields",),
        )
    return known[0]
