"""What clients send to make and to change a deployment."""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import force_setattr

from orchestration.deployment_schedules import ScheduleCreate, ScheduleUpdate
from orchestration.documents import Extras, extras_field
from orchestration.identifiers import (
    PART_CHARACTERS_MAX,
    Id,
    IndexedText,
    Labels,
    Name,
    Text,
    tidy,
)
from orchestration.run_policies import FlowRunPolicy
from orchestration.schema_size import oversized
from orchestration.states import ProposedState

DeploymentName: TypeAlias = Annotated[
    str, Meta(pattern=r"^[^/%&><\x00]+$", max_length=PART_CHARACTERS_MAX)
]
"""A name as in `identifiers.Name`; it is looked up together with its flow."""
CollisionStrategy: TypeAlias = Literal["ENQUEUE", "CANCEL_NEW"]


class ConcurrencyOptions(Struct, frozen=True, kw_only=True):
    """What becomes of a run that finds no slot free."""

    collision_strategy: CollisionStrategy
    grace_period_seconds: Annotated[int, Meta(ge=60, le=86_400)] | None = None


class VersionInfo(Struct, frozen=True, kw_only=True):
    """Where the code of a version comes from. Taken, and as in Prefect not shown again."""

    type: Text
    version: Text


_IDS = ("storage_document_id", "infrastructure_document_id", "global_concurrency_limit_id")
PositiveInt: TypeAlias = Annotated[int, Meta(gt=0, le=2**31 - 1)]


def _checked(schema: dict[str, Any] | UnsetType | None) -> dict[str, Any] | UnsetType | None:
    """The schema of parameters; of an empty one the one that Prefect makes of it."""
    if schema is not UNSET and (fault := oversized(schema)):
        raise ValueError(fault)
    return {"type": "object", "properties": {}} if schema == {} else schema


def _check_limits(own: int | UnsetType | None, shared: Id | UnsetType | None) -> None:
    if own and shared:
        raise ValueError(
            "A deployment has a concurrency limit of its own or a global one, not both"
        )


class DeploymentCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /deployments/`. What is unset stays as it is if there is one already."""

    name: DeploymentName
    flow_id: Id
    paused: bool | UnsetType = UNSET
    schedules: tuple[ScheduleCreate, ...] = ()
    concurrency_limit: PositiveInt | UnsetType | None = UNSET
    concurrency_options: ConcurrencyOptions | UnsetType | None = UNSET
    global_concurrency_limit_id: Id | UnsetType | None = UNSET
    enforce_parameter_schema: bool | UnsetType = UNSET
    parameter_openapi_schema: dict[str, Any] | UnsetType | None = UNSET
    parameters: dict[str, Any] = {}
    tags: tuple[str, ...] | UnsetType = UNSET
    labels: Labels | UnsetType | None = UNSET
    pull_steps: tuple[dict[str, Any], ...] | UnsetType | None = UNSET
    work_queue_name: Name | UnsetType | None = UNSET
    work_pool_name: Text | UnsetType | None = UNSET
    storage_document_id: Id | UnsetType | None = UNSET
    infrastructure_document_id: Id | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    path: str | UnsetType | None = UNSET
    version: Text | UnsetType | None = UNSET
    entrypoint: str | UnsetType | None = UNSET
    job_variables: dict[str, Any] | UnsetType = UNSET
    version_info: VersionInfo | UnsetType | None = UNSET
    extras: Extras = extras_field()

    def __post_init__(self) -> None:
        tidy(self, ids=("flow_id", *_IDS))
        _check_limits(self.concurrency_limit, self.global_concurrency_limit_id)
        schema = _checked(self.parameter_openapi_schema)
        force_setattr(self, "parameter_openapi_schema", schema)


class DeploymentUpdate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `PATCH /deployments/{id}`; what is unset stays as it is."""

    version: Text | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    paused: bool | UnsetType = UNSET
    schedules: tuple[ScheduleUpdate, ...] | UnsetType = UNSET
    concurrency_limit: PositiveInt | UnsetType | None = UNSET
    concurrency_options: ConcurrencyOptions | UnsetType | None = UNSET
    global_concurrency_limit_id: Id | UnsetType | None = UNSET
    parameters: dict[str, Any] | UnsetType | None = UNSET
    parameter_openapi_schema: dict[str, Any] | UnsetType | None = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    work_queue_name: Name | UnsetType | None = UNSET
    work_pool_name: Text | UnsetType | None = UNSET
    path: str | UnsetType | None = UNSET
    job_variables: dict[str, Any] | UnsetType | None = UNSET
    pull_steps: tuple[dict[str, Any], ...] | UnsetType | None = UNSET
    entrypoint: str | UnsetType | None = UNSET
    storage_document_id: Id | UnsetType | None = UNSET
    infrastructure_document_id: Id | UnsetType | None = UNSET
    enforce_parameter_schema: bool | UnsetType | None = UNSET
    version_info: VersionInfo | UnsetType | None = UNSET
    extras: Extras = extras_field()

    def __post_init__(self) -> None:
        tidy(self, ids=_IDS)
        _check_limits(self.concurrency_limit, self.global_concurrency_limit_id)
        schema = _checked(self.parameter_openapi_schema)
        force_setattr(self, "parameter_openapi_schema", schema)


class DeploymentFlowRunCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /deployments/{id}/create_flow_run`."""

    state: ProposedState | None = None
    name: Text | None = None
    parameters: dict[str, Any] = {}
    enforce_parameter_schema: bool | None = None
    context: dict[str, Any] = {}
    infrastructure_document_id: Id | None = None
    empirical_policy: FlowRunPolicy = FlowRunPolicy()
    tags: tuple[str, ...] = ()
    labels: Labels | None = {}
    idempotency_key: IndexedText | None = None
    parent_task_run_id: Id | None = None
    work_queue_name: Name | None = None
    job_variables: dict[str, Any] | None = None
    extras: Extras = extras_field()

    def __post_init__(self) -> None:
        tidy(self, ids=("infrastructure_document_id", "parent_task_run_id"))
