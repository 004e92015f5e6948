"""Decisions about deployments: what can be asked of one, and the events that follow."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias, assert_never

from msgspec import UNSET, Struct

from eventstore.decider import Decider
from orchestration.deployment_bodies import DeploymentCreate, DeploymentUpdate
from orchestration.deployment_limits import ConcurrencyLimit, limited
from orchestration.deployment_schedules import (
    ScheduleCreate,
    ScheduleUpdate,
    merged,
    put,
    renewed,
    settled,
    with_changed,
    with_new,
    without,
)
from orchestration.deployments import (
    Deployment,
    DeploymentCreated,
    DeploymentDeleted,
    DeploymentEvent,
    DeploymentStatusSet,
    DeploymentUpdated,
    Status,
    evolve,
)
from orchestration.identifiers import Labels
from orchestration.refusals import Conflict, NotFound
from orchestration.surroundings import Surroundings

# --- commands -------------------------------------------------------------------------------------


class Place(Struct, frozen=True, kw_only=True):
    """The queue in which a deployment's runs wait for a worker."""

    work_queue_id: str | None = None
    work_queue_name: str | None = None
    work_pool_name: str | None = None


class Facts(Struct, frozen=True, kw_only=True):
    """What a decision about a deployment needs from outside."""

    now: datetime
    ids: tuple[str, ...] = ()
    """For the schedules that are named in the body."""
    limit_id: str = ""
    """For a concurrency limit, if one is made."""
    limit: ConcurrencyLimit | None = None
    """The global one that the body names, if it names one."""
    place: Place | None = None
    """None: the body says nothing about it."""


class _About(Struct, frozen=True, kw_only=True):
    """What every command says."""

    id: str
    around: Surroundings = Surroundings()
    """The deployment's flow, queue and pool after the command; its emissions name them."""


class PutDeployment(_About, frozen=True, kw_only=True):
    """Make a deployment, or make it what the body says. That the name is its own is the caller's
    to find out."""

    body: DeploymentCreate
    facts: Facts
    flow_labels: Labels = {}


class UpdateDeployment(_About, frozen=True, kw_only=True):
    """Change some of a deployment's fields."""

    body: DeploymentUpdate
    facts: Facts


class PauseDeployment(_About, frozen=True, kw_only=True):
    """Let the schedules rest, or go on."""

    paused: bool
    now: datetime


class AddSchedules(_About, frozen=True, kw_only=True):
    """Give a deployment more schedules."""

    schedules: Sequence[ScheduleCreate]
    facts: Facts


class ChangeSchedule(_About, frozen=True, kw_only=True):
    """Change one schedule; without a body, remove it."""

    schedule_id: str
    body: ScheduleUpdate | None
    now: datetime


class SetStatus(_About, frozen=True, kw_only=True):
    """Note whether somebody asks for the deployment's runs."""

    status: Status
    polled: datetime | None
    """When somebody last did, if that is known."""


class LeaveQueue(_About, frozen=True, kw_only=True):
    """The work queue of the deployment is gone, or about to be; its name is remembered."""

    work_queue_id: str


class DeleteDeployment(_About, frozen=True, kw_only=True):
    """Forget a deployment."""


DeploymentCommand: TypeAlias = (
    PutDeployment
    | UpdateDeployment
    | PauseDeployment
    | AddSchedules
    | ChangeSchedule
    | SetStatus
    | LeaveQueue
    | DeleteDeployment
)

# --- decide ---------------------------------------------------------------------------------------


def decide(command: DeploymentCommand, deployment: Deployment | None) -> list[DeploymentEvent]:
    """What follows from a command. Raises NotFound, Invalid and Conflict."""
    if isinstance(command, PutDeployment):
        return _put(command, deployment)
    if deployment is None:
        raise NotFound("Deployment", command.id)
    around = command.around
    match command:
        case UpdateDeployment(body=body, facts=facts):
            return _update(deployment, body, facts, around)
        case PauseDeployment(paused=paused, now=now):
            return _change(deployment, {"paused": paused}, now, around)
        case AddSchedules(schedules=wanted, facts=facts):
            after = with_new(command.id, deployment.schedules, wanted, facts.ids, facts.now)
            return _change(deployment, {"schedules": after}, facts.now, around)
        case ChangeSchedule(schedule_id=id, body=body, now=now):
            known = deployment.schedules
            after = without(known, id) if body is None else with_changed(known, id, body, now)
            return _change(deployment, {"schedules": after}, now, around)
        case SetStatus(status=status, polled=polled):
            if deployment.status == status:
                return []
            name = deployment.name
            return [
                DeploymentStatusSet(status=status, last_polled=polled, name=name, around=around)
            ]
        case LeaveQueue(work_queue_id=left):
            if deployment.work_queue_id != left:
                return []
            before, name = {"work_queue_id": left}, deployment.name
            return [
                DeploymentUpdated(
                    name=name, work_queue_id=None, work_pool_name=None, before=before, around=around
                )
            ]
        case DeleteDeployment():
            name, flow_id = deployment.name, deployment.flow_id
            return [DeploymentDeleted(name=name, flow_id=flow_id, around=around)]
        case _:
            assert_never(command)


_PLAIN = (
    "version",
    "description",
    "concurrency_options",
    "tags",
    "path",
    "entrypoint",
    "pull_steps",
    "storage_document_id",
    "infrastructure_document_id",
    "paused",
)
"""Fields that are taken over as they come."""


def _given(body: DeploymentCreate | DeploymentUpdate, facts: Facts) -> dict[str, Any]:
    """The fields that the body says something about, with what it says."""
    given = {name: value for name in _PLAIN if (value := getattr(body, name)) is not UNSET}
    for name in ("job_variables", "parameters", "parameter_openapi_schema"):
        value = getattr(body, name)
        if value is not UNSET and value is not None:
            given[name] = value
    if body.enforce_parameter_schema is not UNSET and body.enforce_parameter_schema is not None:
        given["enforce_parameter_schema"] = body.enforce_parameter_schema
    if body.global_concurrency_limit_id is not UNSET:
        given["global_concurrency_limit"] = facts.limit
    if facts.place is not None:
        given |= {name: getattr(facts.place, name) for name in Place.__struct_fields__}
    return given


def _put(command: PutDeployment, deployment: Deployment | None) -> list[DeploymentEvent]:
    body, facts = command.body, command.facts
    given = _given(body, facts)
    known = () if deployment is None else deployment.schedules
    given["schedules"] = put(command.id, known, body.schedules, facts.ids, facts.now)
    if body.concurrency_limit is not UNSET and not body.global_concurrency_limit_id:
        limit = None if deployment is None else deployment.global_concurrency_limit
        given["global_concurrency_limit"] = limited(
            limit, body.concurrency_limit, command.id, facts.limit_id, facts.now
        )
    labels = {} if body.labels is UNSET else body.labels or {}
    given["labels"] = {**command.flow_labels, "prefect.flow.id": body.flow_id, **labels}
    if deployment is not None:
        if not body.job_variables:
            # A client that was told of none sends none, and means those that are there.
            given.pop("job_variables", None)
        if body.extras is not UNSET:
            given["extras"] = body.extras
        return _change(deployment, given, facts.now, command.around)
    given.setdefault("parameter_openapi_schema", {})
    return [
        DeploymentCreated(
            id=command.id,
            name=body.name,
            flow_id=body.flow_id,
            around=command.around,
            extras=body.extras,
            **given,
        )
    ]


def _update(
    deployment: Deployment, body: DeploymentUpdate, facts: Facts, around: Surroundings
) -> list[DeploymentEvent]:
    from orchestration.value_schemas import complaint  # Loads a library that few commands need.

    given = _given(body, facts)
    if body.schedules is not UNSET:
        given["schedules"] = merged(
            deployment.id, deployment.schedules, body.schedules, facts.ids, facts.now
        )
    if body.concurrency_limit is not UNSET and not body.global_concurrency_limit_id:
        given["global_concurrency_limit"] = limited(
            deployment.global_concurrency_limit,
            body.concurrency_limit,
            deployment.id,
            facts.limit_id,
            facts.now,
        )
    if given.get("enforce_parameter_schema", deployment.enforce_parameter_schema):
        schema = given.get("parameter_openapi_schema") or deployment.parameter_openapi_schema
        if schema is None:
            raise Conflict(
                "Error updating deployment: its parameters are to be checked against a schema, and"
                " there is none; send `parameter_openapi_schema` as well"
            )
        parameters = given.get("parameters", deployment.parameters)
        fault = complaint(parameters, schema, partial=True)
        if fault is not None:
            raise Conflict(f"Error updating deployment: {fault}")
    if body.extras is not UNSET:
        given["extras"] = body.extras
    return _change(deployment, given, facts.now, around)


_IN_RUNS = frozenset(
    (
        "version",
        "parameters",
        "tags",
        "labels",
        "work_queue_id",
        "work_queue_name",
        "work_pool_name",
        "infrastructure_document_id",
        "paused",
    )
)
"""What the runs of a schedule have from the deployment: when it changes they are made anew."""


_UNTOLD = frozenset(
    (
        "schedules",
        "work_queue_name",
        "work_pool_name",
        "storage_document_id",
        "infrastructure_document_id",
        "extras",
    )
)
"""The fields whose changes nobody is told of, as in Prefect."""


def _change(
    deployment: Deployment, wanted: Mapping[str, Any], now: datetime, around: Surroundings
) -> list[DeploymentEvent]:
    changes = {
        name: value
        for name, value in wanted.items()
        if name == "extras" or value != getattr(deployment, name)
    }
    if not changes:
        return []
    schedules = changes.get("schedules", deployment.schedules)
    if schedules and changes.keys() & _IN_RUNS:
        old = {one.id: one for one in deployment.schedules}
        # Those that are new or changed have a time of their own already.
        changes["schedules"] = settled(
            renewed(one, now) if old.get(one.id) == one else one for one in schedules
        )
    before = {name: getattr(deployment, name) for name in changes if name not in _UNTOLD}
    if "global_concurrency_limit" in before:
        limit = before["global_concurrency_limit"]
        before["global_concurrency_limit"] = None if limit is None else limit.id
    return [DeploymentUpdated(name=deployment.name, before=before, around=around, **changes)]


decider: Decider[DeploymentCommand, Deployment, DeploymentEvent] = Decider(decide, evolve)
