"""Runs of several flows or deployments are the same page, however it is put together."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore.database import Database
from projections import queries, runs_of_flows
from projections.filters import Filters
from projections.runs_of_flows import INDEXED, MERGED_MAX
from projections.sorting import Sort
from tests.projections import world as worlds
from tests.projections.plans import plan

WORLD = worlds.build(seed=7)
FLOWS = [flow["id"] for flow in WORLD["flows"]]
DEPLOYMENTS = [deployment["id"] for deployment in WORLD["deployments"]]
FILTERS: list[dict[str, Any]] = [
    {"flows": {"id": {"any_": FLOWS[:2]}}},
    {"flows": {"name": {"any_": ["a", "A", "ab"]}}},
    {"flows": {"name": {"like_": "a"}}, "flow_runs": {"state": {"type": {"any_": ["FAILED"]}}}},
    {"flows": {"id": {"any_": FLOWS[:9]}}, "task_runs": {"name": {"like_": "a"}}},
    {"deployments": {"id": {"any_": DEPLOYMENTS[:4]}}},
]
PAGES = ((200, 0), (3, 0), (3, 2), (1, 10_000), (200, 2**63 - 1))


@pytest.fixture
async def filled(database: Database) -> AsyncIterator[Database]:
    await worlds.fill(database, WORLD)
    yield database


def asked_for(filters: dict[str, Any]) -> Filters:
    return msgspec.json.decode(msgspec.json.encode(filters), type=Filters)


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("sort", INDEXED)
async def test_runs_of_a_few_flows_are_merged_into_the_page_that_sorting_all_of_them_gives(
    filled: Database, filters: dict[str, Any], sort: Sort
) -> None:
    asked, columns, dialect = asked_for(filters), "flow_runs.id", filled.dialect
    for limit, offset in PAGES:
        merged = await runs_of_flows.page(
            filled, columns, asked, sort, dialect, limit=limit, offset=offset
        )
        assert merged is not None
        plain = queries.page("flow_runs", columns, asked, sort, dialect, limit=limit, offset=offset)
        wanted = await filled.fetch(plain.sql, *plain.params)
        found = await filled.fetch(merged.sql, *merged.params)
        assert [row[0] for row in found] == [row[0] for row in wanted]
        if (limit, offset) == (3, 0):
            assert wanted, "there is nothing to compare"


@pytest.mark.parametrize(
    ("filters", "sort"),
    [
        ({"flows": {"id": {"any_": FLOWS[:1]}}}, "START_TIME_DESC"),
        ({"flows": {"name": {"any_": ["nobody"]}}}, "START_TIME_DESC"),
        ({"flows": {"id": {"any_": FLOWS[:2]}}}, "NAME_ASC"),
        ({"flow_runs": {"name": {"like_": "a"}}}, "START_TIME_DESC"),
        (
            {"flows": {"id": {"any_": FLOWS}}, "deployments": {"id": {"any_": DEPLOYMENTS}}},
            "START_TIME_DESC",
        ),
    ],
)
async def test_one_flow_or_none_and_other_orders_are_left_to_the_plain_page(
    filled: Database, filters: dict[str, Any], sort: Sort
) -> None:
    found = await runs_of_flows.page(
        filled, "flow_runs.id", asked_for(filters), sort, filled.dialect, limit=9, offset=0
    )
    assert found is None


async def test_more_flows_than_are_merged_are_left_to_the_plain_page(
    filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def merged() -> bool:
        asked = asked_for({"flows": {"id": {"any_": FLOWS}}})
        found = await runs_of_flows.page(
            filled, "flow_runs.id", asked, "START_TIME_ASC", filled.dialect, limit=9, offset=0
        )
        return found is not None

    assert len(FLOWS) <= MERGED_MAX
    assert await merged()
    monkeypatch.setattr(runs_of_flows, "MERGED_MAX", len(FLOWS) - 1)
    assert not await merged()


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)  # Postgres plans by statistics.
async def test_each_flow_s_runs_are_read_in_the_order_of_an_index(
    filled: Database, sqlite_template: Path
) -> None:
    orders: dict[Sort, str] = {
        "START_TIME_DESC": "flow_runs_by_flow_and_start",
        "EXPECTED_START_TIME_ASC": "flow_runs_by_flow_and_expected_start",
    }
    for sort, index in orders.items():
        merged = await runs_of_flows.page(
            filled, "*", asked_for(FILTERS[0]), sort, filled.dialect, limit=200, offset=0
        )
        assert merged is not None
        steps = plan(sqlite_template, merged.sql, merged.params)
        assert steps.count(f"USING INDEX {index} ") == 2, steps
