"""Work queues by their ids, and those of agents: /work_queues."""

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from api.errors import HttpError, there
from api.http import NO_CONTENT, Answer, Area, Call
from api.lists import array, limited
from api.slots import QueueSlots, WorkQueueConcurrencyStatus, slot_summaries
from orchestration.documents import document
from orchestration.flow_runs import FlowRun
from orchestration.identifiers import tidy
from orchestration.refusals import Conflict
from orchestration.work_pools import DEFAULT_AGENT_POOL, WorkPool
from orchestration.work_queues import WorkQueue, WorkQueueCreate, WorkQueueUpdate
from projections import paging, work_pools, work_queues
from projections.filters import Filters, WorkQueueFilter
from projections.paging import Offset, PageNumber
from projections.polls import SHOWN_COLUMNS
from projections.run_documents import shown
from services import polling
from services import work_pools as commands

area = Area("/work_queues", "Work Queues")


class HealthPolicy(Struct, frozen=True, kw_only=True):
    """When a queue is healthy."""

    maximum_late_runs: int | None = 0
    maximum_seconds_since_last_polled: int | None = 60


HEALTHY = HealthPolicy()


class WorkQueueStatusDetail(Struct, frozen=True, kw_only=True):
    """The answer of `GET /work_queues/{id}/status`."""

    healthy: bool
    late_runs_count: int = 0
    last_polled: datetime | None = None
    health_check_policy: HealthPolicy


class WorkQueueQuery(Struct, frozen=True, kw_only=True):
    """The body of `POST /work_queues/filter`."""

    work_queues: WorkQueueFilter | None = None
    limit: int | None = None
    offset: Offset | None = None


class QueueStatusQuery(Struct, frozen=True, kw_only=True):
    """The body of `POST /work_queues/{id}/concurrency_status`."""

    page: PageNumber = 1
    limit: int | None = None


class QueuePoll(Struct, frozen=True, kw_only=True):
    """The body of `POST /work_queues/{id}/get_runs`."""

    limit: int | None = None
    scheduled_before: datetime | None = None

    def __post_init__(self) -> None:
        tidy(self, times=("scheduled_before",))


async def shown_queues(call: Call, queues: list[WorkQueue], slots: QueueSlots) -> bytes:
    """Queues with the number of their runs at work, as far as that is limited."""
    database = call.server.database
    with_limit = [queue.id for queue in queues if queue.concurrency_limit is not None]
    held: dict[str, int] = {}
    if with_limit:
        held = await work_pools.slots_of_queues(
            database, database.dialect, with_limit, cancelling=slots.value
        )
    shown = [
        document(
            queue
            if queue.concurrency_limit is None
            else replace(queue, active_slots=held.get(queue.id, 0))
        )
        for queue in queues
    ]
    return b"[" + b",".join(shown) + b"]"


async def shown_queue(call: Call, queue: WorkQueue, slots: QueueSlots) -> bytes:
    """One queue, likewise."""
    return (await shown_queues(call, [queue], slots))[1:-1]


async def _queue(call: Call, message: str = "work queue not found") -> WorkQueue:
    """The queue that the path names. Raises HttpError 404."""
    await call.server.pulses.flush()
    found = await work_queues.by_id(call.server.database, call.id)
    return there(found, message)


@area.post("/", body=WorkQueueCreate, answers={201: WorkQueue})
async def create_work_queue(call: Call, body: WorkQueueCreate) -> Answer:
    """Add a queue to the default agent pool."""
    try:
        queue, position = await commands.create_queue(call.server.shell, None, body, call.origin)
    except Conflict:
        raise HttpError(409, {"detail": "A work queue with this name already exists."}) from None
    return Answer(201, await shown_queue(call, queue, QueueSlots.AGENT), position=position)


@area.patch("/{id:uuid}", body=WorkQueueUpdate, answers={204: None})
async def update_work_queue(call: Call, body: WorkQueueUpdate) -> Answer:
    """Change a queue; one that takes another's priority goes before it."""
    queue, server = await _queue(call, f"Work Queue {call.id} not found"), call.server
    await commands.update_queue(server.shell, server.pulses, queue, body, server.now(), call.origin)
    return NO_CONTENT


@area.get("/name/{name:str}", answers={200: WorkQueue})
async def read_work_queue_by_name(call: Call) -> Answer:
    """Read a queue of the default agent pool."""
    database = call.server.database
    await call.server.pulses.flush()
    pool = await work_pools.by_name(database, DEFAULT_AGENT_POOL)
    found = (
        None if pool is None else await work_queues.by_name(database, pool.id, call.path["name"])
    )
    queue = there(found, "work queue not found")
    return Answer(200, await shown_queue(call, queue, QueueSlots.AGENT))


@area.get("/{id:uuid}", answers={200: WorkQueue})
async def read_work_queue(call: Call) -> Answer:
    """Read a queue."""
    return Answer(200, await shown_queue(call, await _queue(call), QueueSlots.AGENT))


@area.post("/filter", body=WorkQueueQuery, body_optional=True, answers={200: list[WorkQueue]})
async def read_work_queues(call: Call, body: WorkQueueQuery) -> Answer:
    """Queues of all pools that match, by name."""
    database = call.server.database
    await call.server.pulses.flush()
    found = await work_queues.some(
        database,
        database.dialect,
        Filters(work_queues=body.work_queues),
        limited(call, body.limit),
        body.offset or 0,
    )
    return Answer(200, await shown_queues(call, found, QueueSlots.AGENT))


@area.delete("/{id:uuid}", answers={204: None})
async def delete_work_queue(call: Call) -> Answer:
    """Delete a queue, but not the default queue of a pool."""
    queue = await _queue(call)
    await commands.delete_queue(call.server.shell, call.server.pulses, queue, call.origin)
    return NO_CONTENT


@area.post(
    "/{id:uuid}/concurrency_status",
    body=QueueStatusQuery,
    body_optional=True,
    answers={200: WorkQueueConcurrencyStatus},
)
async def read_work_queue_concurrency_status(call: Call, body: QueueStatusQuery) -> Answer:
    """Who holds the slots of a queue."""
    database, queue = call.server.database, await _queue(call, "Work queue not found.")
    limit = limited(call, body.limit)
    held = await work_pools.slots_of_queues(database, database.dialect, [queue.id], cancelling=True)
    count = held.get(queue.id, 0)
    runs = await work_pools.holders(
        database,
        queue.id,
        cancelling=True,
        limit=limit,
        offset=paging.offset_of(body.page, limit),
    )
    status = WorkQueueConcurrencyStatus(
        active_slots=count,
        concurrency_limit=queue.concurrency_limit,
        flow_runs=slot_summaries(runs, call.server.now()),
        count=count,
        limit=limit,
        pages=paging.pages(count, limit),
        page=body.page,
    )
    return Answer(200, document(status))


@area.get("/{id:uuid}/status", answers={200: WorkQueueStatusDetail})
async def read_work_queue_status(call: Call) -> Answer:
    """Whether a queue is polled, and has no late runs."""
    database = call.server.database
    await call.server.pulses.flush()
    queue = await work_queues.by_id(database, call.id)
    if queue is None:
        raise HttpError(404, {"exception_message": f"Work queue with id {call.id} not found"})
    late = await work_queues.late_runs(database, queue.id)
    silence = HEALTHY.maximum_seconds_since_last_polled
    assert silence is not None
    polled = queue.last_polled
    lately = polled is not None and call.server.now() - polled <= timedelta(seconds=silence)
    status = WorkQueueStatusDetail(
        healthy=lately and late <= (HEALTHY.maximum_late_runs or 0),
        late_runs_count=late,
        last_polled=polled,
        health_check_policy=HEALTHY,
    )
    return Answer(200, document(status))


@area.post(
    "/{id:uuid}/get_runs",
    body=QueuePoll,
    body_optional=True,
    answers={200: list[FlowRun]},
)
async def read_work_queue_runs(call: Call, body: QueuePoll) -> Answer:
    """An agent asks for runs that are due; a page of the browser may look without being one."""
    server, database = call.server, call.server.database
    queue = await work_queues.by_id(database, call.id)
    pool = queue and await work_pools.by_id(database, queue.work_pool_id)
    if queue is None or not isinstance(pool, WorkPool):
        raise HttpError(404, {"exception_message": f"Work queue with id {call.id} not found."})
    limit, when = limited(call, body.limit), polling.window(None, body.scheduled_before)
    due = await polling.poll_queue(server.shell, pool, queue, when, limit)
    now = server.now()
    if call.headers.get(b"x-prefect-ui", b"").lower() not in (b"true", b"1"):
        await polling.note(server.shell, server.pulses, [queue], now, call.origin)
    runs = (shown(one.row[:SHOWN_COLUMNS], now) for one in due)
    return array(runs)
