"""The tabs of a flow run's page: `?tab=NAME`, each with a template `flow_run_NAME.html`."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from api.ui import log_lines
from api.ui.page import Missing, Visit
from api.ui.tabs import Tab, Tabs
from eventstore.selection import Selection
from orchestration.states import STATE_TYPES, TERMINAL, StateType
from projections import artifact_pages, flow_run_facts, flow_run_lists, flow_run_page
from projections.facts import Fact
from projections.flow_run_lists import TaskOrder, TaskPage

ORDERS: dict[str, TaskOrder] = {
    "": "START_DESC",
    "oldest": "START_ASC",
    "name": "NAME_ASC",
    "longest": "DURATION_DESC",
}
"""The orders of the task runs by their parameter."""


class TaskRuns(Struct, frozen=True):
    """The list of task runs as it was asked for."""

    page: TaskPage
    states: Sequence[StateType]
    text: str
    sort: str


class Parameters(Struct, frozen=True):
    """What the run was given: names and values as indented JSON."""

    parameters: Sequence[tuple[str, str]]
    job_variables: Sequence[tuple[str, str]]
    context: Sequence[tuple[str, str]]
    labels: Sequence[tuple[str, str]]
    facts: Sequence[tuple[str, str]]
    """Other fields that say something."""


async def logs(visit: Visit) -> log_lines.Log:
    """What it and its task runs printed."""
    about = await flow_run_page.run(visit.server.database, visit.id)
    if about is None:
        raise Missing("This flow run does not exist")
    return log_lines.log(visit, "flow-run", about.run.state_type not in TERMINAL)


async def task_runs(visit: Visit) -> TaskRuns:
    """A page of the task runs."""
    database, query = visit.server.database, visit.query
    states = query.choices("state", STATE_TYPES)
    text = query.text("q")
    sort = query.choice("sort", ORDERS)
    page = await flow_run_lists.task_runs(
        database,
        database.dialect,
        visit.id,
        ORDERS[sort],
        states=states,
        text=text,
        after=query.one("after") or None,
        before=query.one("before") or None,
    )
    return TaskRuns(page, states, text, sort)


async def subflows(visit: Visit) -> Sequence[flow_run_lists.Subflow]:
    """The subflow runs."""
    return await flow_run_lists.subflows(visit.server.database, visit.id)


async def artifacts(visit: Visit) -> Sequence[artifact_pages.Listed]:
    """What it left behind."""
    return await artifact_pages.of_flow_run(visit.server.database, visit.id)


async def parameters(visit: Visit) -> Parameters:
    """What it was given."""
    about = await flow_run_page.run(visit.server.database, visit.id)
    if about is None:
        raise Missing("This flow run does not exist")
    run = about.run
    others = {
        "Flow version": run.flow_version,
        "Idempotency key": run.idempotency_key,
        "Work pool": run.work_pool_name,
        "Work queue": run.work_queue_name,
        "Infrastructure": run.infrastructure_pid,
        "Deployment version": run.deployment_version,
    }
    return Parameters(
        parameters=_values(run.parameters),
        job_variables=_values(run.job_variables or {}),
        context=_values(run.context),
        labels=_values(run.labels),
        facts=[(name, value) for name, value in others.items() if value],
    )


def _values(given: dict[str, Any]) -> Sequence[tuple[str, str]]:
    return [(name, _json(value)) for name, value in given.items()]


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


async def history(visit: Visit) -> Sequence[Fact]:
    """The facts of its stream."""
    server = visit.server
    database = server.database
    return await flow_run_facts.facts(database, database.dialect, server.store.codec, visit.id)


def _own_stream(visit: Visit) -> Selection:
    return Selection(stream=(f"flow-run:{visit.id}",))


def _about_it(visit: Visit) -> Selection:
    # Its task runs name it; with each state of a subflow the task run that stands for it has one.
    return Selection(resource=(f"flow-run:{visit.id}",))


TABS = Tabs(
    "flow_run",
    (
        Tab("logs", "Logs", logs, _own_stream),
        Tab("task-runs", "Task runs", task_runs, _about_it),
        Tab("subflows", "Subflows", subflows, _about_it),
        Tab("artifacts", "Artifacts", artifacts, _about_it),
        Tab("parameters", "Parameters", parameters, _own_stream),
        Tab("history", "History", history, _own_stream),
    ),
)
