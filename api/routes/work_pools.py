"""Work pools, their queues and their workers: /work_pools."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct

from api.clients import client_version
from api.errors import HttpError, not_found, there
from api.http import NO_CONTENT, Answer, Area, Call
from api.lists import array, limited, number
from api.routes.work_queues import shown_queue, shown_queues
from api.slots import (
    QueueSlots,
    WorkPoolConcurrencyStatus,
    WorkQueueConcurrencyStatusDetail,
    slot_summaries,
    with_slots,
)
from orchestration.documents import document
from orchestration.flow_runs import FlowRun
from orchestration.identifiers import Text, tidy
from orchestration.refusals import Invalid, NotFound
from orchestration.work_pools import WorkPool, WorkPoolCreate, WorkPoolUpdate, is_reserved
from orchestration.work_queues import WorkQueue, WorkQueueCreate, WorkQueueUpdate
from orchestration.workers import Worker
from projections import paging, work_pools, work_queues, workers
from projections.filters import Filters, WorkPoolFilter, WorkQueueFilter
from projections.paging import Offset, PageNumber
from projections.polls import SHOWN_COLUMNS
from projections.run_documents import shown
from projections.workers import WorkerFilter
from services import polling
from services import work_pools as commands
from services import workers as worker_commands
from services.work_pools import named, no_queue

area = Area("/work_pools", "Work Pools")

ONLY_PAUSE_AND_LIMIT = {"is_paused", "concurrency_limit"}
"""What may be changed of a reserved pool."""
FLOW_RUN_LIMIT = 10
"""Runs shown per queue, unless the request says otherwise."""


class WorkPoolCounting(Struct, frozen=True, kw_only=True):
    """The body of `POST /work_pools/count`."""

    work_pools: WorkPoolFilter | None = None

    def filters(self) -> Filters:
        """What it asks for."""
        return Filters(work_pools=self.work_pools)


class WorkPoolQuery(WorkPoolCounting, frozen=True, kw_only=True):
    """The body of `POST /work_pools/filter`."""

    limit: int | None = None
    offset: Offset | None = None


class PoolStatusQuery(Struct, frozen=True, kw_only=True):
    """The body of `POST /work_pools/{name}/concurrency_status`."""

    page: PageNumber = 1
    limit: int | None = None
    flow_run_limit: Annotated[int, Meta(ge=0, le=200)] = FLOW_RUN_LIMIT


class WorkerPoll(Struct, frozen=True, kw_only=True):
    """The body of `POST /work_pools/{name}/get_scheduled_flow_runs`."""

    work_queue_names: tuple[Text, ...] | None = None
    scheduled_before: datetime | None = None
    scheduled_after: datetime | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        tidy(self, times=("scheduled_before", "scheduled_after"))


class WorkerFlowRun(Struct, frozen=True, kw_only=True):
    """A run that a worker may start, and where it waits."""

    work_pool_id: str
    work_queue_id: str
    flow_run: FlowRun


class PoolQueueQuery(Struct, frozen=True, kw_only=True):
    """The body of `POST /work_pools/{name}/queues/filter`."""

    work_queues: WorkQueueFilter | None = None
    limit: int | None = None
    offset: Offset | None = None


class Heartbeat(Struct, frozen=True, kw_only=True):
    """The body of `POST /work_pools/{name}/workers/heartbeat`."""

    name: Annotated[Text, Meta(max_length=300)]
    heartbeat_interval_seconds: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] | None = None


class WorkerQuery(Struct, frozen=True, kw_only=True):
    """The body of `POST /work_pools/{name}/workers/filter`."""

    workers: WorkerFilter | None = None
    limit: int | None = None
    offset: Offset | None = None


def _forbidden(detail: str) -> HttpError:
    return HttpError(403, {"detail": detail})


async def _pool(call: Call) -> WorkPool:
    return await named(call.server.database, call.path["name"])


# --- pools


@area.post("/", body=WorkPoolCreate, answers={201: WorkPool})
async def create_work_pool(call: Call, body: WorkPoolCreate) -> Answer:
    """Make a work pool with a default queue."""
    if is_reserved(body.name):
        raise _forbidden("Work pools starting with 'Prefect' are reserved for internal use.")
    try:
        pool, position = await commands.create(call.server.shell, body, call.origin)
    except Invalid as refusal:
        if refusal.field:
            raise
        # In the shape of what Prefect finds out after it has read the body.
        raise HttpError(422, {"detail": str(refusal)}) from None
    (pool,) = await with_slots(call.server.database, [pool])
    return Answer(201, _shown(call, pool), position=position)


@area.get("/{name:str}", answers={200: WorkPool})
async def read_work_pool(call: Call) -> Answer:
    """Read a work pool."""
    (pool,) = await with_slots(call.server.database, [await _pool(call)])
    return Answer(200, _shown(call, pool))


@area.post("/filter", body=WorkPoolQuery, body_optional=True, answers={200: list[WorkPool]})
async def read_work_pools(call: Call, body: WorkPoolQuery) -> Answer:
    """Work pools that match, by name."""
    database = call.server.database
    found = await work_pools.some(
        database, database.dialect, body.filters(), limited(call, body.limit), body.offset or 0
    )
    pools = await with_slots(database, found)
    return Answer(200, b"[" + b",".join(_shown(call, pool) for pool in pools) + b"]")


_KNOWS_RESULT_STORAGE_FROM = (3, 3, 8)
"""The first version of the client that can read a pool whose storage says where results go."""


def _shown(call: Call, pool: WorkPool) -> bytes:
    version = client_version(call)
    if version is None or version >= _KNOWS_RESULT_STORAGE_FROM:
        return document(pool)
    told = msgspec.json.decode(document(pool))
    del told["storage_configuration"]["default_result_storage_block_id"]
    return msgspec.json.encode(told)


def _listed(entities: list[Worker]) -> bytes:
    return b"[" + b",".join(document(one) for one in entities) + b"]"


@area.post("/count", body=WorkPoolCounting, body_optional=True, answers={200: int})
async def count_work_pools(call: Call, body: WorkPoolCounting) -> Answer:
    """How many work pools match."""
    return await number(call, "work_pools", body.filters())


@area.patch("/{name:str}", body=WorkPoolUpdate, answers={204: None})
async def update_work_pool(call: Call, body: WorkPoolUpdate) -> Answer:
    """Change a work pool."""
    name = call.path["name"]
    changed = {field for field in body.__struct_fields__ if _is_set(body, field)}
    if is_reserved(name) and changed - ONLY_PAUSE_AND_LIMIT:
        raise _forbidden(
            "Work pools starting with 'Prefect' are reserved for internal use and can only be "
            "updated to set concurrency limits or pause."
        )
    await commands.update(call.server.shell, name, body, call.origin)
    return NO_CONTENT


def _is_set(body: Struct, field: str) -> bool:
    return getattr(body, field) is not UNSET


@area.delete("/{name:str}", answers={204: None})
async def delete_work_pool(call: Call) -> Answer:
    """Delete a work pool with its queues and workers."""
    name = call.path["name"]
    if is_reserved(name):
        raise _forbidden(
            "Work pools starting with 'Prefect' are reserved for internal use and can not be "
            "deleted."
        )
    await commands.delete(call.server.shell, call.server.pulses, name, call.origin)
    return NO_CONTENT


@area.post(
    "/{name:str}/concurrency_status",
    body=PoolStatusQuery,
    body_optional=True,
    answers={200: WorkPoolConcurrencyStatus},
)
async def read_work_pool_concurrency_status(call: Call, body: PoolStatusQuery) -> Answer:
    """Who holds the slots of a pool, by queue."""
    name, database = call.path["name"], call.server.database
    pool = there(await work_pools.by_name(database, name), f"Work pool {name!r} not found.")
    limit = limited(call, body.limit)
    offset = paging.offset_of(body.page, limit)
    queues = await work_queues.of_pool(
        database, database.dialect, pool.id, Filters(), limit, offset
    )
    held = await work_pools.slots_of_queues(
        database, database.dialect, [queue.id for queue in queues], cancelling=False
    )
    in_all = await work_pools.slots_of_pools(database, database.dialect, [pool.id])
    count = await work_queues.count_of_pool(database, pool.id)
    details = []
    for queue in queues:
        runs = []
        if held.get(queue.id) and body.flow_run_limit:
            runs = await work_pools.holders(
                database, queue.id, cancelling=False, limit=body.flow_run_limit
            )
        details.append(
            WorkQueueConcurrencyStatusDetail(
                queue_id=queue.id,
                queue_name=queue.name,
                active_slots=held.get(queue.id, 0),
                concurrency_limit=queue.concurrency_limit,
                flow_runs=slot_summaries(runs, call.server.now()),
                flow_run_count=held.get(queue.id, 0),
            )
        )
    status = WorkPoolConcurrencyStatus(
        active_slots=in_all.get(pool.id, 0),
        concurrency_limit=pool.concurrency_limit,
        queues=details,
        count=count,
        limit=limit,
        pages=paging.pages(count, limit),
        page=body.page,
    )
    return Answer(200, document(status))


@area.post(
    "/{name:str}/get_scheduled_flow_runs",
    body=WorkerPoll,
    body_optional=True,
    answers={200: list[WorkerFlowRun]},
)
async def get_scheduled_flow_runs(call: Call, body: WorkerPoll) -> Answer:
    """A worker asks for runs that are due. Nothing is claimed by it."""
    pool, server = await _pool(call), call.server
    limit, when = (
        limited(call, body.limit),
        polling.window(body.scheduled_after, body.scheduled_before),
    )
    queues, due = await polling.poll_pool(server.shell, pool, body.work_queue_names, when, limit)
    now = server.now()
    await polling.note(server.shell, server.pulses, queues, now, call.origin)
    runs = (
        f'{{"work_pool_id":"{pool.id}","work_queue_id":"{one.queue.id}",'
        f'"flow_run":{shown(one.row[:SHOWN_COLUMNS], now)}}}'
        for one in due
    )
    return array(runs)


# --- queues


async def _queue(call: Call) -> WorkQueue:
    """The queue that the path names. Raises NotFound."""
    pool_name, name = call.path["name"], call.path["queue_name"]
    await call.server.pulses.flush()
    pool = await work_pools.by_name(call.server.database, pool_name)
    found = None if pool is None else await work_queues.by_name(call.server.database, pool.id, name)
    if found is None:
        raise no_queue(pool_name, name)
    return found


@area.post("/{name:str}/queues", body=WorkQueueCreate, answers={201: WorkQueue})
async def create_work_pool_queue(call: Call, body: WorkQueueCreate) -> Answer:
    """Add a queue to a pool."""
    queue, position = await commands.create_queue(
        call.server.shell, call.path["name"], body, call.origin
    )
    return Answer(201, await shown_queue(call, queue, QueueSlots.POOL), position=position)


@area.get("/{name:str}/queues/{queue_name:str}", answers={200: WorkQueue})
async def read_work_pool_queue(call: Call) -> Answer:
    """Read a queue of a pool."""
    return Answer(200, await shown_queue(call, await _queue(call), QueueSlots.POOL))


@area.post(
    "/{name:str}/queues/filter",
    body=PoolQueueQuery,
    body_optional=True,
    answers={200: list[WorkQueue]},
)
async def read_work_pool_queues(call: Call, body: PoolQueueQuery) -> Answer:
    """Queues of a pool that match, the one that goes first in front."""
    database = call.server.database
    pool = await _pool(call)
    await call.server.pulses.flush()
    found = await work_queues.of_pool(
        database,
        database.dialect,
        pool.id,
        Filters(work_queues=body.work_queues),
        limited(call, body.limit),
        body.offset or 0,
    )
    return Answer(200, await shown_queues(call, found, QueueSlots.POOL))


@area.patch("/{name:str}/queues/{queue_name:str}", body=WorkQueueUpdate, answers={204: None})
async def update_work_pool_queue(call: Call, body: WorkQueueUpdate) -> Answer:
    """Change a queue of a pool; one that takes another's priority goes before it."""
    await _pool(call)
    queue, server = await _queue(call), call.server
    await commands.update_queue(server.shell, server.pulses, queue, body, server.now(), call.origin)
    return NO_CONTENT


@area.delete("/{name:str}/queues/{queue_name:str}", answers={204: None})
async def delete_work_pool_queue(call: Call) -> Answer:
    """Delete a queue of a pool, but not its default queue."""
    await _pool(call)
    queue = await _queue(call)
    await commands.delete_queue(call.server.shell, call.server.pulses, queue, call.origin)
    return NO_CONTENT


# --- workers


@area.post("/{name:str}/workers/heartbeat", body=Heartbeat, by_field=True, answers={204: None})
async def worker_heartbeat(call: Call, body: Heartbeat) -> Answer:
    """A worker says that it is there."""
    pool, server = await _pool(call), call.server
    await worker_commands.heartbeat(
        server.shell,
        server.pulses,
        pool,
        body.name,
        body.heartbeat_interval_seconds,
        server.now(),
        call.origin,
    )
    return NO_CONTENT


@area.post(
    "/{name:str}/workers/filter", body=WorkerQuery, body_optional=True, answers={200: list[Worker]}
)
async def read_workers(call: Call, body: WorkerQuery) -> Answer:
    """Workers of a pool that match, the one that was heard of last in front."""
    pool = await _pool(call)
    await call.server.pulses.flush()
    database, limit = call.server.database, limited(call, body.limit)
    found = await workers.of_pool(
        database, database.dialect, pool.id, body.workers, limit, body.offset or 0
    )
    return Answer(200, _listed(found))


@area.delete("/{name:str}/workers/{worker_name:str}", answers={204: None})
async def delete_worker(call: Call) -> Answer:
    """Forget a worker."""
    pool, server = await _pool(call), call.server
    try:
        await worker_commands.delete(
            server.shell, server.pulses, pool, call.path["worker_name"], call.origin
        )
    except NotFound:
        raise not_found("Worker not found.") from None
    return NO_CONTENT
