"""Handing background tasks to task workers: who gets which is decided under the log's lock."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from eventstore.codec import to_microseconds
from eventstore.database import Transaction
from eventstore.events import NewEvents
from eventstore.log import Decision
from orchestration.states import SCHEDULED, State
from orchestration.task_queue import (
    TaskClaimed,
    TaskHandedOver,
    TaskQueued,
    TaskQueueEvent,
    TaskReturned,
)
from projections import task_queue, task_workers
from projections.task_queue import TASK_QUEUE
from projections.task_workers import TaskWorker
from services.shell import Clock, Origin, Shell, appended

CATEGORY = "task-queue"
CONTENTION = "task-queue"
"""Claims are decided one after the other, whatever their keys: workers' keys overlap."""
ACKNOWLEDGE = timedelta(seconds=10)
"""How long a worker has to acknowledge a task before the next one gets it."""
PULSE = timedelta(seconds=10)
"""How often it is noted that a worker is connected."""
GONE_AFTER = timedelta(seconds=60)
"""A worker that was not seen for so long does not come back: what it was handed and has not begun
goes to the next one. Long enough for a worker to connect again to a server that was restarted."""
LOOK_SECONDS = 5.0
"""How often a worker that waits looks for tasks whose claims or workers have ended."""
BEGUN_MAX = 50
"""Tasks that leave the queue with one acknowledgement."""


def queued(id_: str, task_key: str, flow_run_id: str | None, state: State) -> list[NewEvents]:
    """What is recorded together with a task run's new state, if it then waits for a worker."""
    if state.type != SCHEDULED or not state.state_details.deferred:
        return []
    return [_event(id_, TaskQueued(id=id_, task_key=task_key, flow_run_id=flow_run_id))]


def _event(id_: str, event: TaskQueueEvent) -> NewEvents:
    return appended(CATEGORY, id_, (event,))


async def claim(
    shell: Shell, task_keys: Sequence[str], client_id: str, clock: Clock, origin: Origin
) -> str | None:
    """Claim the task that a worker for these keys gets next: the task run's id, if there is one."""
    now = clock()
    gone_before = to_microseconds(now - GONE_AFTER)
    database = shell.store.database
    if not await task_queue.next_free(database, task_keys, to_microseconds(now), gone_before):
        return None  # Nearly always, and without the lock.

    async def decide(tx: Transaction) -> Decision:
        id_ = await task_queue.next_free(tx, task_keys, to_microseconds(now), gone_before)
        if id_ is None:
            return Decision()
        claimed = TaskClaimed(client_id=client_id, until=now + ACKNOWLEDGE)
        return Decision(appends=(_event(id_, claimed),))

    written = await shell.execute_serially(CONTENTION, decide, origin)
    return written.recorded[0].stream.partition(":")[2] if written.recorded else None


async def hand_over(shell: Shell, id_: str, client_id: str, origin: Origin) -> None:
    """The worker acknowledged the task that was claimed for it."""

    async def decide(tx: Transaction) -> Decision:
        task = await _held(tx, id_, client_id)
        if task is None:
            return Decision()
        begun = tuple(await task_queue.begun(tx, task, BEGUN_MAX))
        return Decision(appends=(_event(id_, TaskHandedOver(client_id=client_id, begun=begun)),))

    await shell.execute_serially(CONTENTION, decide, origin)


async def give_back(shell: Shell, id_: str, client_id: str, origin: Origin) -> None:
    """The worker did not take the task that was claimed for it."""

    async def decide(tx: Transaction) -> Decision:
        if await _held(tx, id_, client_id) is None:
            return Decision()
        return Decision(appends=(_event(id_, TaskReturned(client_id=client_id)),))

    await shell.execute_serially(CONTENTION, decide, origin)


async def _held(tx: Transaction, id_: str, client_id: str) -> str | None:
    """The key of a task that is claimed for this worker and not handed over."""
    rows = await tx.fetch_keys(TASK_QUEUE.table, [(id_,)])
    if not rows:
        return None
    task = TASK_QUEUE.parse(rows[0])
    return task.task_key if task.holder == client_id and not task.handed_over else None


async def wait(shell: Shell, task_keys: Sequence[str], after: int) -> None:
    """Return when there may be a task of these keys, by an event after this position or by time."""
    keys = frozenset(task_keys)
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            async for page in shell.store.follow(after):
                for entry in page:
                    match entry.recorded.event:
                        case TaskQueued(task_key=key) if key in keys:
                            return
                        case TaskReturned():
                            return
    except TimeoutError:
        return


async def see(shell: Shell, client_id: str, task_keys: Sequence[str], now: datetime) -> None:
    """Note that a worker is connected."""

    async def work(tx: Transaction) -> None:
        await task_workers.see(tx, client_id, task_keys, to_microseconds(now))

    await shell.store.database.transact(work)


async def forget(shell: Shell, client_id: str, now: datetime) -> None:
    """Note that a worker is connected no more. What it was handed is still its own."""

    async def work(tx: Transaction) -> None:
        at = to_microseconds(now)
        await task_workers.leave(tx, client_id, at, to_microseconds(now - 2 * GONE_AFTER))

    await shell.store.database.transact(work)


async def connected(shell: Shell, now: datetime, task_keys: Sequence[str] = ()) -> list[TaskWorker]:
    """The workers that are connected, of any of these keys if there are some."""
    since = to_microseconds(now - 3 * PULSE)
    found = await task_workers.connected_since(shell.store.database, since)
    wanted = frozenset(task_keys)
    return [one for one in found if not wanted or wanted & frozenset(one.task_keys)]
