"""Lists come in the order that was asked for, and their pages fit together."""

from typing import Any, get_args

import pytest

from eventstore.database import Database
from projections import sorting
from projections.filters import EntityTable, Filters
from projections.queries import count, counts_by_state, page
from projections.sorting import ORDERS, Sort, order_by
from tests.projections import world as worlds

WORLD = worlds.build(seed=7)
PAGE = 7


async def listed(
    database: Database, table: EntityTable, sort: Sort, limit: int, offset: int = 0
) -> list[Any]:
    key = "line" if table == "log_lines" else "id"
    columns, dialect = f"{table}.{key}", database.dialect
    query = page(table, columns, Filters(), sort, dialect, limit=limit, offset=offset)
    rows = [row[0] for row in await database.fetch(query.sql, *query.params)]
    wide = page(table, columns, Filters(), sort, dialect, limit=limit, offset=offset, wide=True)
    assert [row[0] for row in await database.fetch(wide.sql, *wide.params)] == rows
    return rows


@pytest.mark.parametrize(("table", "sort"), ORDERS)
async def test_pages_put_together_are_the_whole_list(
    database: Database, table: EntityTable, sort: Sort
) -> None:
    await worlds.fill(database, WORLD)
    whole = await listed(database, table, sort, limit=1000)
    pages = []
    for offset in range(0, len(whole), PAGE):
        pages += await listed(database, table, sort, limit=PAGE, offset=offset)
    assert pages == whole
    assert len(set(whole)) == len(WORLD[table])


@pytest.mark.parametrize(
    ("table", "sort"),
    [key for key in ORDERS if not key[1].startswith(("NAME", "KEY"))],
)
async def test_rows_are_ranked_by_their_key_and_then_by_id(
    database: Database, table: EntityTable, sort: Sort
) -> None:
    await worlds.fill(database, WORLD)
    column, _, direction = sort.lower().rpartition("_")
    tie = "line" if table == "log_lines" else "id"

    def rank(row: dict[str, Any]) -> Any:
        value = row[column]
        if table == "flow_runs" and column == "start_time" and value is None:
            value = row["expected_start_time"]
        if column == "id":
            return row["id"]
        # NULL is the smallest value for SQLite and the largest for Postgres, here as in Prefect.
        null = (database.dialect.name == "postgres") if value is None else 0.5
        return (null, value or 0, row[tie])

    rows = sorted(WORLD[table], key=rank, reverse=direction == "desc")
    assert await listed(database, table, sort, limit=1000) == [row[tie] for row in rows]


async def test_names_sort_the_same_way_up_and_down(database: Database) -> None:
    await worlds.fill(database, WORLD)
    tables: tuple[EntityTable, ...] = ("flows", "flow_runs", "task_runs", "deployments")
    for table in tables:
        up = await listed(database, table, "NAME_ASC", limit=1000)
        assert await listed(database, table, "NAME_DESC", limit=1000) == up[::-1]


async def test_counts_agree_with_lists(database: Database) -> None:
    await worlds.fill(database, WORLD)
    dialect = database.dialect
    assert await count(database, "flow_runs", Filters(), dialect) == len(WORLD["flow_runs"])
    by_state = await counts_by_state(database, "task_runs", Filters(), dialect)
    kinds = [row["state_type"] for row in WORLD["task_runs"] if row["state_type"] is not None]
    assert by_state == {kind: kinds.count(kind) for kind in kinds}


def test_every_order_of_the_wire_is_known() -> None:
    tables = {
        "flows": sorting.FlowSort,
        "flow_runs": sorting.FlowRunSort,
        "task_runs": sorting.TaskRunSort,
        "deployments": sorting.DeploymentSort,
        "artifacts": sorting.ArtifactSort,
        "artifact_collections": sorting.ArtifactCollectionSort,
        "log_lines": sorting.LogSort,
    }
    for table, sorts in tables.items():
        assert all(order_by(table, sort) for sort in get_args(sorts))
