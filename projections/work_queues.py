"""Read model: work queues. Table: migrations/0002.read-models.sql."""

from typing import get_args

from msgspec.structs import replace

from eventstore.codec import from_microseconds
from eventstore.database import Dialect, Reader, Row, Table
from orchestration.documents import document, parse
from orchestration.work_queues import WorkQueue, WorkQueueEvent, evolve
from projections.columns import micros
from projections.entities import entity_projection
from projections.filter_compiler import where
from projections.filters import Filters
from projections.projection import Model

TABLE = Table(
    "work_queues",
    {
        "id": "text",
        "created": "bigint",
        "updated": "bigint",
        "name": "text",
        "work_pool_id": "text",
        "priority": "bigint",
        "document": "text",
    },
)


def render(queue: WorkQueue) -> Row:
    """The queue's row."""
    return (
        queue.id,
        micros(queue.created),
        micros(queue.updated),
        queue.name,
        queue.work_pool_id,
        queue.priority,
        document(queue).decode(),
    )


def from_row(row: Row) -> WorkQueue:
    """The queue of a row."""
    return parse(WorkQueue, row[-1])


WORK_QUEUES = Model(TABLE, render, from_row)

projection = entity_projection("work_queues", 1, WORK_QUEUES, get_args(WorkQueueEvent), evolve)

SUBJECT = "work-queue:"
"""What the pulse of a queue is called: this and its id. It says when the queue was last polled."""
_WITH_PULSE = (
    "SELECT work_queues.document, pulses.at FROM work_queues "
    f"LEFT JOIN pulses ON pulses.subject = '{SUBJECT}' || work_queues.id"
)


def _polled(row: Row) -> WorkQueue:
    queue = parse(WorkQueue, row[0])
    return queue if row[1] is None else replace(queue, last_polled=from_microseconds(row[1]))


async def by_id(reader: Reader, id: str) -> WorkQueue | None:
    """The queue of this id."""
    rows = await reader.fetch(f"{_WITH_PULSE} WHERE work_queues.id = $1", id)
    return _polled(rows[0]) if rows else None


async def by_name(reader: Reader, pool_id: str, name: str) -> WorkQueue | None:
    """The queue of this name in a pool."""
    rows = await reader.fetch(
        f"{_WITH_PULSE} WHERE work_queues.work_pool_id = $1 AND work_queues.name = $2",
        pool_id,
        name,
    )
    return _polled(rows[0]) if rows else None


async def all_of_pool(reader: Reader, pool_id: str) -> list[WorkQueue]:
    """The queues of a pool, the one that goes first in front."""
    rows = await reader.fetch(
        "SELECT document FROM work_queues WHERE work_pool_id = $1 ORDER BY priority", pool_id
    )
    return [parse(WorkQueue, row[0]) for row in rows]


async def of_pool(
    reader: Reader, dialect: Dialect, pool_id: str, filters: Filters, limit: int, offset: int
) -> list[WorkQueue]:
    """Queues of a pool that match, the one that goes first in front."""
    matching = where("work_queues", filters, dialect, first=4)
    rows = await reader.fetch(
        f"{_WITH_PULSE} WHERE work_queues.work_pool_id = $3 AND {matching.sql} "
        "ORDER BY work_queues.priority LIMIT $1 OFFSET $2",
        limit,
        offset,
        pool_id,
        *matching.params,
    )
    return [_polled(row) for row in rows]


async def some(
    reader: Reader, dialect: Dialect, filters: Filters, limit: int, offset: int
) -> list[WorkQueue]:
    """Queues of all pools that match, by name."""
    matching = where("work_queues", filters, dialect, first=3)
    rows = await reader.fetch(
        f"{_WITH_PULSE} WHERE {matching.sql} "
        "ORDER BY work_queues.name, work_queues.id LIMIT $1 OFFSET $2",
        limit,
        offset,
        *matching.params,
    )
    return [_polled(row) for row in rows]


async def count_of_pool(reader: Reader, pool_id: str) -> int:
    """How many queues a pool has."""
    sql = "SELECT count(*) FROM work_queues WHERE work_pool_id = $1"
    ((number,),) = await reader.fetch(sql, pool_id)
    return int(number)


async def late_runs(reader: Reader, queue_id: str) -> int:
    """How many runs of a queue are Late."""
    ((number,),) = await reader.fetch(
        "SELECT count(*) FROM flow_runs WHERE work_queue_id = $1 "
        "AND state_type = 'SCHEDULED' AND state_name = 'Late'",
        queue_id,
    )
    return int(number)


async def polled(reader: Reader, after: str, limit: int) -> list[WorkQueue]:
    """Queues that were ever polled, those with the next ids."""
    rows = await reader.fetch(
        "SELECT work_queues.document, pulses.at FROM work_queues "
        f"JOIN pulses ON pulses.subject = '{SUBJECT}' || work_queues.id "
        "WHERE work_queues.id > $1 ORDER BY work_queues.id LIMIT $2",
        after,
        limit,
    )
    return [_polled(row) for row in rows]
