"""Flow runs as dots: all of a few, of many a sample that leaves out no time and no rare match."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from eventstore.database import Database, Transaction
from eventstore.ids import new_id
from eventstore.sqlite_dialect import SqliteDialect
from orchestration.flow_runs import FlowRun
from projections import flow_runs, queries, run_dots
from projections.criteria import StateTypes
from projections.filters import Filters, FlowRunFilter, State
from tests.projections.plans import plan

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
FAILED = Filters(flow_runs=FlowRunFilter(state=State(type=StateTypes(any_=["FAILED"]))))


def _run(at: int, kind: str = "COMPLETED", started: bool = True) -> FlowRun:
    then = NOON + timedelta(seconds=at)
    return FlowRun(
        id=new_id(),
        created=then,
        updated=then,
        name=f"run-{at}",
        flow_id="f",
        state_type=kind,  # type: ignore[arg-type]
        state_name=kind.capitalize(),
        start_time=then if started else None,
        expected_start_time=then,
        total_run_time=1.23456,
    )


@pytest.fixture
async def runs(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[FlowRun]:
    """More than a picture holds; most start within the last tenth of the time."""
    monkeypatch.setattr(run_dots, "DOTS_MAX", 50)
    times = [*range(0, 1000, 20), *range(1000, 1100)]
    made = [_run(at, "FAILED" if at == 500 else "COMPLETED") for at in times]
    made.append(_run(600, "SCHEDULED", started=False))

    async def insert(tx: Transaction) -> None:
        await tx.insert(flow_runs.TABLE, [flow_runs.render(run) for run in made])

    await database.transact(insert)

    # As the totals that are kept of ended runs would say, if these had been made by events.
    async def counted(*_: object) -> int:
        return len(made)

    monkeypatch.setattr(queries, "count", counted)
    return made


async def test_a_sample_has_runs_of_every_stretch_of_time(
    database: Database, runs: list[FlowRun]
) -> None:
    found = await run_dots.dots(database, database.dialect, Filters())
    assert (found.sampled, found.total) == (True, len(runs))
    known = {run.id: run.start_time for run in runs if run.start_time}
    assert {dot.id for dot in found.dots} <= set(known)
    assert (found.since, found.until) == (NOON, NOON + timedelta(seconds=1099))
    width = -(-(1_099_000_000 + 1) // run_dots.STRETCHES)  # Microseconds.

    def stretch(start: datetime) -> int:
        return int((start - NOON) / timedelta(microseconds=1)) // width

    stretches = {stretch(known[dot.id]) for dot in found.dots}
    holding = {stretch(start) for start in known.values()}
    assert stretches == holding
    assert found.dots == sorted(found.dots, key=lambda dot: (dot.start, dot.id))
    assert found.dots[0].run_time == 1.235


async def test_a_few_are_all_shown(
    database: Database, runs: list[FlowRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_dots, "DOTS_MAX", 1_000)
    found = await run_dots.dots(database, database.dialect, Filters())
    assert not found.sampled
    assert {dot.id for dot in found.dots} == {run.id for run in runs if run.start_time}
    rare = await run_dots.dots(database, database.dialect, FAILED)
    assert [dot.name for dot in rare.dots] == ["run-500"]


async def test_what_is_rare_is_in_a_sample_of_it(database: Database, runs: list[FlowRun]) -> None:
    rare = await run_dots.dots(database, database.dialect, FAILED)
    assert [dot.state_type for dot in rare.dots] == ["FAILED"]


async def test_what_changed_is_looked_at_alone(database: Database, runs: list[FlowRun]) -> None:
    ids = [runs[0].id, runs[-1].id, new_id()]
    found = await run_dots.changed(database, database.dialect, Filters(), ids)
    assert [dot.id for dot in found] == [runs[0].id]
    assert await run_dots.changed(database, database.dialect, FAILED, ids) == []


async def test_nothing_is_no_picture(database: Database) -> None:
    found = await run_dots.dots(database, database.dialect, Filters())
    assert (found.dots, found.since, found.until) == ((), None, None)


@pytest.mark.parametrize("filters", [Filters(), FAILED])
def test_a_sample_is_found_by_the_index_of_starts(sqlite_template: Path, filters: Filters) -> None:
    sql, params = run_dots.sample(SqliteDialect(), filters, 0, 10**15)
    steps = plan(sqlite_template, sql, tuple(params))
    assert (
        steps.count("USING COVERING INDEX flow_runs_by_start")
        + steps.count("USING INDEX flow_runs_by_start")
        >= run_dots.STRETCHES
    )
    assert "SCAN flow_runs" not in steps
