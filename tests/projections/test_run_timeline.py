"""A flow run over time: states in order, who waited for whom, and what was recorded at which
position, whatever order reports come in."""

import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from eventstore.codec import to_microseconds
from eventstore.database import Database
from eventstore.sqlite_dialect import SqliteDialect
from orchestration.artifacts import ArtifactCreate
from orchestration.flow_run_bodies import FlowRunCreate
from orchestration.flows import FlowCreate
from orchestration.states import STATE_TYPES, ProposedState, StateType
from orchestration.task_inputs import TaskRunInput
from orchestration.task_run_bodies import TaskRunCreate
from projections import run_timeline
from services import artifacts, flow_runs, flows, task_runs
from services.shell import Origin, Shell
from tests.emitting import NOON, at, emission, report, wire
from tests.projections.plans import plan
from tests.shells import intake_of, shell_on

ORIGIN = Origin("tester")
KEY_MAX = 2_000


@pytest.fixture
async def shell(database: Database) -> AsyncIterator[Shell]:
    async with shell_on(database) as shell:
        yield shell


async def a_flow_run(shell: Shell, parent: str | None = None) -> str:
    flow, _, _ = await flows.create(shell, FlowCreate(name="flow"), NOON, ORIGIN)
    body = FlowRunCreate(flow_id=json.loads(flow)["id"], name="run", parent_task_run_id=parent)
    shown, _, _ = await flow_runs.create(shell, body, lambda: NOON, ORIGIN)
    return str(json.loads(shown)["id"])


async def a_task_run(shell: Shell, run: str, key: str, **more: Any) -> str:
    body = TaskRunCreate(flow_run_id=run, task_key=key, dynamic_key="0", name=key, **more)
    shown, _, _ = await task_runs.create(shell, body, lambda: NOON, ORIGIN, cache_key_max=KEY_MAX)
    return str(json.loads(shown)["id"])


async def goes(shell: Shell, id_: str, kind: StateType, seconds: float) -> None:
    wanted = ProposedState(type=kind)
    await task_runs.set_state(
        shell, id_, wanted, force=True, now=at(seconds), origin=ORIGIN, cache_key_max=KEY_MAX
    )


async def read(database: Database, run: str, only: list[str] | None = None) -> Any:
    text = await run_timeline.timeline(database, database.dialect, run, only)
    assert text is not None
    return json.loads(text)


def tasks_of(shown: Any) -> dict[str, dict[str, Any]]:
    """The columns as a row per task run."""
    columns, found = shown["tasks"], {}
    state = upstream = 0
    for place, id_ in enumerate(columns["id"]):
        states = slice(state, state + columns["state_count"][place])
        ups = slice(upstream, upstream + columns["upstream_count"][place])
        state, upstream = states.stop, ups.stop
        found[id_] = {
            "name": columns["name"][place],
            "state": shown["names"][columns["label"][place]],
            "states": [STATE_TYPES[kind] for kind in columns["state_type"][states]],
            "at": [shown["origin"] + time for time in columns["state_at"][states]],
            "upstream": columns["upstream"][ups],
            "sub": columns["sub"][place],
        }
    assert state == len(columns["state_at"]) == len(columns["state_label"])
    assert upstream == len(columns["upstream"])
    return found


async def test_task_runs_have_their_states_in_order_and_know_what_they_waited_for(
    database: Database, shell: Shell
) -> None:
    run = await a_flow_run(shell)
    first = await a_task_run(shell, run, "first")
    second = await a_task_run(shell, run, "second", task_inputs={"x": (TaskRunInput(id=first),)})
    await goes(shell, first, "RUNNING", 1)
    await goes(shell, second, "RUNNING", 2)
    await goes(shell, first, "COMPLETED", 3)
    tasks = tasks_of(await read(database, run))
    assert tasks[first]["states"] == ["PENDING", "RUNNING", "COMPLETED"]
    assert tasks[first]["at"][1:] == [to_microseconds(at(1)), to_microseconds(at(3))]
    assert tasks[first]["upstream"] == []
    assert tasks[second]["state"] == "Running"
    assert tasks[second]["upstream"] == [first]
    assert list(tasks_of(await read(database, run, [second]))) == [second]
    assert list(tasks_of(await read(database, run, []))) == []
    assert await run_timeline.timeline(database, database.dialect, first) is None


async def test_a_subflow_stands_where_its_task_run_would_and_what_it_gave_comes_from_there(
    database: Database, shell: Shell
) -> None:
    run = await a_flow_run(shell)
    parent = await a_task_run(shell, run, "parent")
    sub = await a_flow_run(shell, parent)
    later = await a_task_run(shell, run, "later", task_inputs={"x": (TaskRunInput(id=sub),)})
    tasks = tasks_of(await read(database, run))
    assert tasks[parent]["sub"] == sub
    assert tasks[parent]["name"] == "flow / run"
    assert tasks[later]["upstream"] == [parent]


@pytest.mark.parametrize("seed", range(4))
async def test_every_state_is_at_the_position_that_brought_it(
    database: Database, shell: Shell, seed: int
) -> None:
    chance = random.Random(seed)
    run = await a_flow_run(shell)
    over_rest = await a_task_run(shell, run, "rest")
    kinds = ("PENDING", "RUNNING", "COMPLETED")
    sent = []
    for number in range(5):
        id_ = f"0199abcd-0000-7000-8000-{number:012}"
        sent += [
            report(id_, kind, at(10 + step), flow_run_id=run) for step, kind in enumerate(kinds)
        ]
    chance.shuffle(sent)
    expected: list[tuple[str | None, str]] = [(None, "PENDING"), (over_rest, "PENDING")]
    for step, told in enumerate(sent):
        await intake_of(shell).take([wire(told)], ORIGIN)
        id_ = told["resource"]["prefect.resource.id"].rpartition(".")[2]
        expected.append((id_, told["payload"]["validated_state"]["type"]))
        if step == 7:
            await goes(shell, over_rest, "RUNNING", 20)
            expected.append((over_rest, "RUNNING"))
    text = await run_timeline.facts(database, run)
    assert text is not None
    shown = json.loads(text)
    found = [
        (None if task < 0 else shown["tasks"][task], STATE_TYPES[kind])
        for task, kind in zip(shown["task"], shown["type"], strict=True)
    ]
    assert found == expected
    assert shown["position"] == sorted(set(shown["position"]))
    head = shell.store.ring.head
    assert shown["position"][-1] == head


async def test_what_a_run_emits_by_itself_is_no_mark(shell: Shell) -> None:
    run = await a_flow_run(shell)
    related = [
        {"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.role": "flow-run"}
    ]
    before = shell.store.ring.head
    moment = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)
    mine = emission(event="rows.loaded", related=related, occurred=moment.isoformat())
    others = [emission(event="prefect.flow-run.heartbeat", related=related), emission()]
    await intake_of(shell).take([wire(one) for one in (mine, *others)], ORIGIN)
    entries = shell.store.ring.after(before, 100)
    assert entries is not None
    marks = run_timeline.emitted([entry.row for entry in entries], run)
    assert marks == [(to_microseconds(moment), None, mine["id"], "rows.loaded", "thing.1")]
    assert timedelta(0) < moment - NOON


async def test_artifacts_are_marked_where_they_were_made(database: Database, shell: Shell) -> None:
    run = await a_flow_run(shell)
    task = await a_task_run(shell, run, "load")
    for kind, of_task in (("table", task), ("result", task), ("markdown", None)):
        body = ArtifactCreate(
            key=f"{kind}-1", type=kind, data="x", flow_run_id=run, task_run_id=of_task
        )
        await artifacts.create(shell, body, ORIGIN)
    shown = json.loads(await run_timeline.marks(database, run))
    assert [mark[1:2] + mark[3:] for mark in shown["artifacts"]] == [
        [task, "table-1", "table"],
        [None, "markdown-1", "markdown"],
    ]
    assert shown["emissions"] == []


ID = "0199abcd-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        (run_timeline._TASKS.format(which=run_timeline._OF_RUN, order=""), (ID, 10)),
        (run_timeline._TASK_STATES.format(which=run_timeline._OF_RUN), (ID,)),
        (run_timeline._STATES_BY_ID, (ID,)),
        (run_timeline._TASK_FACTS, (ID, 10)),
        (run_timeline._RUN_FACTS, (ID, 10)),
        (run_timeline._ARTIFACTS, (ID, 10)),
        (run_timeline._EMISSIONS, (ID, 10, 10)),
    ],
)
def test_nothing_is_scanned(sqlite_template: Path, sql: str, params: tuple[Any, ...]) -> None:
    steps = plan(sqlite_template, sql, params)
    assert "USING" in steps
    scans = [step for step in steps.splitlines() if step.startswith("SCAN") and "named" not in step]
    assert scans == [], steps


def test_task_runs_that_are_named_are_found_by_their_ids(sqlite_template: Path) -> None:
    which = f"{run_timeline._AMONG_THEM} AND {SqliteDialect().in_list('task_runs.id', '$2')}"
    sql = run_timeline._TASK_STATES.format(which=which)
    assert "sqlite_autoindex_task_runs_1 (id=?)" in plan(sqlite_template, sql, (ID, "[]"))
