"""Work pools: where runs are handed to workers of one kind, within a limit."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias, assert_never

from msgspec import UNSET, Meta, Struct, UnsetType, json
from msgspec.structs import asdict, replace

from eventstore.decider import Decider
from eventstore.events import Event
from orchestration import patches
from orchestration.documents import Extras, document, extras_field
from orchestration.identifiers import Id, Name, Text, tidy
from orchestration.refusals import AlreadyExists, Invalid, NotFound
from orchestration.surroundings import Neighbour

AGENT = "prefect-agent"
"""Type of the pools that agents poll and no worker belongs to: these have no status."""
DEFAULT_AGENT_POOL = "default-agent-pool"
"""Queues that name no pool belong to this one; it comes into being with the first of them."""
RESERVED = "prefect"
"""Pools whose names begin like this are not for users to make, change or delete."""

Status: TypeAlias = Literal["READY", "NOT_READY", "PAUSED"]
"""Of a pool or a queue: polled, not polled, or not to be polled."""
Limit: TypeAlias = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""Runs that may hold a slot at the same time."""


class StorageConfiguration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the code of a run that is submitted without a deployment reaches its worker."""

    bundle_upload_step: dict[str, Any] | None = None
    bundle_execution_step: dict[str, Any] | None = None
    default_result_storage_block_id: Id | None = None
    extras: Extras = extras_field()

    def __post_init__(self) -> None:
        tidy(self, ids=("default_result_storage_block_id",))


# --- events ---------------------------------------------------------------------------------------


class WorkPoolCreated(Event, frozen=True, tag="work-pool.created"):
    """A pool came into being, together with its default queue."""

    id: str
    name: str
    type: str
    default_queue_id: str
    status: Status | None = None
    description: str | None = None
    base_job_template: dict[str, Any] = {}  # noqa: RUF012 - msgspec copies it for each event
    is_paused: bool = False
    concurrency_limit: int | None = None
    storage_configuration: StorageConfiguration = StorageConfiguration()
    extras: Extras = extras_field()


class WorkPoolUpdated(Event, frozen=True, tag="work-pool.updated"):
    """Some of the pool's fields were changed; the others are unset."""

    description: str | UnsetType | None = UNSET
    base_job_template: dict[str, Any] | UnsetType = UNSET
    is_paused: bool | UnsetType = UNSET
    concurrency_limit: int | UnsetType | None = UNSET
    storage_configuration: StorageConfiguration | UnsetType = UNSET
    extras: Extras = extras_field()
    about: Neighbour | None = None
    """The pool. An emission tells of it, and of what it was before."""
    former: dict[str, Any] | None = None
    """The fields that were changed, as they were."""


class Preceding(Struct, frozen=True):
    """The last time that a pool's status changed."""

    id: str
    """Of the event."""
    at: datetime


class WorkPoolStatusChanged(Event, frozen=True, tag="work-pool.status-changed"):
    """Workers came, the last one went, or the pool was paused or resumed."""

    status: Status
    about: Neighbour | None = None
    """The pool. An emission tells of it, and which one it follows."""
    preceding: Preceding | None = None


class WorkPoolDeleted(Event, frozen=True, tag="work-pool.deleted"):
    """The pool is gone, its queues and workers with it."""

    name: str
    about: Neighbour | None = None
    """The pool. An emission tells of it, and of what belonged to it."""
    default_queue_id: str | None = None
    default_result_storage_block_id: str | None = None


WorkPoolEvent: TypeAlias = (
    WorkPoolCreated | WorkPoolUpdated | WorkPoolStatusChanged | WorkPoolDeleted
)

# --- commands -------------------------------------------------------------------------------------


class WorkPoolCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /work_pools/`."""

    name: Name
    type: Text = AGENT
    description: str | None = None
    base_job_template: dict[str, Any] = {}
    is_paused: bool = False
    concurrency_limit: Limit | None = None
    storage_configuration: StorageConfiguration = StorageConfiguration()
    extras: Extras = extras_field()


class WorkPoolUpdate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `PATCH /work_pools/{name}`; what is unset stays as it is."""

    description: str | UnsetType | None = UNSET
    base_job_template: dict[str, Any] | UnsetType | None = UNSET
    is_paused: bool | UnsetType | None = UNSET
    concurrency_limit: Limit | UnsetType | None = UNSET
    storage_configuration: StorageConfiguration | UnsetType | None = UNSET
    extras: Extras = extras_field()


class CreateWorkPool(Struct, frozen=True, kw_only=True):
    """Make a pool. That its name is free is the caller's to find out."""

    id: str
    default_queue_id: str
    body: WorkPoolCreate


class UpdateWorkPool(Struct, frozen=True, kw_only=True):
    """Change a pool."""

    id: str
    body: WorkPoolUpdate
    workers_online: bool
    """Whether it is ready as soon as it is resumed."""
    preceding: Preceding | None = None


class SetWorkPoolReadiness(Struct, frozen=True, kw_only=True):
    """Say whether there is a worker online. A paused pool stays paused."""

    id: str
    ready: bool
    preceding: Preceding | None = None


class DeleteWorkPool(Struct, frozen=True, kw_only=True):
    """Remove a pool."""

    id: str


WorkPoolCommand: TypeAlias = CreateWorkPool | UpdateWorkPool | SetWorkPoolReadiness | DeleteWorkPool

# --- value ----------------------------------------------------------------------------------------


class WorkPool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A work pool as the API shows it. `created` and `updated` are the projection's to stamp."""

    id: str
    created: datetime | None = None
    updated: datetime | None = None
    name: str
    description: str | None = None
    type: str
    base_job_template: dict[str, Any] = {}
    is_paused: bool = False
    concurrency_limit: int | None = None
    status: Status | None = None
    default_queue_id: str
    storage_configuration: StorageConfiguration = StorageConfiguration()
    active_slots: int | None = None
    """Runs that hold a slot; filled in when a pool with a limit is read."""
    extras: Extras = extras_field()


# --- decide ---------------------------------------------------------------------------------------


def is_reserved(name: str) -> bool:
    """Whether a pool of this name is not for users to make."""
    return name.lower().startswith(RESERVED)


def check_base_job_template(template: Mapping[str, Any]) -> None:
    """Raises Invalid, in Prefect's words, for a template whose placeholders nothing can fill."""
    if not template:
        return
    configuration, variables = template.get("job_configuration"), template.get("variables")
    if not configuration or not variables:
        raise _invalid_template(
            "The `base_job_template` must contain both a `job_configuration` key and a "
            "`variables` key."
        )
    declared = variables.get("properties") if isinstance(variables, dict) else None
    missing = sorted(
        set(_placeholders(configuration)) - set(declared if isinstance(declared, dict) else ())
    )
    if missing:
        raise _invalid_template(
            "The variables specified in the job configuration template must be present as "
            "properties in the variables schema. Your job configuration uses the following "
            f"undeclared variable(s): {' ,'.join(missing)}."
        )


def _invalid_template(message: str) -> Invalid:
    return Invalid(message, ("base_job_template",))


_PLACEHOLDER = re.compile(r"{{\s*([\w.\-\[\]$]+)\s*}}")


def _placeholders(value: Any) -> Iterable[str]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield from _PLACEHOLDER.findall(one)
        elif isinstance(one, dict):
            waiting += one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _status_of(type: str, paused: bool, ready: bool) -> Status | None:
    if type == AGENT:
        return None
    if paused:
        return "PAUSED"
    return "READY" if ready else "NOT_READY"


def decide(command: WorkPoolCommand, pool: WorkPool | None) -> list[WorkPoolEvent]:
    """What follows from a command. Raises `AlreadyExists`, `NotFound` and `Invalid`."""
    if isinstance(command, CreateWorkPool):
        if pool is not None:
            raise AlreadyExists("Work pool", command.id)
        return _created(command.id, command.default_queue_id, command.body)
    if pool is None:
        raise NotFound("Work pool", command.id)
    match command:
        case UpdateWorkPool(body=body):
            return _changes(pool, body, command)
        case SetWorkPoolReadiness(ready=ready):
            wanted = _status_of(pool.type, pool.is_paused, ready)
            return _moved(pool, wanted, command.preceding)
        case DeleteWorkPool():
            return [
                WorkPoolDeleted(
                    name=pool.name,
                    about=named(pool),
                    default_queue_id=pool.default_queue_id,
                    default_result_storage_block_id=(
                        pool.storage_configuration.default_result_storage_block_id
                    ),
                )
            ]
        case _:
            assert_never(command)


def _created(id_: str, default_queue_id: str, body: WorkPoolCreate) -> list[WorkPoolEvent]:
    check_base_job_template(body.base_job_template)
    status = _status_of(body.type, body.is_paused, ready=False)
    created = WorkPoolCreated(
        id=id_,
        name=body.name,
        type=body.type,
        default_queue_id=default_queue_id,
        status=status,
        description=body.description,
        base_job_template=body.base_job_template,
        is_paused=body.is_paused,
        concurrency_limit=body.concurrency_limit,
        storage_configuration=body.storage_configuration,
        extras=body.extras,
    )
    if status is None:
        return [created]
    # Said once more by itself: that is what followers of statuses look out for.
    about = Neighbour(id_, body.name, type=body.type)
    return [created, WorkPoolStatusChanged(status=status, about=about)]


_NULLABLE = ("description", "concurrency_limit")
_REQUIRED = ("base_job_template", "is_paused", "storage_configuration")
"""A null for one of these leaves it as it is."""


def named(pool: WorkPool) -> Neighbour:
    """The pool as emissions tell of it."""
    return Neighbour(pool.id, pool.name, type=pool.type)


def _changes(pool: WorkPool, body: WorkPoolUpdate, command: UpdateWorkPool) -> list[WorkPoolEvent]:
    changes = patches.changes(pool, body, _NULLABLE, _REQUIRED)
    if "base_job_template" in changes:
        check_base_job_template(changes["base_job_template"])
    if not changes and body.extras is UNSET:
        return []
    former = {name: _plain(getattr(pool, name)) for name in changes}
    events: list[WorkPoolEvent] = [
        WorkPoolUpdated(extras=body.extras, about=named(pool), former=former, **changes)
    ]
    paused = changes.get("is_paused")
    if paused is not None:
        status = _status_of(pool.type, paused, command.workers_online)
        events += _moved(pool, status, command.preceding)
    return events


def _plain(value: Any) -> Any:
    return json.decode(document(value)) if isinstance(value, Struct) else value


def _moved(
    pool: WorkPool, status: Status | None, preceding: Preceding | None
) -> list[WorkPoolEvent]:
    if status is None or status == pool.status:
        return []
    return [WorkPoolStatusChanged(status=status, about=named(pool), preceding=preceding)]


def shown_to_workers(event: WorkPoolUpdated) -> bool:
    """Whether a change is one that the pool's workers have to know of."""
    shown = (
        event.base_job_template,
        event.concurrency_limit,
        event.is_paused,
        event.storage_configuration,
    )
    return any(value is not UNSET for value in shown)


# --- evolve ---------------------------------------------------------------------------------------


def evolve(pool: WorkPool | None, event: WorkPoolEvent) -> WorkPool | None:
    """The pool after the event."""
    match event:
        case WorkPoolCreated():
            return WorkPool(**asdict(event))
        case WorkPoolUpdated():
            return pool and patches.changed(pool, event, (*_NULLABLE, *_REQUIRED))
        case WorkPoolStatusChanged(status=status):
            return pool and replace(pool, status=status)
        case WorkPoolDeleted():
            return None
        case _:
            assert_never(event)


decider: Decider[WorkPoolCommand, WorkPool, WorkPoolEvent] = Decider(decide, evolve)
