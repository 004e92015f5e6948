"""One work queue: what waits in it, what of it is at work, and which deployments it serves."""

from collections.abc import Sequence
from uuid import UUID

from msgspec import Struct

from api.ui.page import Missing, Page, Region, Visit
from api.ui.work_pool_tabs import BEGUN
from api.ui.work_pools import concerns
from orchestration.work_pools import WorkPool
from projections import run_pages, work_pool_pages, work_pools
from projections.criteria import Ids
from projections.filters import Filters, WorkQueueFilter
from projections.run_pages import ListedRun
from projections.work_pool_pages import DeploymentLine, NextRun, QueueLine

RUNS_SHOWN = 20


class Head(Struct, frozen=True):
    """How the queue does."""

    line: QueueLine
    pool: WorkPool | None
    is_default: bool


class Waiting(Struct, frozen=True):
    """What waits."""

    runs: Sequence[NextRun]
    cut: bool


class Recent(Struct, frozen=True):
    """The newest runs that do not wait any more, and whose they are."""

    queue_name: str
    pool_name: str
    runs: Sequence[ListedRun]
    deployments: Sequence[DeploymentLine]


async def line(visit: Visit) -> QueueLine:
    """The queue that the path names. Raises Missing."""
    server = visit.server
    await server.pulses.flush()
    database = server.database
    found = await work_pool_pages.queue(database, database.dialect, visit.id, visit.now)
    if found is None:
        raise Missing("This work queue does not exist")
    return found


async def head(visit: Visit) -> Head:
    """What stands above the rest."""
    found = await line(visit)
    pool = await work_pools.by_id(visit.server.database, found.queue.work_pool_id)
    return Head(found, pool, pool is not None and pool.default_queue_id == visit.id)


async def waiting(visit: Visit) -> Waiting:
    """What waits, the one that is due first in front."""
    database = visit.server.database
    found = await work_pool_pages.upcoming(database, database.dialect, [visit.id])
    return Waiting(found, len(found) == work_pool_pages.UPCOMING_SHOWN)


async def recent(visit: Visit) -> Recent:
    """Its newest runs, and the deployments that they are of."""
    database, found = visit.server.database, await line(visit)
    wanted = Filters(
        work_pool_queues=WorkQueueFilter(id=Ids(any_=[UUID(visit.id)])), flow_runs=BEGUN
    )
    page = await run_pages.page(database, database.dialect, wanted, "START_TIME_DESC")
    return Recent(
        found.queue.name,
        found.queue.work_pool_name,
        page.runs[:RUNS_SHOWN],
        await work_pool_pages.deployments(database, queue_id=visit.id),
    )


page = Page(
    path="/work-queues/work-queue/{id:uuid}",
    template="work_queue.html",
    title="Work queue",
    section="/work-pools",
    regions=(
        Region("head", head, concerns, pulses=True),
        Region("waiting", waiting, concerns),
        Region("recent", recent, concerns),
    ),
    styles=("flow_run.css", "dashboard.css", "work_pools.css"),
)
