"""What can be done with work pools and their queues: gather the facts, let the deciders decide.

A pool, its queues and its workers are decided upon under the lock, one command per pool and batch:
names are unique in a pool, a priority that is taken moves other queues, and a pool is ready as long
as one of its workers is online.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from eventstore import log
from eventstore.committer import Written
from eventstore.database import Reader, Transaction
from eventstore.events import NewEvents
from eventstore.ids import new_id
from eventstore.log import Decision
from orchestration import work_pools as pools
from orchestration import work_queues as queues
from orchestration import workers as people
from orchestration.refusals import Conflict, Invalid, NotFound
from orchestration.surroundings import Neighbour
from orchestration.work_pools import (
    AGENT,
    DEFAULT_AGENT_POOL,
    CreateWorkPool,
    DeleteWorkPool,
    Preceding,
    UpdateWorkPool,
    WorkPool,
    WorkPoolCreate,
    WorkPoolStatusChanged,
    WorkPoolUpdate,
)
from orchestration.work_queues import (
    DEFAULT,
    CreateWorkQueue,
    DeleteWorkQueue,
    MoveWorkQueue,
    SetWorkQueueReadiness,
    UpdateWorkQueue,
    WorkQueue,
    WorkQueueCreate,
    WorkQueueUpdate,
    free_priority,
    made_room,
)
from orchestration.workers import DeleteWorker
from projections import work_pools, work_queues, workers
from services.large_schemas import by_schema
from services.pulses import Pulses
from services.shell import Origin, Shell, appended
from services.vacating import vacate

POOL, QUEUE, WORKER = "work-pool", "work-queue", "worker"
POLLED_LATELY = timedelta(seconds=60)
"""A queue that is resumed is ready if it was polled within this time."""
PRECEDING_AMONG = 10
"""Of so many of its newest events the last change of a pool's status is looked for."""


def contention(pool_id: str) -> str:
    """Commands on a pool and what belongs to it never share a batch."""
    return f"{POOL}:{pool_id}"


async def named(reader: Reader, name: str) -> WorkPool:
    """The pool of this name. Raises NotFound in Prefect's words."""
    pool = await work_pools.by_name(reader, name)
    if pool is None:
        raise no_pool(name)
    return pool


def no_pool(name: str) -> NotFound:
    """What is said about a pool that does not exist."""
    return _Missing(f'Work pool "{name}" not found.')


def no_queue(pool_name: str, name: str) -> NotFound:
    """What is said about a queue that does not exist."""
    return _Missing(f"Work pool queue '{pool_name}/{name}' not found.")


class _Missing(NotFound):
    """Pools and queues are looked for by name: the message says which."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.args = (message,)


# --- pools ----------------------------------------------------------------------------------------


async def create(shell: Shell, body: WorkPoolCreate, origin: Origin) -> tuple[WorkPool, int]:
    """Make a pool with its default queue: the pool, and the log's position after it.

    Raises Conflict if the name is taken, Invalid for a base job template that nothing can fill or
    whose defaults are not what it says itself.
    """
    await _check_defaults(body.base_job_template)
    id_, written = new_id(), None
    written = await _create(shell, id_, body, origin)
    made = await work_pools.by_id(shell.store.database, id_)
    if made is None:
        raise no_pool(body.name)  # Deleted within the last milliseconds.
    return made, written.position


async def _check_defaults(template: dict[str, Any]) -> None:
    if not template:
        return
    from orchestration.job_variables import fault_in_defaults  # Loads a library few commands need.

    fault = await by_schema(template, lambda: fault_in_defaults(template))
    if fault is not None:
        raise Invalid(fault)


async def _create(shell: Shell, id_: str, body: WorkPoolCreate, origin: Origin) -> Written:
    async def decide_under_lock(tx: Transaction) -> Decision:
        if await work_pools.by_name(tx, body.name) is not None:
            raise Conflict("A work pool with this name already exists.")
        queue_id = new_id()
        made = pools.decide(CreateWorkPool(id=id_, default_queue_id=queue_id, body=body), None)
        queue = CreateWorkQueue(
            id=queue_id,
            body=WorkQueueCreate(name=DEFAULT, description="The work pool's default queue."),
            work_pool=Neighbour(id_, body.name, type=body.type),
            priority=1,
        )
        return Decision(
            appends=(
                appended(POOL, id_, made),
                appended(QUEUE, queue_id, queues.decide(queue, None)),
            )
        )

    return await shell.execute_serially(f"work-pool-name:{body.name}", decide_under_lock, origin)


async def update(shell: Shell, name: str, body: WorkPoolUpdate, origin: Origin) -> None:
    """Change a pool. Raises NotFound, and Invalid for a template nothing can fill."""
    pool = await named(shell.store.database, name)

    async def decide_under_lock(tx: Transaction) -> Decision:
        current = await work_pools.by_id(tx, pool.id)
        if current is None:
            raise no_pool(name)
        online = await workers.any_online(tx, pool.id)
        command = UpdateWorkPool(
            id=pool.id,
            body=body,
            workers_online=online,
            preceding=await preceding(shell, tx, pool.id),
        )
        return Decision(appends=(appended(POOL, pool.id, pools.decide(command, current)),))

    await shell.execute_serially(contention(pool.id), decide_under_lock, origin)


async def preceding(shell: Shell, tx: Transaction, pool_id: str) -> Preceding | None:
    """The last time that a pool's status changed, if that was among its newest events."""
    stream, store = f"{POOL}:{pool_id}", shell.store
    after = max(0, await log.stream_version(tx, stream) - PRECEDING_AMONG)
    facts = await log.read_stream(tx, store.database.dialect, store.codec, stream, after)
    for fact in reversed(facts):
        if isinstance(fact.event, WorkPoolStatusChanged):
            return Preceding(fact.event_id, fact.recorded_at)
    return None


async def delete(shell: Shell, pulses: Pulses, name: str, origin: Origin) -> None:
    """Remove a pool with its queues and workers. Raises NotFound."""
    pool = await named(shell.store.database, name)
    gone: list[str] = []
    held = [queue.id for queue in await work_queues.all_of_pool(shell.store.database, pool.id)]
    await vacate(shell, held, origin)

    async def decide_under_lock(tx: Transaction) -> Decision:
        current = await work_pools.by_id(tx, pool.id)
        if current is None:
            raise no_pool(name)
        gone.clear()
        appends, of = [], pools.named(current)
        for queue in await work_queues.all_of_pool(tx, pool.id):
            command = DeleteWorkQueue(id=queue.id, is_default=False, work_pool=of)
            appends.append(appended(QUEUE, queue.id, queues.decide(command, queue)))
            gone.append(work_queues.SUBJECT + queue.id)
        for worker in await workers.all_of_pool(tx, pool.id):
            forgotten = people.decide(DeleteWorker(id=worker.id), worker)
            appends.append(appended(WORKER, worker.id, forgotten))
            gone.append(workers.SUBJECT + worker.id)
        last = pools.decide(DeleteWorkPool(id=pool.id), current)
        return Decision(appends=(*appends, appended(POOL, pool.id, last)))

    await shell.execute_serially(contention(pool.id), decide_under_lock, origin)
    pulses.forget(gone)
    await vacate(shell, held, origin)


# --- queues ---------------------------------------------------------------------------------------


async def ensure_queue(
    shell: Shell, pool: str | None, name: str | None, origin: Origin
) -> WorkQueue:
    """The queue of this name in the pool of that name, made if there is none.

    Without a pool it is one of the default agent pool, which is made with the first of them;
    without a name it is the pool's default queue. Raises NotFound if the named pool does not exist.
    """
    reader = shell.store.database
    owner = await _agent_pool(shell, origin) if pool is None else await named(reader, pool)
    if name is None:
        held = await work_queues.by_id(reader, owner.default_queue_id)
    else:
        held = await work_queues.by_name(reader, owner.id, name)
    if held is not None:
        return held
    body = WorkQueueCreate(name=name or DEFAULT, priority=1 if pool is None else None)
    try:
        made, _ = await _create_in(shell, owner, body, origin)
    except Conflict:
        return await ensure_queue(shell, pool, name, origin)  # Somebody else was quicker.
    return made


async def create_queue(
    shell: Shell, pool: str | None, body: WorkQueueCreate, origin: Origin
) -> tuple[WorkQueue, int | None]:
    """Add a queue to a pool, or to the default agent pool: it, and the log's position after.

    Raises NotFound for the pool, and Conflict if it has a queue of this name.
    """
    reader = shell.store.database
    if pool is not None:
        return await _create_in(shell, await named(reader, pool), body, origin)
    had_pool = await work_pools.by_name(reader, DEFAULT_AGENT_POOL) is not None
    owner = await _agent_pool(shell, origin)
    if not had_pool and body.name == DEFAULT:
        held = await work_queues.by_name(reader, owner.id, DEFAULT)
        if held is not None:
            return held, None
    return await _create_in(shell, owner, body, origin)


async def _agent_pool(shell: Shell, origin: Origin) -> WorkPool:
    held = await work_pools.by_name(shell.store.database, DEFAULT_AGENT_POOL)
    if held is not None:
        return held
    try:
        body = WorkPoolCreate(name=DEFAULT_AGENT_POOL, type=AGENT)
        made, _ = await create(shell, body, origin)
    except Conflict:
        return await _agent_pool(shell, origin)  # Somebody else was quicker.
    return made


async def _create_in(
    shell: Shell, pool: WorkPool, body: WorkQueueCreate, origin: Origin
) -> tuple[WorkQueue, int]:
    id_ = new_id()

    async def decide_under_lock(tx: Transaction) -> Decision:
        if await work_pools.by_id(tx, pool.id) is None:
            raise no_pool(pool.name)
        others = await work_queues.all_of_pool(tx, pool.id)
        if any(queue.name == body.name for queue in others):
            raise Conflict(
                f"A work queue with this name already exists in work pool {pool.name!r}."
            )
        priority = body.priority or free_priority([queue.priority for queue in others])
        command = CreateWorkQueue(
            id=id_,
            body=body,
            work_pool=pools.named(pool),
            priority=priority,
        )
        made = appended(QUEUE, id_, queues.decide(command, None))
        return Decision(appends=(made, *_room(others, priority)))

    written = await shell.execute_serially(contention(pool.id), decide_under_lock, origin)
    queue = await work_queues.by_id(shell.store.database, id_)
    if queue is None:
        raise no_queue(pool.name, body.name)  # Deleted within the last milliseconds.
    return queue, written.position


def _room(others: Sequence[WorkQueue], priority: int) -> list[NewEvents]:
    by_id = {queue.id: queue for queue in others}
    return [
        appended(QUEUE, id_, queues.decide(MoveWorkQueue(id=id_, priority=moved), by_id[id_]))
        for id_, moved in made_room(others, priority).items()
    ]


async def update_queue(
    shell: Shell,
    pulses: Pulses,
    queue: WorkQueue,
    body: WorkQueueUpdate,
    now: datetime,
    origin: Origin,
) -> None:
    """Change a queue. Raises NotFound, and Conflict if its new name is taken."""
    subject = work_queues.SUBJECT + queue.id
    if isinstance(body.last_polled, datetime):
        pulses.note(subject, body.last_polled)
    polled = await pulses.last(subject)
    lately = polled is not None and now - polled <= POLLED_LATELY

    async def decide_under_lock(tx: Transaction) -> Decision:
        everyone = await work_queues.all_of_pool(tx, queue.work_pool_id)
        others = [other for other in everyone if other.id != queue.id]
        current = next((one for one in everyone if one.id == queue.id), None)
        if any(other.name == body.name for other in others):
            raise Conflict(
                f"A work queue named {body.name!r} already exists in work pool "
                f"{queue.work_pool_name!r}."
            )
        of = await _pool_of(tx, queue)
        command = UpdateWorkQueue(id=queue.id, body=body, polled_lately=lately, work_pool=of)
        own = appended(QUEUE, queue.id, queues.decide(command, current))
        room = _room(others, body.priority) if isinstance(body.priority, int) else ()
        return Decision(appends=(own, *room))

    await shell.execute_serially(contention(queue.work_pool_id), decide_under_lock, origin)


async def delete_queue(shell: Shell, pulses: Pulses, queue: WorkQueue, origin: Origin) -> None:
    """Remove a queue. Raises NotFound, and Conflict for the default queue of a pool."""
    owner = await work_pools.by_id(shell.store.database, queue.work_pool_id)
    if owner is None or owner.default_queue_id != queue.id:
        await vacate(shell, [queue.id], origin)

    async def decide_under_lock(tx: Transaction) -> Decision:
        current = await work_queues.by_id(tx, queue.id)
        pool = await work_pools.by_id(tx, queue.work_pool_id)
        default = pool is not None and pool.default_queue_id == queue.id
        of = None if pool is None else pools.named(pool)
        command = DeleteWorkQueue(id=queue.id, is_default=default, work_pool=of)
        return Decision(appends=(appended(QUEUE, queue.id, queues.decide(command, current)),))

    await shell.execute_serially(contention(queue.work_pool_id), decide_under_lock, origin)
    pulses.forget([work_queues.SUBJECT + queue.id])
    await vacate(shell, [queue.id], origin)


async def set_queue_readiness(shell: Shell, queue: WorkQueue, ready: bool, origin: Origin) -> None:
    """Say whether somebody polls a queue; nothing is written if that is known, or it is gone."""

    async def decide_under_lock(tx: Transaction) -> Decision:
        current = await work_queues.by_id(tx, queue.id)
        if current is None:
            return Decision()
        of = await _pool_of(tx, queue)
        command = SetWorkQueueReadiness(id=queue.id, ready=ready, work_pool=of)
        events = queues.decide(command, current)
        return Decision(appends=(appended(QUEUE, queue.id, events),))

    await shell.execute_serially(contention(queue.work_pool_id), decide_under_lock, origin)


async def _pool_of(tx: Transaction, queue: WorkQueue) -> Neighbour | None:
    pool = await work_pools.by_id(tx, queue.work_pool_id)
    return None if pool is None else pools.named(pool)
