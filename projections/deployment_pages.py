"""Deployments for people: pages of them with what their runs did and do next, and one of them with
what surrounds it.

Each deployment of a page is asked for its newest runs and for its next one, by an index that has a
deployment's runs in order of time.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, TypeAlias, get_args

import msgspec
from msgspec import Struct

from eventstore.codec import from_microseconds, to_microseconds
from eventstore.database import Dialect, Reader, Row, Value
from orchestration.deployments import Deployment
from orchestration.documents import parse
from orchestration.work_pools import WorkPool
from orchestration.work_queues import WorkQueue
from projections import work_pools, work_queues
from projections.criteria import Tags, Text
from projections.filter_compiler import where
from projections.filters import DeploymentFilter, Filters, NameLike, WorkPoolFilter
from projections.flow_pages import PastRun
from projections.keyset import Asked, Place, Rank
from projections.where import all_of

PAGE_DEPLOYMENTS = 50
"""Deployments on a page."""
NEWEST_RUNS = 24
"""Runs of a deployment that draw its trend."""
UPCOMING_SHOWN = 50
"""Runs to come of a deployment that are shown."""
OF_FLOW_SHOWN = 50
"""Deployments of a flow that its page shows."""
POOLS_OFFERED = 200
"""Work pools that a filter offers."""

Readiness: TypeAlias = Literal["READY", "NOT_READY", "PAUSED"]
"""What a deployment counts as: a paused one is neither ready nor not."""
READINESS: tuple[Readiness, ...] = get_args(Readiness)

DeploymentOrder: TypeAlias = Literal["NAME_ASC", "NAME_DESC", "FLOW_ASC", "FLOW_DESC", "NEXT_ASC"]
ORDERS: tuple[DeploymentOrder, ...] = get_args(DeploymentOrder)


class Wanted(Struct, frozen=True, kw_only=True):
    """Which deployments are meant; what is empty asks nothing."""

    text: str = ""
    """Part of the name of the deployment or of its flow."""
    tags: Sequence[str] = ()
    readiness: Sequence[Readiness] = ()
    pool: str = ""


class NextRun(Struct, frozen=True):
    """The run that comes next."""

    id: str
    name: str
    at: datetime


class ListedDeployment(Struct, frozen=True):
    """A deployment in a list."""

    deployment: Deployment
    flow_name: str
    newest: Sequence[PastRun]
    """Newest first."""
    next: NextRun | None
    late: int
    """Runs that should have started."""

    @property
    def readiness(self) -> Readiness:
        """What it counts as."""
        return readiness(self.deployment)


class DeploymentPage(Struct, frozen=True):
    """Some deployments, and where the pages beside them begin, if there are any."""

    deployments: Sequence[ListedDeployment]
    before: str | None
    after: str | None
    total: int


def readiness(deployment: Deployment) -> Readiness:
    """What a deployment counts as."""
    return "PAUSED" if deployment.paused else deployment.status


_AT = "COALESCE(flow_runs.start_time, flow_runs.expected_start_time)"
_READINESS = "(CASE WHEN deployments.paused = 1 THEN 'PAUSED' ELSE deployments.status END)"
_NEVER = 2**62
# Runs whose time is past and that have not begun are late, not next.
_NEXT_AT = (
    f"COALESCE((SELECT {_AT} FROM flow_runs WHERE flow_runs.deployment_id = deployments.id "
    f"AND {_AT} >= $1 AND flow_runs.state_type = 'SCHEDULED' ORDER BY {_AT} LIMIT 1), {_NEVER})"
)
_FLOW_AND_NAME = "flows.name || ' / ' || deployments.name"
_RANKS: Mapping[DeploymentOrder, tuple[str, bool, type[Rank]]] = {
    "NAME_ASC": ("deployments.name", True, str),
    "NAME_DESC": ("deployments.name", False, str),
    "FLOW_ASC": (_FLOW_AND_NAME, True, str),
    "FLOW_DESC": (_FLOW_AND_NAME, False, str),
    "NEXT_ASC": (_NEXT_AT, True, int),
}

# $1 is the present, whether the order needs it or not: engines want each parameter to be used.
_DEPLOYMENTS = """
SELECT id, document, flow_name, place FROM (
  SELECT deployments.id, deployments.document, flows.name AS flow_name, {rank} AS place
  FROM deployments JOIN flows ON flows.id = deployments.flow_id
  WHERE {matching} AND CAST($1 AS BIGINT) IS NOT NULL
) AS ranked
WHERE {conditions} ORDER BY {order} LIMIT {limit}
"""
_COUNT = (
    "SELECT count(*) FROM deployments JOIN flows ON flows.id = deployments.flow_id WHERE {matching}"
)


async def page(
    reader: Reader,
    dialect: Dialect,
    wanted: Wanted,
    order: DeploymentOrder,
    now: datetime,
    *,
    after: str | None = None,
    before: str | None = None,
) -> DeploymentPage:
    """Deployments that are meant, after a cursor or before one.

    Raises Invalid for what is no cursor of this order.
    """
    rank, ascending, kind = _RANKS[order]
    asked = Asked(ascending, after, before)
    present = to_microseconds(now)
    counted = _matching(wanted, dialect, 1)
    ((total,),) = await reader.fetch(_COUNT.format(matching=counted[0]), *counted[1])
    matching, found_by = _matching(wanted, dialect, 2)
    params: list[Value] = [present, *found_by]
    sql = _DEPLOYMENTS.format(
        rank=rank,
        matching=matching,
        conditions=all_of(asked.beyond("place", "id", kind, params)),
        order=asked.order("place", "id"),
        limit=PAGE_DEPLOYMENTS + 1,
    )
    rows = await reader.fetch(sql, *params)
    found = asked.cut(rows, PAGE_DEPLOYMENTS, lambda row: Place(row[3], row[0]))
    late = await late_runs(reader, present)
    listed = [await _listed(reader, row[1], row[2], present, late) for row in found.rows]
    return DeploymentPage(listed, found.before, found.after, int(total))


def _matching(wanted: Wanted, dialect: Dialect, first: int) -> tuple[str, Sequence[Value]]:
    own = DeploymentFilter(
        flow_or_deployment_name=NameLike(like_=wanted.text) if wanted.text else None,
        tags=Tags(all_=list(wanted.tags)) if wanted.tags else None,
    )
    pool = WorkPoolFilter(name=Text(any_=[wanted.pool])) if wanted.pool else None
    matching = where("deployments", Filters(deployments=own, work_pools=pool), dialect, first)
    # Words of ours, not what somebody sent.
    kinds = ", ".join(f"'{kind}'" for kind in READINESS if kind in wanted.readiness)
    ready = f"{_READINESS} IN ({kinds})" if kinds else "TRUE"
    return all_of([matching.sql, ready]), matching.params


async def _listed(
    reader: Reader, document: str, flow_name: str, now: int, late: Mapping[str, int]
) -> ListedDeployment:
    deployment = parse(Deployment, document)
    return ListedDeployment(
        deployment=deployment,
        flow_name=flow_name,
        newest=await newest(reader, deployment.id),
        next=await next_run(reader, deployment.id, now),
        late=late.get(deployment.id, 0),
    )


_OF_FLOW = (
    "SELECT deployments.document, flows.name FROM deployments "
    "JOIN flows ON flows.id = deployments.flow_id "
    "WHERE deployments.flow_id = $1 ORDER BY deployments.name LIMIT $2"
)


async def of_flow(reader: Reader, flow_id: str, now: datetime) -> list[ListedDeployment]:
    """Deployments of a flow, by name."""
    present = to_microseconds(now)
    rows = await reader.fetch(_OF_FLOW, flow_id, OF_FLOW_SHOWN)
    late = await late_runs(reader, present) if rows else {}
    return [await _listed(reader, row[0], row[1], present, late) for row in rows]


_NEWEST = f"""
SELECT id, name, state_type, state_name, {_AT}, total_run_time FROM flow_runs
WHERE deployment_id = $1 AND {_AT} IS NOT NULL
  AND (state_type IS NULL OR state_type <> 'SCHEDULED')
ORDER BY {_AT} DESC LIMIT $2
"""


async def newest(reader: Reader, id_: str, most: int = NEWEST_RUNS) -> list[PastRun]:
    """The newest runs of a deployment that do not wait for their time, newest first."""
    return [
        PastRun(run_id, name, kind, state_name, from_microseconds(at), seconds)
        for run_id, name, kind, state_name, at, seconds in await reader.fetch(_NEWEST, id_, most)
    ]


_NEXT = f"""
SELECT id, name, {_AT} FROM flow_runs
WHERE deployment_id = $1 AND {_AT} >= $2 AND state_type = 'SCHEDULED'
ORDER BY {_AT} LIMIT 1
"""


async def next_run(reader: Reader, id_: str, now: int) -> NextRun | None:
    """The first run of a deployment from a moment on, in microseconds."""
    rows = await reader.fetch(_NEXT, id_, now)
    return NextRun(rows[0][0], rows[0][1], from_microseconds(rows[0][2])) if rows else None


# The list of states as the partial index has it, which holds the few runs that are not at an end.
_LATE = """
SELECT deployment_id, count(*) FROM flow_runs
WHERE state_type = 'SCHEDULED' AND expected_start_time < $1 AND state_name = 'Late'
  AND state_type IN ('CANCELLING', 'PAUSED', 'PENDING', 'RUNNING', 'SCHEDULED')
  AND deployment_id IS NOT NULL
GROUP BY deployment_id
"""


async def late_runs(reader: Reader, now: int) -> Mapping[str, int]:
    """How many runs are Late, by deployment."""
    return {str(id_): int(number) for id_, number in await reader.fetch(_LATE, now)}


_ANY = "SELECT 1 FROM deployments LIMIT 1"


async def any_deployments(reader: Reader) -> bool:
    """Whether there is a deployment."""
    return bool(await reader.fetch(_ANY))


_POOLS = "SELECT name FROM work_pools ORDER BY name LIMIT $1"


async def pools(reader: Reader) -> list[str]:
    """Names of work pools, for a filter to offer."""
    return [str(row[0]) for row in await reader.fetch(_POOLS, POOLS_OFFERED)]


# --- one of them ----------------------------------------------------------------------------------


class Surroundings(Struct, frozen=True):
    """A deployment with what it needs to run."""

    deployment: Deployment
    flow_name: str
    pool: WorkPool | None
    queue: WorkQueue | None
    workers_online: int
    """Workers of the pool that are heard of."""

    @property
    def readiness(self) -> Readiness:
        """What it counts as."""
        return readiness(self.deployment)


_ONE = (
    "SELECT deployments.document, flows.name FROM deployments "
    "JOIN flows ON flows.id = deployments.flow_id WHERE deployments.id = $1"
)
_ONLINE = "SELECT count(*) FROM workers WHERE work_pool_id = $1 AND status = 'ONLINE'"


async def one(reader: Reader, id_: str) -> Surroundings | None:
    """A deployment with what surrounds it; None if there is no such deployment."""
    rows = await reader.fetch(_ONE, id_)
    if not rows:
        return None
    deployment = parse(Deployment, rows[0][0])
    queue = pool = None
    online = 0
    if deployment.work_queue_id is not None:
        queue = await work_queues.by_id(reader, deployment.work_queue_id)
    if deployment.work_pool_name is not None:
        pool = await work_pools.by_name(reader, deployment.work_pool_name)
    if pool is not None:
        ((online,),) = await reader.fetch(_ONLINE, pool.id)
    return Surroundings(deployment, str(rows[0][1]), pool, queue, int(online))


class Coming(Struct, frozen=True):
    """A run that waits for its time."""

    id: str
    name: str
    state_type: str | None
    state_name: str | None
    at: datetime
    schedule_id: str | None
    """Of the schedule that made it; None if somebody asked for it."""
    tags: Sequence[str]


# What is due and not yet begun is still to come: for a while.
_COMING = f"""
SELECT id, name, state_type, state_name, {_AT}, created_by_id, auto_scheduled, tags FROM flow_runs
WHERE deployment_id = $1 AND {_AT} >= $2 AND state_type = 'SCHEDULED'
ORDER BY {_AT}, id LIMIT $3
"""


async def coming(reader: Reader, id_: str, since: datetime) -> list[Coming]:
    """Runs of a deployment that wait for a time since this one, in order, and one more than are
    shown if there are more."""
    rows = await reader.fetch(_COMING, id_, to_microseconds(since), UPCOMING_SHOWN + 1)
    return [_coming(row) for row in rows]


def _coming(row: Row) -> Coming:
    return Coming(
        id=row[0],
        name=row[1],
        state_type=row[2],
        state_name=row[3],
        at=from_microseconds(row[4]),
        schedule_id=row[5] if row[6] else None,
        tags=msgspec.json.decode(row[7], type=list[str]),
    )


class Losses(Struct, frozen=True):
    """What is there of a deployment: what goes with it, and what stays."""

    schedules: int
    waiting: int
    """Runs that wait for their time."""
    runs: int
    """All the others."""


_RUNS_OF = "SELECT count(*) FROM flow_runs WHERE deployment_id = $1"
_WAITING_OF = (
    "SELECT count(*) FROM flow_runs WHERE deployment_id = $1 AND state_type = 'SCHEDULED' "
    "AND run_count = 0 AND state_name <> 'AwaitingConcurrencySlot'"
)


async def losses(reader: Reader, deployment: Deployment) -> Losses:
    """What would be lost with a deployment."""
    ((all_runs,),) = await reader.fetch(_RUNS_OF, deployment.id)
    ((waiting,),) = await reader.fetch(_WAITING_OF, deployment.id)
    return Losses(len(deployment.schedules), int(waiting), int(all_runs) - int(waiting))


_WAITING_FOR = (
    "SELECT count(*) FROM flow_runs WHERE deployment_id = $1 AND state_type = 'SCHEDULED' "
    "AND run_count = 0 AND created_by_id = $2"
)


async def waiting_of_schedule(reader: Reader, id_: str, schedule_id: str) -> int:
    """How many runs that a schedule made wait for their time."""
    ((number,),) = await reader.fetch(_WAITING_FOR, id_, schedule_id)
    return int(number)


_NAMED = (
    "SELECT deployments.id, flows.name, deployments.name FROM deployments "
    "JOIN flows ON flows.id = deployments.flow_id WHERE {matching} "
    "ORDER BY deployments.name, deployments.id LIMIT {limit}"
)


class Named(Struct, frozen=True):
    """A deployment by its name."""

    id: str
    flow_name: str
    name: str


async def named(reader: Reader, dialect: Dialect, text: str, most: int) -> list[Named]:
    """Deployments whose name, or whose flow's name, contains a text."""
    matching, params = _matching(Wanted(text=text), dialect, 1)
    rows = await reader.fetch(_NAMED.format(matching=matching, limit=most), *params)
    return [Named(*row) for row in rows]
