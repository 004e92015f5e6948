"""Block documents: configuration under a name, of a block type and in the form of its schema.

No event holds a secret value: where one is, `data` says so, and `secret` names the place beside the
log where they are kept, encrypted (`services/vault.py`). A document may refer to others, which are
shown in its place where it is read.
"""

from datetime import datetime
from typing import Annotated, Any, TypeAlias, assert_never

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import asdict, force_setattr, replace

from eventstore.decider import Decider
from eventstore.events import Event
from orchestration.identifiers import INDEXED_CHARACTERS_MAX, Id, canonical, tidy
from orchestration.refusals import AlreadyExists, Conflict, Invalid, NotFound, NotNow

DATA_BYTES_MAX = 4 * 1024 * 1024
"""Of a document's data as JSON."""
REFERENCES_MAX = 200
"""Documents that one refers to."""

Data: TypeAlias = dict[str, Any]
DocumentName: TypeAlias = Annotated[
    str, Meta(pattern=r"^[a-z0-9-]*$", max_length=INDEXED_CHARACTERS_MAX)
]
"""Small letters, digits and dashes."""

# --- events ---------------------------------------------------------------------------------------


class DocumentNamed(Struct, frozen=True, omit_defaults=True):
    """Which document it is that was changed, as emissions tell of it; of anonymous ones they do
    not."""

    name: str
    block_type_id: str
    block_type_name: str
    block_schema_id: str
    capabilities: tuple[str, ...] = ()
    """Of its schema."""


class BlockDocumentCreated(Event, frozen=True, tag="block-document.created"):
    """A block was saved under a name that was free."""

    id: str
    name: str
    block_type_id: str
    block_type_name: str
    block_schema_id: str
    is_anonymous: bool = False
    data: Data = msgspec.field(default_factory=dict)
    """Secret values obscured, references to other documents left out."""
    references: dict[str, str] = msgspec.field(default_factory=dict)
    """Ids of other documents by the fields that they stand in."""
    secret: str | None = None
    """Where the secret values are; None if there are none."""
    capabilities: tuple[str, ...] = ()
    """Of its schema, as emissions tell of it."""


class BlockDocumentUpdated(Event, frozen=True, tag="block-document.updated"):
    """The document as it is after the change."""

    block_schema_id: str
    data: Data = msgspec.field(default_factory=dict)
    references: dict[str, str] = msgspec.field(default_factory=dict)
    secret: str | None = None
    about: DocumentNamed | None = None


class BlockDocumentDeleted(Event, frozen=True, tag="block-document.deleted"):
    """The document is gone, its name is free, its secrets cannot be read any more."""

    name: str
    block_type_id: str
    about: DocumentNamed | None = None
    data: Data = msgspec.field(default_factory=dict)
    """What it held, secret values obscured."""


BlockDocumentEvent: TypeAlias = BlockDocumentCreated | BlockDocumentUpdated | BlockDocumentDeleted

# --- commands -------------------------------------------------------------------------------------


class BlockDocumentCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /block_documents/`."""

    name: DocumentName | None = None
    data: Data = msgspec.field(default_factory=dict)
    block_schema_id: Id
    block_type_id: Id
    is_anonymous: bool = False

    def __post_init__(self) -> None:
        tidy(self, ids=("block_schema_id", "block_type_id"))
        if not self.name and not self.is_anonymous:
            raise ValueError("Names must be provided for block documents.")


class BlockDocumentUpdate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `PATCH /block_documents/{id}`."""

    block_schema_id: Id | None = None
    data: Data | UnsetType = UNSET
    merge_existing_data: bool = True

    def __post_init__(self) -> None:
        if self.block_schema_id is not None:
            force_setattr(self, "block_schema_id", canonical(self.block_schema_id))


class Content(Struct, frozen=True):
    """What a document is to hold; its secrets are on their way to where they are kept."""

    data: Data
    references: dict[str, str]
    secret: str | None


class CreateBlockDocument(Struct, frozen=True, kw_only=True):
    """Save a block."""

    id: str
    body: BlockDocumentCreate
    block_type_name: str
    content: Content
    name_is_taken: bool
    capabilities: tuple[str, ...] = ()
    """Of the schema, as below."""


class UpdateBlockDocument(Struct, frozen=True, kw_only=True):
    """Save a block again."""

    id: str
    block_schema_id: str
    schema_type_id: str
    """The type of that schema."""
    content: Content
    capabilities: tuple[str, ...] = ()


class DeleteBlockDocument(Struct, frozen=True, kw_only=True):
    """Forget a block."""

    id: str
    capabilities: tuple[str, ...] = ()


BlockDocumentCommand: TypeAlias = CreateBlockDocument | UpdateBlockDocument | DeleteBlockDocument

# --- value ----------------------------------------------------------------------------------------


class BlockDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document by itself. How the API shows it, with its type, its schema and the documents that
    it refers to, is put together where it is read (`projections/block_documents.py`)."""

    id: str
    created: datetime | None = None
    updated: datetime | None = None
    name: str
    block_type_id: str
    block_type_name: str
    block_schema_id: str
    is_anonymous: bool = False
    data: Data = msgspec.field(default_factory=dict)
    references: dict[str, str] = msgspec.field(default_factory=dict)
    secret: str | None = None


# --- decide ---------------------------------------------------------------------------------------


def decide(command: BlockDocumentCommand, block: BlockDocument | None) -> list[BlockDocumentEvent]:
    """What follows from a command. Raises `Conflict`, `NotFound` and `NotNow`."""
    if isinstance(command, CreateBlockDocument):
        if block is not None:
            raise AlreadyExists("Block document", command.id)
        return [_created(command)]
    if block is None:
        raise NotFound("Block document", command.id)
    match command:
        case UpdateBlockDocument():
            return _updated(command, block)
        case DeleteBlockDocument():
            about = _named(block, block.block_schema_id, command.capabilities)
            return [BlockDocumentDeleted(block.name, block.block_type_id, about, block.data)]
        case _:
            assert_never(command)


def _created(command: CreateBlockDocument) -> BlockDocumentEvent:
    body = command.body
    if command.name_is_taken:
        raise Conflict("Block already exists")
    return BlockDocumentCreated(
        id=command.id,
        name=body.name or f"anonymous-{command.id}",
        block_type_id=body.block_type_id,
        block_type_name=command.block_type_name,
        block_schema_id=body.block_schema_id,
        is_anonymous=body.is_anonymous,
        capabilities=command.capabilities,
        **asdict(command.content),
    )


def _named(
    block: BlockDocument, block_schema_id: str, capabilities: tuple[str, ...]
) -> DocumentNamed | None:
    """As it is told of; None for an anonymous one, of which nobody is told."""
    if block.is_anonymous:
        return None
    return DocumentNamed(
        block.name, block.block_type_id, block.block_type_name, block_schema_id, capabilities
    )


def _updated(command: UpdateBlockDocument, block: BlockDocument) -> list[BlockDocumentEvent]:
    moves = command.block_schema_id != block.block_schema_id
    if moves and command.schema_type_id != block.block_type_id:
        raise NotNow("Must migrate block document to a block schema of the same block type.")
    event = BlockDocumentUpdated(
        block_schema_id=command.block_schema_id,
        **asdict(command.content),
        about=_named(block, command.block_schema_id, command.capabilities),
    )
    # As JSON: in Python 1, 1.0 and True are equal.
    same = msgspec.json.encode(evolve(block, event)) == msgspec.json.encode(block)
    return [] if same else [event]


# --- evolve ---------------------------------------------------------------------------------------


def evolve(block: BlockDocument | None, event: BlockDocumentEvent) -> BlockDocument | None:
    """The document after the event."""
    match event:
        case BlockDocumentCreated():
            return BlockDocument(**_without(event, "capabilities"))
        case BlockDocumentUpdated():
            return block and replace(block, **_without(event, "about"))
        case BlockDocumentDeleted():
            return None
        case _:
            assert_never(event)


def _without(event: BlockDocumentCreated | BlockDocumentUpdated, told: str) -> dict[str, Any]:
    """The fields of an event without what is only told."""
    return {name: value for name, value in asdict(event).items() if name != told}


decider: Decider[BlockDocumentCommand, BlockDocument, BlockDocumentEvent] = Decider(decide, evolve)

# --- references to other documents ----------------------------------------------------------------


def without_references(data: Data) -> tuple[Data, dict[str, str]]:
    """Data that was sent, without the references in its outermost fields; and these.

    Raises NotNow, as Prefect does, for a reference that names no document, and Invalid for one
    whose id is none.
    """
    kept: Data = {}
    references: dict[str, str] = {}
    for name, value in data.items():
        if not isinstance(value, dict) or "$ref" not in value:
            kept[name] = value
            continue
        reference = value["$ref"]
        id_ = reference.get("block_document_id") if isinstance(reference, dict) else None
        if id_ is None:
            raise NotNow(f"Received block reference without a block_document_id in key {name}")
        try:
            references[name] = canonical(id_)
        except (ValueError, AttributeError, TypeError):
            raise Invalid(f"{id_!r} is no id of a block document", ("data", name)) from None
    if len(references) > REFERENCES_MAX:
        raise Invalid(f"A block may refer to {REFERENCES_MAX} others", ("data",))
    return kept, references


def check_size(data: Data) -> None:
    """Raises Invalid for more data than a document may hold."""
    if len(msgspec.json.encode(data)) > DATA_BYTES_MAX:
        raise Invalid(f"The data of a block may take {DATA_BYTES_MAX} bytes", ("data",))
