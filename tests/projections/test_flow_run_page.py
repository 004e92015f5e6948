"""What a flow run's page says, against what was done to the run."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from eventstore.database import Database
from orchestration.flow_run_bodies import FlowRunCreate, FlowRunUpdate
from orchestration.flows import FlowCreate
from orchestration.refusals import Invalid
from orchestration.states import ProposedState, StateType
from projections import catalogue, flow_run_facts, flow_run_lists, flow_run_page
from projections.flow_run_lists import ORDERS, PAGE_TASK_RUNS, TaskOrder
from services import flow_runs, flows
from services.shell import Origin, Shell
from tests.emitting import NOON, at, report, wire
from tests.projections.plans import plan
from tests.shells import intake_of, shell_on

ORIGIN = Origin("tester")


@pytest.fixture
async def shell(database: Database) -> AsyncIterator[Shell]:
    async with shell_on(database) as shell:
        yield shell


async def a_run(shell: Shell, *kinds: StateType, seconds: float = 0, step: float = 1) -> str:
    """The id of a flow run that went through these states."""
    flow, _, _ = await flows.create(shell, FlowCreate(name="flow"), NOON, ORIGIN)
    body = FlowRunCreate(flow_id=json.loads(flow)["id"], name="run")
    shown, _, _ = await flow_runs.create(shell, body, lambda: at(seconds), ORIGIN)
    id_ = str(json.loads(shown)["id"])
    for place, kind in enumerate(kinds, start=1):
        wanted = ProposedState(type=kind, message=f"now {kind}")
        now = at(seconds + place * step)
        await flow_runs.set_state(shell, id_, wanted, force=True, now=now, origin=ORIGIN)
    return id_


async def task_runs(shell: Shell, run: str, *ends: str) -> list[str]:
    """Task runs that begin a second after another and end in these states."""
    ids, sent = [], []
    for number, end in enumerate(ends):
        id_ = f"0199abcd-0000-7000-8000-{number:012}"
        ids.append(id_)
        told = report(id_, end, at(number), flow_run_id=run)
        told["payload"]["task_run"] |= {
            "name": f"task-{number % 7}-{number}",
            "start_time": at(number).isoformat(),
            "end_time": at(number + 1).isoformat(),
            "total_run_time": float(number % 5),
        }
        told["payload"]["validated_state"]["message"] = f"{end} {number}"
        sent.append(wire(told))
    await intake_of(shell).take(sent, ORIGIN)
    return ids


async def test_parts_are_counted_and_failures_are_named_in_the_order_they_came(
    database: Database, shell: Shell
) -> None:
    run = await a_run(shell, "RUNNING")
    ids = await task_runs(shell, run, "COMPLETED", "FAILED", "RUNNING", "FAILED", "COMPLETED")
    parts = await flow_run_page.parts(database, run)
    assert parts.task_runs == {"COMPLETED": 2, "FAILED": 2, "RUNNING": 1}
    assert (parts.total, parts.subflows, parts.artifacts) == (5, 0, 0)
    failed = await flow_run_page.failed_tasks(database, run)
    assert [(task.id, task.message) for task in failed] == [
        (ids[1], "FAILED 1"),
        (ids[3], "FAILED 3"),
    ]


async def test_how_long_it_usually_takes_is_the_median_of_completed_runs_before(
    database: Database, shell: Shell
) -> None:
    run = await a_run(shell, "RUNNING", seconds=1000)
    about = await flow_run_page.run(database, run)
    assert about is not None
    assert (about.actor, about.flow_name, about.parent) == ("tester", "flow", None)
    flow_id, now = about.run.flow_id, at(1000)
    for number, step in enumerate((3, 5, 40)):
        assert await flow_run_page.usual_run_time(database, flow_id, now) is None
        await a_run(shell, "RUNNING", "COMPLETED", seconds=number * 100, step=step)
    await a_run(shell, "RUNNING", "FAILED", seconds=400, step=90)
    await a_run(shell, "RUNNING", "COMPLETED", seconds=2000, step=90)
    assert await flow_run_page.usual_run_time(database, flow_id, now) == 5
    assert await flow_run_page.run(database, flow_id) is None


@pytest.mark.parametrize("order", ORDERS)
async def test_pages_of_task_runs_neither_repeat_nor_skip_any(
    database: Database, shell: Shell, order: TaskOrder
) -> None:
    run = await a_run(shell, "RUNNING")
    await task_runs(shell, run, *["COMPLETED", "RUNNING"] * PAGE_TASK_RUNS)
    keys: dict[TaskOrder, Any] = {
        "START_DESC": lambda task: -(task.start - NOON).total_seconds(),
        "START_ASC": lambda task: task.start,
        "NAME_ASC": lambda task: task.name,
        "DURATION_DESC": lambda task: -task.run_time,
    }

    async def read(**where: Any) -> flow_run_lists.TaskPage:
        return await flow_run_lists.task_runs(
            database, database.dialect, run, order, states=["COMPLETED", "RUNNING"], **where
        )

    first = await read()
    assert (first.total, first.before) == (2 * PAGE_TASK_RUNS, None)
    second = await read(after=first.after)
    seen = [*first.tasks, *second.tasks]
    assert second.after is None
    assert len({task.id for task in seen}) == 2 * PAGE_TASK_RUNS
    assert [keys[order](task) for task in seen] == sorted(keys[order](task) for task in seen)
    assert [task.id for task in (await read(before=second.before)).tasks] == [
        task.id for task in first.tasks
    ]
    found = await read(text="K-3-")
    assert {task.name.rpartition("-")[0] for task in found.tasks} == {"task-3"}
    assert (await read(text="%")).total == 0
    if order != "NAME_ASC":
        with pytest.raises(Invalid):
            await read(after="nowhere~")


async def test_every_fact_says_what_it_changed(database: Database, shell: Shell) -> None:
    run = await a_run(shell, "RUNNING")
    update = FlowRunUpdate(name="other", tags=("a",))
    await flow_runs.update(shell, run, update, Origin("somebody"))
    facts = await flow_run_facts.facts(database, database.dialect, catalogue.CODEC, run)
    assert [fact.version for fact in facts] == [4, 3, 2, 1]
    assert facts[0].actor == "somebody"
    assert {(one.field, one.before, one.after) for one in facts[0].changes} == {
        ("name", "run", "other"),
        ("tags", None, '["a"]'),
    }
    moved = facts[1]
    assert moved.before is not None
    assert moved.state is not None
    assert (moved.before.type, moved.state.type) == ("PENDING", "RUNNING")
    assert moved.state.message == "now RUNNING"
    assert moved.state.timestamp == NOON + timedelta(seconds=1)
    assert json.loads(moved.data)["state"]["type"] == "RUNNING"
    assert ("run_count", "0", "1") in {(c.field, c.before, c.after) for c in moved.changes}


ID = "0199abcd-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("sql", "params", "access"),
    [
        (flow_run_page._RUN, (ID, f"flow-run:{ID}"), "events_stream_version"),
        (flow_run_page._PAST, (ID, 1, 10), "flow_runs_by_flow_and_start"),
        (flow_run_page._TASK_RUNS, (ID,), "INDEX task_runs_by_flow_run"),
        (flow_run_page._FAILED, (ID, 5), "task_runs_by_flow_run"),
        (flow_run_page._LAST_ERRORS, (ID, 10, 40), "log_lines_by_flow_run"),
        (flow_run_page._ARTIFACTS, (ID,), "artifacts_by_flow_run"),
        (flow_run_lists._SUBFLOWS, (ID, 10), "flow_runs_by_parent"),
    ],
)
def test_a_run_is_found_in_indexes(
    sqlite_template: Path, sql: str, params: tuple[Any, ...], access: str
) -> None:
    steps = plan(sqlite_template, sql, params)
    assert access in steps
    assert "SCAN flow_runs" not in steps
    assert "SCAN task_runs" not in steps
