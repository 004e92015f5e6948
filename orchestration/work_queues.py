"""Work queues: the lines in which runs of a pool wait, the line of the lowest number first."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeAlias, assert_never

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from eventstore.decider import Decider
from eventstore.events import Event
from orchestration import patches
from orchestration.documents import Extras, extras_field
from orchestration.identifiers import Id, Name, canonical, tidy
from orchestration.refusals import AlreadyExists, Conflict, NotFound
from orchestration.surroundings import Neighbour
from orchestration.work_pools import Limit, Status

DEFAULT = "default"
"""Name of the queue that a pool is made with."""

Priority: TypeAlias = Annotated[int, Meta(gt=0, le=2**31 - 1)]
"""Among the queues of its pool no two have the same; 1 goes first."""


class QueueFilter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a queue of an old release takes runs by. Kept and shown, nothing else."""

    tags: tuple[str, ...] | None = None
    deployment_ids: tuple[Id, ...] | None = None
    extras: Extras = extras_field()

    def __post_init__(self) -> None:
        if self.deployment_ids is not None:
            tidied = tuple(canonical(id) for id in self.deployment_ids)
            if tidied != self.deployment_ids:
                object.__setattr__(self, "deployment_ids", tidied)


# --- events ---------------------------------------------------------------------------------------


class WorkQueueCreated(Event, frozen=True, tag="work-queue.created"):
    """A pool got a queue."""

    id: str
    name: str
    work_pool_id: str
    work_pool_name: str
    priority: int
    status: Status = "NOT_READY"
    description: str | None = ""
    is_paused: bool = False
    concurrency_limit: int | None = None
    filter: QueueFilter | None = None
    extras: Extras = extras_field()
    work_pool: Neighbour | None = None
    """As emissions tell of it."""


class WorkQueueUpdated(Event, frozen=True, tag="work-queue.updated"):
    """Some of the queue's fields were changed; the others are unset."""

    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    is_paused: bool | UnsetType = UNSET
    concurrency_limit: int | UnsetType | None = UNSET
    priority: int | UnsetType = UNSET
    filter: QueueFilter | UnsetType | None = UNSET
    extras: Extras = extras_field()
    about: Neighbour | None = None
    """The queue, if somebody asked for the change: then an emission tells of it."""
    work_pool: Neighbour | None = None
    former: dict[str, Any] | None = None
    """The fields that were changed, as they were."""


class WorkQueueStatusChanged(Event, frozen=True, tag="work-queue.status-changed"):
    """Somebody polls the queue, nobody does any more, or it was paused or resumed."""

    status: Status
    about: Neighbour | None = None
    """The queue, as emissions tell of it."""
    work_pool: Neighbour | None = None


class WorkQueueDeleted(Event, frozen=True, tag="work-queue.deleted"):
    """The queue is gone."""

    name: str
    work_pool_id: str
    work_pool: Neighbour | None = None
    """As emissions tell of it."""


WorkQueueEvent: TypeAlias = (
    WorkQueueCreated | WorkQueueUpdated | WorkQueueStatusChanged | WorkQueueDeleted
)

# --- commands -------------------------------------------------------------------------------------


class WorkQueueCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /work_pools/{name}/queues`."""

    name: Name
    description: str | None = ""
    is_paused: bool = False
    concurrency_limit: Limit | None = None
    priority: Priority | None = None
    """None: the first one that no other queue of the pool has."""
    filter: QueueFilter | None = None
    extras: Extras = extras_field()


class WorkQueueUpdate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `PATCH /work_pools/{name}/queues/{name}`; what is unset stays as it is."""

    name: Name | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    is_paused: bool | UnsetType | None = UNSET
    concurrency_limit: Limit | UnsetType | None = UNSET
    priority: Priority | UnsetType | None = UNSET
    last_polled: datetime | UnsetType | None = UNSET
    filter: QueueFilter | UnsetType | None = UNSET
    extras: Extras = extras_field()

    def __post_init__(self) -> None:
        tidy(self, times=("last_polled",))


class CreateWorkQueue(Struct, frozen=True, kw_only=True):
    """Add a queue to a pool. That its name is free there is the caller's to find out."""

    id: str
    body: WorkQueueCreate
    work_pool: Neighbour
    priority: int


class UpdateWorkQueue(Struct, frozen=True, kw_only=True):
    """Change a queue."""

    id: str
    body: WorkQueueUpdate
    polled_lately: bool
    """Whether it is ready as soon as it is resumed."""
    work_pool: Neighbour | None


class MoveWorkQueue(Struct, frozen=True, kw_only=True):
    """Let a queue make room for another one."""

    id: str
    priority: int


class SetWorkQueueReadiness(Struct, frozen=True, kw_only=True):
    """Say whether somebody polls it. A paused queue stays paused."""

    id: str
    ready: bool
    work_pool: Neighbour | None


class DeleteWorkQueue(Struct, frozen=True, kw_only=True):
    """Remove a queue."""

    id: str
    is_default: bool
    """Of a pool that stays: then it stays as well."""
    work_pool: Neighbour | None


WorkQueueCommand: TypeAlias = (
    CreateWorkQueue | UpdateWorkQueue | MoveWorkQueue | SetWorkQueueReadiness | DeleteWorkQueue
)

# --- value ----------------------------------------------------------------------------------------


class WorkQueue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A work queue as the API shows it. `created` and `updated` are the projection's to stamp."""

    id: str
    created: datetime | None = None
    updated: datetime | None = None
    name: str
    description: str | None = ""
    is_paused: bool = False
    concurrency_limit: int | None = None
    priority: int = 1
    work_pool_id: str
    filter: QueueFilter | None = None
    last_polled: datetime | None = None
    """A pulse: filled in when the queue is read."""
    work_pool_name: str
    status: Status = "NOT_READY"
    active_slots: int | None = None
    """Runs that hold a slot; filled in when a queue with a limit is read."""
    extras: Extras = extras_field()


# --- priorities -----------------------------------------------------------------------------------


def free_priority(taken: Sequence[int]) -> int:
    """The first priority that no queue of a pool has."""
    held = set(taken)
    return next(number for number in range(1, len(held) + 2) if number not in held)


def made_room(others: Sequence[WorkQueue], wanted: int) -> Mapping[str, int]:
    """New priorities, by id, of the other queues of a pool where one takes `wanted`.

    Only those change that would stand on the same number as another.
    """
    moved: dict[str, int] = {}
    taken = wanted
    for queue in sorted(others, key=lambda queue: queue.priority):
        if queue.priority < wanted:
            continue
        if queue.priority > taken:
            break
        taken += 1
        moved[queue.id] = taken
    return moved


# --- decide ---------------------------------------------------------------------------------------


def decide(command: WorkQueueCommand, queue: WorkQueue | None) -> list[WorkQueueEvent]:
    """What follows from a command. Raises `AlreadyExists`, `NotFound` and `Conflict`."""
    if isinstance(command, CreateWorkQueue):
        if queue is not None:
            raise AlreadyExists("Work queue", command.id)
        return [_created(command)]
    if queue is None:
        raise NotFound("Work queue", command.id)
    match command:
        case UpdateWorkQueue(body=body):
            return _changes(queue, body, command)
        case MoveWorkQueue(priority=priority):
            return [WorkQueueUpdated(priority=priority)] if priority != queue.priority else []
        case SetWorkQueueReadiness(ready=ready):
            # Paused by name, not by status: as in Prefect, a queue that is made paused is Not
            # Ready at first.
            wanted: Status = "READY" if ready else "NOT_READY"
            if queue.status in ("PAUSED", wanted):
                return []
            return [_moved(queue, wanted, command.work_pool)]
        case DeleteWorkQueue(is_default=True):
            raise Conflict(
                f"Queue {queue.name!r} is the default queue of work pool "
                f"{queue.work_pool_name!r}; it is deleted together with the pool"
            )
        case DeleteWorkQueue():
            return [
                WorkQueueDeleted(
                    name=queue.name, work_pool_id=queue.work_pool_id, work_pool=command.work_pool
                )
            ]
        case _:
            assert_never(command)


def _created(command: CreateWorkQueue) -> WorkQueueCreated:
    body = command.body
    return WorkQueueCreated(
        id=command.id,
        name=body.name,
        work_pool_id=command.work_pool.id,
        work_pool_name=command.work_pool.name,
        priority=command.priority,
        description=body.description or "",
        is_paused=body.is_paused,
        concurrency_limit=body.concurrency_limit,
        filter=body.filter,
        extras=body.extras,
        work_pool=command.work_pool,
    )


_NULLABLE = ("concurrency_limit", "filter")
_REQUIRED = ("name", "description", "is_paused", "priority")
"""A null for one of these leaves it as it is."""


def _changes(
    queue: WorkQueue, body: WorkQueueUpdate, command: UpdateWorkQueue
) -> list[WorkQueueEvent]:
    changes = patches.changes(queue, body, _NULLABLE, _REQUIRED)
    after = replace(queue, name=changes.get("name", queue.name))
    events: list[WorkQueueEvent] = []
    if changes or body.extras is not UNSET:
        events.append(
            WorkQueueUpdated(
                extras=body.extras,
                about=Neighbour(queue.id, after.name),
                work_pool=command.work_pool,
                former={name: getattr(queue, name) for name in changes},
                **changes,
            )
        )
    if body.is_paused is True and queue.status != "PAUSED":
        events.append(_moved(after, "PAUSED", command.work_pool))
    if body.is_paused is False and queue.status == "PAUSED":
        ready: Status = "READY" if command.polled_lately else "NOT_READY"
        events.append(_moved(after, ready, command.work_pool))
    return events


def _moved(queue: WorkQueue, status: Status, work_pool: Neighbour | None) -> WorkQueueStatusChanged:
    about = Neighbour(queue.id, queue.name)
    return WorkQueueStatusChanged(status=status, about=about, work_pool=work_pool)


# --- evolve ---------------------------------------------------------------------------------------


def evolve(queue: WorkQueue | None, event: WorkQueueEvent) -> WorkQueue | None:
    """The queue after the event."""
    match event:
        case WorkQueueCreated():
            return patches.made(WorkQueue, event)
        case WorkQueueUpdated():
            return queue and patches.changed(queue, event, (*_NULLABLE, *_REQUIRED))
        case WorkQueueStatusChanged(status=status):
            return queue and replace(queue, status=status)
        case WorkQueueDeleted():
            return None
        case _:
            assert_never(event)


decider: Decider[WorkQueueCommand, WorkQueue, WorkQueueEvent] = Decider(decide, evolve)
