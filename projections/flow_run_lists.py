"""What a flow run consists of, as lists for people: its task runs in pages, its subflow runs, the
last lines that it printed, its artifacts.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypeAlias, get_args

import msgspec
from msgspec import Struct

from eventstore.database import Dialect, Reader, Row, Value
from orchestration.states import StateType
from projections.columns import moment
from projections.keyset import Asked, Place, Rank

PAGE_TASK_RUNS = 50
"""Task runs on a page."""
SUBFLOWS_MAX = 500

TaskOrder: TypeAlias = Literal["START_DESC", "START_ASC", "NAME_ASC", "DURATION_DESC"]
ORDERS: tuple[TaskOrder, ...] = get_args(TaskOrder)

_STARTED = "COALESCE(task_runs.start_time, task_runs.expected_start_time, 0)"
_RANKS: dict[TaskOrder, tuple[str, bool, type[Rank]]] = {
    "START_DESC": (_STARTED, False, int),
    "START_ASC": (_STARTED, True, int),
    "NAME_ASC": ("task_runs.name", True, str),
    "DURATION_DESC": ("task_runs.total_run_time", False, float),
}


class ListedTask(Struct, frozen=True):
    """A task run in a list. Durations in seconds."""

    id: str
    name: str
    state_type: str | None
    state_name: str | None
    start: datetime | None
    """When it started, or should."""
    started: bool
    ended: datetime | None
    run_time: float
    """Without the current stretch of one that is running."""
    running_since: datetime | None
    attempts: int
    tags: Sequence[str]
    message: str | None
    """Of its state."""


class TaskPage(Struct, frozen=True):
    """Some task runs, and where the pages beside them begin, if there are any."""

    tasks: Sequence[ListedTask]
    before: str | None
    after: str | None
    total: int
    """How many match."""


class _Message(Struct, frozen=True):
    message: str | None = None


class _Stated(Struct, frozen=True):
    state: _Message | None = None


_stated = msgspec.json.Decoder(_Stated)

# Task runs of one flow run are sorted without an index in their order: ten thousand take 20 ms. The
# documents are read for the page alone.
_TASKS = """
SELECT task_runs.id, task_runs.name, state_type, state_name, start_time, expected_start_time,
  end_time, total_run_time, state_timestamp, run_count, tags, document, {rank}
FROM task_runs WHERE task_runs.id IN (
  SELECT task_runs.id FROM task_runs WHERE {matching} ORDER BY {order} LIMIT {limit}
)
ORDER BY {order}
"""
_IS_TASK = (
    "task_runs.flow_run_id = $1 AND NOT EXISTS "
    "(SELECT 1 FROM flow_runs AS sub WHERE sub.parent_task_run_id = task_runs.id)"
)


async def task_runs(
    reader: Reader,
    dialect: Dialect,
    flow_run_id: str,
    order: TaskOrder,
    *,
    states: Sequence[StateType] = (),
    text: str = "",
    after: str | None = None,
    before: str | None = None,
) -> TaskPage:
    """A page of a flow run's task runs, without those that stand for subflows.

    Raises Invalid for what is no cursor of this order.
    """
    rank, ascending, kind = _RANKS[order]
    asked = Asked(ascending, after, before)
    params: list[Value] = [flow_run_id]
    conditions = [_IS_TASK]
    if states:
        params.append(msgspec.json.encode(states).decode())
        conditions.append(dialect.in_list("task_runs.state_type", f"${len(params)}"))
    if text:
        plain = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        params.append(f"%{plain}%")
        conditions.append(dialect.ilike("task_runs.name", f"${len(params)}"))
    count = f"SELECT count(*) FROM task_runs WHERE {' AND '.join(conditions)}"
    ((total,),) = await reader.fetch(count, *params)
    conditions += asked.beyond(rank, "task_runs.id", kind, params)
    sql = _TASKS.format(
        rank=rank,
        matching=" AND ".join(conditions),
        order=asked.order(rank, "task_runs.id"),
        limit=PAGE_TASK_RUNS + 1,
    )
    rows = await reader.fetch(sql, *params)
    found = asked.cut(rows, PAGE_TASK_RUNS, lambda row: Place(row[12], row[0]))
    return TaskPage([_listed(row) for row in found.rows], found.before, found.after, int(total))


def _listed(row: Row) -> ListedTask:
    started, expected, state = row[4], row[5], _stated.decode(row[11]).state
    return ListedTask(
        id=row[0],
        name=row[1],
        state_type=row[2],
        state_name=row[3],
        start=moment(expected if started is None else started),
        started=started is not None,
        ended=moment(row[6]),
        run_time=row[7],
        running_since=moment(row[8]) if row[2] == "RUNNING" else None,
        attempts=row[9],
        tags=msgspec.json.decode(row[10], type=list[str]),
        message=None if state is None else state.message,
    )


class Subflow(Struct, frozen=True):
    """A flow run that a flow run started. Durations in seconds."""

    id: str
    name: str
    flow_id: str
    flow_name: str
    state_type: str | None
    state_name: str | None
    start: datetime | None
    started: bool
    run_time: float
    running_since: datetime | None


_SUBFLOWS = """
SELECT sub.id, sub.name, sub.flow_id, flows.name, sub.state_type, sub.state_name, sub.start_time,
  sub.expected_start_time, sub.total_run_time, sub.state_timestamp
FROM task_runs
JOIN flow_runs AS sub ON sub.parent_task_run_id = task_runs.id
JOIN flows ON flows.id = sub.flow_id
WHERE task_runs.flow_run_id = $1
ORDER BY COALESCE(sub.start_time, sub.expected_start_time), sub.id LIMIT $2
"""


async def subflows(reader: Reader, flow_run_id: str) -> Sequence[Subflow]:
    """The subflow runs of a flow run in the order of their start."""
    return [
        Subflow(
            id=row[0],
            name=row[1],
            flow_id=row[2],
            flow_name=row[3],
            state_type=row[4],
            state_name=row[5],
            start=moment(row[7] if row[6] is None else row[6]),
            started=row[6] is not None,
            run_time=row[8],
            running_since=moment(row[9]) if row[4] == "RUNNING" else None,
        )
        for row in await reader.fetch(_SUBFLOWS, flow_run_id, SUBFLOWS_MAX)
    ]
