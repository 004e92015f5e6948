"""Which way leads from the rows of one entity to those of another that a request may name."""

from collections.abc import Mapping

from msgspec import Struct

from projections.filters import EntityTable


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
