"""Totals hold what their table's rows add up to, whatever happens to a run."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from eventstore import checkpoints
from eventstore.checkpoints import CHECKPOINTS
from eventstore.database import Database, Transaction
from eventstore.migrate import sql_of
from orchestration.flow_run_bodies import FlowRunCreate
from orchestration.flows import FlowCreate
from orchestration.states import ProposedState, StateType
from orchestration.task_run_bodies import TaskRunCreate
from projections.filters import NO_FILTERS
from projections.queries import count
from projections.rebuild import REBUILDING
from projections.run_totals import DAY, EVERY_RUN, HOUR, TOTALS_OF_FLOW_RUNS
from projections.schema import engine_of
from services import flow_runs, flows, task_runs
from services.shell import Origin, Shell
from tests.projections import world as worlds
from tests.shells import shell_on

ORIGIN = Origin("tester")
START = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
TABLE = TOTALS_OF_FLOW_RUNS.table


@pytest.fixture
async def shell(database: Database) -> AsyncIterator[Shell]:
    async with shell_on(database) as shell:
        yield shell


async def a_flow(shell: Shell) -> str:
    shown, _, _ = await flows.create(shell, FlowCreate(name="flow"), START, ORIGIN)
    return str(json.loads(shown)["id"])


async def a_run(shell: Shell, flow_id: str, at: datetime, parent: str | None = None) -> str:
    body = FlowRunCreate(flow_id=flow_id, parent_task_run_id=parent)
    shown, _, _ = await flow_runs.create(shell, body, lambda: at, ORIGIN)
    return str(json.loads(shown)["id"])


async def go_through(shell: Shell, id_: str, at: datetime, *kinds: StateType) -> None:
    for place, kind in enumerate(kinds, start=1):
        moment = at + timedelta(seconds=place)
        wanted = ProposedState(type=kind)
        await flow_runs.set_state(shell, id_, wanted, force=True, now=moment, origin=ORIGIN)


async def check(database: Database) -> list[tuple[object, ...]]:
    """Compare the totals with what the rows add up to; the totals."""
    sums: dict[tuple[object, ...], list[int]] = {}
    columns = ", ".join(TOTALS_OF_FLOW_RUNS.columns)
    for row in await database.fetch(f"SELECT {columns} FROM flow_runs"):
        for key, numbers in TOTALS_OF_FLOW_RUNS.parts(row):
            held = sums.setdefault(key, [0] * len(numbers))
            sums[key] = [old + new for old, new in zip(held, numbers, strict=True)]
    stored = await database.fetch(f"SELECT {', '.join(TABLE.columns)} FROM {TABLE.name}")
    assert sorted(map(tuple, stored)) == sorted((*key, *held) for key, held in sums.items())
    return sorted(map(tuple, stored))


async def test_a_run_counts_when_it_ends_and_not_before(database: Database, shell: Shell) -> None:
    flow_id = await a_flow(shell)
    run = await a_run(shell, flow_id, START)
    await go_through(shell, run, START, "PENDING", "RUNNING")
    assert await check(database) == []
    await go_through(shell, run, START + timedelta(seconds=10), "COMPLETED")
    totals = await check(database)
    assert {row[0] for row in totals} == {EVERY_RUN, flow_id}
    # It was expected at once, pending and then running for some seconds.
    assert {row[-3:] for row in totals} == {(1, 9_000_000, 2_000_000)}


async def test_a_run_that_goes_on_after_its_end_counts_no_more(
    database: Database, shell: Shell
) -> None:
    flow_id = await a_flow(shell)
    first, second = [await a_run(shell, flow_id, START) for _ in range(2)]
    for run in (first, second):
        await go_through(shell, run, START, "RUNNING", "FAILED")
    both = await check(database)
    assert {row[-3] for row in both} == {2}
    await go_through(shell, first, START + timedelta(minutes=1), "SCHEDULED")
    assert {row[-3] for row in await check(database)} == {1}
    await go_through(shell, second, START + timedelta(minutes=1), "COMPLETED")
    assert {row[4] for row in await check(database)} == {"COMPLETED"}
    await flow_runs.delete(shell, second, ORIGIN)
    assert await check(database) == []


async def test_a_subflow_run_counts_as_one_until_its_parent_is_deleted(
    database: Database, shell: Shell
) -> None:
    flow_id = await a_flow(shell)
    parent = await a_run(shell, flow_id, START)
    body = TaskRunCreate(flow_run_id=parent, task_key="sub", dynamic_key="0")
    shown, *_ = await task_runs.create(shell, body, lambda: START, ORIGIN, cache_key_max=100)
    child = await a_run(shell, flow_id, START, str(json.loads(shown)["id"]))
    await go_through(shell, child, START, "RUNNING", "COMPLETED")
    subflow = list(TABLE.columns).index("subflow")
    assert {row[subflow] for row in await check(database)} == {1}
    await flow_runs.delete(shell, parent, ORIGIN)
    assert {row[subflow] for row in await check(database)} == {0}


async def test_whatever_happens_in_one_batch_the_totals_are_right(
    database: Database, shell: Shell
) -> None:
    flow_id = await a_flow(shell)

    async def one(number: int) -> None:
        at = START + timedelta(minutes=7 * number)
        run = await a_run(shell, flow_id, at)
        await go_through(shell, run, at, "RUNNING", "FAILED" if number % 3 else "COMPLETED")
        if number % 4 == 0:
            await go_through(shell, run, at + timedelta(minutes=1), "RUNNING", "CRASHED")
        if number % 5 == 0:
            await flow_runs.delete(shell, run, ORIGIN)

    await asyncio.gather(*(one(number) for number in range(60)))
    assert await check(database)
    assert await count(database, "flow_runs", NO_FILTERS, database.dialect) == 48


async def test_a_deleted_flow_leaves_no_totals(database: Database, shell: Shell) -> None:
    flow_id = await a_flow(shell)
    for _ in range(3):
        run = await a_run(shell, flow_id, START)
        await go_through(shell, run, START, "COMPLETED")
    assert await check(database)
    await flows.delete(shell, flow_id, ORIGIN)
    assert await check(database) == []


async def test_totals_of_days_that_are_added_up_from_hours_are_those_that_are_kept(
    database: Database,
) -> None:
    world = worlds.build(seed=7)
    for place, run in enumerate(world["flow_runs"]):
        run["expected_start_time"] = odd_moment(place)
        run["start_time"] = None if place % 3 else odd_moment(place + 1)
    await worlds.fill(database, world)
    kept = await check(database)
    days = [row for row in kept if row[2] == DAY]
    beginnings = {int(str(row[3])) for row in days}
    assert len(beginnings) > 3
    assert min(beginnings) < 0
    target = engine_of(database.dialect)

    async def migrate_back(tx: Transaction) -> None:
        await tx.script(sql_of(target, "0037.totals-of-days", rollback=True))

    async def migrate(tx: Transaction) -> None:
        await tx.script(sql_of(target, "0037.totals-of-days"))

    await database.transact(migrate_back)
    columns = ", ".join(TABLE.columns)
    left = await database.fetch(f"SELECT {columns} FROM {TABLE.name}")
    assert sorted(map(tuple, left)) == [row for row in kept if row[2] != DAY]
    await database.transact(migrate)
    assert await check(database) == kept


def odd_moment(place: int) -> int:
    """A moment of the week around 1970, at the turn of a day for some."""
    return (place * 7919 % (7 * 24) - 84) * HOUR + place % 3 - 1


async def test_a_rebuild_that_folds_no_days_is_forgotten_with_the_migration(
    database: Database,
) -> None:
    target = engine_of(database.dialect)

    async def migrate(tx: Transaction) -> None:
        await tx.insert(CHECKPOINTS, [(f"{REBUILDING}flow_runs@2#1", 2, 7), ("emissions", 1, 9)])
        await tx.script(sql_of(target, "0037.totals-of-days"))

    await database.transact(migrate)
    names = {one.name for one in await checkpoints.load_all(database)}
    assert "emissions" in names
    assert not any(name.startswith(REBUILDING) for name in names)
