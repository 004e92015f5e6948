"""What the dashboard shows, against the same made in Python; and what it costs."""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import pytest

from eventstore.database import Database
from eventstore.sqlite_dialect import SqliteDialect
from orchestration.states import StateType
from projections import failures, overview
from projections.criteria import Ids, Tags
from projections.filters import NO_FILTERS, Filters, FlowFilter, FlowRunFilter
from projections.run_sums import Bins
from projections.run_totals import BY_START, HOUR, MINUTE
from tests.projections import world as worlds
from tests.projections.plans import plan
from tests.projections.test_run_sums import WORLD as RUNS
from tests.projections.world import BASE

DIALECT = SqliteDialect()
MESSAGES = ("row {n} is empty", "Flow run encountered an exception: no space\nmore", "", None)


def _world() -> worlds.World:
    """Runs with messages, about a tenth of them failed."""
    chance, world = random.Random(3), dict(RUNS)
    world["flow_runs"] = []
    for place, run in enumerate(RUNS["flow_runs"]):
        message = chance.choice(MESSAGES)
        said = message and message.format(n=place)
        own = {**run, "document": json.dumps({"state": {"message": said}})}
        if own["state_type"] == "RUNNING" and own["expected_start_time"] is None:
            own["expected_start_time"] = BASE
        world["flow_runs"].append(own)
    return world


WORLD = _world()
FLOW = next(run["flow_id"] for run in WORLD["flow_runs"] if run["state_type"] == "FAILED")
TAG = next(run["tags"][0] for run in WORLD["flow_runs"] if run["tags"])

BINS = (
    Bins(BASE, HOUR, 8, BY_START),
    Bins(BASE + 2 * HOUR, 10 * MINUTE, 20, BY_START),
    Bins(BASE + 13 * MINUTE, 7 * MINUTE, 9, BY_START),
    Bins(BASE - 48 * HOUR, 12 * HOUR, 5, BY_START),
)
Wanted = Callable[[worlds.Row], bool]
FILTERS: dict[str, tuple[Filters, Wanted]] = {
    "all": (NO_FILTERS, lambda run: True),
    "no subflows": (
        Filters(flow_runs=FlowRunFilter(parent_task_run_id=Ids(is_null_=True))),
        lambda run: run["parent_task_run_id"] is None,
    ),
    "tagged": (
        Filters(flow_runs=FlowRunFilter(tags=Tags(all_=[TAG]))),
        lambda run: TAG in run["tags"],
    ),
    "flow": (
        Filters(flows=FlowFilter(id=Ids(any_=[UUID(FLOW)]))),
        lambda run: bool(run["flow_id"] == FLOW),
    ),
}


def _at(run: worlds.Row) -> Any:
    return run["expected_start_time"] if run["start_time"] is None else run["start_time"]


def _within(wanted: Wanted, bins: Bins) -> list[worlds.Row]:
    return [
        run
        for run in WORLD["flow_runs"]
        if wanted(run) and _at(run) is not None and bins.first <= _at(run) < bins.until
    ]


@pytest.mark.parametrize("which", FILTERS)
async def test_runs_are_counted_by_when_they_started_and_what_they_are(
    database: Database, which: str
) -> None:
    await worlds.fill(database, WORLD)
    filters, wanted = FILTERS[which]
    for bins in BINS:
        expected = [Counter[str]() for _ in range(bins.number)]
        for run in _within(wanted, bins):
            kind = run["state_type"]
            if kind is not None:
                late = kind == "SCHEDULED" and run["state_name"] == "Late"
                expected[(_at(run) - bins.first) // bins.width]["LATE" if late else kind] += 1
        found = await overview.counts(database, database.dialect, filters, bins)
        assert [dict(one) for one in found.intervals] == [dict(one) for one in expected]
        assert found.scanned_since is None
        assert found.most == max(sum(one.values()) for one in expected)


@pytest.mark.parametrize("which", FILTERS)
async def test_failures_are_counted_by_flow_and_grouped_by_what_they_said(
    database: Database, which: str
) -> None:
    await worlds.fill(database, WORLD)
    filters, wanted = FILTERS[which]
    for bins in BINS:
        runs = [r for r in _within(wanted, bins) if r["state_type"] in ("FAILED", "CRASHED")]
        by_flow: dict[str, list[worlds.Row]] = defaultdict(list)
        for run in runs:
            by_flow[run["flow_id"]].append(run)
        found = await failures.failing(database, database.dialect, filters, bins, flows=1_000)
        if which == "flow":
            alone = await failures.failing(
                database, database.dialect, NO_FILTERS, bins, flow_id=FLOW, flows=1
            )
            assert alone == found
        assert found.failed == len(runs)
        assert {flow.flow_id: flow.failed for flow in found.flows} == {
            flow_id: len(failed) for flow_id, failed in by_flow.items()
        }
        assert len(runs) <= failures.MESSAGES_MAX
        for flow in found.flows:
            failed = by_flow[flow.flow_id]
            assert flow.messages_of == len(failed)
            over_time = Counter((_at(run) - bins.first) // bins.width for run in failed)
            assert list(flow.over_time) == [over_time[n] for n in range(bins.number)]
            groups = Counter(
                failures.likeness(
                    failures.first_line(json.loads(run["document"])["state"]["message"] or "")
                )
                for run in failed
            )
            assert {failures.likeness(one.message): one.runs for one in flow.reasons} == groups
            if which in ("all", "flow"):
                mine = [run for run in _within(wanted, bins) if run["flow_id"] == flow.flow_id]
                assert flow.runs == len(mine)


async def test_of_a_window_with_too_many_runs_the_newest_are_looked_at_and_it_is_said_which(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await worlds.fill(database, WORLD)
    bins = BINS[0]
    runs = sorted(_within(lambda run: True, bins), key=_at, reverse=True)
    times = Counter(_at(run) for run in runs)
    # Where runs of one moment are cut, which of them are looked at is nobody's promise.
    most = next(n for n in range(100, len(runs)) if times[_at(runs[n - 1])] == 1)
    monkeypatch.setattr(overview, "SCANNED_MAX", most)
    found = await overview.counts(database, database.dialect, FILTERS["tagged"][0], bins)
    assert found.runs == sum(
        TAG in run["tags"] and run["state_type"] is not None for run in runs[:most]
    )
    assert found.scanned_since is not None
    assert round(found.scanned_since.timestamp() * 1e6) == _at(runs[most - 1])

    monkeypatch.setattr(failures, "FAILURES_MAX", 7)
    failing = await failures.failing(database, database.dialect, NO_FILTERS, bins)
    assert failing.failed == 7 and failing.cut


async def test_a_flow_that_fails_all_the_time_hides_no_message_of_another(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await worlds.fill(database, WORLD)
    bins = BINS[3]
    runs = _within(lambda run: run["state_type"] in ("FAILED", "CRASHED"), bins)
    by_flow = Counter(run["flow_id"] for run in runs)
    flows = len(by_flow)
    monkeypatch.setattr(failures, "MESSAGES_MAX", flows)
    found = await failures.failing(database, database.dialect, NO_FILTERS, bins, flows=flows)
    assert len(runs) > flows > 1
    for flow in found.flows:
        newest = max(_at(run) for run in runs if run["flow_id"] == flow.flow_id)
        (reason,) = flow.reasons
        assert (flow.messages_of, round(reason.last.timestamp() * 1e6)) == (1, newest)


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ({}, {}),
        ({"a": 3, "b": 4}, {"a": 3, "b": 4}),
        ({"a": 500}, {"a": 10}),
        ({"a": 500, "b": 1}, {"a": 9, "b": 1}),
        ({"a": 500, "b": 2, "c": 60}, {"a": 4, "b": 2, "c": 4}),
    ],
)
def test_what_one_flow_does_not_need_of_the_messages_others_have(
    wanted: dict[str, int], given: dict[str, int]
) -> None:
    assert failures.shares(wanted, 10) == given


async def test_a_flow_fails_since_its_last_run_that_completed(database: Database) -> None:
    await worlds.fill(database, WORLD)
    seen = set()
    for flow in WORLD["flows"]:
        runs = [r for r in WORLD["flow_runs"] if r["flow_id"] == flow["id"] and _at(r) is not None]
        runs.sort(key=_at, reverse=True)
        expected = 0
        for run in runs[: failures.STREAK_MAX]:
            if run["state_type"] == "COMPLETED":
                break
            expected += run["state_type"] in ("FAILED", "CRASHED")
        in_a_row, since = await failures.streak(database, flow["id"])
        assert in_a_row == expected
        assert (since is None) == (expected == 0)
        seen.add(expected)
    assert len(seen) > 1


async def test_what_runs_is_told_oldest_first_with_when_it_may_end(database: Database) -> None:
    await worlds.fill(database, WORLD)
    running: list[StateType] = ["RUNNING", "CANCELLING"]
    wanted = [run for run in WORLD["flow_runs"] if run["state_type"] in running]
    found, in_all = await overview.running(database, database.dialect, NO_FILTERS)
    assert in_all == len(wanted) > overview.RUNNING_SHOWN == len(found)
    assert {run.id for run in found} <= {run["id"] for run in wanted}
    for run in found:
        own = [r for r in WORLD["flow_runs"] if r["flow_id"] == run.flow_id and _at(r) is not None]
        newest = sorted(own, key=_at, reverse=True)[: overview.PAST_RUNS]
        took = [r["total_run_time"] for r in newest if r["state_type"] == "COMPLETED"]
        assert run.usual == (median(took) if took else None)
        if run.ends is not None and run.usual is not None:
            left = max(0.0, run.usual - run.run_time)
            assert (run.ends - run.since).total_seconds() == pytest.approx(left)


async def test_late_runs_are_grouped_by_flow_the_longest_overdue_first(
    database: Database,
) -> None:
    await worlds.fill(database, WORLD)
    late = [
        run
        for run in WORLD["flow_runs"]
        if run["state_type"] == "SCHEDULED"
        and run["state_name"] == "Late"
        and run["expected_start_time"] is not None
    ]
    assert late
    found = await overview.late(database, database.dialect, NO_FILTERS)
    assert found == sorted(found, key=lambda flow: (flow.due, flow.flow_id))
    numbers = Counter(run["flow_id"] for run in late)
    assert {flow.flow_id: flow.runs for flow in found} == numbers


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("Flow run encountered an exception: ValueError: 3\nTraceback", "ValueError: 3"),
        ("\n  two lines \nmore", "two lines"),
        ("", ""),
        ("x" * 1_000, "x" * failures.MESSAGE_CHARACTERS_MAX),
    ],
)
def test_of_a_message_the_first_line_that_says_something_is_shown(said: str, line: str) -> None:
    assert failures.first_line(said) == line


def test_messages_are_alike_that_differ_in_numbers_ids_and_times() -> None:
    one = "run 0199abcd-0000-7000-8000-000000000001 at 0x7f3a failed after 3.5 s at 10:04:11"
    other = "run 0199abcd-ffff-7000-8000-00000000abcd at 0x9 failed after 412 s at 9:00"
    assert failures.likeness(one) == failures.likeness(other)
    assert failures.likeness("no space left") != failures.likeness("no file left")


@pytest.mark.parametrize(
    "matching",
    ["TRUE", "flow_runs.parent_task_run_id IS NULL", "TRUE AND flow_runs.flow_id || '' = 'flow'"],
)
def test_failures_are_counted_from_their_own_index_alone(
    sqlite_template: Path, matching: str
) -> None:
    steps = plan(sqlite_template, failures._BY_FLOW.format(matching=matching, most=9), (1, 2, 3))
    assert "USING COVERING INDEX flow_runs_failed (<expr>>? AND <expr><?)" in steps
    newest = plan(sqlite_template, failures._NEWEST.format(matching=matching, most=9), (1, 2))
    assert "USING INDEX flow_runs_failed (<expr>>? AND <expr><?)" in newest
    assert "TEMP B-TREE" not in newest


def test_what_runs_and_what_a_flow_takes_is_found_by_index(sqlite_template: Path) -> None:
    for sql in (failures._STREAK, overview._PAST):
        steps = plan(sqlite_template, sql, ("flow",))
        assert "INDEX flow_runs_by_flow_and_start (flow_id=?" in steps, steps
        assert "TEMP B-TREE" not in steps, steps
