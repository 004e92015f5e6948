"""What can be done with work pools, their queues and their workers."""

from collections.abc import Mapping
from typing import Any

from api.ui import editing
from api.ui.page import Action, Ask, Deed, Edited, Said, Undo, Visit
from api.ui.query import Query, whole
from api.ui.shown import counted
from eventstore.database import Reader
from orchestration.identifiers import canonical
from orchestration.refusals import Invalid, NotFound
from orchestration.work_pools import WorkPoolUpdate, is_reserved
from orchestration.work_queues import WorkQueue, WorkQueueUpdate
from projections import work_pool_pages, work_queues
from projections import work_pools as rows
from services import work_pools, workers

LIMIT_MAX = 2**31 - 1
LIMITED = "Limit"
"""What the value is called that the questions of the buttons “Limit…” change."""
RESERVED = "Pools whose names begin with “prefect” are not made, changed or deleted by hand."

# --- pools ----------------------------------------------------------------------------------------


async def pause(deed: Deed) -> Said:
    """No worker is given runs of the pool."""
    return await _set_paused(deed, True)


async def resume(deed: Deed) -> Said:
    """Its runs are handed out again."""
    return await _set_paused(deed, False)


async def _set_paused(deed: Deed, paused: bool) -> Said:
    server, name = deed.visit.server, deed.form.one("name")
    await work_pools.update(server.shell, name, WorkPoolUpdate(is_paused=paused), deed.origin)
    if paused:
        back = Undo("work-pools/actions/resume", [("name", name)])
        return Said(f"Paused the work pool {name}: its workers are given no runs.", back)
    back = Undo("work-pools/actions/pause", [("name", name)])
    return Said(f"Resumed the work pool {name}.", back)


def limit_in(text: str) -> int | None:
    """The limit that a form says; None without one. Raises Invalid."""
    text = text.strip()
    if not text:
        return None
    limit = whole(text, LIMIT_MAX)
    if limit is None:
        raise Invalid("A limit is a whole number, 0 or more; leave it empty for none.")
    return limit


async def ask_limit(deed: Deed) -> Ask | None:
    """How many runs at the same time."""
    if "set" in deed.form:
        return None
    pool = await work_pools.named(deed.visit.server.database, deed.form.one("name"))
    now = "no limit" if pool.concurrency_limit is None else f"a limit of {pool.concurrency_limit}"
    return Ask(
        title="Limit the runs at the same time",
        text=f"The pool has {now}. Runs that are at work stay; leave it empty for no limit.",
        button="Set the limit",
        fields=(("limit", ""),),
        sent=(editing.carried({LIMITED: pool.concurrency_limit}),),
    )


async def edits_limit(visit: Visit, form: Query) -> Edited:
    """What the question changes. Raises NotFound."""
    id_ = (await work_pools.named(visit.server.database, form.one("name"))).id

    async def values(reader: Reader) -> Mapping[str, Any] | None:
        found = await rows.by_id(reader, id_)
        return None if found is None else {LIMITED: found.concurrency_limit}

    return Edited(f"{work_pools.POOL}:{id_}", values)


async def set_limit(deed: Deed) -> Said:
    """Change how many runs of the pool may be at work."""
    server, name = deed.visit.server, deed.form.one("name")
    pool = await work_pools.named(server.database, name)
    try:
        limit = limit_in(deed.form.one("limit"))
    except Invalid as refused:
        return Said(str(refused), failed=True)
    body = WorkPoolUpdate(concurrency_limit=limit)
    await work_pools.update(server.shell, name, body, deed.origin)
    before = pool.concurrency_limit
    fields = [("name", name), ("set", "1"), ("limit", "" if before is None else str(before))]
    back = Undo("work-pools/actions/limit", [*fields, editing.carried({LIMITED: limit})])
    if limit is None:
        return Said(f"The work pool {name} has no limit any more.", back)
    return Said(f"At most {counted(limit, 'run')} of {name} at the same time.", back)


async def ask_delete(deed: Deed) -> Ask:
    """Names what goes with the pool."""
    database, name = deed.visit.server.database, deed.form.one("name")
    lost = await work_pool_pages.losses(database, database.dialect, name, deed.visit.now)
    if lost is None:
        raise work_pools.no_pool(name)
    texts = ["This cannot be undone."]
    if lost.deployments:
        stay = "stays" if lost.deployments == 1 else "stay"
        texts.append(
            f"{counted(lost.deployments, 'deployment')} {stay} without a pool, so that no worker "
            "starts their runs."
        )
    if lost.waiting:
        texts.append(f"{counted(lost.waiting, 'run')} that wait in it stay as well.")
    numbers = ((lost.queues, "queue"), (lost.workers, "worker"))
    with_it = [counted(number, what) for number, what in numbers if number]
    return Ask(
        title=f"Delete the work pool {name}?",
        text=" ".join(texts),
        button="Delete the work pool",
        lost=(f"the work pool {name}", *with_it),
    )


async def delete(deed: Deed) -> Said:
    """Remove the pool with its queues and workers."""
    server, name = deed.visit.server, deed.form.one("name")
    if is_reserved(name):
        raise Invalid(RESERVED)
    await work_pools.delete(server.shell, server.pulses, name, deed.origin)
    return Said(f"Deleted the work pool {name}.", go=_on(deed, "work-pools"))


def _on(deed: Deed, path: str) -> str | None:
    """Where to go from a page about what is gone; from a list nowhere."""
    return path if "from" in deed.form else None


# --- queues ---------------------------------------------------------------------------------------


async def _queue(deed: Deed) -> WorkQueue:
    """The queue that a form names. Raises Invalid and NotFound."""
    try:
        id_ = canonical(deed.form.one("id"))
    except ValueError:
        raise Invalid("Choose a queue first.") from None
    found = await work_queues.by_id(deed.visit.server.database, id_)
    if found is None:
        raise NotFound("Work queue", id_)
    return found


async def change_queue(deed: Deed, queue: WorkQueue, **changes: Any) -> None:
    """Carry out changes of a queue."""
    server, body = deed.visit.server, WorkQueueUpdate(**changes)
    await work_pools.update_queue(
        server.shell, server.pulses, queue, body, server.now(), deed.origin
    )


async def pause_queue(deed: Deed) -> Said:
    """No worker is given runs of the queue."""
    queue = await _queue(deed)
    await change_queue(deed, queue, is_paused=True)
    back = Undo("work-queues/actions/resume", [("id", queue.id)])
    return Said(f"Paused the queue {queue.name}: its runs wait.", back)


async def resume_queue(deed: Deed) -> Said:
    """Its runs are handed out again."""
    queue = await _queue(deed)
    await change_queue(deed, queue, is_paused=False)
    back = Undo("work-queues/actions/pause", [("id", queue.id)])
    return Said(f"Resumed the queue {queue.name}.", back)


async def ask_delete_queue(deed: Deed) -> Ask:
    """Names what goes with the queue."""
    server, queue = deed.visit.server, await _queue(deed)
    database = server.database
    line = await work_pool_pages.queue(database, database.dialect, queue.id, deed.visit.now)
    waiting = line.waiting.scheduled if line else 0
    left = await work_pool_pages.deployments(database, queue_id=queue.id)
    texts = ["This cannot be undone."]
    if left:
        stay = "stays" if len(left) == 1 else "stay"
        texts.append(f"{counted(len(left), 'deployment')} {stay} without a queue.")
    if waiting:
        texts.append(f"{counted(waiting, 'run')} that wait in it stay, and no worker sees them.")
    return Ask(
        title=f"Delete the queue {queue.name}?",
        text=" ".join(texts),
        button="Delete the queue",
        lost=(f"the queue {queue.name} of {queue.work_pool_name}",),
    )


async def delete_queue(deed: Deed) -> Said:
    """Remove the queue."""
    server, queue = deed.visit.server, await _queue(deed)
    await work_pools.delete_queue(server.shell, server.pulses, queue, deed.origin)
    pool = f"work-pools/work-pool/{queue.work_pool_name}"
    return Said(f"Deleted the queue {queue.name}.", go=_on(deed, pool))


# --- workers --------------------------------------------------------------------------------------


async def ask_forget_worker(deed: Deed) -> Ask:
    """Says what forgetting means."""
    return Ask(
        title=f"Forget the worker {deed.form.one('worker')}?",
        text="Its process is not stopped: if it is alive it is here again with its next heartbeat.",
        button="Forget the worker",
        lost=(f"when {deed.form.one('worker')} was seen first and last",),
    )


async def forget_worker(deed: Deed) -> Said:
    """Forget the worker."""
    server, name = deed.visit.server, deed.form.one("worker")
    pool = await work_pools.named(server.database, deed.form.one("name"))
    await workers.delete(server.shell, server.pulses, pool, name, deed.origin)
    return Said(f"Forgot the worker {name}.")


ACTIONS = (
    Action("/work-pools/actions/pause", pause),
    Action("/work-pools/actions/resume", resume),
    Action("/work-pools/actions/limit", set_limit, ask_limit, edits_limit),
    Action("/work-pools/actions/delete", delete, ask_delete),
    Action("/work-pools/actions/forget-worker", forget_worker, ask_forget_worker),
    Action("/work-queues/actions/pause", pause_queue),
    Action("/work-queues/actions/resume", resume_queue),
    Action("/work-queues/actions/delete", delete_queue, ask_delete_queue),
)
