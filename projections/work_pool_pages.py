"""Queries: work pools, their queues and their workers for people, with how they do.

What waits is counted through the index of the scheduled runs, queue by queue and up to a number;
late ones among those whose time has come, so that many that are scheduled far ahead cost nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from eventstore.codec import from_microseconds, to_microseconds
from eventstore.database import Dialect, Reader, Row, Value
from orchestration.documents import parse
from orchestration.work_pools import WorkPool
from orchestration.work_queues import WorkQueue
from projections import work_pools, work_queues
from projections.criteria import Text
from projections.filter_compiler import where
from projections.filters import NO_FILTERS, Filters, WorkPoolFilter, WorkQueueFilter
from projections.keyset import Asked, Place

PAGE_POOLS = 50
"""Pools on a page."""
QUEUES_MAX = 200
"""Queues of a pool that are shown, those that go first."""
COUNTED_MAX = 1_000
"""Runs that wait in one queue are counted so far and no further."""
UPCOMING_SHOWN = 50
DEPLOYMENTS_SHOWN = 200
OVERDUE_LOOKED_AT_MAX = 2_000
"""Runs that should have started, the oldest ones, by which pools are compared."""


class Waiting(Struct, frozen=True):
    """Runs that wait in a queue or a pool, and those that are at work."""

    scheduled: int = 0
    """Late ones among them. Of each queue at most `COUNTED_MAX`, as the next number."""
    late: int = 0
    active: int = 0
    """Runs that hold a slot."""
    cut: bool = False
    """More are scheduled than were counted."""


class PoolLine(Struct, frozen=True):
    """A pool in a list."""

    pool: WorkPool
    waiting: Waiting
    queues: int
    paused_queues: int
    workers: int
    online: int
    """Workers that are heard of."""
    polled: datetime | None
    """When a queue of it was last polled."""
    deployments: int

    @property
    def troubled(self) -> bool:
        """Whether somebody should look at it."""
        return bool(self.waiting.late) or self.pool.status == "NOT_READY"


class PoolPage(Struct, frozen=True):
    """Some pools, and where the pages beside them begin, if there are any."""

    pools: Sequence[PoolLine]
    before: str | None
    after: str | None
    total: int


class QueueLine(Struct, frozen=True):
    """A queue in a list."""

    queue: WorkQueue
    waiting: Waiting


class NextRun(Struct, frozen=True):
    """A run that waits for its time or for a worker."""

    id: str
    name: str
    flow_id: str
    flow_name: str
    deployment_id: str | None
    deployment_name: str | None
    queue_name: str | None
    state_name: str
    due: datetime


class DeploymentLine(Struct, frozen=True):
    """A deployment whose runs go to a pool."""

    id: str
    name: str
    flow_id: str
    flow_name: str
    queue_id: str
    queue_name: str
    status: str
    paused: bool


def named(text: str, type: str) -> Filters:
    """Pools whose names contain a text, of a type; either may be empty."""
    if not text and not type:
        return NO_FILTERS
    return Filters(
        work_pools=WorkPoolFilter(
            name=Text(like_=text) if text else None, type=Text(any_=[type]) if type else None
        )
    )


async def page(
    reader: Reader,
    dialect: Dialect,
    filters: Filters,
    now: datetime,
    *,
    after: str | None = None,
    before: str | None = None,
) -> PoolPage:
    """Pools by name, after a cursor, before one, or the first ones. Raises Invalid for another
    cursor."""
    asked = Asked(True, after, before)
    matching = where("work_pools", filters, dialect)
    params: list[Value] = list(matching.params)
    conditions = [matching.sql, *asked.beyond("work_pools.name", "work_pools.id", str, params)]
    rows = await reader.fetch(
        "SELECT work_pools.id, work_pools.name, work_pools.document FROM work_pools "
        f"WHERE {' AND '.join(conditions)} "
        f"ORDER BY {asked.order('work_pools.name', 'work_pools.id')} LIMIT {PAGE_POOLS + 1}",
        *params,
    )
    cut = asked.cut(rows, PAGE_POOLS, lambda row: Place(row[1], row[0]))
    ((total,),) = await reader.fetch(
        f"SELECT count(*) FROM work_pools WHERE {matching.sql}", *matching.params
    )
    lines = await _lines(reader, dialect, [parse(WorkPool, row[2]) for row in cut.rows], now)
    return PoolPage(lines, cut.before, cut.after, int(total))


_LATE_POOLS = f"""
SELECT work_queues.work_pool_id FROM (
  SELECT work_queue_id, state_name FROM flow_runs
  WHERE flow_runs.state_type = 'SCHEDULED' AND next_scheduled_start_time <= $1
  ORDER BY next_scheduled_start_time LIMIT {OVERDUE_LOOKED_AT_MAX}
) AS overdue JOIN work_queues ON work_queues.id = overdue.work_queue_id
JOIN work_pools ON work_pools.id = work_queues.work_pool_id
WHERE overdue.state_name = 'Late' GROUP BY work_queues.work_pool_id, work_pools.name
ORDER BY count(*) DESC, work_pools.name LIMIT $2
"""
# A pool with a worker that is heard of is ready, so that of most only the name is looked at.
_NOT_READY = """
SELECT work_pools.id FROM work_pools WHERE NOT EXISTS (
  SELECT 1 FROM workers WHERE workers.work_pool_id = work_pools.id AND workers.status = 'ONLINE'
) AND work_pools.document LIKE '%"status":"NOT_READY"%' ORDER BY work_pools.name LIMIT $1
"""
_BY_NAME = "SELECT work_pools.id FROM work_pools ORDER BY work_pools.name LIMIT $1"


async def worst_first(
    reader: Reader, dialect: Dialect, now: datetime, most: int
) -> tuple[Sequence[PoolLine], int]:
    """Up to `most` pools, those that somebody should look at in front; and how many there are.

    Found by what is wrong, not among all pools: this is asked whenever the dashboard is.
    """
    ids = [row[0] for row in await reader.fetch(_LATE_POOLS, to_microseconds(now), most)]
    for others in (_NOT_READY, _BY_NAME):
        if len(ids) < most:
            more = [row[0] for row in await reader.fetch(others, most)]
            ids = list(dict.fromkeys((*ids, *more)))[:most]
    rows = await reader.fetch_keys(work_pools.TABLE, [(id_,) for id_ in ids])
    found = [work_pools.from_row(row) for row in rows]
    lines = await _lines(reader, dialect, found, now)
    ((total,),) = await reader.fetch("SELECT count(*) FROM work_pools")
    ranked = sorted(lines, key=lambda line: (-line.waiting.late, not line.troubled, line.pool.name))
    return ranked, int(total)


async def types(reader: Reader) -> list[str]:
    """The types that there are pools of."""
    rows = await reader.fetch("SELECT DISTINCT type FROM work_pools ORDER BY type")
    return [row[0] for row in rows]


async def line(reader: Reader, dialect: Dialect, pool: WorkPool, now: datetime) -> PoolLine:
    """How a pool does."""
    return (await _lines(reader, dialect, [pool], now))[0]


_QUEUES_OF = """
SELECT work_queues.work_pool_id, work_queues.document, pulses.at FROM work_queues
LEFT JOIN pulses ON pulses.subject = '{subject}' || work_queues.id WHERE {among}
"""
_WORKERS_OF = """
SELECT work_pool_id, status, count(*) FROM workers WHERE {among} GROUP BY work_pool_id, status
"""
_DEPLOYMENTS_OF = """
SELECT work_queues.work_pool_id, count(*) FROM deployments
JOIN work_queues ON work_queues.id = deployments.work_queue_id
WHERE deployments.work_queue_id IS NOT NULL AND {among} GROUP BY work_queues.work_pool_id
"""


async def _lines(
    reader: Reader, dialect: Dialect, pools: Sequence[WorkPool], now: datetime
) -> list[PoolLine]:
    ids = msgspec.json.encode([pool.id for pool in pools]).decode()
    among = dialect.in_list("work_queues.work_pool_id", "$1")
    queues: dict[str, list[WorkQueue]] = {}
    polled: dict[str, int] = {}
    sql = _QUEUES_OF.format(subject=work_queues.SUBJECT, among=among)
    for pool_id, text, at in await reader.fetch(sql, ids):
        queues.setdefault(pool_id, []).append(parse(WorkQueue, text))
        polled[pool_id] = max(polled.get(pool_id, 0), at or 0)
    workers: dict[str, dict[str, int]] = {}
    sql = _WORKERS_OF.format(among=dialect.in_list("work_pool_id", "$1"))
    for pool_id, status, number in await reader.fetch(sql, ids):
        workers.setdefault(pool_id, {})[status] = int(number)
    rows = await reader.fetch(_DEPLOYMENTS_OF.format(among=among), ids)
    deployments = {row[0]: int(row[1]) for row in rows}
    every = [queue.id for own in queues.values() for queue in own]
    waiting = await _waiting(reader, dialect, every, now)
    return [
        PoolLine(
            pool=pool,
            waiting=_sum([waiting[queue.id] for queue in queues.get(pool.id, ())]),
            queues=len(queues.get(pool.id, ())),
            paused_queues=sum(queue.is_paused for queue in queues.get(pool.id, ())),
            workers=sum(workers.get(pool.id, {}).values()),
            online=workers.get(pool.id, {}).get("ONLINE", 0),
            polled=from_microseconds(polled[pool.id]) if polled.get(pool.id) else None,
            deployments=deployments.get(pool.id, 0),
        )
        for pool in pools
    ]


def _sum(parts: Sequence[Waiting]) -> Waiting:
    return Waiting(
        sum(part.scheduled for part in parts),
        sum(part.late for part in parts),
        sum(part.active for part in parts),
        any(part.cut for part in parts),
    )


_IN = (
    "FROM flow_runs WHERE flow_runs.state_type = 'SCHEDULED' "
    "AND flow_runs.work_queue_id IS NOT NULL AND flow_runs.work_queue_id = work_queues.id"
)
_WAITING = f"""
SELECT work_queues.id,
  (SELECT count(*) FROM (SELECT 1 {_IN} LIMIT {COUNTED_MAX}) AS scheduled),
  (SELECT count(*) FROM (SELECT 1 {_IN} AND flow_runs.next_scheduled_start_time <= $2
    AND flow_runs.state_name = 'Late' LIMIT {COUNTED_MAX}) AS late)
FROM work_queues WHERE {{among}}
"""


async def _waiting(
    reader: Reader, dialect: Dialect, queue_ids: Sequence[str], now: datetime
) -> Mapping[str, Waiting]:
    """What waits in each of these queues."""
    sql = _WAITING.format(among=dialect.in_list("work_queues.id", "$1"))
    ids = msgspec.json.encode(queue_ids).decode()
    rows = await reader.fetch(sql, ids, to_microseconds(now))
    active = await work_pools.slots_of_queues(reader, dialect, queue_ids, cancelling=False)
    found = {
        id_: Waiting(int(scheduled), int(late), active.get(id_, 0), scheduled == COUNTED_MAX)
        for id_, scheduled, late in rows
    }
    return {id_: found.get(id_, Waiting()) for id_ in queue_ids}


async def queues(
    reader: Reader, dialect: Dialect, pool_id: str, now: datetime
) -> Sequence[QueueLine]:
    """The queues of a pool, the one that goes first in front."""
    found = await work_queues.of_pool(reader, dialect, pool_id, NO_FILTERS, QUEUES_MAX, 0)
    waiting = await _waiting(reader, dialect, [queue.id for queue in found], now)
    return [QueueLine(queue, waiting[queue.id]) for queue in found]


async def queue(reader: Reader, dialect: Dialect, id: str, now: datetime) -> QueueLine | None:
    """The queue of this id."""
    found = await work_queues.by_id(reader, id)
    if found is None:
        return None
    return QueueLine(found, (await _waiting(reader, dialect, [id], now))[id])


_FIRST = """
SELECT * FROM (SELECT flow_runs.id, flow_runs.next_scheduled_start_time AS due FROM flow_runs
  WHERE flow_runs.state_type = 'SCHEDULED' AND flow_runs.work_queue_id IS NOT NULL
  AND flow_runs.work_queue_id = ${place} AND flow_runs.next_scheduled_start_time IS NOT NULL
  ORDER BY flow_runs.next_scheduled_start_time LIMIT {most}) AS first_{place}
"""
_UPCOMING = """
SELECT flow_runs.id, flow_runs.name, flow_runs.flow_id, flows.name, flow_runs.deployment_id,
  deployments.name, flow_runs.work_queue_name, flow_runs.state_name,
  flow_runs.next_scheduled_start_time
FROM flow_runs JOIN flows ON flows.id = flow_runs.flow_id
LEFT JOIN deployments ON deployments.id = flow_runs.deployment_id
WHERE flow_runs.next_scheduled_start_time IS NOT NULL AND {among}
ORDER BY flow_runs.next_scheduled_start_time, flow_runs.id
"""


async def upcoming(reader: Reader, dialect: Dialect, queue_ids: Sequence[str]) -> Sequence[NextRun]:
    """What waits in these queues, at most `QUEUES_MAX`, the one that is due first in front."""
    queue_ids = queue_ids[:QUEUES_MAX]
    if not queue_ids:
        return []
    # Each queue's own first ones, by its index: together they have the first ones of all.
    parts = (_FIRST.format(place=at, most=UPCOMING_SHOWN) for at in range(1, len(queue_ids) + 1))
    found = await reader.fetch(" UNION ALL ".join(parts), *queue_ids)
    first = sorted((row[1], row[0]) for row in found)[:UPCOMING_SHOWN]
    ids = msgspec.json.encode([id_ for _, id_ in first]).decode()
    sql = _UPCOMING.format(among=dialect.in_list("flow_runs.id", "$1"))
    return [_next(row) for row in await reader.fetch(sql, ids)]


def _next(row: Row) -> NextRun:
    return NextRun(
        id=row[0],
        name=row[1],
        flow_id=row[2],
        flow_name=row[3],
        deployment_id=row[4],
        deployment_name=row[5],
        queue_name=row[6],
        state_name=row[7],
        due=from_microseconds(row[8]),
    )


_DEPLOYMENTS = """
SELECT deployments.id, deployments.name, deployments.flow_id, flows.name, work_queues.id,
  work_queues.name, deployments.status, deployments.paused
FROM deployments JOIN work_queues ON work_queues.id = deployments.work_queue_id
JOIN flows ON flows.id = deployments.flow_id
WHERE deployments.work_queue_id IS NOT NULL AND {column} = $1
ORDER BY flows.name, deployments.name, deployments.id LIMIT $2
"""


async def deployments(
    reader: Reader, *, pool_id: str | None = None, queue_id: str | None = None
) -> Sequence[DeploymentLine]:
    """The deployments whose runs go to a pool or to a queue, by name."""
    column, id_ = (
        ("work_queues.id", queue_id) if queue_id else ("work_queues.work_pool_id", pool_id)
    )
    rows = await reader.fetch(_DEPLOYMENTS.format(column=column), id_, DEPLOYMENTS_SHOWN)
    return [
        DeploymentLine(id_, name, flow_id, flow, queue, queue_name, status, bool(paused))
        for id_, name, flow_id, flow, queue, queue_name, status, paused in rows
    ]


async def pools_named(reader: Reader, dialect: Dialect, text: str, most: int) -> list[str]:
    """Names of pools that contain a text."""
    found = await work_pools.some(reader, dialect, named(text, ""), most, 0)
    return [pool.name for pool in found]


async def queues_named(
    reader: Reader, dialect: Dialect, text: str, most: int
) -> list[tuple[str, str, str]]:
    """Ids and names of queues whose names contain a text, and the names of their pools."""
    wanted = Filters(work_queues=WorkQueueFilter(name=Text(like_=text)))
    found = await work_queues.some(reader, dialect, wanted, most, 0)
    return [(queue.id, queue.name, queue.work_pool_name) for queue in found]


class Losses(Struct, frozen=True):
    """What goes with a pool, or is left without one."""

    queues: int
    workers: int
    deployments: int
    waiting: int


async def losses(reader: Reader, dialect: Dialect, name: str, now: datetime) -> Losses | None:
    """What would be lost with a pool; None if it is gone."""
    pool = await work_pools.by_name(reader, name)
    if pool is None:
        return None
    found = await line(reader, dialect, pool, now)
    return Losses(found.queues, found.workers, found.deployments, found.waiting.scheduled)
