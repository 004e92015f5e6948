"""What the log has to say, as emissions, about block types and block documents.

Of secrets there is nothing, not even what is shown in their place; nor of anonymous documents,
which belong to something else, and of the types that a server knows from its start, as nobody makes
them.
"""

from typing import Any, TypeAlias

from eventstore.events import Event, Recorded
from orchestration.block_documents import (
    BlockDocumentCreated,
    BlockDocumentDeleted,
    BlockDocumentUpdated,
    Data,
    DocumentNamed,
)
from orchestration.block_secrets import OBSCURED
from orchestration.block_types import (
    CHANGEABLE,
    KNOWN,
    BlockTypeCreated,
    BlockTypeDeleted,
    BlockTypeUpdated,
    TypeNamed,
)
from orchestration.emissions import Told

DATA_CHARACTERS_MAX = 100_000
"""Of the texts that a document holds, together; what does not fit is left out."""

BlockEvent: TypeAlias = (
    BlockTypeCreated
    | BlockTypeUpdated
    | BlockTypeDeleted
    | BlockDocumentCreated
    | BlockDocumentUpdated
    | BlockDocumentDeleted
)
BLOCK_EMITTING: tuple[type[Event], ...] = (
    BlockTypeCreated,
    BlockTypeUpdated,
    BlockTypeDeleted,
    BlockDocumentCreated,
    BlockDocumentUpdated,
    BlockDocumentDeleted,
)


def of_block(recorded: Recorded[Any]) -> Told | None:
    """What is told of an event of a block type or document; None if nothing is."""
    event: BlockEvent = recorded.event
    id_ = recorded.stream.partition(":")[2]
    match event:
        case BlockTypeCreated() if recorded.actor != KNOWN:
            named = TypeNamed(event.name, event.slug, event.is_protected)
            return _of_type("created", id_, named, event)
        case BlockTypeUpdated(about=TypeNamed() as named):
            return _of_type("updated", id_, named, event)
        case BlockTypeDeleted():
            return _of_type("deleted", id_, TypeNamed(event.name, event.slug), event)
        case BlockDocumentCreated(is_anonymous=False):
            named_document = DocumentNamed(
                event.name,
                event.block_type_id,
                event.block_type_name,
                event.block_schema_id,
                event.capabilities,
            )
            return _of_document("created", id_, named_document, event.data)
        case BlockDocumentUpdated(about=DocumentNamed() as about):
            return _of_document("updated", id_, about, event.data)
        case BlockDocumentDeleted(about=DocumentNamed() as about):
            return _of_document("deleted", id_, about, event.data)
        case _:
            return None


def _of_type(
    what: str,
    id_: str,
    named: TypeNamed,
    event: BlockTypeCreated | BlockTypeUpdated | BlockTypeDeleted,
) -> Told:
    return Told(
        name=f"prefect.block-type.{what}",
        resource={
            "prefect.resource.id": f"prefect.block-type.{id_}",
            "prefect.resource.name": named.name,
        },
        payload={
            "name": named.name,
            "slug": named.slug,
            **{name: getattr(event, name) for name in CHANGEABLE},
            "is_protected": named.is_protected,
        },
    )


def _of_document(what: str, id_: str, about: DocumentNamed, data: Data) -> Told:
    return Told(
        name=f"prefect.block-document.{what}",
        resource={
            "prefect.resource.id": f"prefect.block-document.{id_}",
            "prefect.resource.name": about.name,
        },
        related=(
            {
                "prefect.resource.id": f"prefect.block-type.{about.block_type_id}",
                "prefect.resource.role": "block-type",
                "prefect.resource.name": about.block_type_name,
            },
            {
                "prefect.resource.id": f"prefect.block-schema.{about.block_schema_id}",
                "prefect.resource.role": "block-schema",
            },
        ),
        payload={
            "name": about.name,
            "data": _texts(data),
            "block_schema": {
                "capabilities": about.capabilities,
                "block_type": {"id": about.block_type_id, "name": about.block_type_name},
            },
        },
    )


def _texts(data: Data) -> dict[str, str]:
    """The outermost fields that are texts and not secret, as Prefect tells them."""
    told: dict[str, str] = {}
    left = DATA_CHARACTERS_MAX
    for name, value in data.items():
        # Whoever saves just these asterisks where nothing is secret does not miss them.
        if isinstance(value, str) and value != OBSCURED and len(value) <= left:
            told[name] = value
            left -= len(value)
    return told
