"""How the fields of a filter become conditions on its own entity's table."""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from projections import text_search
from projections.criteria import Ids, Number, Time, condition, like, one_of
from projections.filters import (
    CreatedBy,
    EntityTable,
    Existence,
    FlowRunOfTask,
    HasDeployment,
    NameLike,
    State,
    Words,
)
from projections.where import FALSE, TRUE, Draft, all_of, any_of, combine

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
    # No condition rather than one that always holds, which under `or_` would match everything.
    return []


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
