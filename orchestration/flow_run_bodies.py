"""What clients send to make and to change a flow run."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from orchestration.documents import Extras, extras_field
from orchestration.identifiers import Id, IndexedText, Labels, Text, tidy
from orchestration.run_policies import FlowRunPolicy
from orchestration.states import ProposedState


class CreatedBy(Struct, frozen=True, kw_only=True):
    """Who or what brought a run about: a deployment's schedule, an automation."""

    id: Id | None = None
    type: Text | None = None
    display_value: str | None = None


class FlowRunCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /flow_runs/`."""

    state: ProposedState | None = None
    name: Text | None = None
    flow_id: Id
    flow_version: Text | None = None
    parameters: dict[str, Any] = {}
    context: dict[str, Any] = {}
    parent_task_run_id: Id | None = None
    infrastructure_document_id: Id | None = None
    empirical_policy: FlowRunPolicy = FlowRunPolicy()
    tags: tuple[str, ...] = ()
    labels: Labels | None = {}
    idempotency_key: IndexedText | None = None
    work_pool_name: Text | None = None
    work_queue_name: Text | None = None
    job_variables: dict[str, Any] | None = None
    deployment_id: Id | None = None
    extras: Extras = extras_field()

    def __post_init__(self) -> None:
        tidy(
            self,
            ids=("flow_id", "parent_task_run_id", "infrastructure_document_id", "deployment_id"),
        )


class FlowRunUpdate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `PATCH /flow_runs/{id}`; what is unset stays as it is."""

    name: Text | UnsetType | None = UNSET
    flow_version: Text | UnsetType | None = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET
    empirical_policy: FlowRunPolicy | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    infrastructure_pid: Text | UnsetType | None = UNSET
    job_variables: dict[str, Any] | UnsetType | None = UNSET
    extras: Extras = extras_field()
