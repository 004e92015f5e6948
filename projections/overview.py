"""What is going on: flow runs over time by state, what is late, what runs and when it may end.

Counts over a window come from totals (`projections/run_sums.py`); a filter that totals do not know,
tags, has the newest runs of the window read instead, so many and no more.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median

import msgspec
from msgspec import Struct

from eventstore.codec import from_microseconds, to_microseconds
from eventstore.database import Dialect, Reader
from orchestration.states import CANCELLING, LATE, PENDING, RUNNING, SCHEDULED, StateType
from projections import queries
from projections.criteria import StateTypes, Text
from projections.filter_compiler import where
from projections.filters import Filters, FlowRunFilter, State
from projections.run_sums import Bins, summed

SCANNED_MAX = 20_000
"""Runs of a window that are looked at one by one, the newest ones."""
LATE_MAX = 2_000
"""Late runs that are grouped by flow, those due first."""
LATE_FLOWS_SHOWN = 6
RUNNING_SHOWN = 10
NEXT_SHOWN = 8
"""Runs that wait for their time, late ones among them."""
NEXT_LATE_SHOWN = 3
PAST_RUNS = 40
"""Newest runs of a flow that tell how long it takes."""

LATE_KIND = "LATE"
"""What a late run counts as: to the eye a state of its own."""


class Counts(Struct, frozen=True):
    """Runs of each interval by state type, late ones apart."""

    intervals: Sequence[Mapping[str, int]]
    scanned_since: datetime | None
    """Older runs were not looked at; None if all of the window is counted."""

    @property
    def by_kind(self) -> Mapping[str, Sequence[int]]:
        """The runs of each kind that there is, interval by interval."""
        kinds = {kind for one in self.intervals for kind in one}
        return {kind: [one.get(kind, 0) for one in self.intervals] for kind in kinds}

    @property
    def most(self) -> int:
        """Runs of the interval that has most."""
        return max((sum(one.values()) for one in self.intervals), default=0)

    @property
    def runs(self) -> int:
        """All of them."""
        return sum(sum(one.values()) for one in self.intervals)


class LateFlow(Struct, frozen=True):
    """Runs of one flow that should have started."""

    flow_id: str
    flow_name: str
    runs: int
    due: datetime
    """When the first of them should have."""


class RunningRun(Struct, frozen=True):
    """A run that is running. Durations in seconds."""

    id: str
    name: str
    flow_id: str
    flow_name: str
    state_type: str
    state_name: str
    since: datetime
    """When the current stretch began."""
    run_time: float
    """Before that."""
    started: datetime | None
    usual: float | None
    """What completed runs of this flow took, the median of the last ones; None without any."""
    ends: datetime | None
    """When it is done if it takes as long."""
    tasks: int
    tasks_ended: int
    tasks_failed: int


class NextRun(Struct, frozen=True):
    """A run that waits for its time, or for somebody to start it."""

    id: str
    name: str
    flow_id: str
    flow_name: str
    state_name: str
    pool_name: str | None
    due: datetime


_AT = "COALESCE(flow_runs.start_time, flow_runs.expected_start_time)"
_SCANNED = (
    "id, flow_id, deployment_id, tags, state_type, state_name, parent_task_run_id, "
    "start_time, expected_start_time"
)
_SCAN = f"""
SELECT ({_AT} - $1) / $2, flow_runs.state_type, flow_runs.state_name, count(*) FROM (
  SELECT {_SCANNED} FROM flow_runs WHERE {_AT} >= $1 AND {_AT} < $3
  ORDER BY {_AT} DESC LIMIT {{most}}
) AS flow_runs
WHERE flow_runs.state_type IS NOT NULL AND {{matching}} GROUP BY 1, 2, 3
"""
_OLDEST_SCANNED = f"""
SELECT {_AT} FROM flow_runs WHERE {_AT} >= $1 AND {_AT} < $2
ORDER BY {_AT} DESC LIMIT 1 OFFSET $3
"""


async def counts(reader: Reader, dialect: Dialect, filters: Filters, bins: Bins) -> Counts:
    """Runs that started, or should have, in each interval; `bins` are by start."""
    rows = await summed(
        reader, filters, dialect, ("runs",), by=("bin", "state_type", "state_name"), bins=bins
    )
    since = None
    if rows is None:
        matching = where("flow_runs", filters, dialect, first=4)
        window = (bins.first, bins.width, bins.until)
        sql = _SCAN.format(matching=matching.sql, most=SCANNED_MAX)
        rows = await reader.fetch(sql, *window, *matching.params)
        oldest = await reader.fetch(_OLDEST_SCANNED, bins.first, bins.until, SCANNED_MAX - 1)
        since = from_microseconds(oldest[0][0]) if oldest else None
    intervals: list[dict[str, int]] = [{} for _ in range(bins.number)]
    for at, kind, name, runs in rows:
        known = LATE_KIND if kind == SCHEDULED and name == LATE else kind
        intervals[at][known] = intervals[at].get(known, 0) + int(runs)
    return Counts(intervals, since)


def _in_state(filters: Filters, types: Sequence[StateType], name: str | None = None) -> Filters:
    own = filters.flow_runs or FlowRunFilter()
    state = State(
        type=StateTypes(any_=list(types)), name=None if name is None else Text(any_=[name])
    )
    return msgspec.structs.replace(filters, flow_runs=msgspec.structs.replace(own, state=state))


_LATE = """
SELECT late.flow_id, flows.name, count(*), min(late.expected_start_time) FROM (
  SELECT flow_id, expected_start_time FROM flow_runs
  WHERE {matching} AND expected_start_time IS NOT NULL
  ORDER BY expected_start_time LIMIT {most}
) AS late JOIN flows ON flows.id = late.flow_id
GROUP BY late.flow_id, flows.name ORDER BY min(late.expected_start_time), late.flow_id
"""


async def late(reader: Reader, dialect: Dialect, filters: Filters) -> list[LateFlow]:
    """What should have started, by flow, the longest overdue first, whenever that was."""
    matching = where("flow_runs", _in_state(filters, [SCHEDULED], LATE), dialect)
    sql = _LATE.format(matching=matching.sql, most=LATE_MAX)
    return [
        LateFlow(flow_id, name, int(runs), from_microseconds(due))
        for flow_id, name, runs, due in await reader.fetch(sql, *matching.params)
    ]


_RUNNING = """
SELECT flow_runs.id, flow_runs.name, flow_runs.flow_id, flows.name, state_type, state_name,
  state_timestamp, total_run_time, start_time
FROM flow_runs JOIN flows ON flows.id = flow_runs.flow_id
WHERE flow_runs.id IN (
  SELECT flow_runs.id FROM flow_runs WHERE {matching}
  ORDER BY flow_runs.expected_start_time, flow_runs.id LIMIT {most}
)
ORDER BY flow_runs.expected_start_time, flow_runs.id
"""


async def running(
    reader: Reader, dialect: Dialect, filters: Filters
) -> tuple[Sequence[RunningRun], int]:
    """What runs now, the oldest first, some of it; and how many run in all."""
    now_running = _in_state(filters, [RUNNING, CANCELLING])
    matching = where("flow_runs", now_running, dialect)
    sql = _RUNNING.format(matching=matching.sql, most=RUNNING_SHOWN)
    rows = await reader.fetch(sql, *matching.params)
    in_all = len(rows)
    if in_all == RUNNING_SHOWN:
        in_all = await queries.count(reader, "flow_runs", now_running, dialect)
    usual = {flow_id: await usual_seconds(reader, flow_id) for flow_id in {row[2] for row in rows}}
    tasks = await _tasks(reader, dialect, [row[0] for row in rows])
    found = []
    for id_, name, flow_id, flow_name, kind, state_name, since, before, started in rows:
        begun, seconds = from_microseconds(since), usual[flow_id]
        left = None if seconds is None else timedelta(seconds=max(0.0, seconds - before))
        numbers = tasks.get(id_, {})
        ended = {kind: n for kind, n in numbers.items() if kind not in (None, RUNNING, PENDING)}
        found.append(
            RunningRun(
                id=id_,
                name=name,
                flow_id=flow_id,
                flow_name=flow_name,
                state_type=kind,
                state_name=state_name,
                since=begun,
                run_time=before,
                started=None if started is None else from_microseconds(started),
                usual=seconds,
                ends=None if left is None or kind != RUNNING else begun + left,
                tasks=sum(numbers.values()),
                tasks_ended=sum(ended.values()) - ended.get(SCHEDULED, 0),
                tasks_failed=ended.get("FAILED", 0) + ended.get("CRASHED", 0),
            )
        )
    return found, in_all


_PAST = f"""
SELECT total_run_time FROM (
  SELECT total_run_time, state_type FROM flow_runs WHERE flow_id = $1 AND {_AT} IS NOT NULL
  ORDER BY {_AT} DESC LIMIT {PAST_RUNS}
) AS newest WHERE state_type = 'COMPLETED'
"""


async def usual_seconds(reader: Reader, flow_id: str) -> float | None:
    """How long a flow takes: the median of those of its newest runs that completed."""
    took = [row[0] for row in await reader.fetch(_PAST, flow_id)]
    return median(took) if took else None


_TASKS = """
SELECT flow_run_id, state_type, count(*) FROM task_runs WHERE {in_runs}
GROUP BY flow_run_id, state_type
"""


async def _tasks(
    reader: Reader, dialect: Dialect, ids: Sequence[str]
) -> Mapping[str, Mapping[str | None, int]]:
    """Task runs of some flow runs, by state."""
    found: dict[str, dict[str | None, int]] = {}
    if ids:
        sql = _TASKS.format(in_runs=dialect.in_list("flow_run_id", "$1"))
        for run, kind, number in await reader.fetch(sql, msgspec.json.encode(ids).decode()):
            found.setdefault(run, {})[kind] = int(number)
    return found


_NEXT = """
SELECT flow_runs.id, flow_runs.name, flow_runs.flow_id, flows.name, state_name,
  work_pools.name, next_scheduled_start_time
FROM flow_runs JOIN flows ON flows.id = flow_runs.flow_id
LEFT JOIN work_queues ON work_queues.id = flow_runs.work_queue_id
LEFT JOIN work_pools ON work_pools.id = work_queues.work_pool_id
WHERE flow_runs.id IN (
  SELECT flow_runs.id FROM flow_runs WHERE state_type = 'SCHEDULED' AND {which} AND {matching}
  ORDER BY next_scheduled_start_time LIMIT {most}
)
ORDER BY next_scheduled_start_time, flow_runs.id
"""


# Late ones are looked for among what is due, not among all that is scheduled.
_IS_LATE = "state_name = 'Late' AND next_scheduled_start_time <= $1"
_IS_NOT_LATE = "state_name <> 'Late' AND next_scheduled_start_time > $1"
_BEGINNING = -1
"""Before everything that is scheduled, in microseconds."""


async def upcoming(
    reader: Reader, dialect: Dialect, filters: Filters, now: datetime
) -> list[NextRun]:
    """The next runs that wait for their time; some that are late stand in front of them."""
    matching = where("flow_runs", filters, dialect, first=2)
    found: list[NextRun] = []
    for which, moment, most in (
        (_IS_LATE, to_microseconds(now), NEXT_LATE_SHOWN),
        (_IS_NOT_LATE, _BEGINNING, NEXT_SHOWN),
    ):
        sql = _NEXT.format(which=which, matching=matching.sql, most=most)
        rows = await reader.fetch(sql, moment, *matching.params)
        found += [
            NextRun(id_, name, flow_id, flow_name, state_name, pool, from_microseconds(due))
            for id_, name, flow_id, flow_name, state_name, pool, due in rows
        ]
    return found[:NEXT_SHOWN]


_ANY = "SELECT 1 FROM flow_runs LIMIT 1"


async def any_runs(reader: Reader) -> bool:
    """Whether there ever was a flow run that is still there."""
    return bool(await reader.fetch(_ANY))
