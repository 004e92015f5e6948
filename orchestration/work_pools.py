"""Work pools: where runs are handed to workers of one kind, within a limit."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias, assert_never

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from eventstore.decider import Decider
from eventstore.events import Event
from orchestration.documents import Extras, extras_field
from orchestration.identifiers import Id, Name, Text, tidy
from orchestration.refusals import AlreadyExists, Invalid, NotFound

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


class WorkPoolStatusChanged(Event, frozen=True, tag="work-pool.status-changed"):
    """Workers came, the last one went, or the pool was paused or resumed."""

    status: Status


class WorkPoolDeleted(Event, frozen=True, tag="work-pool.deleted"):
    """The pool is gone, its queues and workers with it."""

    name: str


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


class SetWorkPoolReadiness(Struct, frozen=True, kw_only=True):
    """Say whether there is a worker online. A paused pool stays paused."""

    id: str
    ready: bool


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
        return [_created(command.id, command.default_queue_id, command.body)]
    if pool is None:
        raise NotFound("Work pool", command.id)
    match command:
        case UpdateWorkPool(body=body):
            return _changes(pool, body, command.workers_online)
        case SetWorkPoolReadiness(ready=ready):
            return _moved(pool, _status_of(pool.type, pool.is_paused, ready))
        case DeleteWorkPool():
            return [WorkPoolDeleted(name=pool.name)]
        case _:
            assert_never(command)


def _created(id_: str, default_queue_id: str, body: WorkPoolCreate) -> WorkPoolCreated:
    check_base_job_template(body.base_job_template)
    return WorkPoolCreated(
        id=id_,
        name=body.name,
        type=body.type,
        default_queue_id=default_queue_id,
        status=_status_of(body.type, body.is_paused, ready=False),
        description=body.description,
        base_job_template=body.base_job_template,
        is_paused=body.is_paused,
        concurrency_limit=body.concurrency_limit,
        storage_configuration=body.storage_configuration,
        extras=body.extras,
    )


_NULLABLE = ("description", "concurrency_limit")
_REQUIRED = ("base_job_template", "is_paused", "storage_configuration")
"""A null for one of these leaves it as it is."""


def _changes(pool: WorkPool, body: WorkPoolUpdate, workers_online: bool) -> list[WorkPoolEvent]:
    wanted: dict[str, Any] = {name: getattr(body, name) for name in (*_NULLABLE, *_REQUIRED)}
    changes = {
        name: value
        for name, value in wanted.items()
        if value is not UNSET
        and not (value is None and name in _REQUIRED)
        and value != getattr(pool, name)
    }
    if "base_job_template" in changes:
        check_base_job_template(changes["base_job_template"])
    if not changes and body.extras is UNSET:
        return []
    events: list[WorkPoolEvent] = [WorkPoolUpdated(extras=body.extras, **changes)]
    paused = changes.get("is_paused")
    if paused is not None:
        events += _moved(pool, _status_of(pool.type, paused, workers_online))
    return events


def _moved(pool: WorkPool, status: Status | None) -> list[WorkPoolEvent]:
    if status is None or status == pool.status:
        return []
    return [WorkPoolStatusChanged(status=status)]


# --- evolve ---------------------------------------------------------------------------------------


def evolve(pool: WorkPool | None, event: WorkPoolEvent) -> WorkPool | None:
    """The pool after the event."""
    match event:
        case WorkPoolCreated():
            return WorkPool(
                id=event.id,
                name=event.name,
                description=event.description,
                type=event.type,
                base_job_template=event.base_job_template,
                is_paused=event.is_paused,
                concurrency_limit=event.concurrency_limit,
                status=event.status,
                default_queue_id=event.default_queue_id,
                storage_configuration=event.storage_configuration,
                extras=event.extras,
            )
        case WorkPoolUpdated():
            return pool and _updated(pool, event)
        case WorkPoolStatusChanged(status=status):
            return pool and replace(pool, status=status)
        case WorkPoolDeleted():
            return None
        case _:
            assert_never(event)


def _updated(pool: WorkPool, event: WorkPoolUpdated) -> WorkPool:
    changes: dict[str, Any] = {
        name: value
        for name in (*_NULLABLE, *_REQUIRED)
        if (value := getattr(event, name)) is not UNSET
    }
    if event.extras is not UNSET:
        known = pool.extras if pool.extras is not UNSET else {}
        changes["extras"] = {**known, **event.extras}
    return replace(pool, **changes)


decider: Decider[WorkPoolCommand, WorkPool, WorkPoolEvent] = Decider(decide, evolve)
