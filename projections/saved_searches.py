"""Read model: saved searches.   Table: migrations/0019.variables.sql"""

from typing import get_args

from eventstore.database import Reader, Row, Table
from orchestration.documents import document, parse
from orchestration.saved_searches import SavedSearch, SavedSearchEvent, evolve
from projections.entities import entity_projection
from projections.projection import Model

TABLE = Table("saved_searches", {"id": "text", "name": "text", "document": "text"})


def render(search: SavedSearch) -> Row:
    """The search's row."""
    return (search.id, search.name, document(search).decode())


def from_row(row: Row) -> SavedSearch:
    """The search of a row."""
    return parse(SavedSearch, row[-1])


SAVED_SEARCHES = Model(TABLE, render, from_row)

projection = entity_projection(
    "saved_searches", 1, SAVED_SEARCHES, get_args(SavedSearchEvent), evolve
)

BY_NAME = "SELECT document FROM saved_searches WHERE name = $1"


async def by_name(reader: Reader, name: str) -> SavedSearch | None:
    """The search of this name."""
    rows = await reader.fetch(BY_NAME, name)
    return parse(SavedSearch, rows[0][0]) if rows else None


async def by_id(reader: Reader, id: str) -> SavedSearch | None:
    """The search of this id."""
    rows = await reader.fetch_keys(TABLE, [(id,)])
    return from_row(rows[0]) if rows else None


async def some(reader: Reader, limit: int, offset: int) -> list[str]:
    """Documents of searches, by name."""
    rows = await reader.fetch(
        "SELECT document FROM saved_searches ORDER BY name LIMIT $1 OFFSET $2", limit, offset
    )
    return [row[0] for row in rows]
