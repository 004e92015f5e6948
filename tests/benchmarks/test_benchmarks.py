"""A benchmark that measures nonsense is worse than none: every row once, on our server, briefly."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.benchmarks import report
from tests.benchmarks.contenders import Running, pluperfect
from tests.benchmarks.measuring import Load, Sample, Subject, percentile
from tests.benchmarks.report import Cell, Line, Results
from tests.benchmarks.rows import ROWS
from tests.benchmarks.stored import recipe

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
