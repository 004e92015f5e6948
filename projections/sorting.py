"""The orders in which lists can be asked for, by their names on the wire.

Every order ends in the id, so that pages neither repeat nor skip rows of equal rank. Where NULL
goes is left to the engine, as Prefect leaves it: first in SQLite's ascending orders, last in those
of Postgres. An index gives that for nothing.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

FlowSort: TypeAlias = Literal["CREATED_DESC", "UPDATED_DESC", "NAME_ASC", "NAME_DESC"]
FlowRunSort: TypeAlias = Literal[
    "ID_DESC",
    "START_TIME_ASC",
    "START_TIME_DESC",
    "EXPECTED_START_TIME_ASC",
    "EXPECTED_START_TIME_DESC",
    "NAME_ASC",
    "NAME_DESC",
    "NEXT_SCHEDULED_START_TIME_ASC",
    "END_TIME_DESC",
]
TaskRunSort: TypeAlias = Literal[
    "ID_DESC",
    "EXPECTED_START_TIME_ASC",
    "EXPECTED_START_TIME_DESC",
    "NAME_ASC",
    "NAME_DESC",
    "NEXT_SCHEDULED_START_TIME_ASC",
    "END_TIME_DESC",
]
DeploymentSort: TypeAlias = Literal["CREATED_DESC", "UPDATED_DESC", "NAME_ASC", "NAME_DESC"]
ArtifactSort: TypeAlias = Literal["CREATED_DESC", "UPDATED_DESC", "ID_DESC", "KEY_DESC", "KEY_ASC"]
ArtifactCollectionSort: TypeAlias = Literal[
    "CREATED_DESC", "UPDATED_DESC", "ID_DESC", "KEY_DESC", "KEY_ASC"
]
LogSort: TypeAlias = Literal["TIMESTAMP_ASC", "TIMESTAMP_DESC"]

Sort: TypeAlias = (
    FlowSort
    | FlowRunSort
    | TaskRunSort
    | DeploymentSort
    | ArtifactSort
    | ArtifactCollectionSort
    | LogSort
)


RANKED_BY_START = "COALESCE(flow_runs.start_time, flow_runs.expected_start_time)"
"""A run that has not started yet is ranked by when it should."""


def order_by(table: str, sort: Sort) -> str:
    """What follows ORDER BY in a query of `table`; KeyError for an order that it does not have."""
    return ORDERS[table, sort]


def orders(
    table: str, sorts: Any, *, tie: str = "id", keys: Mapping[str, str] | None = None
) -> dict[tuple[str, str], str]:
    """The orders of one table; `keys` are the sort keys that are not simply a column."""
    orders = {}
    for sort in get_args(sorts):
        column, _, direction = sort.lower().rpartition("_")
        wanted = f"{(keys or {}).get(column, f'{table}.{column}')} {direction.upper()}"
        last = "" if column == tie else f", {table}.{tie} {direction.upper()}"
        orders[table, sort] = wanted + last
    return orders


ORDERS: Mapping[tuple[str, str], str] = {
    **orders("flows", FlowSort),
    **orders("flow_runs", FlowRunSort, keys={"start_time": RANKED_BY_START}),
    **orders("task_runs", TaskRunSort),
    **orders("deployments", DeploymentSort),
    **orders("artifacts", ArtifactSort),
    **orders("artifact_collections", ArtifactCollectionSort),
    # Lines of the same microsecond stay in the order in which they arrived.
    **orders("log_lines", LogSort, tie="line"),
}
