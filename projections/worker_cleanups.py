"""Read model: clean-ups that workers are to do.   Table: migrations/0017.worker-cleanups.sql"""

from collections.abc import Iterable, Sequence
from typing import Any, get_args

import msgspec

from eventstore.codec import from_microseconds, to_microseconds
from eventstore.database import Dialect, Reader, Row, Table
from eventstore.events import Recorded
from orchestration.work_pools import WorkPoolDeleted
from orchestration.worker_cleanups import Cleanup, CleanupEvent, CleanupKind, evolve
from projections.entities import entity_id
from projections.projection import Key, Model, Projection, Rows

TABLE = Table(
    "worker_cleanups",
    {
        "id": "text",
        "work_pool_id": "text",
        "work_queue_id": "text",
        "kind": "text",
        "since": "bigint",
        "free_at": "bigint",
        "deliveries": "bigint",
        "consumer_id": "text",
        "token_digest": "text",
        "target": "text",
    },
)


def render(cleanup: Cleanup) -> Row:
    """The clean-up's row."""
    return (
        cleanup.id,
        cleanup.work_pool_id,
        cleanup.work_queue_id,
        cleanup.kind,
        to_microseconds(cleanup.since),
        to_microseconds(cleanup.free_at),
        cleanup.deliveries,
        cleanup.consumer_id,
        cleanup.token_digest,
        msgspec.json.encode(cleanup.target).decode(),
    )


def from_row(row: Row) -> Cleanup:
    """The clean-up of a row."""
    return Cleanup(
        id=row[0],
        work_pool_id=row[1],
        work_queue_id=row[2],
        kind=row[3],
        since=from_microseconds(row[4]),
        free_at=from_microseconds(row[5]),
        deliveries=row[6],
        consumer_id=row[7],
        token_digest=row[8],
        target=msgspec.json.decode(row[9]),
    )


WORKER_CLEANUPS = Model(TABLE, render, from_row)
OF_POOL = "DELETE FROM worker_cleanups WHERE work_pool_id = $1"


def apply(rows: Rows, recorded: Recorded[Any]) -> None:
    """Fold an event into its clean-up; without a pool there is nobody to do any."""
    event: CleanupEvent | WorkPoolDeleted = recorded.event
    id_ = entity_id(recorded)
    if isinstance(event, WorkPoolDeleted):
        rows.cascade(WORKER_CLEANUPS, OF_POOL, id_, lambda one: one.work_pool_id == id_)
        return
    cleanup = evolve(rows.get(WORKER_CLEANUPS, id_), event, recorded.recorded_at)
    if cleanup is None:
        rows.delete(WORKER_CLEANUPS, id_)
    else:
        rows.put(WORKER_CLEANUPS, (id_,), cleanup)


def reads(recorded: Recorded[Any]) -> Iterable[tuple[Model[Any], Key]]:
    """Its own row."""
    if isinstance(recorded.event, WorkPoolDeleted):
        return ()
    return ((WORKER_CLEANUPS, (entity_id(recorded),)),)


projection = Projection(
    name="worker_cleanups",
    version=1,
    mode="inline",
    models=(WORKER_CLEANUPS,),
    handles=frozenset((*get_args(CleanupEvent), WorkPoolDeleted)),
    apply=apply,
    reads=reads,
    cascades=frozenset((WorkPoolDeleted,)),
)


async def by_id(reader: Reader, id: str) -> Cleanup | None:
    """One that is still to be done."""
    rows = await reader.fetch_keys(TABLE, [(id,)])
    return from_row(rows[0]) if rows else None


async def next_free(
    reader: Reader,
    dialect: Dialect,
    pool_id: str,
    kinds: Sequence[CleanupKind],
    queue_ids: Sequence[str],
    now: int,
) -> str | None:
    """The clean-up of a pool that a worker for these kinds gets now, in microseconds since 1970.

    First those of queues that the worker polls, then any; of these the oldest. What nobody has is
    free whatever the clock says, which may be behind the log's.
    """
    of_kind = dialect.in_list("kind", "$3")
    of_queue = dialect.in_list("work_queue_id", "$4")
    rows = await reader.fetch(
        "SELECT id FROM worker_cleanups WHERE work_pool_id = $1 "
        "AND (consumer_id IS NULL OR free_at <= $2) "
        f"AND {of_kind} ORDER BY CASE WHEN {of_queue} THEN 0 ELSE 1 END, since, id LIMIT 1",
        pool_id,
        now,
        msgspec.json.encode(kinds).decode(),
        msgspec.json.encode(queue_ids).decode(),
    )
    return str(rows[0][0]) if rows else None


async def held(reader: Reader, pool_id: str, consumer_id: str, now: int) -> int:
    """How many clean-ups of a pool a worker has."""
    ((number,),) = await reader.fetch(
        "SELECT count(*) FROM worker_cleanups "
        "WHERE work_pool_id = $1 AND consumer_id = $2 AND free_at > $3",
        pool_id,
        consumer_id,
        now,
    )
    return int(number)


async def first_due(reader: Reader, kept: int, limit: int) -> list[Row]:
    """Ids of clean-ups and when they are due (microseconds), nearest first: at the end of a
    worker's lease, or so long after one became free."""
    return await reader.fetch(
        "SELECT id, CASE WHEN consumer_id IS NULL THEN free_at + $1 ELSE free_at END AS due "
        "FROM worker_cleanups ORDER BY due, id LIMIT $2",
        kept,
        limit,
    )
