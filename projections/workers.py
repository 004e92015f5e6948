"""Read model: workers. Table: migrations/0013.work-pools.sql."""

from typing import get_args

from msgspec import Struct
from msgspec.structs import replace

from eventstore.codec import from_microseconds
from eventstore.database import Dialect, Reader, Row, Table
from orchestration.documents import document, parse
from orchestration.workers import Worker, WorkerEvent, WorkerStatus, evolve
from projections.columns import micros
from projections.criteria import Time, condition
from projections.entities import entity_projection
from projections.projection import Model
from projections.where import FALSE, Draft, Operator, all_of, combine

TABLE = Table(
    "workers",
    {
        "id": "text",
        "created": "bigint",
        "updated": "bigint",
        "name": "text",
        "work_pool_id": "text",
        "status": "text",
        "document": "text",
    },
)


def render(worker: Worker) -> Row:
    """The worker's row."""
    return (
        worker.id,
        micros(worker.created),
        micros(worker.updated),
        worker.name,
        worker.work_pool_id,
        worker.status,
        document(worker).decode(),
    )


def from_row(row: Row) -> Worker:
    """The worker of a row."""
    return parse(Worker, row[-1])


WORKERS = Model(TABLE, render, from_row)

projection = entity_projection("workers", 1, WORKERS, get_args(WorkerEvent), evolve)

SUBJECT = "worker:"
"""What the pulse of a worker is called: this and its id. It says when it was last heard of."""


class StatusCriterion(Struct, frozen=True, forbid_unknown_fields=True):
    any_: tuple[WorkerStatus, ...] | None = None
    not_any_: tuple[WorkerStatus, ...] | None = None


class WorkerFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which workers of a pool."""

    last_heartbeat_time: Time | None = None
    status: StatusCriterion | None = None
    operator: Operator = "and_"


_WITH_PULSE = (
    "SELECT workers.document, pulses.at, pulses.interval_seconds FROM workers "
    f"LEFT JOIN pulses ON pulses.subject = '{SUBJECT}' || workers.id"
)


def _heard(row: Row) -> Worker:
    worker = parse(Worker, row[0])
    if row[1] is None:
        return worker
    return replace(
        worker,
        last_heartbeat_time=from_microseconds(row[1]),
        heartbeat_interval_seconds=row[2],
    )


def _asked(asked: WorkerFilter, draft: Draft) -> str:
    """The condition of a filter. Its operator joins its criteria; within one, all must hold."""
    conditions = []
    if asked.last_heartbeat_time is not None:
        conditions.append(condition(asked.last_heartbeat_time, "pulses.at", draft))
    if asked.status is not None:
        conditions.append(_in_status(asked.status))
    return combine(asked.operator, conditions)


def _in_status(asked: StatusCriterion) -> str:
    conditions = []
    if asked.any_ is not None:
        listed = ", ".join(f"'{one}'" for one in asked.any_)
        conditions.append(f"workers.status IN ({listed})" if listed else FALSE)
    if asked.not_any_:
        listed = ", ".join(f"'{one}'" for one in asked.not_any_)
        conditions.append(f"workers.status NOT IN ({listed})")
    return all_of(conditions)


async def of_pool(
    reader: Reader,
    dialect: Dialect,
    pool_id: str,
    asked: WorkerFilter | None,
    limit: int,
    offset: int,
) -> list[Worker]:
    """Workers of a pool that match, the one that was heard of last in front."""
    draft = Draft(dialect)
    where = draft.where(_asked(asked or WorkerFilter(), draft), first=4)
    rows = await reader.fetch(
        f"{_WITH_PULSE} WHERE workers.work_pool_id = $3 AND {where.sql} "
        "ORDER BY pulses.at DESC, workers.id LIMIT $1 OFFSET $2",
        *(limit, offset, pool_id, *where.params),
    )
    return [_heard(row) for row in rows]


async def all_of_pool(reader: Reader, pool_id: str) -> list[Worker]:
    """Every worker of a pool, without its pulse."""
    rows = await reader.fetch("SELECT document FROM workers WHERE work_pool_id = $1", pool_id)
    return [parse(Worker, row[0]) for row in rows]


async def by_name(reader: Reader, pool_id: str, name: str) -> Worker | None:
    """The worker of this name in a pool, without its pulse."""
    rows = await reader.fetch(
        "SELECT document FROM workers WHERE work_pool_id = $1 AND name = $2", pool_id, name
    )
    return parse(Worker, rows[0][0]) if rows else None


async def by_id(reader: Reader, id: str) -> Worker | None:
    """The worker of this id."""
    rows = await reader.fetch(f"{_WITH_PULSE} WHERE workers.id = $1", id)
    return _heard(rows[0]) if rows else None


async def any_online(reader: Reader, pool_id: str, but: str = "") -> bool:
    """Whether a worker of the pool is online, other than the one of id `but`."""
    sql = "SELECT 1 FROM workers WHERE work_pool_id = $1 AND status = 'ONLINE' AND id <> $2 LIMIT 1"
    return bool(await reader.fetch(sql, pool_id, but))


ONLINE = (
    "SELECT workers.id, COALESCE(pulses.at, workers.updated), pulses.interval_seconds FROM workers "
    f"LEFT JOIN pulses ON pulses.subject = '{SUBJECT}' || workers.id "
    "WHERE workers.status = 'ONLINE' ORDER BY COALESCE(pulses.at, workers.updated) + "
    "1000000.0 * $1 * COALESCE(pulses.interval_seconds, $2) LIMIT $3"
)


async def online(
    reader: Reader, missed_heartbeats: int, fallback_seconds: float, limit: int
) -> list[Row]:
    """Ids of workers that are online, when they were last heard of (microseconds) and every how
    many seconds they want to be (or None); in front the one that is, or will be, overdue first,
    having missed so many heartbeats."""
    return await reader.fetch(ONLINE, float(missed_heartbeats), float(fallback_seconds), limit)
