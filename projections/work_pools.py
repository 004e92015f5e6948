"""Read model: work pools. Table: migrations/0002.read-models.sql."""

from collections.abc import Sequence
from typing import get_args

import msgspec

from eventstore.database import Dialect, Reader, Row, Table
from orchestration.documents import document, parse
from orchestration.surroundings import Neighbour
from orchestration.work_pools import WorkPool, WorkPoolEvent, evolve
from projections.columns import micros
from projections.entities import entity_projection
from projections.filter_compiler import where
from projections.filters import Filters
from projections.projection import Model

TABLE = Table(
    "work_pools",
    {
        "id": "text",
        "created": "bigint",
        "updated": "bigint",
        "name": "text",
        "type": "text",
        "document": "text",
    },
)


def render(pool: WorkPool) -> Row:
    """The pool's row."""
    return (
        pool.id,
        micros(pool.created),
        micros(pool.updated),
        pool.name,
        pool.type,
        document(pool).decode(),
    )


def from_row(row: Row) -> WorkPool:
    """The pool of a row."""
    return parse(WorkPool, row[-1])


WORK_POOLS = Model(TABLE, render, from_row)

projection = entity_projection("work_pools", 1, WORK_POOLS, get_args(WorkPoolEvent), evolve)

BY_NAME = "SELECT document FROM work_pools WHERE name = $1"


async def by_name(reader: Reader, name: str) -> WorkPool | None:
    """The pool of this name."""
    rows = await reader.fetch(BY_NAME, name)
    return parse(WorkPool, rows[0][0]) if rows else None


_AROUND = Table("work_pools", {"name": "text", "id": "text", "type": "text"}, key=("name",))
"""The pools as they are told of, seen through the unique index on their names."""


async def neighbour(reader: Reader, name: str) -> Neighbour | None:
    """The pool of this name as emissions of its runs tell of it."""
    rows = await reader.fetch_keys(_AROUND, [(name,)])
    return Neighbour(rows[0][1], name, type=rows[0][2]) if rows else None


async def by_id(reader: Reader, id: str) -> WorkPool | None:
    """The pool of this id."""
    rows = await reader.fetch_keys(TABLE, [(id,)])
    return from_row(rows[0]) if rows else None


async def some(
    reader: Reader, dialect: Dialect, filters: Filters, limit: int, offset: int
) -> list[WorkPool]:
    """Pools that match, by name."""
    matching = where("work_pools", filters, dialect, first=3)
    rows = await reader.fetch(
        f"SELECT document FROM work_pools WHERE {matching.sql} "
        "ORDER BY work_pools.name LIMIT $1 OFFSET $2",
        limit,
        offset,
        *matching.params,
    )
    return [parse(WorkPool, row[0]) for row in rows]


# "is not null" and the whole list of states: as the index has it, see the migration.
_HOLDING = (
    "flow_runs.state_type IN ('CANCELLING', 'PENDING', 'RUNNING') "
    "AND flow_runs.work_queue_id IS NOT NULL"
)
_AT_WORK = f"{_HOLDING} AND flow_runs.state_type <> 'CANCELLING'"


async def slots_of_pools(
    reader: Reader, dialect: Dialect, pool_ids: Sequence[str]
) -> dict[str, int]:
    """How many runs hold a slot, by pool; pools without one are left out."""
    held = dialect.in_list("work_queues.work_pool_id", "$1")
    rows = await reader.fetch(
        "SELECT work_queues.work_pool_id, count(*) FROM work_queues "
        "JOIN flow_runs ON flow_runs.work_queue_id = work_queues.id "
        f"WHERE {held} AND {_AT_WORK} GROUP BY work_queues.work_pool_id",
        msgspec.json.encode(pool_ids).decode(),
    )
    return {row[0]: int(row[1]) for row in rows}


async def slots_of_queues(
    reader: Reader, dialect: Dialect, queue_ids: Sequence[str], *, cancelling: bool
) -> dict[str, int]:
    """How many runs hold a slot, by queue; queues without one are left out.

    `cancelling`: runs that are about to be cancelled count as well, as for queues of agents.
    """
    held = dialect.in_list("flow_runs.work_queue_id", "$1")
    rows = await reader.fetch(
        "SELECT flow_runs.work_queue_id, count(*) FROM flow_runs "
        f"WHERE {held} AND {_HOLDING if cancelling else _AT_WORK} "
        "GROUP BY flow_runs.work_queue_id",
        msgspec.json.encode(queue_ids).decode(),
    )
    return {row[0]: int(row[1]) for row in rows}


async def holders_of_pool(reader: Reader, pool_id: str, limit: int) -> list[Row]:
    """Runs that hold a slot of a pool: id and name; by id."""
    return await reader.fetch(
        "SELECT flow_runs.id, flow_runs.name FROM work_queues "
        "JOIN flow_runs ON flow_runs.work_queue_id = work_queues.id "
        f"WHERE work_queues.work_pool_id = $1 AND {_AT_WORK} ORDER BY flow_runs.id LIMIT $2",
        pool_id,
        limit,
    )


async def holders(
    reader: Reader, queue_id: str, *, cancelling: bool, limit: int, offset: int = 0
) -> list[Row]:
    """Runs that hold a slot of a queue: id, name, state type, state name, start time, time of the
    state (microseconds); by id."""
    return await reader.fetch(
        "SELECT id, name, state_type, state_name, start_time, state_timestamp FROM flow_runs "
        f"WHERE work_queue_id = $1 AND {_HOLDING if cancelling else _AT_WORK} "
        "ORDER BY id LIMIT $2 OFFSET $3",
        queue_id,
        limit,
        offset,
    )
