"""What the dashboard asks for beyond lists: /ui/flow_runs, /ui/task_runs, /ui/flows."""

from typing import Annotated

from msgspec import Meta, Struct

from api.errors import HttpError, there
from api.http import Answer, Area, Call, ok
from api.lists import Counting
from orchestration.identifiers import Id, canonical
from orchestration.refusals import Invalid
from orchestration.states import (
    CANCELLED,
    CANCELLING,
    COMPLETED,
    CRASHED,
    FAILED,
    PAUSED,
    PENDING,
    RUNNING,
    SCHEDULED,
    StateType,
)
from orchestration.task_runs import TaskRun
from projections import dashboard, queries, run_history, task_runs
from projections.dashboard import Dot, NextRun
from projections.filters import Filters, TaskRunFilter
from projections.paging import UI_HISTORY_LIMIT_MAX, UI_IDS_MAX, Offset
from projections.run_history import Outcomes
from projections.sorting import FlowRunSort

COUNTED: tuple[StateType, ...] = (
    COMPLETED,
    PENDING,
    RUNNING,
    FAILED,
    CANCELLED,
    CRASHED,
    PAUSED,
    CANCELLING,
    SCHEDULED,
)
"""The keys of the counts by state, in the order that pages know."""

area = Area("/ui", "UI")

Ids = Annotated[list[Id], Meta(max_length=UI_IDS_MAX)]


class DotsQuery(Filters, frozen=True, kw_only=True):
    """The body of `POST /ui/flow_runs/history`. What is null has its default."""

    sort: FlowRunSort | None = None
    limit: Annotated[int, Meta(ge=0, le=UI_HISTORY_LIMIT_MAX)] | None = None
    offset: Offset | None = None


class OutcomesQuery(Filters, frozen=True, kw_only=True):
    """The body of `POST /ui/task_runs/dashboard/counts`."""

    task_runs: TaskRunFilter


class FlowRunIds(Struct, frozen=True):
    """The body of `POST /ui/flow_runs/count-task-runs`."""

    flow_run_ids: Ids


class FlowIds(Struct, frozen=True):
    """The body of the questions about many flows."""

    flow_ids: Ids


class NamedTaskRun(TaskRun, frozen=True, kw_only=True):
    """A task run with the name of the flow run around it."""

    flow_run_name: str | None = None


@area.post("/flow_runs/history", body=DotsQuery, body_optional=True, answers={200: list[Dot]})
async def read_flow_run_dots(call: Call, body: DotsQuery) -> Answer:
    """When matching flow runs started, how long they took and how late they were."""
    database = call.server.database
    limit = UI_HISTORY_LIMIT_MAX if body.limit is None else body.limit
    found = await dashboard.dots(
        database,
        body,
        body.sort or "EXPECTED_START_TIME_DESC",
        database.dialect,
        limit=limit,
        offset=body.offset or 0,
        now=call.server.now(),
    )
    return ok(found)


@area.post(
    "/flow_runs/count-task-runs", body=FlowRunIds, by_field=True, answers={200: dict[str, int]}
)
async def count_task_runs_by_flow_run(call: Call, body: FlowRunIds) -> Answer:
    """How many task runs each flow run has, without those that stand for a subflow run."""
    database = call.server.database
    ids = list(map(canonical, body.flow_run_ids))
    return ok(await dashboard.task_runs_by_flow_run(database, ids, database.dialect))


@area.post("/flows/count-deployments", body=FlowIds, by_field=True, answers={200: dict[str, int]})
async def count_deployments_by_flow(call: Call, body: FlowIds) -> Answer:
    """How many deployments each flow has."""
    database = call.server.database
    ids = list(map(canonical, body.flow_ids))
    return ok(await dashboard.deployments_by_flow(database, ids, database.dialect))


@area.post(
    "/flows/next-runs", body=FlowIds, by_field=True, answers={200: dict[str, NextRun | None]}
)
async def read_next_runs_by_flow(call: Call, body: FlowIds) -> Answer:
    """The run of each flow that is scheduled first."""
    database = call.server.database
    ids = list(map(canonical, body.flow_ids))
    return ok(await dashboard.next_runs_by_flow(database, ids, database.dialect))


@area.post(
    "/task_runs/dashboard/counts",
    body=OutcomesQuery,
    by_field=True,
    answers={200: list[Outcomes]},
)
async def read_task_run_outcomes(call: Call, body: OutcomesQuery) -> Answer:
    """How matching task runs ended, in twenty intervals of the time that is asked for."""
    database = call.server.database
    try:
        found = await run_history.outcomes(database, body, database.dialect, now=call.server.now())
    except Invalid as refusal:
        raise HttpError(422, {"detail": str(refusal)}) from None
    return ok(found)


@area.post("/task_runs/count", body=Counting, body_optional=True, answers={200: dict[str, int]})
async def count_task_runs_by_state(call: Call, body: Counting) -> Answer:
    """How many matching task runs there are of each state type."""
    database = call.server.database
    found = await queries.counts_by_state(database, "task_runs", body, database.dialect)
    return ok({kind: found.get(kind, 0) for kind in COUNTED})


@area.get("/task_runs/{id:uuid}", answers={200: NamedTaskRun})
async def read_named_task_run(call: Call) -> Answer:
    """Read a task run, with the name of its flow run."""
    found = await task_runs.with_flow_run_name(call.server.database, call.id, call.server.now())
    return Answer(200, there(found, "Task not found"))
