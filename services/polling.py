"""Polls of workers and agents: what they are answered, and that they were there.

A poll writes nothing but pulses. Only if a queue was not polled lately the log is told that it is
ready now.
"""

from collections.abc import Sequence
from datetime import datetime

from eventstore.codec import to_microseconds
from orchestration.work_pools import WorkPool
from orchestration.work_queues import WorkQueue
from projections import deployments as rows
from projections import polls, work_queues
from projections.polls import Due, Window
from services import deployments
from services.pulses import Pulses
from services.shell import Origin, Shell
from services.work_pools import no_queue, set_queue_readiness


def window(after: datetime | None, before: datetime | None) -> Window:
    """The times between which runs are asked for; None: any time."""
    return Window(
        after=polls.FIRST_MICROSECOND if after is None else to_microseconds(after),
        before=polls.LAST_MICROSECOND if before is None else to_microseconds(before),
    )


async def poll_pool(
    shell: Shell,
    pool: WorkPool,
    names: Sequence[str] | None,
    when: Window,
    limit: int,
) -> tuple[list[WorkQueue], list[Due]]:
    """The queues that a worker polls and up to `limit` runs of them that are due.

    Raises NotFound for a queue that the pool does not have.
    """
    database = shell.store.database
    found = await polls.queues(database, pool.id, when)
    if names:
        by_name = {queue.name for queue, _ in found}
        for name in names:
            if name not in by_name:
                raise no_queue(pool.name, name)
        found = [(queue, is_due) for queue, is_due in found if queue.name in names]
    waiting = [queue for queue, is_due in found if is_due]
    runs = await polls.due(database, database.dialect, pool, waiting, when, limit)
    return [queue for queue, _ in found], runs


async def poll_queue(
    shell: Shell, pool: WorkPool, queue: WorkQueue, when: Window, limit: int
) -> list[Due]:
    """Up to `limit` runs of one queue that are due."""
    database = shell.store.database
    return await polls.due(database, database.dialect, pool, [queue], when, limit)


async def note(
    shell: Shell, pulses: Pulses, polled: Sequence[WorkQueue], now: datetime, origin: Origin
) -> None:
    """These queues were polled, and with them their deployments."""
    for queue in polled:
        pulses.note(work_queues.SUBJECT + queue.id, now)
    for queue in polled:
        if queue.status == "NOT_READY":
            await set_queue_readiness(shell, queue, True, origin)
    database = shell.store.database
    ids = [queue.id for queue in polled]
    idle = await polls.idle_deployments(database, database.dialect, ids)
    await _wake(shell, pulses, idle, now, origin)


async def note_served(
    shell: Shell, pulses: Pulses, ids: Sequence[str], now: datetime, origin: Origin
) -> None:
    """Whoever serves these deployments asked for their runs; there need not be such ones."""
    statuses = await rows.statuses(shell.store.database, ids)
    for id_ in statuses:
        pulses.note(rows.SUBJECT + id_, now)
    idle = [id_ for id_, status in statuses.items() if status != "READY"]
    await _wake(shell, pulses, idle, now, origin)


async def _wake(
    shell: Shell, pulses: Pulses, idle: Sequence[str], now: datetime, origin: Origin
) -> None:
    if idle:
        # The pulses first: whoever sees a deployment that is ready sees why.
        await pulses.flush()
        await deployments.mark_ready(shell, idle, lambda: now, origin)
