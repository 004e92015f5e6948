"""Pages of the runs of several flows, or of several deployments.

An index has the runs of each flow in the order that is asked for, but not of several flows: asked
with IN, an engine reads and sorts all their runs for one page. Here the first rows of each flow are
taken by the index and merged: two flows with 4,000 runs each cost what two pages cost.
"""

from collections.abc import Mapping
from uuid import UUID

from msgspec.structs import replace

from eventstore.database import Dialect, Reader, Value
from projections.criteria import Ids
from projections.filter_compiler import where
from projections.filters import DeploymentFilter, EntityTable, Filters, FlowFilter
from projections.paging import OFFSET_MAX
from projections.queries import Query
from projections.sorting import RANKED_BY_START, Sort, order_by

MERGED_MAX = 16
"""Flows, or deployments, whose runs are merged; the runs of more are sorted."""

INDEXED: Mapping[str, tuple[str, str]] = {
    "START_TIME_ASC": (RANKED_BY_START, "ASC"),
    "START_TIME_DESC": (RANKED_BY_START, "DESC"),
    "EXPECTED_START_TIME_ASC": ("flow_runs.expected_start_time", "ASC"),
    "EXPECTED_START_TIME_DESC": ("flow_runs.expected_start_time", "DESC"),
}
"""The orders in which an index has the runs of one flow or deployment: by what, and which way."""


async def page(
    reader: Reader,
    columns: str,
    filters: Filters,
    sort: Sort,
    dialect: Dialect,
    *,
    limit: int,
    offset: int,
) -> Query | None:
    """Like `queries.page` of flow runs; None if that one does as well."""
    scopes = (filters.flows, filters.deployments)
    if sort not in INDEXED or sum(scope is not None for scope in scopes) != 1:
        return None
    each = await _each(reader, filters, dialect)
    if each is None:
        return None
    rank, direction = INDEXED[sort]
    order = order_by("flow_runs", sort)
    params: list[Value] = [limit, offset, min(limit + offset, OFFSET_MAX)]
    arms = []
    for one in each:
        matching = where("flow_runs", one, dialect, first=len(params) + 1)
        params.extend(matching.params)
        arms.append(
            f"SELECT * FROM (SELECT {rank} AS rank, flow_runs.id AS id, "
            f"flow_runs.{dialect.place} AS place FROM flow_runs "
            f"WHERE {matching.sql} ORDER BY {order} LIMIT $3) AS arm"
        )
    found = (
        f"SELECT merged.place FROM ({' UNION ALL '.join(arms)}) AS merged "
        f"ORDER BY merged.rank {direction}, merged.id {direction} LIMIT $1 OFFSET $2"
    )
    among = dialect.placed("flow_runs", found)
    sql = f"SELECT {columns} FROM flow_runs WHERE {among} ORDER BY {order}"
    return Query(sql, tuple(params))


async def _each(reader: Reader, filters: Filters, dialect: Dialect) -> list[Filters] | None:
    """The same filters for one flow, or deployment, at a time; None unless there are a few."""
    table: EntityTable = "flows" if filters.flows is not None else "deployments"
    scope = Filters(flows=filters.flows, deployments=filters.deployments)
    matching = where(table, scope, dialect, first=2)
    sql = f"SELECT {table}.id FROM {table} WHERE {matching.sql} LIMIT $1"
    ids = [UUID(row[0]) for row in await reader.fetch(sql, MERGED_MAX + 1, *matching.params)]
    if not 1 < len(ids) <= MERGED_MAX:
        return None
    if filters.flows is not None:
        return [replace(filters, flows=FlowFilter(id=Ids(any_=[id_]))) for id_ in ids]
    return [replace(filters, deployments=DeploymentFilter(id=Ids(any_=[id_]))) for id_ in ids]
