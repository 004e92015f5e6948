"""The indexes are used. SQLite plans without statistics, so an empty database tells."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore.database import Database, Value
from eventstore.sqlite_dialect import SqliteDialect
from projections import waiting_runs
from projections.concurrency_limits import AWAITED, AWAITING, AWAITING_OF_DEPLOYMENT
from projections.criteria import ACTIVE
from projections.deployments import COMING, READY, keys_taken_sql
from projections.filter_compiler import where
from projections.filters import EntityTable, Filters
from projections.queries import page
from projections.sorting import Sort
from tests.projections.plans import plan

ID = "0199abcd-0000-7000-8000-000000000001"


def of_type(*kinds: str) -> dict[str, Any]:
    return {"flow_runs": {"state": {"type": {"any_": list(kinds)}}}}


@pytest.mark.parametrize(
    ("table", "filters", "sort", "index"),
    [
        ("flow_runs", {}, "START_TIME_DESC", "flow_runs_by_start"),
        ("flow_runs", {}, "START_TIME_ASC", "flow_runs_by_start"),
        ("flow_runs", {}, "EXPECTED_START_TIME_DESC", "flow_runs_by_expected_start"),
        ("flow_runs", {}, "END_TIME_DESC", "flow_runs_by_end"),
        ("task_runs", {}, "EXPECTED_START_TIME_DESC", "task_runs_by_expected_start"),
        ("task_runs", {}, "END_TIME_DESC", "task_runs_by_end"),
        # Terminal states are most of the table: in order of time, filtered inside the index.
        ("flow_runs", of_type("COMPLETED"), "START_TIME_DESC", "flow_runs_by_start"),
        (
            "flow_runs",
            of_type("COMPLETED", "FAILED"),
            "EXPECTED_START_TIME_DESC",
            "flow_runs_by_expected_start",
        ),
        ("flow_runs", of_type("RUNNING"), "EXPECTED_START_TIME_DESC", "flow_runs_by_state"),
        (
            "flow_runs",
            {"flows": {"name": {"any_": ["etl"]}}},
            "EXPECTED_START_TIME_DESC",
            "flow_runs_by_flow_and_expected_start",
        ),
        (
            "flow_runs",
            {"flows": {"id": {"any_": [ID]}}},
            "START_TIME_DESC",
            "flow_runs_by_flow_and_start",
        ),
        (
            "flow_runs",
            {"flow_runs": {"deployment_id": {"any_": [ID]}}},
            "START_TIME_DESC",
            "flow_runs_by_deployment_and_start",
        ),
        (
            "log_lines",
            {"logs": {"flow_run_id": {"any_": [ID]}}},
            "TIMESTAMP_ASC",
            "log_lines_by_flow_run",
        ),
        (
            "log_lines",
            {"logs": {"task_run_id": {"any_": [ID]}}},
            "TIMESTAMP_DESC",
            "log_lines_by_task_run",
        ),
    ],
)
def test_a_list_is_read_in_the_order_of_an_index(
    sqlite_template: Path, table: EntityTable, filters: Any, sort: Sort, index: str
) -> None:
    asked = msgspec.convert(filters, type=Filters, strict=False)
    query = page(table, "*", asked, sort, SqliteDialect(), limit=200)
    steps = plan(sqlite_template, query.sql, query.params)
    assert f"USING INDEX {index} " in f"{steps} ".replace("\n", " "), steps
    # Rows of equal time may be sorted by id; the list as a whole may not need sorting.
    assert "TEMP B-TREE FOR ORDER BY" not in steps, steps


@pytest.mark.parametrize(
    ("table", "filters", "access"),
    [
        ("flow_runs", of_type("PENDING", "RUNNING"), "COVERING INDEX flow_runs_by_state "),
        ("flow_runs", of_type(*ACTIVE), "COVERING INDEX flow_runs_by_state"),
        (
            "flow_runs",
            {
                "flow_runs": {
                    "start_time": {"after_": "2026-01-01T00:00:00Z"},
                    "state": {"name": {"any_": ["Late"]}},
                    "parent_task_run_id": {"is_null_": True},
                }
            },
            "COVERING INDEX flow_runs_by_start ",
        ),
        (
            "task_runs",
            {"flow_runs": {"id": {"any_": [ID]}}},
            "COVERING INDEX task_runs_by_flow_run ",
        ),
        (
            "flow_runs",
            {"flow_runs": {"parent_flow_run_id": {"any_": [ID]}}},
            "INDEX flow_runs_by_parent ",
        ),
        (
            "flow_runs",
            {"flow_runs": {"idempotency_key": {"any_": ["key"]}}},
            "INDEX flow_runs_by_idempotency_key ",
        ),
        ("flow_runs", {"task_runs": {"id": {"any_": [ID]}}}, "sqlite_autoindex_flow_runs_1 "),
    ],
)
def test_a_count_is_answered_from_an_index(
    sqlite_template: Path, table: EntityTable, filters: Any, access: str
) -> None:
    asked = msgspec.convert(filters, type=Filters, strict=False)
    matching = where(table, asked, SqliteDialect())
    steps = plan(
        sqlite_template, f"SELECT count(*) FROM {table} WHERE {matching.sql}", matching.params
    )
    assert access in f"{steps} ".replace("\n", " "), steps


async def test_what_is_to_come_of_a_deployment_is_found_among_its_own_runs(
    database: Database,
) -> None:
    """Postgres as well, that has no statistics of a table that was filled a moment ago."""
    steps = await plan_of(database, COMING, ID, 0)
    assert " flow_runs_by_deployment_and_expected_start " in steps, steps


async def test_slots_that_are_taken_are_found_by_their_keys(database: Database) -> None:
    steps = await plan_of(database, keys_taken_sql(2), ID, "a", "b")
    assert " flow_runs_by_idempotency_key " in steps, steps


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        (AWAITED, "flow_runs_awaiting_slot"),
        (AWAITING, "flow_runs_awaiting_slot"),
        (AWAITING_OF_DEPLOYMENT, "flow_runs_awaiting_slot"),
        (READY, "deployments_ready"),
        (READY, "sqlite_autoindex_pulses_1"),
        (waiting_runs.PAUSED, "flow_runs_by_state"),
        (waiting_runs.RUNNING, "flow_runs_by_state"),
        (waiting_runs.PENDING, "flow_runs_by_state"),
        (waiting_runs.CANCELLING_FIRST, "flow_runs_by_state"),
        (waiting_runs.TO_BE_RETRIED, "flow_runs_by_state"),
        (waiting_runs.CANCELLED_AFTER, "flow_runs_by_end"),
        (waiting_runs.CRASHED_WITH_OPEN_TASK_RUNS, "flow_runs_by_end"),
    ],
)
def test_what_services_look_for_is_not_looked_for_among_all_runs(
    sqlite_template: Path, sql: str, index: str
) -> None:
    steps = plan(sqlite_template, sql, (1,) * len(set(re.findall(r"\$\d+", sql))))
    assert f" INDEX {index} " in f"{steps} ".replace("\n", " "), steps


async def plan_of(database: Database, sql: str, *params: Value) -> str:
    """The steps, one a line."""
    how = "EXPLAIN" if database.dialect.name == "postgres" else "EXPLAIN QUERY PLAN"
    return "\n".join(str(row[-1]) for row in await database.fetch(f"{how} {sql}", *params))
