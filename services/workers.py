"""What can be done with workers: hear of them, miss them, forget them.

A heartbeat of a worker that is online is a pulse and nothing else. Otherwise the pool is decided
upon as well, in the same transaction: it is ready as long as one of its workers is online.
"""

from datetime import datetime

from eventstore.database import Transaction
from eventstore.events import NewEvents
from eventstore.ids import new_id
from eventstore.log import Decision
from orchestration import work_pools as pools
from orchestration import workers as people
from orchestration.refusals import NotFound
from orchestration.work_pools import SetWorkPoolReadiness, WorkPool
from orchestration.workers import DeleteWorker, MissWorker, NoteWorker, Worker
from projections import work_pools, workers
from services.pulses import Pulses
from services.shell import Origin, Shell, appended
from services.work_pools import POOL, WORKER, contention, no_pool, preceding


async def heartbeat(
    shell: Shell,
    pulses: Pulses,
    pool: WorkPool,
    name: str,
    interval_seconds: int | None,
    now: datetime,
    origin: Origin,
) -> Worker:
    """A worker says that it is there. Raises NotFound if the pool is gone."""
    reader = shell.store.database
    worker = await workers.by_name(reader, pool.id, name)
    if worker is None or worker.status != "ONLINE" or pool.status == "NOT_READY":
        worker = await _note(shell, pool, name, origin)
    pulses.note(workers.SUBJECT + worker.id, now, interval_seconds)
    return worker


async def _note(shell: Shell, pool: WorkPool, name: str, origin: Origin) -> Worker:
    async def decide_under_lock(tx: Transaction) -> Decision:
        current = await work_pools.by_id(tx, pool.id)
        if current is None:
            raise no_pool(pool.name)
        held = await workers.by_name(tx, pool.id, name)
        id_ = new_id() if held is None else held.id
        noted = people.decide(NoteWorker(id=id_, name=name, work_pool_id=pool.id), held)
        command = SetWorkPoolReadiness(
            id=pool.id, ready=True, preceding=await preceding(shell, tx, pool.id)
        )
        ready = pools.decide(command, current)
        return Decision(appends=(appended(WORKER, id_, noted), appended(POOL, pool.id, ready)))

    await shell.execute_serially(contention(pool.id), decide_under_lock, origin)
    worker = await workers.by_name(shell.store.database, pool.id, name)
    if worker is None:
        raise no_pool(pool.name)  # Deleted within the last milliseconds.
    return worker


async def miss(shell: Shell, worker: Worker, origin: Origin) -> None:
    """A worker was not heard of for too long; without another one its pool is not ready."""

    async def decide_under_lock(tx: Transaction) -> Decision:
        current = await workers.by_id(tx, worker.id)
        command = MissWorker(id=worker.id, last_heartbeat_time=worker.last_heartbeat_time)
        missed = appended(WORKER, worker.id, people.decide(command, current))
        return Decision(appends=(missed, *await _without(shell, tx, worker)))

    await shell.execute_serially(contention(worker.work_pool_id), decide_under_lock, origin)


async def delete(shell: Shell, pulses: Pulses, pool: WorkPool, name: str, origin: Origin) -> None:
    """Forget a worker. Raises NotFound."""
    worker = await workers.by_name(shell.store.database, pool.id, name)
    if worker is None:
        raise NotFound("Worker", name)

    async def decide_under_lock(tx: Transaction) -> Decision:
        current = await workers.by_id(tx, worker.id)
        gone = appended(WORKER, worker.id, people.decide(DeleteWorker(id=worker.id), current))
        return Decision(appends=(gone, *await _without(shell, tx, worker)))

    await shell.execute_serially(contention(pool.id), decide_under_lock, origin)
    pulses.forget([workers.SUBJECT + worker.id])


async def _without(shell: Shell, tx: Transaction, worker: Worker) -> tuple[NewEvents, ...]:
    pool = await work_pools.by_id(tx, worker.work_pool_id)
    if pool is None or await workers.any_online(tx, pool.id, but=worker.id):
        return ()
    command = SetWorkPoolReadiness(
        id=pool.id, ready=False, preceding=await preceding(shell, tx, pool.id)
    )
    return (appended(POOL, pool.id, pools.decide(command, pool)),)
