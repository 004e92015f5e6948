"""Pages to add a queue to a work pool and to change one."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from api.ui.page import Action, Deed, Edited, Page, Said, Visit
from api.ui.query import Query, whole
from api.ui.work_pool_actions import change_queue, limit_in
from api.ui.work_pool_tabs import pool
from api.ui.work_queue import line
from eventstore.database import Reader
from orchestration.refusals import Conflict, Invalid
from orchestration.work_pools import WorkPool
from orchestration.work_queues import WorkQueue, WorkQueueCreate, free_priority
from projections import work_queues
from services import work_pools

PRIORITY_MAX = 2**31 - 1
NAME_WRONG = "A name is not empty and has no / % & < or > in it."


class Creation(Struct, frozen=True):
    """The page that adds a queue."""

    pool: WorkPool
    priority: int
    """The first one that no other queue has."""


class _Filled(Struct):
    """What either form was filled in with, and what is wrong with it."""

    errors: dict[str, str]
    name: str
    description: str
    limit: int | None = None
    priority: int | None = None


async def creation(visit: Visit) -> Creation:
    """The pool, and what goes last in it. Raises Missing."""
    of = await pool(visit)
    others = await work_queues.all_of_pool(visit.server.database, of.id)
    return Creation(of, free_priority([queue.priority for queue in others]))


async def change(visit: Visit) -> WorkQueue:
    """The queue as it is. Raises Missing."""
    return (await line(visit)).queue


async def edits(visit: Visit, _: Query) -> Edited:
    """What can be changed of the queue."""

    async def values(reader: Reader) -> Mapping[str, Any] | None:
        found = await work_queues.by_id(reader, visit.id)
        if found is None:
            return None
        return {
            "Name": found.name,
            "Description": found.description,
            "Concurrency limit": found.concurrency_limit,
            "Priority": found.priority,
        }

    return Edited(f"{work_pools.QUEUE}:{visit.id}", values)


def _filled(deed: Deed) -> _Filled:
    form = deed.form
    found = _Filled({}, form.one("name").strip(), form.one("description"))
    try:
        found.limit = limit_in(form.one("limit"))
    except Invalid as error:
        found.errors["limit"] = str(error)
    text = form.one("priority").strip()
    found.priority = whole(text, PRIORITY_MAX)
    if text and not found.priority:
        found.errors["priority"] = "A priority is a whole number; 1 goes first."
    try:
        msgspec.convert({"name": found.name}, WorkQueueCreate)
    except msgspec.ValidationError:
        found.errors["name"] = NAME_WRONG
    return found


async def create(deed: Deed) -> Said:
    """Add a queue."""
    of, filled = await pool(deed.visit), _filled(deed)
    if filled.errors:
        return Said.wrong(filled.errors)
    body = WorkQueueCreate(
        name=filled.name,
        description=filled.description,
        concurrency_limit=filled.limit,
        priority=filled.priority,
    )
    try:
        await work_pools.create_queue(deed.visit.server.shell, of.name, body, deed.origin)
    except Conflict:
        filled.errors["name"] = f"The work pool {of.name} has a queue with this name already."
        return Said.wrong(filled.errors)
    return Said(f"Added the queue {filled.name}.", go=f"work-pools/work-pool/{of.name}")


async def update(deed: Deed) -> Said:
    """Change a queue."""
    queue, filled = await change(deed.visit), _filled(deed)
    if filled.errors:
        return Said.wrong(filled.errors)
    try:
        await change_queue(
            deed,
            queue,
            name=filled.name,
            description=filled.description,
            concurrency_limit=filled.limit,
            priority=filled.priority,
        )
    except Conflict:
        filled.errors["name"] = f"{queue.work_pool_name} has a queue with this name already."
        return Said.wrong(filled.errors)
    return Said(f"Changed the queue {filled.name}.", go=f"work-queues/work-queue/{queue.id}")


create_page = Page(
    path="/work-pools/work-pool/{name:str}/queue/create",
    template="work_queue_create.html",
    title="New queue",
    section="/work-pools",
    view=creation,
    actions=(Action("/work-pools/work-pool/{name:str}/queue/create", create),),
    styles=("forms.css",),
)
edit_page = Page(
    path="/work-queues/work-queue/{id:uuid}/edit",
    template="work_queue_edit.html",
    title="Edit queue",
    section="/work-pools",
    view=change,
    actions=(Action("/work-queues/work-queue/{id:uuid}/edit", update, edits=edits),),
    edits=edits,
    styles=("forms.css",),
)
