"""Pages of flow runs for people, each found by the index that gives the order."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eventstore.database import Dialect, Reader, Row, Value
from projections import dashboard, queries
from projections.columns import micros, moment
from projections.criteria import StateTypes, Text, Time
from projections.filter_compiler import where
from projections.filters import Filters, FlowFilter, FlowRunFilter, State
from projections.keyset import Asked, Place, Rank

PAGE_RUNS = 50
"""Flow runs on a page."""
LOST_IDS_MAX = 1_000
"""Flow runs about which one question asks what is lost with them."""

RunOrder: TypeAlias = Literal["START_TIME_DESC", "START_TIME_ASC", "NAME_ASC", "NAME_DESC"]
ORDERS: tuple[RunOrder, ...] = get_args(RunOrder)

# A run that has not started is ranked by when it should. One that knows neither comes last.
_STARTED = "COALESCE(flow_runs.start_time, flow_runs.expected_start_time)"
_RANKS: Mapping[RunOrder, tuple[str, bool, type[Rank]]] = {
    "START_TIME_DESC": (_STARTED, False, int),
    "START_TIME_ASC": (_STARTED, True, int),
    "NAME_ASC": ("flow_runs.name", True, str),
    "NAME_DESC": ("flow_runs.name", False, str),
}


class ListedRun(Struct, frozen=True):
    """A flow run in a list. Durations in seconds."""

    id: str
    name: str
    flow_id: str
    flow_name: str
    deployment_id: str | None
    deployment_name: str | None
    state_type: str | None
    state_name: str | None
    tags: Sequence[str]
    parameters: int
    """How many it has."""
    task_runs: int
    subflow: bool
    start: datetime | None
    """When it started, or should."""
    started: bool
    ended: datetime | None
    run_time: float
    """Without the current stretch of a run that is running."""
    running_since: datetime | None
    """When the current stretch began."""


class RunPage(Struct, frozen=True):
    """Some runs, and where the pages beside them begin, if there are any."""

    runs: Sequence[ListedRun]
    before: str | None
    after: str | None


class _Given(Struct):
    parameters: dict[str, Any] = {}


_given = msgspec.json.Decoder(_Given)

# Found by ids alone first, then read: SQLite would carry the documents through its sort.
_ROWS = """
SELECT flow_runs.id, flow_runs.name, flow_runs.flow_id, flows.name, state_type, state_name,
  flow_runs.tags, start_time, expected_start_time, end_time, total_run_time, state_timestamp,
  parent_task_run_id, flow_runs.document, {rank}, deployments.id, deployments.name
FROM flow_runs JOIN flows ON flows.id = flow_runs.flow_id
LEFT JOIN deployments ON deployments.id = flow_runs.deployment_id
WHERE flow_runs.id IN (
  SELECT flow_runs.id FROM flow_runs WHERE {matching} ORDER BY {order} LIMIT {limit}
)
ORDER BY {order}
"""


# The opposite of what `upcoming` asks for. A run without a state is none that waits.
_DUE = (
    "(flow_runs.state_type IS NULL OR flow_runs.state_type <> 'SCHEDULED' "
    "OR flow_runs.expected_start_time IS NULL OR flow_runs.expected_start_time < {moment})"
)


def upcoming(filters: Filters, now: datetime) -> Filters | None:
    """The matching runs that wait for a moment to come; None if states or moments are asked for."""
    runs = filters.flow_runs or FlowRunFilter()
    if runs.state is not None or runs.expected_start_time is not None:
        return None
    waiting = replace(
        runs,
        state=State(type=StateTypes(any_=["SCHEDULED"])),
        expected_start_time=Time(after_=now),
    )
    return replace(filters, flow_runs=waiting)


async def page(
    reader: Reader,
    dialect: Dialect,
    filters: Filters,
    order: RunOrder,
    *,
    after: str | None = None,
    before: str | None = None,
    due_by: datetime | None = None,
) -> RunPage:
    """Matching flow runs after a cursor, before one, or the first ones; with `due_by` without those
    that are `upcoming` then.

    Raises Invalid for what is no cursor of this order.
    """
    rank, ascending, kind = _RANKS[order]
    asked = Asked(ascending, after, before)
    matching = where("flow_runs", filters, dialect)
    params: list[Value] = list(matching.params)
    conditions = [matching.sql, f"{rank} IS NOT NULL"]
    conditions += asked.beyond(rank, "flow_runs.id", kind, params)
    if due_by is not None:
        params.append(micros(due_by))
        conditions.append(_DUE.format(moment=f"${len(params)}"))
    sql = _ROWS.format(
        rank=rank,
        matching=" AND ".join(conditions),
        order=asked.order(rank, "flow_runs.id"),
        limit=PAGE_RUNS + 1,
    )
    found = asked.cut(
        await reader.fetch(sql, *params), PAGE_RUNS, lambda row: Place(row[14], row[0])
    )
    counts = await dashboard.task_runs_by_flow_run(reader, [row[0] for row in found.rows], dialect)
    runs = [_listed(row, counts.get(row[0], 0)) for row in found.rows]
    return RunPage(runs, found.before, found.after)


def _listed(row: Row, task_runs: int) -> ListedRun:
    kind, started, expected = row[4], row[7], row[8]
    return ListedRun(
        id=row[0],
        name=row[1],
        flow_id=row[2],
        flow_name=row[3],
        deployment_id=row[15],
        deployment_name=row[16],
        state_type=kind,
        state_name=row[5],
        tags=msgspec.json.decode(row[6], type=list[str]),
        parameters=len(_given.decode(row[13]).parameters),
        task_runs=task_runs,
        subflow=row[12] is not None,
        start=moment(expected if started is None else started),
        started=started is not None,
        ended=moment(row[9]),
        run_time=row[10],
        running_since=moment(row[11]) if kind == "RUNNING" else None,
    )


FLOWS_NAMED_MAX = 200
"""Flows that a part of a name stands for."""


async def flows_named(reader: Reader, dialect: Dialect, text: str) -> list[UUID]:
    """Ids of the flows whose name contains a text."""
    named = Filters(flows=FlowFilter(name=Text(like_=text)))
    query = queries.page("flows", "flows.id", named, "NAME_ASC", dialect, limit=FLOWS_NAMED_MAX)
    return [UUID(row[0]) for row in await reader.fetch(query.sql, *query.params)]


class Losses(Struct, frozen=True):
    """What is there of some flow runs, and would be lost with them."""

    flow_runs: int
    task_runs: int
    log_lines: int


_FLOW_RUNS_OF = "SELECT count(*) FROM flow_runs WHERE {in_ids}"
_TASK_RUNS_OF = "SELECT count(*) FROM task_runs WHERE {in_ids}"
_LINES_OF = "SELECT count(*) FROM log_lines WHERE {in_ids}"


async def losses(reader: Reader, dialect: Dialect, ids: Sequence[str]) -> Losses:
    """What would be lost with these flow runs."""
    bound = msgspec.json.encode(ids[:LOST_IDS_MAX]).decode()
    numbers = []
    for sql, column in (
        (_FLOW_RUNS_OF, "id"),
        (_TASK_RUNS_OF, "flow_run_id"),
        (_LINES_OF, "flow_run_id"),
    ):
        ((number,),) = await reader.fetch(sql.format(in_ids=dialect.in_list(column, "$1")), bound)
        numbers.append(int(number))
    return Losses(*numbers)


class Named(Struct, frozen=True):
    """Something that can be looked up by its name or id."""

    id: str
    name: str


async def flows_found(reader: Reader, dialect: Dialect, text: str) -> list[Named]:
    """Flows whose name contains a text, up to `SEARCH_MAX`."""
    named = Filters(flows=FlowFilter(name=Text(like_=text)))
    columns = "flows.id, flows.name"
    query = queries.page("flows", columns, named, "NAME_ASC", dialect, limit=SEARCH_MAX)
    return [Named(*row) for row in await reader.fetch(query.sql, *query.params)]


SEARCH_MAX = 20
"""Hits of each kind."""

_BY_ID = {
    "flow_runs": "SELECT id, name FROM flow_runs WHERE id = $1",
    "task_runs": "SELECT id, name FROM task_runs WHERE id = $1",
    "flows": "SELECT id, name FROM flows WHERE id = $1",
    "deployments": "SELECT id, name FROM deployments WHERE id = $1",
    "work_pools": "SELECT id, name FROM work_pools WHERE id = $1",
    "work_queues": "SELECT id, name FROM work_queues WHERE id = $1",
    "variables": "SELECT id, name FROM variables WHERE id = $1",
    "block_documents": "SELECT id, name FROM block_documents WHERE id = $1",
    "concurrency_limits": "SELECT id, name FROM concurrency_limits WHERE id = $1",
}


async def with_id(reader: Reader, id: str) -> Mapping[str, Sequence[Named]]:
    """Whatever has this id, by table."""
    return {
        table: [Named(*row) for row in await reader.fetch(sql, id)] for table, sql in _BY_ID.items()
    }
