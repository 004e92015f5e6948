"""Block types: the kinds of configuration that clients save and load as blocks."""

import html
from datetime import datetime
from typing import Annotated, TypeAlias, assert_never

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import asdict, replace

from eventstore.decider import Decider
from eventstore.events import Event
from orchestration.identifiers import INDEXED_CHARACTERS_MAX, Name, Text
from orchestration.refusals import AlreadyExists, Conflict, NotFound, Protected

KNOWN = "known-blocks"
"""The actor of what a server registers by itself when it starts."""
RESERVED_PREFIX = "prefect"
"""What the name of a type that a client makes may not begin with, whatever the case."""
ESCAPED = ("description", "code_example")
"""Texts that are kept as HTML shows them; clients compare them unescaped."""
CHANGEABLE = ("logo_url", "documentation_url", "description", "code_example")
"""The fields of a type that can be changed: how it is shown."""

Slug: TypeAlias = Annotated[str, Meta(pattern=r"^[a-z0-9-]*$", max_length=INDEXED_CHARACTERS_MAX)]
"""Small letters, digits and dashes."""

# --- events ---------------------------------------------------------------------------------------


class BlockTypeCreated(Event, frozen=True, tag="block-type.created"):
    """A kind of block got known. A protected one came with the server."""

    id: str
    name: str
    slug: str
    logo_url: str | None = None
    documentation_url: str | None = None
    description: str | None = None
    code_example: str | None = None
    is_protected: bool = False


class TypeNamed(Struct, frozen=True, omit_defaults=True):
    """Which type it is that was changed, as emissions tell of it."""

    name: str
    slug: str
    is_protected: bool = False


class BlockTypeUpdated(Event, frozen=True, tag="block-type.updated"):
    """How the type is shown after the change."""

    logo_url: str | None = None
    documentation_url: str | None = None
    description: str | None = None
    code_example: str | None = None
    about: TypeNamed | None = None


class BlockTypeDeleted(Event, frozen=True, tag="block-type.deleted"):
    """The type is gone, its slug is free. Carries what it was called, and how it was shown."""

    name: str
    slug: str
    logo_url: str | None = None
    documentation_url: str | None = None
    description: str | None = None
    code_example: str | None = None


BlockTypeEvent: TypeAlias = BlockTypeCreated | BlockTypeUpdated | BlockTypeDeleted

# --- commands -------------------------------------------------------------------------------------


class BlockTypeCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /block_types/`."""

    name: Name
    slug: Slug
    logo_url: Text | None = None
    documentation_url: Text | None = None
    description: Text | None = None
    code_example: Text | None = None


class BlockTypeUpdate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `PATCH /block_types/{id}`; what is unset stays as it is."""

    logo_url: Text | UnsetType | None = UNSET
    documentation_url: Text | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET
    code_example: Text | UnsetType | None = UNSET


class CreateBlockType(Struct, frozen=True, kw_only=True):
    """Make a kind of block known."""

    id: str
    body: BlockTypeCreate
    slug_is_taken: bool
    by_server: bool = False
    """It comes with the server: its name may be a reserved one."""
    is_protected: bool = False


class UpdateBlockType(Struct, frozen=True, kw_only=True):
    """Change how a type is shown."""

    id: str
    body: BlockTypeUpdate


class DeleteBlockType(Struct, frozen=True, kw_only=True):
    """Forget a type. Its schemas and documents go with it."""

    id: str


BlockTypeCommand: TypeAlias = CreateBlockType | UpdateBlockType | DeleteBlockType

# --- value ----------------------------------------------------------------------------------------


class BlockType(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A type as the API shows it. `created` and `updated` are the projection's to stamp."""

    id: str
    created: datetime | None = None
    updated: datetime | None = None
    name: str
    slug: str
    logo_url: str | None = None
    documentation_url: str | None = None
    description: str | None = None
    code_example: str | None = None
    is_protected: bool = False


# --- decide ---------------------------------------------------------------------------------------


def decide(command: BlockTypeCommand, block_type: BlockType | None) -> list[BlockTypeEvent]:
    """What follows from a command. Raises `Conflict`, `NotFound` and `Protected`."""
    if isinstance(command, CreateBlockType):
        if block_type is not None:
            raise AlreadyExists("Block type", command.id)
        return [_created(command)]
    if block_type is None:
        raise NotFound("Block type", command.id)
    match command:
        case UpdateBlockType(body=changes):
            return _changed(block_type, changes)
        case DeleteBlockType():
            if block_type.is_protected:
                raise Protected("protected block types cannot be deleted.")
            shown = {name: getattr(block_type, name) for name in CHANGEABLE}
            return [BlockTypeDeleted(name=block_type.name, slug=block_type.slug, **shown)]
        case _:
            assert_never(command)


def _created(command: CreateBlockType) -> BlockTypeEvent:
    body = command.body
    if not command.by_server and body.name.lower().startswith(RESERVED_PREFIX):
        raise Protected("Block type names beginning with 'Prefect' are reserved.")
    if command.slug_is_taken:
        # Prefect names the name, though it is the slug that has to be free.
        raise Conflict(f'Block type with name "{body.name}" already exists')
    fields = asdict(body)
    fields |= {name: _escaped(fields[name]) for name in ESCAPED}
    return BlockTypeCreated(id=command.id, is_protected=command.is_protected, **fields)


def _escaped(text: str | None) -> str | None:
    return None if text is None else html.escape(text, quote=False)


def _changed(block_type: BlockType, changes: BlockTypeUpdate) -> list[BlockTypeEvent]:
    now = {name: getattr(block_type, name) for name in CHANGEABLE}
    wanted = now | {name: value for name, value in asdict(changes).items() if value is not UNSET}
    # Clients send their own text again and again; that it is kept escaped is no difference.
    if all(_unescaped(name, wanted[name]) == _unescaped(name, now[name]) for name in now):
        return []
    about = TypeNamed(block_type.name, block_type.slug, block_type.is_protected)
    return [BlockTypeUpdated(**wanted, about=about)]


def _unescaped(name: str, text: str | None) -> str | None:
    return html.unescape(text) if text is not None and name in ESCAPED else text


# --- evolve ---------------------------------------------------------------------------------------


def evolve(block_type: BlockType | None, event: BlockTypeEvent) -> BlockType | None:
    """The type after the event."""
    match event:
        case BlockTypeCreated():
            return BlockType(**asdict(event))
        case BlockTypeUpdated():
            changed = {name: getattr(event, name) for name in CHANGEABLE}
            return block_type and replace(block_type, **changed)
        case BlockTypeDeleted():
            return None
        case _:
            assert_never(event)


decider: Decider[BlockTypeCommand, BlockType, BlockTypeEvent] = Decider(decide, evolve)
