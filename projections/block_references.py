"""Read model: which blocks refer to which.   Table: migrations/0036.block-references.sql"""

from collections.abc import Iterable, Sequence
from typing import Any, get_args

from eventstore.database import Reader, Table
from eventstore.events import Recorded
from orchestration.block_documents import (
    BlockDocument,
    BlockDocumentCreated,
    BlockDocumentDeleted,
    BlockDocumentEvent,
    BlockDocumentUpdated,
)
from orchestration.documents import parse
from projections.entities import entity_id
from projections.projection import Key, Model, Projection, Rows, rows_of

REFERENCES = rows_of(
    Table(
        "block_references",
        {"refers_to": "text", "document_id": "text"},
        key=("refers_to", "document_id"),
    )
)
OF_DOCUMENT = "DELETE FROM block_references WHERE document_id = $1"


def apply(rows: Rows, recorded: Recorded[Any]) -> None:
    """What a document refers to after the event. What it refers to may have been deleted."""
    event: BlockDocumentEvent = recorded.event
    id_ = entity_id(recorded)
    if not isinstance(event, BlockDocumentCreated):
        rows.cascade(REFERENCES, OF_DOCUMENT, id_, lambda row: bool(row[1] == id_))
    if not isinstance(event, BlockDocumentDeleted):
        for other in event.references.values():
            rows.put(REFERENCES, (other, id_), (other, id_))


def reads(_: Recorded[Any]) -> Iterable[tuple[Model[Any], Key]]:
    """Nothing: what a document refers to is all in its newest event."""
    return ()


projection = Projection(
    name="block_references",
    version=1,
    mode="inline",
    models=(REFERENCES,),
    handles=frozenset(get_args(BlockDocumentEvent)),
    apply=apply,
    reads=reads,
    cascades=frozenset((BlockDocumentUpdated, BlockDocumentDeleted)),
)

# --- queries --------------------------------------------------------------------------------------

REFERRING = """
SELECT block_documents.document FROM block_references
JOIN block_documents ON block_documents.id = block_references.document_id
WHERE block_references.refers_to = $1 ORDER BY block_documents.name, block_documents.id LIMIT $2
"""
NUMBER = "SELECT count(*) FROM block_references WHERE refers_to = $1"


async def referring(reader: Reader, id: str, most: int) -> tuple[Sequence[BlockDocument], int]:
    """Documents that refer to another one, by name, at most so many; and how many there are."""
    rows = await reader.fetch(REFERRING, id, most)
    ((total,),) = await reader.fetch(NUMBER, id)
    return [parse(BlockDocument, row[0]) for row in rows], int(total)
