"""Read model: flows.   Table: migrations/0002.read-models.sql"""

from typing import get_args

from eventstore.database import Reader, Row, Table
from orchestration.documents import document, parse
from orchestration.flows import Flow, FlowEvent, evolve
from projections.columns import json_array, micros
from projections.entities import entity_projection
from projections.projection import Model

TABLE = Table(
    "flows",
    {
        "id": "text",
        "created": "bigint",
        "updated": "bigint",
        "name": "text",
        "tags": "text",
        "document": "text",
    },
)


def render(flow: Flow) -> Row:
    """The flow's row."""
    return (
        flow.id,
        micros(flow.created),
        micros(flow.updated),
        flow.name,
        json_array(flow.tags),
        document(flow).decode(),
    )


def from_row(row: Row) -> Flow:
    """The flow of a row."""
    return parse(Flow, row[-1])


FLOWS = Model(TABLE, render, from_row, remembered=True)

projection = entity_projection("flows", 1, FLOWS, get_args(FlowEvent), evolve)

BY_NAME = "SELECT id, document FROM flows WHERE name = $1"


async def by_name(reader: Reader, name: str) -> tuple[str, str] | None:
    """Id and document of the flow with this name."""
    rows = await reader.fetch(BY_NAME, name)
    return (rows[0][0], rows[0][1]) if rows else None


async def by_id(reader: Reader, id: str) -> str | None:
    """Document of one flow."""
    rows = await reader.fetch_keys(TABLE, [(id,)])
    return rows[0][-1] if rows else None
