"""Prefect's filters, as they arrive: which rows does a request mean?

A filter names criteria on its own entity's columns; a request may add filters on related entities
("flow runs whose flow … and whose task runs …"). `filter_compiler` makes SQL of them.
"""

from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from msgspec import Meta, Struct

from projections import text_search
from projections.criteria import Flag, Ids, Number, StateTypes, Tags, Text, Time
from projections.where import Operator


class HasDeployment(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether a flow has deployments."""

    is_null_: bool | None = None
    operator: Operator = "and_"


class State(Struct, frozen=True, forbid_unknown_fields=True):
    """A run's state by type and by name."""

    type: StateTypes | None = None
    name: Text | None = None
    operator: Operator = "and_"


class CreatedBy(Struct, frozen=True, forbid_unknown_fields=True):
    """Who created a flow run."""

    id_: list[UUID] | None = None
    type_: list[str] | None = None
    is_null_: bool | None = None
    operator: Operator = "and_"


class FlowRunOfTask(Struct, frozen=True, forbid_unknown_fields=True):
    """A task run's flow run. An empty one asks that there be one, unless `is_null_` is null."""

    any_: list[UUID] | None = None
    is_null_: bool | None = False
    operator: Operator = "and_"


class Existence(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether there are any."""

    exists_: bool | None = None


class NameLike(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a name."""

    like_: str | None = None


class Words(Struct, frozen=True, forbid_unknown_fields=True):
    """A text search, see `projections.text_search`."""

    query: Annotated[str, Meta(max_length=text_search.QUERY_LENGTH_MAX)]


class FlowFilter(Struct, frozen=True, forbid_unknown_fields=True):
    id: Ids | None = None
    deployment: HasDeployment | None = None
    name: Text | None = None
    tags: Tags | None = None
    operator: Operator = "and_"


class FlowRunFilter(Struct, frozen=True, forbid_unknown_fields=True):
    id: Ids | None = None
    name: Text | None = None
    tags: Tags | None = None
    deployment_id: Ids | None = None
    work_queue_name: Text | None = None
    state: State | None = None
    flow_version: Text | None = None
    start_time: Time | None = None
    end_time: Time | None = None
    expected_start_time: Time | None = None
    next_scheduled_start_time: Time | None = None
    parent_flow_run_id: Ids | None = None
    parent_task_run_id: Ids | None = None
    idempotency_key: Text | None = None
    created_by: CreatedBy | None = None
    operator: Operator = "and_"


class TaskRunFilter(Struct, frozen=True, forbid_unknown_fields=True):
    id: Ids | None = None
    name: Text | None = None
    tags: Tags | None = None
    state: State | None = None
    start_time: Time | None = None
    end_time: Time | None = None
    expected_start_time: Time | None = None
    subflow_runs: Existence | None = None
    flow_run_id: FlowRunOfTask | None = None
    operator: Operator = "and_"


class DeploymentFilter(Struct, frozen=True, forbid_unknown_fields=True):
    id: Ids | None = None
    name: Text | None = None
    flow_or_deployment_name: NameLike | None = None
    paused: Flag | None = None
    tags: Tags | None = None
    work_queue_name: Text | None = None
    concurrency_limit: Number | None = None
    """Accepted and, as in Prefect, without effect."""
    operator: Operator = "and_"


class WorkPoolFilter(Struct, frozen=True, forbid_unknown_fields=True):
    id: Ids | None = None
    name: Text | None = None
    type: Text | None = None
    operator: Operator = "and_"


class WorkQueueFilter(Struct, frozen=True, forbid_unknown_fields=True):
    id: Ids | None = None
    name: Text | None = None
    operator: Operator = "and_"


class ArtifactFilter(Struct, frozen=True, forbid_unknown_fields=True):
    id: Ids | None = None
    key: Text | None = None
    flow_run_id: Ids | None = None
    task_run_id: Ids | None = None
    type: Text | None = None
    operator: Operator = "and_"


class ArtifactCollectionFilter(Struct, frozen=True, forbid_unknown_fields=True):
    latest_id: Ids | None = None
    key: Text | None = None
    flow_run_id: Ids | None = None
    task_run_id: Ids | None = None
    type: Text | None = None
    operator: Operator = "and_"


class LogFilter(Struct, frozen=True, forbid_unknown_fields=True):
    level: Number | None = None
    timestamp: Time | None = None
    flow_run_id: Ids | None = None
    task_run_id: Ids | None = None
    text: Words | None = None
    operator: Operator = "and_"


Filter: TypeAlias = (
    FlowFilter
    | FlowRunFilter
    | TaskRunFilter
    | DeploymentFilter
    | WorkPoolFilter
    | WorkQueueFilter
    | ArtifactFilter
    | ArtifactCollectionFilter
    | LogFilter
)


class Filters(Struct, frozen=True, kw_only=True):
    """All filters of one request. A request body may extend it by its sort and page."""

    flows: FlowFilter | None = None
    flow_runs: FlowRunFilter | None = None
    task_runs: TaskRunFilter | None = None
    deployments: DeploymentFilter | None = None
    work_pools: WorkPoolFilter | None = None
    work_queues: WorkQueueFilter | None = None
    work_pool_queues: WorkQueueFilter | None = None
    """What most routes call `work_queues`."""
    artifacts: ArtifactFilter | None = None
    artifact_collections: ArtifactCollectionFilter | None = None
    """In the request bodies this one is called `artifacts`."""
    logs: LogFilter | None = None


NO_FILTERS = Filters()

EntityTable = Literal[
    "flows",
    "flow_runs",
    "task_runs",
    "deployments",
    "work_pools",
    "work_queues",
    "artifacts",
    "artifact_collections",
    "log_lines",
]
