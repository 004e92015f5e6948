"""Read model: where results are stored by default.   Table: migrations/0029.result-storage.sql

A block that is deleted is the default no longer, whatever deleted it.
"""

from collections.abc import Iterable
from typing import Any, get_args

from eventstore.database import Reader, Row, Table
from eventstore.events import Recorded
from orchestration.block_documents import BlockDocumentDeleted
from orchestration.documents import document, parse
from orchestration.result_storage import THE_DEFAULT, ResultStorage, ResultStorageEvent, evolve
from projections.entities import entity_id, evolved
from projections.projection import Key, Model, Projection, Rows

TABLE = Table("result_storage", {"id": "text", "document": "text"})


def render(storage: ResultStorage) -> Row:
    """The default's row."""
    return (THE_DEFAULT, document(storage).decode())


def from_row(row: Row) -> ResultStorage:
    """The default of a row."""
    return parse(ResultStorage, row[-1])


RESULT_STORAGE = Model(TABLE, render, from_row)


def _reads(recorded: Recorded[Any]) -> Iterable[tuple[Model[Any], Key]]:
    return ((RESULT_STORAGE, (THE_DEFAULT,)),)


def _apply(rows: Rows, recorded: Recorded[Any]) -> None:
    if not isinstance(recorded.event, BlockDocumentDeleted):
        evolved(rows, RESULT_STORAGE, evolve, recorded)
        return
    storage = rows.get(RESULT_STORAGE, THE_DEFAULT)
    if storage is not None and storage.block_document_id == entity_id(recorded):
        rows.delete(RESULT_STORAGE, THE_DEFAULT)


projection = Projection(
    name="result_storage",
    version=1,
    mode="inline",
    models=(RESULT_STORAGE,),
    handles=frozenset((*get_args(ResultStorageEvent), BlockDocumentDeleted)),
    apply=_apply,
    reads=_reads,
)


async def current(reader: Reader) -> ResultStorage | None:
    """The default, if there is one."""
    rows = await reader.fetch_keys(TABLE, [(THE_DEFAULT,)])
    return from_row(rows[0]) if rows else None
