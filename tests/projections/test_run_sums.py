"""Sums from totals are the sums of a scan, whatever is asked and wherever a window begins."""

import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.database import Database, Transaction
from eventstore.migrate import Target
from eventstore.sqlite_dialect import SqliteDialect
from orchestration.run_clock import estimated_run_time, estimated_start_time_delta
from projections.bucket_moves import NOBODY, counted
from projections.bucket_places import FOR_EVER, places
from projections.criteria import microseconds
from projections.filter_compiler import where
from projections.filters import Filters
from projections.flow_runs import TABLE as FLOW_RUNS
from projections.queries import count, counts_by_state
from projections.run_history import BUCKETS_MAX, history, mean_lateness
from projections.run_sums import Bins, statement
from projections.run_totals import DURATION_MAX, HOUR, MINUTE, WIDTHS, parts
from tests.projections import world as worlds
from tests.projections.plans import plan
from tests.projections.world import BASE

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(hours=9, seconds=3, microseconds=5)
RUNS = 1_500


def _world() -> worlds.World:
    """Many flow runs at odd moments of eight hours; most have ended."""
    chance = random.Random(5)
    world = worlds.build(seed=23)
    ids = iter(f"{n:032x}" for n in range(RUNS))
    runs: list[worlds.Row] = []
    for _ in range(RUNS):
        run = dict(chance.choice(world["flow_runs"]))
        id_ = next(ids)
        run["id"] = f"{id_[:8]}-{id_[8:12]}-{id_[12:16]}-{id_[16:20]}-{id_[20:]}"
        run["idempotency_key"] = None
        run["state_type"] = chance.choice((*["COMPLETED"] * 8, "FAILED", *worlds.TYPES, None))
        run["state_name"] = run["state_type"] and chance.choice(
            (run["state_type"].title(), "Late", "a")
        )
        run["expected_start_time"] = chance.choice((None, *[BASE + chance.randrange(8 * HOUR)] * 9))
        if run["start_time"] is not None:
            run["start_time"] = BASE + chance.randrange(8 * HOUR)
        run["state_timestamp"] = BASE + chance.randrange(8 * HOUR)
        run["total_run_time"] = chance.choice((0.0, 1.5, round(chance.uniform(0, 900), 6)))
        runs.append(run)
    world["flow_runs"] = runs
    world["artifacts"], world["log_lines"], world["artifact_collections"] = [], [], []
    return world


WORLD = _world()
FLOW = WORLD["flows"][0]["id"]
DEPLOYMENT = next(run["deployment_id"] for run in WORLD["flow_runs"] if run["deployment_id"])
POOL = WORLD["work_pools"][0]["id"]


def at(**delta: float) -> str:
    return (START + timedelta(**delta)).isoformat()


WINDOWS: tuple[Any, ...] = (
    None,
    {"after_": at(hours=1), "before_": at(hours=5)},
    {"after_": at(minutes=61, seconds=7, microseconds=1), "before_": at(hours=6.77)},
    {"after_": at(minutes=61.3), "before_": at(minutes=61.9)},
    {"after_": at(minutes=61.3), "before_": at(minutes=64)},
    {"after_": at(minutes=42.5)},
    {"before_": at(minutes=250.01)},
    {"after_": at(hours=5), "before_": at(hours=4)},
    {"after_": at(days=-9000), "before_": at(days=9000)},
    {},
)
REST: tuple[Any, ...] = (
    {},
    {"state": {"type": {"any_": ["COMPLETED"]}}},
    {"state": {"type": {"any_": ["FAILED", "RUNNING", "CRASHED"]}}},
    {"state": {"type": {"any_": ["RUNNING", "PENDING"]}}},
    {"state": {"type": {"not_any_": ["COMPLETED", "RUNNING"]}}},
    {"state": {"name": {"any_": ["Late"]}}},
    {"state": {"name": {"not_any_": ["Late", "a"]}}},
    {"state": {"name": {"like_": "ate"}, "type": {"any_": ["FAILED"]}, "operator": "or_"}},
    {"state": {"name": {"is_null_": True}}},
    {"state": {}},
    {"state": {"type": {"any_": []}}},
    {"parent_task_run_id": {"is_null_": True}},
    {"parent_task_run_id": {"is_null_": False}, "state": {"type": {"any_": ["COMPLETED"]}}},
    {"deployment_id": {"any_": [DEPLOYMENT]}},
    {"deployment_id": {"is_null_": True}},
    {"deployment_id": {"any_": []}},
    {"tags": {"any_": ["a"]}},
    {"name": {"like_": "a"}},
    {"operator": "or_"},
    {"operator": "or_", "state": {"name": {"any_": ["Late"]}}},
)
AROUND: tuple[Any, ...] = (
    {},
    {"flows": {}},
    {"flows": {"id": {"any_": [FLOW]}}},
    {"flows": {"name": {"any_": ["a", "ab"]}}},
    {"flows": {"tags": {"is_null_": True}}},
    {"deployments": {}},
    {"deployments": {"id": {"any_": [DEPLOYMENT]}}},
    {"deployments": {"id": {"any_": [POOL]}}},
    {"deployments": {"id": {"any_": []}}},
    {"work_pools": {"id": {"any_": [POOL]}}},
    {"flows": {"id": {"any_": [FLOW]}}, "deployments": {}},
    {"task_runs": {}},
)


def questions() -> Iterator[Any]:
    """Every window with every rest, and every surrounding with some of both."""
    for axis in ("expected_start_time", "start_time"):
        for window in WINDOWS:
            for rest in REST:
                yield {"flow_runs": {axis: window, **rest}}
        for around in AROUND:
            for window in WINDOWS[:6]:
                for rest in REST[:3]:
                    yield {"flow_runs": {axis: window, **rest}, **around}
    yield {"flow_runs": {"start_time": {"is_null_": True}}}
    yield {"flow_runs": {"start_time": {**WINDOWS[2], "is_null_": False}}}
    yield {"flow_runs": {"start_time": {"is_null_": False}, "expected_start_time": WINDOWS[2]}}
    yield {"flow_runs": {"start_time": WINDOWS[1], "expected_start_time": WINDOWS[2]}}
    yield {"flow_runs": {"start_time": {"is_null_": False}}, "flows": {"id": {"any_": [FLOW]}}}
    yield {
        "flow_runs": {
            "operator": "or_",
            "start_time": WINDOWS[1],
            "state": {"type": {"any_": ["RUNNING"]}},
        }
    }


def converted(asked: Any) -> Filters:
    return msgspec.convert(asked, type=Filters, strict=False)


SCAN = (
    "SELECT state_type, state_name, state_timestamp, total_run_time, expected_start_time, "
    "start_time FROM flow_runs WHERE {where}"
)


async def scanned(database: Database, filters: Filters) -> list[Any]:
    matching = where("flow_runs", filters, database.dialect)
    return await database.fetch(SCAN.format(where=matching.sql), *matching.params)


def time(moment: int | None) -> datetime | None:
    return None if moment is None else START + timedelta(microseconds=moment - BASE)


def late(row: Any) -> float:
    kind, _, _, _, expected, started = row
    # A run without any state is late in nobody's statistics.
    if kind is None and started is None:
        return 0.0
    return estimated_start_time_delta(kind, time(expected), time(started), NOW)


async def test_counts_and_lateness_are_those_of_a_scan(database: Database) -> None:
    await worlds.fill(database, WORLD)
    answered = 0
    for asked in questions():
        filters = converted(asked)
        answered += statement(filters, database.dialect, ("runs",)) is not None
        rows = await scanned(database, filters)
        assert await count(database, "flow_runs", filters, database.dialect) == len(rows), asked
        by_type: dict[str, int] = defaultdict(int)
        for row in rows:
            if row[0] is not None:
                by_type[row[0]] += 1
        found = await counts_by_state(database, "flow_runs", filters, database.dialect)
        assert found == by_type, asked
        mean = await mean_lateness(database, filters, database.dialect, now=NOW)
        expected = sum(map(late, rows)) / len(rows) if rows else None
        assert mean == pytest.approx(expected), asked
    assert answered > 400


@pytest.mark.parametrize(
    ("first", "interval"),
    [
        (timedelta(0), timedelta(hours=2)),
        (timedelta(minutes=-33, seconds=1), timedelta(minutes=168)),
        (timedelta(minutes=59), timedelta(minutes=7, seconds=13)),
        (timedelta(minutes=59, microseconds=1), timedelta(seconds=59)),
        (timedelta(hours=-1), timedelta(days=3650)),
    ],
)
async def test_histories_are_those_of_a_scan(
    database: Database, first: timedelta, interval: timedelta
) -> None:
    await worlds.fill(database, WORLD)
    some: tuple[Any, ...] = (
        {},
        {"flow_runs": {"expected_start_time": WINDOWS[2]}},
        {"flow_runs": {"start_time": WINDOWS[2]}},
        {"flow_runs": {"start_time": {"is_null_": False}}},
        {"flow_runs": {"parent_task_run_id": {"is_null_": True}, **REST[2]}},
        {"flows": {"id": {"any_": [FLOW]}}},
    )
    for asked in some:
        filters = converted(asked)
        intervals = await history(
            database,
            "flow_runs",
            filters,
            database.dialect,
            start=START + first,
            end=START + timedelta(hours=7),
            interval=interval,
            now=NOW,
        )
        assert 0 < len(intervals) <= BUCKETS_MAX
        rows = await scanned(database, filters)
        for found in intervals:
            sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
            for row in rows:
                kind, name, since, total, expected, _ = row
                begins = time(expected)
                if kind is None or begins is None:
                    continue
                if found.interval_start <= begins < found.interval_end:
                    held = sums[kind, name]
                    held[0] += 1
                    held[1] += estimated_run_time(kind, time(since), total, NOW)
                    held[2] += late(row)
            assert [(state.state_type, state.state_name) for state in found.states] == sorted(sums)
            for state in found.states:
                number, running, lateness = sums[state.state_type, state.state_name]
                assert state.count_runs == number
                assert state.sum_estimated_run_time == pytest.approx(running)
                assert state.sum_estimated_lateness == pytest.approx(lateness)


MOMENTS = st.lists(st.integers(-4 * HOUR, 13 * HOUR), min_size=1, max_size=20)
CUT = {
    "first": st.integers(-3 * HOUR, 3 * HOUR),
    "length": st.integers(1, 9 * HOUR),
    "seams": st.lists(st.integers(-3 * HOUR, 12 * HOUR), max_size=5),
    "moments": MOMENTS,
}


@given(**CUT)
def test_every_moment_of_a_window_is_in_exactly_one_place(
    first: int, length: int, seams: list[int], moments: list[int]
) -> None:
    until = first + length
    seams = sorted({seam for seam in seams if first < seam < until})
    found = places(first, until, seams, WIDTHS)
    ends = [first, *seams, until]
    for moment in [*moments, *ends, *(end - 1 for end in ends)]:
        holding = 0
        for width, ranges in found.buckets:
            bucket = moment // width * width
            if any(low <= bucket < high for low, high in ranges):
                # Where several intervals are asked for, the statement leaves these out by itself.
                holding += not any(bucket < seam < bucket + width for seam in seams)
        holding += any(low <= moment < high for low, high in found.runs)
        assert holding == (first <= moment < until)


def test_a_window_costs_as_many_buckets_as_it_is_long_and_no_more() -> None:
    month = 30 * 24 * HOUR
    found = places(7, month + 7, (), WIDTHS)
    numbers = [
        sum(until - first for first, until in ranges) // width for width, ranges in found.buckets
    ]
    assert numbers == [30 * 24 - 1, 5, 9]
    assert sum(until - first for first, until in found.runs) == MINUTE


def _interval(edges: list[int], moment: int) -> int:
    """The number of the interval that a moment is in."""
    if not edges[0] <= moment < edges[-1]:
        return NOBODY
    return max(n for n, edge in enumerate(edges[:-1]) if edge <= moment)


@given(**CUT, widths=st.integers(0, len(WIDTHS)), open_=st.sampled_from(("", "first", "until")))
def test_every_moment_of_a_window_is_counted_once_in_its_interval_when_all_is_moved(
    first: int, length: int, seams: list[int], moments: list[int], widths: int, open_: str
) -> None:
    until = first + length
    seams = sorted({seam for seam in seams if first < seam < until})
    ends = [first, *seams, until]
    edges = [-FOR_EVER if open_ == "first" else first, *seams]
    edges.append(FOR_EVER if open_ == "until" else until)
    found = counted(edges[0], edges[-1], seams, WIDTHS[widths:])
    for moment in [*moments, *ends, *(end - 1 for end in ends)]:
        sums = [0] * (len(edges) - 1)
        at = moment if found.width == 0 else moment // found.width * found.width
        if found.whole[0] <= at < found.whole[1]:
            sums[_interval(edges, at + found.width // 2)] += 1
        for width, moves in found.moves:
            at = moment if width == 0 else moment // width * width
            for low, high, gains, loses in moves:
                if low <= at < high:
                    for interval, sign in ((gains, 1), (loses, -1)):
                        if interval != NOBODY:
                            sums[interval] += sign
        assert sums == [n == _interval(edges, moment) for n in range(len(sums))]


@given(edge=st.integers(-13 * HOUR, 13 * HOUR))
def test_what_is_moved_at_an_edge_is_never_more_than_half_of_a_bucket(edge: int) -> None:
    month = 30 * 24 * HOUR
    found = counted(edge, edge + month, (), WIDTHS)
    first, until = found.whole
    assert abs((until - first) - month) <= HOUR
    for width, wider in zip((*WIDTHS[1:], 0), WIDTHS, strict=True):
        for low, high, _, _ in dict(found.moves).get(width, ()):
            assert high - low <= wider // 2


def test_from_an_edge_that_buckets_begin_with_nothing_is_moved_by_narrower_ones() -> None:
    found = counted(3 * HOUR, 9 * HOUR + 20 * MINUTE, (5 * HOUR + 3 * MINUTE,), WIDTHS)
    ten, one = 10 * MINUTE, MINUTE
    seam, end = 5 * HOUR, 9 * HOUR
    assert found.moves == [
        (ten, [(seam, seam, 0, 1), (end, end + 2 * ten, 1, NOBODY)]),
        (one, [(seam, seam + 3 * one, 0, 1)]),
    ]


def test_a_reported_duration_cannot_overflow_a_sum() -> None:
    row = (0, 1, "COMPLETED", "Completed", 1e300, None, "flow", None)
    for _, (_, run_time, _) in parts(row):
        assert run_time == DURATION_MAX
    early = (2**55, -(2**55), "COMPLETED", "Completed", -1e300, None, "flow", None)
    for _, (_, run_time, lateness) in parts(early):
        assert (run_time, lateness) == (-DURATION_MAX, 0)


async def test_the_largest_durations_are_summed_alike_by_a_scan(database: Database) -> None:
    world = {**WORLD, "flow_runs": [dict(run) for run in WORLD["flow_runs"][:9]]}
    for run in world["flow_runs"]:
        run.update(
            expected_start_time=BASE - 2**55,
            start_time=BASE,
            state_type="COMPLETED",
            state_name="Completed",
            total_run_time=1e300,
        )
    await worlds.fill(database, world)
    nothing: tuple[Any, ...] = ({}, {"name": {"not_any_": []}})
    for asked in nothing:
        filters = converted({"flow_runs": asked})
        mean = await mean_lateness(database, filters, database.dialect, now=NOW)
        assert mean == DURATION_MAX / 1_000_000


DIALECT = SqliteDialect()
WEEK = {"after_": at(days=-7, seconds=7), "before_": at(seconds=3)}


@pytest.mark.parametrize("axis", ["expected_start_time", "start_time"])
@pytest.mark.parametrize("around", [{}, {"flows": {"id": {"any_": [FLOW]}}}, AROUND[6]])
@pytest.mark.parametrize("rest", [*REST[:3], *REST[5:7], REST[11]])
@pytest.mark.parametrize("window", [None, WEEK])
def test_no_index_is_read_from_end_to_end(
    sqlite_template: Path, axis: str, around: Any, rest: Any, window: Any
) -> None:
    filters = converted({"flow_runs": {axis: window, **rest}, **around})
    found = statement(filters, DIALECT, ("runs", "lateness"), now=microseconds(NOW))
    assert found is not None
    _is_a_search(plan(sqlite_template, found.sql, found.params))


def test_no_index_is_read_from_end_to_end_for_a_history(sqlite_template: Path) -> None:
    filters = converted({"flow_runs": {"expected_start_time": WEEK}})
    found = statement(
        filters,
        DIALECT,
        ("runs", "run_time", "lateness"),
        by=("bin", "state_type", "state_name"),
        bins=Bins(microseconds(START) - 7 * 24 * HOUR, 168 * MINUTE + 7, 60),
        now=microseconds(NOW),
    )
    assert found is not None
    _is_a_search(plan(sqlite_template, found.sql, found.params))


def _is_a_search(steps: str) -> None:
    """Totals by a range of their key, ended runs by a range of time, active ones by their state."""
    for step in steps.splitlines():
        if step.startswith("SEARCH totals"):
            assert "scope=? AND axis=? AND width=? AND at>? AND at<?" in step, steps
        elif step.startswith("SEARCH flow_runs") and "flow_runs_by_state" not in step:
            ranged = "_start_time>? AND " in step or "<expr>>? AND <expr><?" in step
            assert ranged or "expected_start_time=?" in step, steps
        assert not step.startswith(("SCAN totals", "SCAN flow_runs USING")), steps
    # The active runs, once they are found.
    assert steps.count("SCAN flow_runs") == steps.count("CO-ROUTINE flow_runs"), steps
    assert "SEARCH totals" in steps


async def test_a_history_of_many_intervals_is_the_same_statement(database: Database) -> None:
    def text(number: int) -> str:
        # Neither edge of an interval is where a bucket ends.
        bins = Bins(7, 3_600_000_007, number)
        asked = statement(Filters(), database.dialect, ("runs",), by=("bin",), bins=bins)
        assert asked is not None
        return asked.sql

    assert text(BUCKETS_MAX) == text(3)


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_postgres_expects_the_same_of_every_window_and_so_keeps_its_plan(
    database: Database,
) -> None:
    await worlds.fill(database, WORLD)

    async def analyze(tx: Transaction) -> None:
        await tx.execute("ANALYZE flow_run_totals, flow_runs")

    await database.transact(analyze)
    texts, plans = set[str](), set[str]()
    for hours in (2, 7):
        window = {"after_": at(minutes=13.3), "before_": at(hours=hours, minutes=47.7)}
        asked = converted({"flow_runs": {"expected_start_time": window}})
        found = statement(asked, database.dialect, ("runs",))
        assert found is not None
        texts.add(found.sql)
        # With these values, of which a plan that is kept knows nothing.
        rows = await database.fetch(f"EXPLAIN {found.sql}", *found.params)
        plans.add("\n".join(row[0] for row in rows))
    assert len(texts) == 1
    assert len(plans) == 1, plans


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_postgres_finds_active_runs_by_their_state_though_all_runs_once_were_in_that_index(
    database: Database, target: Target
) -> None:
    world = {**WORLD, "flow_runs": [dict(run) for run in WORLD["flow_runs"]]}
    for run in world["flow_runs"]:
        run["state_type"] = run["state_name"] = "RUNNING"
        run["expected_start_time"] = run["expected_start_time"] or BASE
    await worlds.fill(database, world)
    with psycopg.connect(target.url, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {target.schema}")
        changed = ("id", "document", "expected_start_time")
        names = ", ".join(name for name in FLOW_RUNS.columns if name not in changed)
        connection.execute(
            f"INSERT INTO flow_runs ({', '.join(changed)}, {names}) "
            f"SELECT id || n, '', expected_start_time + n, {names} "
            "FROM flow_runs, generate_series(1, 20) AS n"
        )
        one = "(SELECT min(id) FROM flow_runs)"
        for state in ("SCHEDULED", "PENDING", "COMPLETED"):
            connection.execute(f"UPDATE flow_runs SET state_type = '{state}' WHERE id <> {one}")
        connection.execute("VACUUM ANALYZE flow_runs")
    window = {"after_": at(minutes=13.3), "before_": at(hours=6)}
    some: tuple[Any, ...] = (window, {"after_": window["after_"]}, {"before_": window["before_"]})
    for one in some:
        asked = {"expected_start_time": one, "state": {"type": {"any_": ["RUNNING"]}}}
        found = statement(converted({"flow_runs": asked}), database.dialect, ("runs",))
        assert found is not None
        rows = await database.fetch(f"EXPLAIN {found.sql}", *found.params)
        told = "\n".join(row[0] for row in rows)
        assert "flow_runs_by_state" in told, told
        assert "flow_runs_by_expected_start" not in told, told
