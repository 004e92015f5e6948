"""Pages of task runs for people, over all flow runs, in the order in which they were expected to
start, which an index gives.

There are many more task runs than anything else, and only their states, times and names are in an
index. So a page looks through a bounded number of them, and says where it stopped; through many for
a part of their name, for which no row has to be read, and through fewer for anything else.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eventstore.codec import from_microseconds
from eventstore.database import Dialect, Reader, Row, Value
from projections import queries
from projections.criteria import Ids, StateTypes, Tags, Text, Time
from projections.filter_compiler import where
from projections.filters import (
    Filters,
    FlowFilter,
    FlowRunFilter,
    FlowRunOfTask,
    State,
    TaskRunFilter,
)
from projections.keyset import Asked, Place
from projections.where import FALSE, TRUE

PAGE_TASK_RUNS = 50
"""Task runs on a page."""
LOOKED_THROUGH_MAX = 25_000
"""Task runs among which one page looks for those that match."""
NAMES_LOOKED_THROUGH_MAX = 250_000
"""The same, where only a part of their name is asked for."""
_BEHIND_IDS = "g"
"""Sorted behind every id: these are hexadecimal."""
COUNTED_MAX = 10_000
"""Beyond this number it is said that there are more."""
FLOW_RUNS_MAX = 200
"""Flow runs of one name whose task runs are looked for."""

Order: TypeAlias = Literal["NEWEST", "OLDEST"]


class Wanted(Struct, frozen=True):
    """Which task runs. Empty fields want nothing in particular."""

    states: Sequence[str] = ()
    names: Sequence[str] = ()
    """Of states."""
    text: str = ""
    """A part of their name."""
    tags: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    flows: Sequence[UUID] | None = None
    flow_runs: Sequence[UUID] | None = None

    @property
    def anything(self) -> bool:
        """Whether anything is left out."""
        narrowed = self.states or self.names or self.text or self.tags or self.since or self.until
        return bool(narrowed) or self.flows is not None or self.flow_runs is not None


class ListedTaskRun(Struct, frozen=True):
    """A task run in a list. Durations in seconds."""

    id: str
    name: str
    flow_run_id: str | None
    flow_run_name: str | None
    flow_id: str | None
    flow_name: str | None
    state_type: str | None
    state_name: str | None
    tags: Sequence[str]
    start: datetime | None
    """When it started, or should."""
    started: bool
    run_time: float
    """Without the current stretch of a run that is running."""
    running_since: datetime | None
    run_count: int


class TaskRunPage(Struct, frozen=True):
    """Some task runs, and where the pages beside them begin, if there are any."""

    runs: Sequence[ListedTaskRun]
    before: str | None
    after: str | None
    looked_until: datetime | None
    """Where looking through them ended without a full page; `after` goes on from there."""


_RANK = "task_runs.expected_start_time"
# What filters may ask of a task run, without its document: it would be carried along.
_NARROW = (
    "id, name, tags, flow_run_id, state_type, state_name, start_time, end_time, "
    "expected_start_time, subflow_run_id"
)
# All of it is in the index that gives the order.
_NAMES = "id, name, expected_start_time"
_FOUND = """
SELECT task_runs.id FROM (
  SELECT {narrow} FROM task_runs WHERE {inside} ORDER BY {order}{bound}
) AS task_runs
WHERE {outside} ORDER BY {order} LIMIT {limit}
"""
_ROWS = """
SELECT task_runs.id, task_runs.name, task_runs.flow_run_id, flow_runs.name, flows.id, flows.name,
  task_runs.state_type, task_runs.state_name, task_runs.tags, task_runs.start_time,
  task_runs.expected_start_time, task_runs.total_run_time, task_runs.state_timestamp,
  task_runs.run_count
FROM task_runs
LEFT JOIN flow_runs ON flow_runs.id = task_runs.flow_run_id
LEFT JOIN flows ON flows.id = flow_runs.flow_id
WHERE task_runs.id IN ({found}) ORDER BY {order}
"""
# Where looking for names ends is found first, from the index alone: with a bound within the
# statement SQLite would sort all of them even if the first ones match.
_NAME_EDGE = """
SELECT expected_start_time FROM task_runs WHERE {inside}
ORDER BY expected_start_time {way} LIMIT 1 OFFSET {offset}
"""
_EDGE = """
WITH looked_at AS (
  SELECT task_runs.expected_start_time, task_runs.id FROM task_runs
  WHERE {inside} ORDER BY {order} LIMIT {bound}
)
SELECT expected_start_time, id, (SELECT count(*) FROM looked_at) FROM looked_at
ORDER BY expected_start_time {back}, id {back} LIMIT 1
"""


class _Found(Struct, frozen=True):
    """The parts of the statements of one page."""

    inside: str
    """Answered by an index."""
    outside: str
    bounded: bool
    """A bounded number is looked through."""
    by_name: bool
    """It takes nothing but an index to look."""
    asked: Asked
    params: Sequence[Value]
    indexed: int
    """How many of them are the first part's."""

    @property
    def order(self) -> str:
        """After ORDER BY."""
        return self.asked.order(_RANK, "task_runs.id")

    @property
    def ids(self) -> str:
        """Finds one row more than a page has."""
        return _FOUND.format(
            narrow=_NAMES if self.by_name else _NARROW,
            inside=self.inside,
            outside=self.outside,
            order=self.order,
            bound=f" LIMIT {LOOKED_THROUGH_MAX}" if self.bounded and not self.by_name else "",
            limit=PAGE_TASK_RUNS + 1,
        )

    @property
    def edge(self) -> str:
        """Finds the last row that is looked at, and how many are."""
        return _EDGE.format(
            inside=self.inside,
            order=self.order,
            bound=LOOKED_THROUGH_MAX,
            back="DESC" if self.asked.upward else "ASC",
        )

    @property
    def name_edge(self) -> str:
        """Finds the moment up to which names are looked through, if it is not the end."""
        return _NAME_EDGE.format(
            inside=self.inside,
            way="ASC" if self.asked.upward else "DESC",
            offset=NAMES_LOOKED_THROUGH_MAX - 1,
        )

    def until(self, moment: int) -> "_Found":
        """The same, but no further than a moment in microseconds."""
        bound = f"{_RANK} {'<=' if self.asked.upward else '>='} {moment:d}"
        return replace(self, inside=f"{self.inside} AND {bound}")


def _filters(wanted: Wanted) -> tuple[TaskRunFilter, Filters]:
    """What an index answers, and the rest."""
    state = None
    if wanted.states or wanted.names:
        state = State(
            type=StateTypes(any_=list(wanted.states)) if wanted.states else None,  # type: ignore[arg-type]
            name=Text(any_=list(wanted.names)) if wanted.names else None,
            operator="or_",
        )
    timed = wanted.since or wanted.until
    of = FlowRunOfTask(any_=list(wanted.flow_runs)) if wanted.flow_runs is not None else None
    inside = TaskRunFilter(
        state=state,
        expected_start_time=Time(before_=wanted.until, after_=wanted.since) if timed else None,
        flow_run_id=of,
    )
    outside = TaskRunFilter(
        name=Text(like_=wanted.text) if wanted.text else None,
        tags=Tags(all_=list(wanted.tags)) if wanted.tags else None,
    )
    flows = None if wanted.flows is None else FlowFilter(id=Ids(any_=list(wanted.flows)))
    return inside, Filters(task_runs=outside if outside != TaskRunFilter() else None, flows=flows)


def statement(dialect: Dialect, wanted: Wanted, asked: Asked) -> tuple[str, Sequence[Value]]:
    """The query that finds a page's ids."""
    found = _found(dialect, wanted, asked)
    return found.ids, found.params


def _found(dialect: Dialect, wanted: Wanted, asked: Asked) -> _Found:
    inside, outside = _filters(wanted)
    indexed = where("task_runs", Filters(task_runs=inside), dialect)
    params: list[Value] = list(indexed.params)
    conditions = [indexed.sql, f"{_RANK} IS NOT NULL"]
    conditions += asked.beyond(_RANK, "task_runs.id", int, params)
    rest = where("task_runs", outside, dialect, first=len(params) + 1)
    bounded = rest.sql not in (TRUE, FALSE) and wanted.flow_runs is None
    return _Found(
        inside=" AND ".join(conditions),
        outside=rest.sql,
        bounded=bounded,
        by_name=bounded and not wanted.tags and wanted.flows is None,
        asked=asked,
        params=(*params, *rest.params),
        indexed=len(params),
    )


async def page(
    reader: Reader,
    dialect: Dialect,
    wanted: Wanted,
    order: Order = "NEWEST",
    *,
    after: str | None = None,
    before: str | None = None,
) -> TaskRunPage:
    """Matching task runs after a cursor, before one, or the first ones.

    Raises Invalid for what is no cursor.
    """
    asked = Asked(order == "OLDEST", after, before)
    found = _found(dialect, wanted, asked)
    edge = None
    if found.by_name:
        ranks = await reader.fetch(found.name_edge, *found.params[: found.indexed])
        if ranks:
            # All that begin at that moment are looked at, and the next page begins beyond them.
            edge = Place(ranks[0][0], _BEHIND_IDS if asked.upward else "")
            found = found.until(ranks[0][0])
    rows = await reader.fetch(_ROWS.format(found=found.ids, order=found.order), *found.params)
    if len(rows) > PAGE_TASK_RUNS:
        edge = None
    elif found.bounded and not found.by_name:
        edges = await reader.fetch(found.edge, *found.params[: found.indexed])
        if edges and edges[0][2] >= LOOKED_THROUGH_MAX:
            edge = Place(*edges[0][:2])
    cut = asked.cut(rows, PAGE_TASK_RUNS, lambda row: Place(row[10], row[0]))
    runs = [_listed(row) for row in cut.rows]
    if edge is None:
        return TaskRunPage(runs, cut.before, cut.after or before, None)
    until = from_microseconds(int(edge.rank))
    if asked.backward:
        return TaskRunPage(runs, edge.cursor, cut.after or before, until)
    return TaskRunPage(runs, cut.before, edge.cursor, until)


def _listed(row: Row) -> ListedTaskRun:
    kind, started, expected, since = row[6], row[9], row[10], row[12]
    return ListedTaskRun(
        id=row[0],
        name=row[1],
        flow_run_id=row[2],
        flow_run_name=row[3],
        flow_id=row[4],
        flow_name=row[5],
        state_type=kind,
        state_name=row[7],
        tags=msgspec.json.decode(row[8], type=list[str]),
        start=from_microseconds(expected if started is None else started),
        started=started is not None,
        run_time=row[11],
        running_since=None if kind != "RUNNING" or since is None else from_microseconds(since),
        run_count=row[13],
    )


_COUNT = "SELECT count(*) FROM (SELECT 1 FROM task_runs WHERE {inside} LIMIT {most}) AS counted"


async def count(reader: Reader, dialect: Dialect, wanted: Wanted) -> int | None:
    """How many match, COUNTED_MAX + 1 for more than that; None if an index does not tell."""
    found = _found(dialect, wanted, Asked(ascending=False))
    if found.outside != TRUE:
        return None
    sql = _COUNT.format(inside=found.inside, most=COUNTED_MAX + 1)
    ((number,),) = await reader.fetch(sql, *found.params)
    return int(number)


async def flow_runs_named(reader: Reader, dialect: Dialect, text: str) -> Sequence[UUID]:
    """The newest flow runs whose name contains the text, or the one that has it for an id."""
    try:
        return [UUID(text)]
    except ValueError:
        named = Filters(flow_runs=FlowRunFilter(name=Text(like_=text)))
    query = queries.page(
        "flow_runs", "flow_runs.id", named, "START_TIME_DESC", dialect, limit=FLOW_RUNS_MAX
    )
    return [UUID(row[0]) for row in await reader.fetch(query.sql, *query.params)]
