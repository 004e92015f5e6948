"""Pages of flow runs, without those that are yet to come."""

import pytest

from eventstore.codec import from_microseconds
from eventstore.database import Database
from projections import run_pages
from projections.criteria import StateTypes, Time
from projections.filters import Filters, FlowRunFilter, State
from tests.projections import world as worlds

WORLD = worlds.build(20_261_126)
LISTED = {
    run["id"]: run
    for run in WORLD["flow_runs"]
    if run["start_time"] is not None or run["expected_start_time"] is not None
}
"""A run that knows no time at all is on no page."""


@pytest.mark.parametrize("now", [worlds.TIMES[0], worlds.TIMES[4], worlds.TIMES[-1] + 1])
async def test_every_run_is_either_to_come_or_in_the_list(database: Database, now: int) -> None:
    await worlds.fill(database, WORLD)
    moment = from_microseconds(now)
    apart = run_pages.upcoming(Filters(), moment)
    assert apart is not None

    async def ids(filters: Filters, **options: object) -> set[str]:
        found: list[str] = []
        after = None
        while True:
            page = await run_pages.page(
                database,
                database.dialect,
                filters,
                "START_TIME_DESC",
                after=after,
                **options,  # type: ignore[arg-type]
            )
            found += [run.id for run in page.runs]
            after = page.after
            if after is None:
                assert len(set(found)) == len(found)
                return set(found)

    to_come = {
        id
        for id, run in LISTED.items()
        if run["state_type"] == "SCHEDULED"
        and run["expected_start_time"] is not None
        and run["expected_start_time"] >= now
    }
    assert await ids(apart) == to_come
    assert await ids(Filters(), due_by=moment) == LISTED.keys() - to_come


@pytest.mark.parametrize(
    "asked",
    [
        FlowRunFilter(state=State(type=StateTypes(any_=["SCHEDULED"]))),
        FlowRunFilter(expected_start_time=Time(after_=from_microseconds(worlds.BASE))),
    ],
)
def test_who_asks_for_states_or_moments_gets_all_runs_that_have_them(asked: FlowRunFilter) -> None:
    assert run_pages.upcoming(Filters(flow_runs=asked), from_microseconds(worlds.BASE)) is None
