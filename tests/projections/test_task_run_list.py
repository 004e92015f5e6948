"""Pages of task runs: the same as filtering and sorting them all, whatever is looked through."""

import random
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from eventstore.database import Database, Transaction
from eventstore.ids import new_id
from eventstore.sqlite_dialect import SqliteDialect
from orchestration.flow_runs import FlowRun
from orchestration.flows import Flow
from orchestration.refusals import Invalid
from orchestration.task_runs import TaskRun
from projections import flow_runs, flows, task_run_list, task_runs
from projections.keyset import Asked
from projections.task_run_list import Order, Wanted
from tests.projections.plans import plan

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
FLOWS = [Flow(id=new_id(), created=NOON, updated=NOON, name=name) for name in ("etl", "ml")]
RUNS = [
    FlowRun(id=new_id(), created=NOON, updated=NOON, name=f"otter-{at}", flow_id=FLOWS[at % 2].id)
    for at in range(6)
]


def _tasks() -> list[TaskRun]:
    chance = random.Random(11)
    return [
        TaskRun(
            id=new_id(),
            created=NOON,
            updated=NOON,
            name=f"{chance.choice(('load', 'Extract'))}-{at}",
            flow_run_id=chance.choice((*(run.id for run in RUNS), None)),
            task_key="key",
            dynamic_key=str(at),
            tags=chance.choice(((), ("eu",), ("eu", "slow"))),
            state_type=chance.choice(("COMPLETED", "FAILED", "RUNNING", None)),
            state_name=None,
            # Many at the same moment: ties are settled by the id.
            expected_start_time=NOON + timedelta(minutes=chance.randrange(20)),
        )
        for at in range(200)
    ]


@pytest.fixture
async def tasks(database: Database) -> list[TaskRun]:
    """Many task runs."""
    made = _tasks()

    async def insert(tx: Transaction) -> None:
        await tx.insert(flows.TABLE, [flows.render(flow) for flow in FLOWS])
        await tx.insert(flow_runs.TABLE, [flow_runs.render(run) for run in RUNS])
        await tx.insert(task_runs.TABLE, [task_runs.render(run) for run in made])

    await database.transact(insert)
    return made


def _matches(run: TaskRun, wanted: Wanted) -> bool:
    flow = next((one.flow_id for one in RUNS if one.id == run.flow_run_id), None)
    at = run.expected_start_time
    assert at is not None
    return (
        (not wanted.states or run.state_type in wanted.states)
        and wanted.text.lower() in run.name.lower()
        and set(wanted.tags) <= set(run.tags)
        and (wanted.since is None or at >= wanted.since)
        and (wanted.until is None or at <= wanted.until)
        and (wanted.flows is None or flow in [str(one) for one in wanted.flows])
        and (wanted.flow_runs is None or run.flow_run_id in [str(one) for one in wanted.flow_runs])
    )


WANTED = [
    Wanted(),
    Wanted(states=("FAILED",)),
    Wanted(states=("FAILED", "RUNNING"), since=NOON + timedelta(minutes=5)),
    Wanted(until=NOON + timedelta(minutes=9), text="LOAD"),
    Wanted(tags=("eu", "slow")),
    Wanted(flows=(UUID(FLOWS[0].id),), states=("COMPLETED",)),
    Wanted(flow_runs=(UUID(RUNS[1].id), UUID(RUNS[2].id))),
    Wanted(flow_runs=(UUID(RUNS[1].id),), text="extract", tags=("eu",)),
    Wanted(flows=()),
]


@pytest.mark.parametrize("looked_through", [7, 1_000])
@pytest.mark.parametrize("order", ["NEWEST", "OLDEST"])
@pytest.mark.parametrize("wanted", WANTED)
async def test_the_pages_there_and_back_are_the_whole(
    database: Database,
    tasks: list[TaskRun],
    monkeypatch: pytest.MonkeyPatch,
    wanted: Wanted,
    order: Order,
    looked_through: int,
) -> None:
    monkeypatch.setattr(task_run_list, "PAGE_TASK_RUNS", 9)
    monkeypatch.setattr(task_run_list, "LOOKED_THROUGH_MAX", looked_through)
    monkeypatch.setattr(task_run_list, "NAMES_LOOKED_THROUGH_MAX", looked_through)
    matching = [run for run in tasks if _matches(run, wanted)]
    key: Any = lambda run: (run.expected_start_time, run.id)  # noqa: E731
    expected = [run.id for run in sorted(matching, key=key, reverse=order == "NEWEST")]

    async def read(**place: Any) -> task_run_list.TaskRunPage:
        return await task_run_list.page(database, database.dialect, wanted, order, **place)

    page = await read()
    seen = [run.id for run in page.runs]
    assert page.before is None
    while page.after is not None:
        page = await read(after=page.after)
        seen += [run.id for run in page.runs]
    assert seen == expected
    if not page.runs:
        return  # The last place that was looked at is not one to go back from.
    back = [run.id for run in page.runs]
    while page.before is not None:
        page = await read(before=page.before)
        back = [run.id for run in page.runs] + back
    assert back == expected


async def test_a_page_that_stopped_says_how_far_it_looked(
    database: Database, tasks: list[TaskRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_run_list, "NAMES_LOOKED_THROUGH_MAX", 50)
    wanted = Wanted(text="nothing is called so")
    page = await task_run_list.page(database, database.dialect, wanted)
    times = [run.expected_start_time for run in tasks if run.expected_start_time is not None]
    assert page.runs == []
    assert page.looked_until == sorted(times)[-50]


async def test_a_page_names_what_is_around_a_task_run(
    database: Database, tasks: list[TaskRun]
) -> None:
    page = await task_run_list.page(database, database.dialect, Wanted())
    for shown in page.runs:
        run = next(one for one in tasks if one.id == shown.id)
        around = next((one for one in RUNS if one.id == run.flow_run_id), None)
        assert shown.flow_run_name == (around.name if around else None)
        assert shown.tags == list(run.tags)
        assert not shown.started


async def test_they_are_counted_up_to_a_bound_where_an_index_tells(
    database: Database, tasks: list[TaskRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def count(wanted: Wanted) -> int | None:
        return await task_run_list.count(database, database.dialect, wanted)

    assert await count(Wanted()) == len(tasks)
    assert await count(WANTED[2]) == sum(_matches(run, WANTED[2]) for run in tasks)
    assert await count(Wanted(text="load")) is None
    monkeypatch.setattr(task_run_list, "COUNTED_MAX", 10)
    assert await count(Wanted()) == 11


async def test_flow_runs_are_named_by_a_part_or_by_their_id(
    database: Database, tasks: list[TaskRun]
) -> None:
    async def named(text: str) -> list[str]:
        found = await task_run_list.flow_runs_named(database, database.dialect, text)
        return sorted(map(str, found))

    assert await named("OTTER-3") == [RUNS[3].id]
    assert await named("otter") == sorted(run.id for run in RUNS)
    assert await named(RUNS[3].id) == [RUNS[3].id]


@pytest.mark.parametrize("cursor", ["", "x", "1", f"{2**63}~a"])
async def test_what_is_no_cursor_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(Invalid):
        await task_run_list.page(database, database.dialect, Wanted(), after=cursor)


@pytest.mark.parametrize("wanted", [Wanted(), Wanted(states=("CRASHED",)), Wanted(tags=("eu",))])
@pytest.mark.parametrize("cursor", [None, "5~a"])
def test_a_page_is_found_in_the_order_of_an_index(
    sqlite_template: Path, wanted: Wanted, cursor: str | None
) -> None:
    sql, params = task_run_list.statement(SqliteDialect(), wanted, Asked(False, cursor))
    steps = plan(sqlite_template, sql, tuple(params))
    assert re.search("USING (COVERING )?INDEX task_runs_by_expected_start", steps)


@pytest.mark.parametrize("wanted", [Wanted(text="load"), Wanted(text="load", states=("FAILED",))])
def test_a_part_of_a_name_is_looked_for_inside_the_index(
    sqlite_template: Path, wanted: Wanted
) -> None:
    sql, params = task_run_list.statement(SqliteDialect(), wanted, Asked(False, "5~a"))
    assert "COVERING INDEX task_runs_by_expected_start" in plan(sqlite_template, sql, tuple(params))


def test_the_task_runs_of_named_flow_runs_are_found_by_theirs(sqlite_template: Path) -> None:
    wanted = Wanted(flow_runs=(UUID(RUNS[0].id),), text="load")
    sql, params = task_run_list.statement(SqliteDialect(), wanted, Asked(False))
    assert "task_runs_by_flow_run" in plan(sqlite_template, sql, tuple(params))
