"""Deployments: how, where, with what and when flows are run without somebody starting them.

What can be asked of one, and what follows from it, is in `deployment_decisions`.
"""

from datetime import datetime
from typing import Any, Literal, TypeAlias, assert_never

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from eventstore.events import Event
from orchestration import patches
from orchestration.deployment_bodies import ConcurrencyOptions
from orchestration.deployment_limits import ConcurrencyLimit
from orchestration.deployment_schedules import Schedules
from orchestration.documents import Extras, extras_field
from orchestration.flow_run_bodies import CreatedBy
from orchestration.identifiers import Labels
from orchestration.refusals import NotFound
from orchestration.surroundings import Surroundings

Status: TypeAlias = Literal["READY", "NOT_READY"]


# --- events ---------------------------------------------------------------------------------------


class DeploymentCreated(Event, frozen=True, tag="deployment.created"):
    """A deployment was made, under a name that was free among those of its flow."""

    id: str
    name: str
    flow_id: str
    version: str | None = None
    description: str | None = None
    paused: bool = False
    schedules: Schedules = ()
    global_concurrency_limit: ConcurrencyLimit | None = None
    concurrency_options: ConcurrencyOptions | None = None
    job_variables: dict[str, Any] = {}  # noqa: RUF012 - msgspec copies it for each event
    parameters: dict[str, Any] = {}  # noqa: RUF012
    tags: tuple[str, ...] = ()
    labels: Labels = {}  # noqa: RUF012
    work_queue_name: str | None = None
    work_queue_id: str | None = None
    work_pool_name: str | None = None
    parameter_openapi_schema: dict[str, Any] | None = None
    path: str | None = None
    pull_steps: tuple[dict[str, Any], ...] | None = ()
    entrypoint: str | None = None
    storage_document_id: str | None = None
    infrastructure_document_id: str | None = None
    enforce_parameter_schema: bool = True
    around: Surroundings = Surroundings()
    extras: Extras = extras_field()


class DeploymentUpdated(Event, frozen=True, tag="deployment.updated"):
    """Some of the deployment's fields were changed; the others are unset."""

    name: str = ""
    """Of the deployment, which never changes; for those who only see the event."""
    version: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    paused: bool | UnsetType = UNSET
    schedules: Schedules | UnsetType = UNSET
    """All of them, as they are now."""
    global_concurrency_limit: ConcurrencyLimit | UnsetType | None = UNSET
    concurrency_options: ConcurrencyOptions | UnsetType | None = UNSET
    job_variables: dict[str, Any] | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    labels: Labels | UnsetType = UNSET
    work_queue_name: str | UnsetType | None = UNSET
    work_queue_id: str | UnsetType | None = UNSET
    work_pool_name: str | UnsetType | None = UNSET
    parameter_openapi_schema: dict[str, Any] | UnsetType | None = UNSET
    path: str | UnsetType | None = UNSET
    pull_steps: tuple[dict[str, Any], ...] | UnsetType | None = UNSET
    entrypoint: str | UnsetType | None = UNSET
    storage_document_id: str | UnsetType | None = UNSET
    infrastructure_document_id: str | UnsetType | None = UNSET
    enforce_parameter_schema: bool | UnsetType = UNSET
    before: dict[str, Any] = {}  # noqa: RUF012
    """What those that others are told of held; of a concurrency limit its id."""
    around: Surroundings = Surroundings()
    extras: Extras = extras_field()


class DeploymentStatusSet(Event, frozen=True, tag="deployment.status-set"):
    """Somebody who can run the deployment has begun or ceased to ask for its runs."""

    status: Status
    last_polled: datetime | None = None
    name: str = ""
    around: Surroundings = Surroundings()


class DeploymentDeleted(Event, frozen=True, tag="deployment.deleted"):
    """The deployment is gone, with its schedules. Its runs stay."""

    name: str
    flow_id: str
    around: Surroundings = Surroundings()


DeploymentEvent: TypeAlias = (
    DeploymentCreated | DeploymentUpdated | DeploymentStatusSet | DeploymentDeleted
)

# --- value ----------------------------------------------------------------------------------------


class Deployment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A deployment as the API shows it. `created` and `updated` are the projection's to stamp."""

    last_polled: datetime | None = None
    """When it last became ready or ceased to be; while it is ready, pulses know better. The first
    field, so that whoever shows the deployment can put the pulse's time in its place."""
    id: str
    created: datetime | None = None
    updated: datetime | None = None
    name: str
    version: str | None = None
    description: str | None = None
    flow_id: str
    paused: bool = False
    schedules: Schedules = ()
    concurrency_limit: int | None = None
    """Always null, as in Prefect: it is shown in the global limit."""
    global_concurrency_limit: ConcurrencyLimit | None = None
    concurrency_options: ConcurrencyOptions | None = None
    job_variables: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    tags: tuple[str, ...] = ()
    labels: Labels = {}
    work_queue_name: str | None = None
    work_queue_id: str | None = None
    parameter_openapi_schema: dict[str, Any] | None = None
    path: str | None = None
    pull_steps: tuple[dict[str, Any], ...] | None = ()
    entrypoint: str | None = None
    storage_document_id: str | None = None
    infrastructure_document_id: str | None = None
    created_by: CreatedBy | None = None
    updated_by: CreatedBy | None = None
    work_pool_name: str | None = None
    status: Status = "NOT_READY"
    enforce_parameter_schema: bool = True
    extras: Extras = extras_field()


def existing(deployment: Deployment | None, id: str) -> Deployment:
    """The deployment, or the refusal that there is none."""
    if deployment is None:
        raise NotFound("Deployment", id)
    return deployment


def labels_of(deployment: Deployment) -> Labels:
    """The labels that the deployment's runs inherit."""
    return {**deployment.labels, "prefect.deployment.id": deployment.id}


# --- evolve ---------------------------------------------------------------------------------------


def evolve(deployment: Deployment | None, event: DeploymentEvent) -> Deployment | None:
    """The deployment after the event."""
    match event:
        case DeploymentCreated():
            return patches.made(Deployment, event)
        case DeploymentUpdated():
            return deployment and patches.changed(deployment, event, _CHANGEABLE)
        case DeploymentStatusSet(status=status, last_polled=polled):
            if deployment is None:
                return None
            polled = polled or deployment.last_polled
            return replace(deployment, status=status, last_polled=polled)
        case DeploymentDeleted():
            return None
        case _:
            assert_never(event)


_CHANGEABLE = tuple(
    name
    for name in DeploymentUpdated.__struct_fields__
    if name not in ("name", "before", "around", "extras")
)
