"""Read model: where results are stored by default.   Table: migrations/0029.result-storage.sql"""

from typing import get_args

from eventstore.database import Reader, Row, Table
from orchestration.documents import document, parse
from orchestration.result_storage import THE_DEFAULT, ResultStorage, ResultStorageEvent, evolve
from projections.entities import entity_projection
from projections.projection import Model

TABLE = Table("result_storage", {"id": "text", "document": "text"})


def render(storage: ResultStorage) -> Row:
    """The default's row."""
    return (THE_DEFAULT, document(storage).decode())


def from_row(row: Row) -> ResultStorage:
    """The default of a row."""
    return parse(ResultStorage, row[-1])


RESULT_STORAGE = Model(TABLE, render, from_row)

projection = entity_projection(
    "result_storage", 1, RESULT_STORAGE, get_args(ResultStorageEvent), evolve
)


async def current(reader: Reader) -> ResultStorage | None:
    """The default, if there is one."""
    rows = await reader.fetch_keys(TABLE, [(THE_DEFAULT,)])
    return from_row(rows[0]) if rows else None
