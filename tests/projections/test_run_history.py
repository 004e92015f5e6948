"""Histories, lateness and outcomes, against the same sums made in Python."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest

from eventstore.database import Database
from orchestration.refusals import Invalid
from orchestration.run_clock import estimated_run_time, estimated_start_time_delta
from orchestration.states import TERMINAL
from projections.criteria import StateTypes, Time
from projections.filters import Filters, FlowRunFilter, State, TaskRunFilter
from projections.run_history import (
    BUCKETS_MAX,
    OUTCOME_BUCKETS,
    RunTable,
    history,
    mean_lateness,
    outcomes,
)
from tests.projections import world as worlds
from tests.projections.world import BASE, HOUR

WORLD = worlds.build(seed=11)
START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(hours=12, seconds=3)
NO_FILTERS = Filters()


def time(at: int | None) -> datetime | None:
    return None if at is None else START + timedelta(microseconds=at - BASE)


def late(row: worlds.Row) -> float:
    # A run without any state is late in nobody's statistics.
    if row["state_type"] is None and row["start_time"] is None:
        return 0.0
    return estimated_start_time_delta(
        row["state_type"], time(row["expected_start_time"]), time(row["start_time"]), NOW
    )


@pytest.mark.parametrize("table", ["flow_runs", "task_runs"])
async def test_a_history_sums_runs_by_expected_start_and_state(
    database: Database, table: RunTable
) -> None:
    await worlds.fill(database, WORLD)
    interval = timedelta(minutes=90)
    intervals = await history(
        database,
        table,
        NO_FILTERS,
        database.dialect,
        start=START + timedelta(hours=1),
        end=START + timedelta(hours=6),
        interval=interval,
        now=NOW,
    )
    assert [found.interval_start for found in intervals] == [
        START + timedelta(hours=1) + i * interval for i in range(4)
    ]
    assert intervals[-1].interval_end == START + timedelta(hours=7)
    for found in intervals:
        expected: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
        for row in WORLD[table]:
            begins = time(row["expected_start_time"])
            if begins is None or row["state_type"] is None:
                continue
            if found.interval_start <= begins < found.interval_end:
                sums = expected[row["state_type"], row["state_name"]]
                sums[0] += 1
                sums[1] += estimated_run_time(
                    row["state_type"], time(row["state_timestamp"]), row["total_run_time"], NOW
                )
                sums[2] += late(row)
        assert [(state.state_type, state.state_name) for state in found.states] == sorted(expected)
        for state in found.states:
            count, running, lateness = expected[state.state_type, state.state_name]
            assert state.count_runs == count
            assert state.sum_estimated_run_time == pytest.approx(running)
            assert state.sum_estimated_lateness == pytest.approx(lateness)


async def test_a_history_is_filtered_like_a_list(database: Database) -> None:
    await worlds.fill(database, WORLD)
    failed = FlowRunFilter(state=State(type=StateTypes(any_=["FAILED"])))
    (whole,) = await history(
        database,
        "flow_runs",
        Filters(flow_runs=failed),
        database.dialect,
        start=START,
        end=START + timedelta(days=1),
        interval=timedelta(days=1),
        now=NOW,
    )
    runs = [
        row
        for row in WORLD["flow_runs"]
        if row["state_type"] == "FAILED" and row["expected_start_time"] is not None
    ]
    assert sum(state.count_runs for state in whole.states) == len(runs)
    assert {state.state_type for state in whole.states} == {"FAILED"}


async def test_a_long_history_is_cut_off_and_the_shortest_is_one_interval(
    database: Database,
) -> None:
    async def length(end: datetime) -> int:
        found = await history(
            database,
            "flow_runs",
            NO_FILTERS,
            database.dialect,
            start=START,
            end=end,
            interval=timedelta(seconds=1),
            now=NOW,
        )
        return len(found)

    assert await length(START + timedelta(days=1)) == BUCKETS_MAX
    assert await length(START) == 1
    assert await length(START - timedelta(days=1)) == 1
    assert await length(START + timedelta(seconds=1.5)) == 2


async def test_an_interval_below_a_second_is_refused(database: Database) -> None:
    with pytest.raises(Invalid, match="must not be less than 1 second"):
        await history(
            database,
            "flow_runs",
            NO_FILTERS,
            database.dialect,
            start=START,
            end=NOW,
            interval=timedelta(milliseconds=999),
            now=NOW,
        )


async def test_lateness_is_the_mean_over_all_runs_punctual_ones_included(
    database: Database,
) -> None:
    assert await mean_lateness(database, NO_FILTERS, database.dialect, now=NOW) is None
    await worlds.fill(database, WORLD)
    expected = sum(late(row) for row in WORLD["flow_runs"]) / len(WORLD["flow_runs"])
    found = await mean_lateness(database, NO_FILTERS, database.dialect, now=NOW)
    assert found == pytest.approx(expected)


async def test_outcomes_count_ended_task_runs_by_start(database: Database) -> None:
    await worlds.fill(database, WORLD)
    after = START + timedelta(hours=1, seconds=30)
    asked = TaskRunFilter(
        start_time=Time(after_=after), state=State(type=StateTypes(any_=["RUNNING"]))
    )
    found = await outcomes(database, Filters(task_runs=asked), database.dialect, now=NOW)
    ended = [
        row
        for row in WORLD["task_runs"]
        if row["state_type"] in TERMINAL and (row["start_time"] or 0) > BASE + HOUR
    ]
    failed = [row for row in ended if row["state_type"] in ("FAILED", "CRASHED")]
    assert len(found) == OUTCOME_BUCKETS
    assert sum(bar.failed for bar in found) == len(failed)
    assert sum(bar.completed for bar in found) == len(ended) - len(failed)
    # From 01:00:00 to the end of 12:00, in twenty bars of 33 minutes: 02:00 falls into the second.
    at_two = [row for row in ended if row["start_time"] == BASE + 2 * HOUR]
    assert found[1].failed + found[1].completed == len(at_two)


async def test_outcomes_need_a_beginning(database: Database) -> None:
    with pytest.raises(Invalid, match="after_ is required"):
        await outcomes(database, NO_FILTERS, database.dialect, now=NOW)
