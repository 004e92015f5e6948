"""Totals of task runs hold what the rows add up to, and answer like a count over the window."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eventstore.database import Database
from orchestration.flow_run_bodies import FlowRunCreate
from orchestration.flows import FlowCreate
from projections import catalogue, rebuild
from projections.run_sums import Bins
from projections.run_totals import HOUR, MINUTE
from projections.task_run_totals import TOTALS_OF_TASK_RUNS, ended
from projections.verification import verify
from services import flow_runs, flows, task_runs
from services.shell import Origin, Shell
from tests.emitting import NOON, at, report, wire
from tests.projections.plans import plan
from tests.shells import intake_of, shell_on

ORIGIN = Origin("tester")
TABLE = TOTALS_OF_TASK_RUNS.table
FIRST = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.fixture
async def shell(database: Database) -> AsyncIterator[Shell]:
    async with shell_on(database) as shell:
        yield shell


async def a_flow_run(shell: Shell) -> str:
    flow, _, _ = await flows.create(shell, FlowCreate(name="flow"), NOON, ORIGIN)
    body = FlowRunCreate(flow_id=json.loads(flow)["id"])
    shown, _, _ = await flow_runs.create(shell, body, lambda: NOON, ORIGIN)
    return str(json.loads(shown)["id"])


def task_run(number: int) -> str:
    return f"0199abcd-0000-7000-8000-{number:012}"


async def reported(shell: Shell, flow_run: str, number: int, *kinds: str, seconds: float) -> None:
    """Reports of one task run, a second after the other."""
    sent = []
    for place, kind in enumerate(kinds):
        told = report(
            task_run(number),
            kind,
            at(seconds + place),
            flow_run_id=flow_run,
            dynamic_key=str(number),
        )
        told["payload"]["task_run"]["start_time"] = at(seconds).isoformat()
        sent.append(wire(told))
    await intake_of(shell).take(sent, ORIGIN)


async def check(database: Database) -> list[tuple[object, ...]]:
    """Compare the totals with what the rows add up to; the totals."""
    sums: Counter[tuple[object, ...]] = Counter()
    columns = ", ".join(TOTALS_OF_TASK_RUNS.columns)
    for row in await database.fetch(f"SELECT {columns} FROM task_runs"):
        for key, (number,) in TOTALS_OF_TASK_RUNS.parts(row):
            sums[key] += number
    stored = await database.fetch(f"SELECT {', '.join(TABLE.columns)} FROM {TABLE.name}")
    assert sorted(map(tuple, stored)) == sorted((*key, held) for key, held in sums.items())
    return sorted(map(tuple, stored))


async def test_a_task_run_counts_when_it_ends_and_until_it_is_deleted(
    database: Database, shell: Shell
) -> None:
    run = await a_flow_run(shell)
    await reported(shell, run, 1, "PENDING", "RUNNING", seconds=5)
    assert await check(database) == []
    await reported(shell, run, 1, "COMPLETED", seconds=9)
    assert {row[-1] for row in await check(database)} == {1}
    await reported(shell, run, 2, "PENDING", "RUNNING", "FAILED", seconds=6)
    # In three widths of buckets each.
    assert [row[2] for row in await check(database)].count("FAILED") == 3
    await task_runs.delete(shell, task_run(2), ORIGIN)
    assert {row[2] for row in await check(database)} == {"COMPLETED"}
    await flow_runs.delete(shell, run, ORIGIN)
    assert await check(database) == []


async def test_folded_anew_totals_are_what_they_were(database: Database, shell: Shell) -> None:
    run, other = await a_flow_run(shell), await a_flow_run(shell)
    for number in range(40):
        ended_as = "FAILED" if number % 3 else "COMPLETED"
        whose = other if number % 5 == 0 else run
        await reported(shell, whose, number, "PENDING", "RUNNING", ended_as, seconds=137.0 * number)
    await flow_runs.delete(shell, other, ORIGIN)
    live = await check(database)
    assert live
    assert await verify(database, catalogue.CODEC, catalogue.INLINE) == []
    await rebuild.rebuild(database, catalogue.CODEC, catalogue.INLINE)
    assert await check(database) == live


async def test_what_ended_is_told_per_interval_and_state(database: Database, shell: Shell) -> None:
    run = await a_flow_run(shell)
    began: list[tuple[float, str]] = []
    for number in range(60):
        ended_as = "FAILED" if number % 4 == 0 else "COMPLETED"
        began.append((311.0 * number, ended_as))
        await reported(shell, run, number, "PENDING", "RUNNING", ended_as, seconds=began[-1][0])
    for first, width, number in (
        (FIRST, HOUR, 6),
        (FIRST - 2 * HOUR, HOUR, 3),
        (FIRST + 7 * MINUTE, 13 * MINUTE, 9),
        (FIRST, MINUTE, 40),
    ):
        bins = Bins(first, width, number)
        expected = Counter(
            ((FIRST + int(seconds * 1e6) - first) // width, kind) for seconds, kind in began
        )
        wanted = sorted((*key, n) for key, n in expected.items() if 0 <= key[0] < number)
        assert await ended(database, bins) == wanted


async def test_intervals_that_no_bucket_fits_are_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="minutes"):
        await ended(database, Bins(FIRST + 1, HOUR, 1))


def test_a_window_is_a_range_of_the_key(sqlite_template: Path) -> None:
    sql = "SELECT runs FROM task_run_totals WHERE width = 1 AND at >= 2 AND at < 3"
    assert "USING PRIMARY KEY (width=? AND at>? AND at<?)" in plan(sqlite_template, sql, ())
