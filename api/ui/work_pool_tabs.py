"""The tabs of a work pool's page: `?tab=NAME`, each with a template `work_pool_NAME.html`."""

from collections.abc import Sequence

from msgspec import Struct

from api.ui.page import Missing, Visit
from api.ui.schema_shapes import as_json
from api.ui.tabs import Tab, Tabs
from api.ui.work_pools import concerns
from eventstore.selection import Selection
from orchestration.states import SCHEDULED, STATE_TYPES
from orchestration.work_pools import WorkPool
from orchestration.workers import Worker
from projections import run_pages, work_pool_pages, work_pools, work_queues, workers
from projections.criteria import StateTypes, Text
from projections.filters import Filters, FlowRunFilter, State, WorkPoolFilter
from projections.run_pages import RunPage
from projections.work_pool_pages import DeploymentLine, NextRun, PoolLine, QueueLine

WORKERS_MAX = 200
"""Workers that are shown, those heard of last."""
BEGUN = FlowRunFilter(
    state=State(type=StateTypes(any_=[kind for kind in STATE_TYPES if kind != SCHEDULED]))
)
"""Runs that do not wait any more."""


def gone(name: str) -> Missing:
    """What is said of a pool that does not exist."""
    return Missing(f"There is no work pool {name[:80]}")


async def pool_line(visit: Visit) -> PoolLine:
    """The pool that the path names, with how it does. Raises Missing."""
    server = visit.server
    await server.pulses.flush()
    database = server.database
    return await work_pool_pages.line(database, database.dialect, await pool(visit), visit.now)


async def pool(visit: Visit) -> WorkPool:
    """The pool that the path names, by its name or its id. Raises Missing."""
    database, name = visit.server.database, visit.parameters["name"]
    found = await work_pools.by_name(database, name) or await work_pools.by_id(database, name)
    if found is None:
        raise gone(name)
    return found


class Queues(Struct, frozen=True):
    """The queues of the pool."""

    pool: WorkPool
    queues: Sequence[QueueLine]
    cut: bool
    """There may be more."""


class Workers(Struct, frozen=True):
    """The workers of the pool."""

    pool: WorkPool
    workers: Sequence[Worker]
    cut: bool


class Upcoming(Struct, frozen=True):
    """What waits."""

    pool: WorkPool
    runs: Sequence[NextRun]
    cut: bool


class Runs(Struct, frozen=True):
    """The runs of the pool that do not wait any more, the newest first."""

    pool: WorkPool
    page: RunPage


class Deployments(Struct, frozen=True):
    """The deployments of the pool."""

    pool: WorkPool
    deployments: Sequence[DeploymentLine]
    cut: bool
    api_url: str


class Variable(Struct, frozen=True):
    """A variable of the base job template."""

    name: str
    title: str
    description: str
    default: str | None
    """As JSON; None without one."""


class Template(Struct, frozen=True):
    """The base job template."""

    pool: WorkPool
    variables: Sequence[Variable]
    raw: str


async def queues(visit: Visit) -> Queues:
    """The queues, the one that goes first in front."""
    server, of = visit.server, await pool(visit)
    await server.pulses.flush()
    database = server.database
    found = await work_pool_pages.queues(database, database.dialect, of.id, visit.now)
    return Queues(of, found, len(found) == work_pool_pages.QUEUES_MAX)


async def workers_of(visit: Visit) -> Workers:
    """The workers, the one that was heard of last in front."""
    database, of = visit.server.database, await pool(visit)
    await visit.server.pulses.flush()
    found = await workers.of_pool(database, database.dialect, of.id, None, WORKERS_MAX, 0)
    return Workers(of, found, len(found) == WORKERS_MAX)


async def upcoming(visit: Visit) -> Upcoming:
    """What waits for its time or for a worker."""
    database, of = visit.server.database, await pool(visit)
    queues = [queue.id for queue in await work_queues.all_of_pool(database, of.id)]
    found = await work_pool_pages.upcoming(database, database.dialect, queues)
    return Upcoming(of, found, len(found) == work_pool_pages.UPCOMING_SHOWN)


async def runs(visit: Visit) -> Runs:
    """A page of its runs."""
    database, of = visit.server.database, await pool(visit)
    wanted = Filters(work_pools=WorkPoolFilter(name=Text(any_=[of.name])), flow_runs=BEGUN)
    page = await run_pages.page(
        database,
        database.dialect,
        wanted,
        "START_TIME_DESC",
        after=visit.query.one("after") or None,
        before=visit.query.one("before") or None,
    )
    return Runs(of, page)


async def deployments(visit: Visit) -> Deployments:
    """The deployments whose runs go here."""
    of = await pool(visit)
    found = await work_pool_pages.deployments(visit.server.database, pool_id=of.id)
    return Deployments(of, found, len(found) == work_pool_pages.DEPLOYMENTS_SHOWN, visit.api_url)


async def template(visit: Visit) -> Template:
    """What a job of the pool is made from."""
    of = await pool(visit)
    variables = of.base_job_template.get("variables")
    members = variables.get("properties") if isinstance(variables, dict) else None
    shown = [
        Variable(
            name,
            str(schema.get("title") or name),
            str(schema.get("description") or ""),
            as_json(schema["default"]) if "default" in schema else None,
        )
        for name, schema in (members if isinstance(members, dict) else {}).items()
        if isinstance(schema, dict)
    ]
    return Template(of, shown, as_json(of.base_job_template))


def _without_runs(_: Visit) -> Selection:
    """The pool, what belongs to it, and the deployments that use it."""
    return Selection(type=("work-pool.*", "work-queue.*", "worker.*", "deployment.*", "flow.*"))


TABS = Tabs(
    "work_pool",
    (
        Tab("queues", "Queues", queues, concerns),
        Tab("workers", "Workers", workers_of, _without_runs),
        Tab("upcoming", "Upcoming", upcoming, concerns),
        Tab("runs", "Runs", runs, concerns),
        Tab("deployments", "Deployments", deployments, _without_runs),
        Tab("template", "Base job template", template, _without_runs),
    ),
)
