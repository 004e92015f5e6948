"""Prefect's filters, compiled: which rows of one entity does a request mean?

A filter names criteria on its own entity's columns; a request may add filters on related entities
("flow runs whose flow … and whose task runs …"). Both are data here: `ENTITIES` says how a filter's
fields become conditions on a table, `RELATIONS` which way leads from one table to the next.

A filter that is present but empty matches everything of its own entity, and, beside another entity,
asks that there be one: `task_runs: {}` selects flow runs that have a task run.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

from msgspec import Meta, Struct
from msgspec.structs import replace

from eventstore.database import Dialect
from projections import text_search
from projections.criteria import (
    Flag,
    Ids,
    Number,
    StateTypes,
    Tags,
    Text,
    Time,
    condition,
    like,
    one_of,
)
from projections.where import FALSE, TRUE, Draft, Operator, Where, all_of, any_of, combine

# --- Filters, as they arrive


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


# --- From a request to a condition


def where(table: EntityTable, filters: Filters, dialect: Dialect, first: int = 1) -> Where:
    """The rows of `table` that the request means; placeholders are numbered from `first`."""
    draft = Draft(dialect)
    own = _filter_on(table, filters)
    conditions = [] if own is None else [_own_conditions(table, own, draft)]
    flow_run_ids = _nothing_but_ids(filters) if table == "task_runs" else None
    if flow_run_ids is not None:
        # Prefect then looks at the task runs alone, and lists those of a deleted flow run as well.
        conditions.append(one_of("task_runs.flow_run_id", flow_run_ids, draft))
    else:
        conditions += _related_conditions(RELATIONS[table], filters, draft)
    return draft.where(all_of(conditions), first)


def _filter_on(table: EntityTable, filters: Filters) -> Filter | None:
    if table == "work_queues" and filters.work_queues is None:
        return filters.work_pool_queues
    found: Filter | None = getattr(filters, ENTITIES[table].filter)
    return found


def _own_conditions(table: EntityTable, asked: Filter, draft: Draft) -> str:
    """What a filter asks of its own entity's row, and of nothing else that the request names."""
    special = ENTITIES[table].special
    conditions: list[str] = []
    for name in asked.__struct_fields__:
        criterion = getattr(asked, name)
        if criterion is None or name == "operator":
            continue
        if name in special:
            conditions += special[name](criterion, draft)
        else:
            conditions.append(condition(criterion, f"{table}.{name}", draft))
    return combine(asked.operator, conditions)


def _related_conditions(
    relations: tuple["Relation", ...], filters: Filters, draft: Draft
) -> list[str]:
    conditions = (_related(relation, filters, draft) for relation in relations)
    return [condition for condition in conditions if condition is not None]


def _related(relation: "Relation", filters: Filters, draft: Draft) -> str | None:
    """That there is a related row as asked for; None if the request says nothing about it.

    The same question has two forms, and SQLite takes each by the word: EXISTS is asked per row and
    stops early, IN first lists all that match.
    """
    asked = _filter_on(relation.table, filters)
    further = _related_conditions(relation.further, filters, draft)
    if asked is None and not further:
        return None
    table, inner, outer = relation.table, relation.inner, relation.outer
    own = TRUE if asked is None else _own_conditions(table, asked, draft)
    matching = all_of([own, *further])
    if matching == FALSE:
        return FALSE
    if matching == TRUE and relation.always:
        return TRUE
    if _names_one(table, asked):
        # A scalar lets an index on (column, time) give the order as well, as IN could not.
        return f"{outer} = (SELECT {inner} FROM {table} WHERE {matching})"
    if matching == TRUE or not _lists_few(relation, asked):
        return f"EXISTS (SELECT 1 FROM {table} WHERE {all_of([f'{inner} = {outer}', matching])})"
    return f"{outer} IN (SELECT {inner} FROM {table} WHERE {matching})"


def _names_one(table: EntityTable, asked: Filter | None) -> bool:
    """Whether a filter can match no more than one row: it wants one value of a unique column."""
    return any(len(_wanted(asked, column)) == 1 for column in ENTITIES[table].unique)


def _lists_few(relation: "Relation", asked: Filter | None) -> bool:
    """Whether listing the related rows that match is cheaper than asking for each row."""
    if relation.few_by is None:
        return True
    conjunction = asked is not None and asked.operator == "and_"
    return conjunction and any(getattr(asked, name) is not None for name in relation.few_by)


def _wanted(asked: Filter | None, column: str) -> Sequence[UUID | str]:
    """The values one of which a matching row must have in this column; empty if it need not."""
    if asked is None or asked.operator != "and_":
        return ()
    criterion: Ids | Text | None = getattr(asked, column, None)
    if criterion is None or criterion.operator != "and_":
        return ()
    return criterion.any_ or ()


def _nothing_but_ids(filters: Filters) -> list[UUID] | None:
    """The flow run ids, if they are all that the request asks of anything but task runs."""
    asked = filters.flow_runs
    ids = asked.id.any_ if asked is not None and asked.id is not None else None
    if not ids or asked is None:
        return None
    alone = replace(asked, operator="and_") == FlowRunFilter(id=Ids(any_=ids))
    others = (
        filters.flows,
        filters.deployments,
        filters.work_pools,
        filters.work_queues,
        filters.work_pool_queues,
    )
    return ids if alone and all(other is None for other in others) else None


# --- What the fields that are more than one column mean

Special = Callable[[Any, Draft], list[str]]


def _flow_has_deployment(asked: HasDeployment, _: Draft) -> list[str]:
    if asked.is_null_ is None:
        return [TRUE]
    exists = "EXISTS (SELECT 1 FROM deployments AS own WHERE own.flow_id = flows.id)"
    return [f"NOT {exists}" if asked.is_null_ else exists]


def _state_of(table: str) -> Special:
    def conditions(asked: State, draft: Draft) -> list[str]:
        return [state_condition(asked, f"{table}.state_type", f"{table}.state_name", draft)]

    return conditions


def state_condition(asked: State, type_column: str, name_column: str, draft: Draft) -> str:
    """What a filter asks of a state whose type and name are in these columns."""
    # An empty type or name has no say here, not even under `or_`: so Prefect reads it.
    parts = [
        condition(criterion, column, draft)
        for column, criterion in ((type_column, asked.type), (name_column, asked.name))
        if criterion is not None
    ]
    return combine(asked.operator, [part for part in parts if part != TRUE])


_STARTED_OR_EXPECTED = "COALESCE(flow_runs.start_time, flow_runs.expected_start_time)"


def _flow_run_start(asked: Time, draft: Draft) -> list[str]:
    """A flow run that has not started counts with the time at which it should."""
    around = condition(Time(asked.before_, asked.after_), _STARTED_OR_EXPECTED, draft)
    started = condition(Time(is_null_=asked.is_null_), "flow_runs.start_time", draft)
    return [all_of([around, started])]


def _parent_flow_run(asked: Ids, draft: Draft) -> list[str]:
    matching = condition(asked, "parent.flow_run_id", draft)
    if matching in (TRUE, FALSE):
        return [matching]
    parents = f"SELECT parent.id FROM task_runs AS parent WHERE {matching}"
    return [f"flow_runs.parent_task_run_id IN ({parents})"]


def _created_by(asked: CreatedBy, draft: Draft) -> list[str]:
    parts = []
    if asked.id_ is not None:
        parts.append(one_of("flow_runs.created_by_id", asked.id_, draft))
    if asked.type_ is not None:
        parts.append(one_of("flow_runs.created_by_type", asked.type_, draft))
    if asked.is_null_ is not None:
        nobody = "COALESCE(flow_runs.created_by_id, flow_runs.created_by_type) IS NULL"
        parts.append(nobody if asked.is_null_ else f"NOT ({nobody})")
    return [combine(asked.operator, parts)]


def _flow_run_of_task(asked: FlowRunOfTask, draft: Draft) -> list[str]:
    if asked.is_null_:
        return ["task_runs.flow_run_id IS NULL"]
    if asked.any_ is not None:
        return [one_of("task_runs.flow_run_id", asked.any_, draft)]
    return [TRUE if asked.is_null_ is None else "task_runs.flow_run_id IS NOT NULL"]


def _has_subflow_runs(asked: Existence, _: Draft) -> list[str]:
    if asked.exists_ is None:
        return [TRUE]
    exists = "EXISTS (SELECT 1 FROM flow_runs AS sub WHERE sub.parent_task_run_id = task_runs.id)"
    return [exists if asked.exists_ else f"NOT {exists}"]


def _flow_or_deployment_name(asked: NameLike, draft: Draft) -> list[str]:
    by_name = like("deployments.name", asked.like_ or "", draft)
    by_flow = like("named.name", asked.like_ or "", draft)
    if by_name is None or by_flow is None:
        return [TRUE]
    flows = f"SELECT named.id FROM flows AS named WHERE {by_flow}"
    return [any_of([by_name, f"deployments.flow_id IN ({flows})"])]


def _nothing(_: Number, __: Draft) -> list[str]:
    return [TRUE]


def _log_text(asked: Words, draft: Draft) -> list[str]:
    # Several conditions, not one: under `or_` each of them counts by itself.
    return text_search.conditions(
        asked.query, "(log_lines.message || ' ' || log_lines.name)", draft
    )


class Entity(Struct, frozen=True):
    """How the filter of an entity becomes conditions on its table."""

    filter: str
    """Its field in `Filters`."""
    special: Mapping[str, Special] = {}
    """The fields of the filter that are not simply a column of the same name."""
    unique: tuple[str, ...] = ()
    """The columns of which no two rows have the same value."""


ENTITIES: Mapping[EntityTable, Entity] = {
    "flows": Entity("flows", {"deployment": _flow_has_deployment}, unique=("id", "name")),
    "flow_runs": Entity(
        "flow_runs",
        {
            "state": _state_of("flow_runs"),
            "start_time": _flow_run_start,
            "parent_flow_run_id": _parent_flow_run,
            "created_by": _created_by,
        },
        unique=("id",),
    ),
    "task_runs": Entity(
        "task_runs",
        {
            "state": _state_of("task_runs"),
            "flow_run_id": _flow_run_of_task,
            "subflow_runs": _has_subflow_runs,
        },
        unique=("id",),
    ),
    "deployments": Entity(
        "deployments",
        {"flow_or_deployment_name": _flow_or_deployment_name, "concurrency_limit": _nothing},
        unique=("id",),
    ),
    "work_pools": Entity("work_pools", unique=("id", "name")),
    "work_queues": Entity("work_queues", unique=("id",)),
    "artifacts": Entity("artifacts", unique=("id",)),
    "artifact_collections": Entity("artifact_collections"),
    "log_lines": Entity("logs", {"text": _log_text}),
}


class Relation(Struct, frozen=True):
    """From the rows of one table to those of another: `inner` = `outer`."""

    table: EntityTable
    inner: str
    """Column of the table it leads to."""
    outer: str
    """Column of the table it comes from."""
    further: tuple["Relation", ...] = ()
    """Relations that the same related row has to satisfy."""
    few_by: tuple[str, ...] | None = None
    """Related rows may be millions; a filter on one of these fields finds a few by an index."""
    always: bool = False
    """There always is one."""


def _queue(outer: str) -> Relation:
    pool = Relation("work_pools", "work_pools.id", "work_queues.work_pool_id")
    return Relation("work_queues", "work_queues.id", outer, (pool,))


def _flow_run(outer: str, *further: Relation) -> Relation:
    flow = Relation("flows", "flows.id", "flow_runs.flow_id", always=True)
    deployment = Relation("deployments", "deployments.id", "flow_runs.deployment_id")
    return Relation("flow_runs", "flow_runs.id", outer, (flow, deployment, *further))


def _flow_runs(inner: str, outer: str) -> Relation:
    few_by = (
        "id",
        "state",
        "start_time",
        "end_time",
        "expected_start_time",
        "deployment_id",
        "parent_flow_run_id",
        "parent_task_run_id",
        "idempotency_key",
    )
    return Relation("flow_runs", inner, outer, (_TASK_RUNS,), few_by)


_TASK_RUNS = Relation("task_runs", "task_runs.flow_run_id", "flow_runs.id", few_by=("id",))

RELATIONS: Mapping[EntityTable, tuple[Relation, ...]] = {
    "flows": (
        Relation(
            "deployments",
            "deployments.flow_id",
            "flows.id",
            (_queue("deployments.work_queue_id"),),
        ),
        _flow_runs("flow_runs.flow_id", "flows.id"),
    ),
    "flow_runs": (
        *_flow_run("").further,
        _queue("flow_runs.work_queue_id"),
        _TASK_RUNS,
    ),
    "task_runs": (_flow_run("task_runs.flow_run_id", _queue("flow_runs.work_queue_id")),),
    "deployments": (
        Relation("flows", "flows.id", "deployments.flow_id", always=True),
        _flow_runs("flow_runs.deployment_id", "deployments.id"),
        _queue("deployments.work_queue_id"),
    ),
    "work_pools": (),
    "work_queues": (),
    "artifacts": (
        _flow_run("artifacts.flow_run_id"),
        Relation("task_runs", "task_runs.id", "artifacts.task_run_id"),
    ),
    "artifact_collections": (
        _flow_run("artifact_collections.flow_run_id"),
        Relation("task_runs", "task_runs.id", "artifact_collections.task_run_id"),
    ),
    "log_lines": (),
}
