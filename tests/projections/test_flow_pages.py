"""Pages of flows, against the same made in Python."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from eventstore.database import Database
from orchestration.refusals import Invalid
from projections import flow_pages
from projections.filters import NO_FILTERS
from projections.flow_pages import NEWEST_RUNS, FlowOrder, Rate
from projections.run_sums import Bins
from projections.run_totals import BY_START, HOUR
from tests.projections import world as worlds
from tests.projections.plans import plan
from tests.projections.test_run_sums import WORLD
from tests.projections.world import BASE

WINDOW = Bins(BASE + HOUR, HOUR, 4, BY_START)


def _at(run: worlds.Row) -> Any:
    return run["expected_start_time"] if run["start_time"] is None else run["start_time"]


def _ran(flow_id: str) -> list[worlds.Row]:
    """Runs of a flow that do not wait for their time, newest first."""
    runs = [
        run
        for run in WORLD["flow_runs"]
        if run["flow_id"] == flow_id and _at(run) is not None and run["state_type"] != "SCHEDULED"
    ]
    return sorted(runs, key=_at, reverse=True)


@pytest.mark.parametrize("order", flow_pages.ORDERS)
async def test_pages_go_through_all_flows_in_order_and_back(
    database: Database, order: FlowOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_pages, "PAGE_FLOWS", 3)
    await worlds.fill(database, WORLD)

    async def page(**cursor: str | None) -> flow_pages.FlowPage:
        return await flow_pages.page(database, database.dialect, "", [], order, WINDOW, **cursor)

    pages = [await page()]
    while pages[-1].after is not None:
        pages.append(await page(after=pages[-1].after))
    ids = [flow.id for one in pages for flow in one.flows]
    assert sorted(ids) == sorted(flow["id"] for flow in WORLD["flows"])
    assert pages[0].before is None and pages[0].total == len(ids)
    if order.startswith("LAST"):
        last = [_at(runs[0]) if (runs := _ran(id_)) else 0 for id_ in ids]
        assert last == sorted(last, reverse=order == "LAST_RUN_DESC")
    back = pages[-1]
    for earlier in reversed(pages[:-1]):
        back = await page(before=back.before)
        assert back.flows == earlier.flows


async def test_a_flow_is_shown_with_its_newest_runs_and_how_they_ended(database: Database) -> None:
    await worlds.fill(database, WORLD)
    found = await flow_pages.page(database, database.dialect, "", [], "NAME_ASC", WINDOW)
    for flow in found.flows:
        runs = _ran(flow.id)[:NEWEST_RUNS]
        assert [round(run.start.timestamp() * 1e6) for run in flow.newest] == [
            _at(run) for run in runs
        ]
        kinds = Counter(
            run["state_type"]
            for run in WORLD["flow_runs"]
            if run["flow_id"] == flow.id
            and _at(run) is not None
            and WINDOW.first <= _at(run) < WINDOW.until
            and run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED", None)
        )
        assert flow.rate == Rate(
            runs=sum(kinds.values()),
            completed=kinds["COMPLETED"],
            failed=kinds["FAILED"] + kinds["CRASHED"],
        )


async def test_flows_are_found_by_a_part_of_their_name_and_by_all_of_their_tags(
    database: Database,
) -> None:
    await worlds.fill(database, WORLD)

    async def names(text: str, tags: list[str]) -> list[str]:
        page = await flow_pages.page(database, database.dialect, text, tags, "NAME_ASC", WINDOW)
        assert page.total == len(page.flows)
        return [flow.name for flow in page.flows]

    for flow in WORLD["flows"]:
        assert flow["name"] in await names(flow["name"], flow["tags"])
    assert await names("no flow is called this", []) == []


async def test_a_mean_duration_is_that_of_the_runs_that_completed(database: Database) -> None:
    await worlds.fill(database, WORLD)
    found = await flow_pages.mean_durations(database, database.dialect, NO_FILTERS, WINDOW)
    for number, mean in enumerate(found):
        first = WINDOW.first + number * WINDOW.width
        took = [
            run["total_run_time"]
            for run in WORLD["flow_runs"]
            if run["state_type"] == "COMPLETED"
            and _at(run) is not None
            and first <= _at(run) < first + WINDOW.width
        ]
        assert mean == (pytest.approx(sum(took) / len(took)) if took else None)


async def test_what_would_be_lost_with_a_flow_is_counted(database: Database) -> None:
    await worlds.fill(database, WORLD)
    for flow in WORLD["flows"][:3]:
        lost = await flow_pages.losses(database, flow["id"])
        runs = [run for run in WORLD["flow_runs"] if run["flow_id"] == flow["id"]]
        assert lost.flow_runs == len(runs)
        assert lost.running == sum(run["state_type"] == "RUNNING" for run in runs)


@pytest.mark.parametrize("cursor", ["", "x~y", "1", f"{2**63}~y"])
async def test_what_is_no_cursor_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(Invalid):
        await flow_pages.page(
            database, database.dialect, "", [], "LAST_RUN_DESC", WINDOW, after=cursor
        )


def test_the_newest_runs_of_a_flow_come_from_an_index(sqlite_template: Path) -> None:
    steps = plan(sqlite_template, flow_pages._NEWEST, ("flow", 1, 2, 3))
    assert "INDEX flow_runs_by_flow_and_start (flow_id=? AND <expr>>? AND <expr><?)" in steps
    assert "TEMP B-TREE" not in steps
    rates = flow_pages._RATES.format(in_flows="scope IN (SELECT value FROM json_each($1))")
    assert "USING PRIMARY KEY (scope=? AND axis=? AND width=? AND at>? AND at<?)" in plan(
        sqlite_template, rates, ("[]", 1, 2)
    )
