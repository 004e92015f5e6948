"""Runs over time: how many were expected when and what became of them, and how late they are.

Of flow runs this is answered from totals as far as they know (see `projections/run_sums.py`). What
they do not know, and everything about task runs, from the indexes on time (see
`migrations/0002.read-models.sql`), within the window that was asked for. What a run in progress has
run, and how late a waiting one is, depend on `now`, which the caller passes.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from eventstore.database import Dialect, Reader, Row
from orchestration.refusals import Invalid
from orchestration.states import TERMINAL, StateType
from projections.criteria import StateTypes, microseconds
from projections.filter_compiler import where
from projections.filters import Filters, State
from projections.run_sums import Bins, lateness_of, run_time_of, summed

BUCKETS_MAX = 500
"""Intervals of one history; a longer span is cut off there, as Prefect does."""
INTERVAL_MIN = timedelta(seconds=1)
LAST_END = datetime.max.replace(tzinfo=UTC)
"""The latest that an interval may end."""
OUTCOME_BUCKETS = 20
"""Bars of the dashboard's picture of task runs."""

RunTable = Literal["flow_runs", "task_runs"]

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS_PER_SECOND = 1_000_000


class HistoryState(Struct, frozen=True):
    """The runs of one interval that are in one state. Durations in seconds."""

    state_type: str
    state_name: str
    count_runs: int
    sum_estimated_run_time: float
    sum_estimated_lateness: float


class HistoryInterval(Struct, frozen=True):
    """The runs expected to start at or after `interval_start` and before `interval_end`."""

    interval_start: datetime
    interval_end: datetime
    states: Sequence[HistoryState]


class Outcomes(Struct, frozen=True):
    """How the task runs that began in one interval ended; `failed` counts crashed ones as well."""

    completed: int
    failed: int


_HISTORY = """
SELECT ({table}.expected_start_time - $1) / $2, {table}.state_type, {table}.state_name,
  count(*), CAST(sum({run_time}) AS BIGINT), CAST(sum({lateness}) AS BIGINT)
FROM {table}
WHERE {table}.expected_start_time >= $1 AND {table}.expected_start_time < $3
  AND {table}.state_type IS NOT NULL AND {where}
GROUP BY 1, 2, 3
"""


async def history(
    reader: Reader,
    table: RunTable,
    filters: Filters,
    dialect: Dialect,
    *,
    start: datetime,
    end: datetime,
    interval: timedelta,
    now: datetime,
) -> list[HistoryInterval]:
    """Matching runs by expected start and state; intervals without runs are there, and empty.

    The last interval is a whole one, even if it reaches beyond `end`; and there is one, even if
    `end` is not after `start`. Raises Invalid for an interval below a second, or one that reaches
    beyond the calendar.
    """
    if interval < INTERVAL_MIN:
        raise Invalid("History interval must not be less than 1 second.")
    first, width, at = microseconds(start), interval // _MICROSECOND, microseconds(now)
    number = min(BUCKETS_MAX, max(1, -((first - microseconds(end)) // width)))
    if first + number * width > microseconds(LAST_END):
        raise Invalid("The intervals of a history must not reach beyond the year 9999.")
    bins = Bins(first, width, number)
    rows: Sequence[Row] | None = None
    if table == "flow_runs":
        rows = await summed(
            reader,
            filters,
            dialect,
            ("runs", "run_time", "lateness"),
            by=("bin", "state_type", "state_name"),
            bins=bins,
            now=at,
        )
    if rows is None:
        matching = where(table, filters, dialect, first=5)
        sql = _HISTORY.format(
            table=table,
            run_time=run_time_of(table, "$4"),
            lateness=lateness_of(table, "$4"),
            where=matching.sql,
        )
        rows = await reader.fetch(sql, first, width, bins.until, at, *matching.params)
    states: list[list[HistoryState]] = [[] for _ in range(number)]
    for bucket, kind, name, count, run_time, lateness in rows:
        states[bucket].append(
            HistoryState(
                state_type=kind,
                state_name=name,
                count_runs=count,
                sum_estimated_run_time=max(0, run_time) / _MICROSECONDS_PER_SECOND,
                sum_estimated_lateness=lateness / _MICROSECONDS_PER_SECOND,
            )
        )
    return [
        HistoryInterval(
            interval_start=_time(first + i * width),
            interval_end=_time(first + (i + 1) * width),
            states=sorted(found, key=lambda state: (state.state_type, state.state_name)),
        )
        for i, found in enumerate(states)
    ]


_LATENESS = """
SELECT count(*), CAST(coalesce(sum({lateness}), 0) AS BIGINT) FROM flow_runs WHERE {where}
"""


async def mean_lateness(
    reader: Reader, filters: Filters, dialect: Dialect, *, now: datetime
) -> float | None:
    """Seconds that matching flow runs started late, or are late by now; None without any run."""
    at = microseconds(now)
    rows = await summed(reader, filters, dialect, ("runs", "lateness"), now=at)
    if rows is None:
        matching = where("flow_runs", filters, dialect, first=2)
        sql = _LATENESS.format(lateness=lateness_of("flow_runs", "$1"), where=matching.sql)
        rows = await reader.fetch(sql, at, *matching.params)
    ((count, total),) = rows
    return int(total) / int(count) / _MICROSECONDS_PER_SECOND if count else None


_OUTCOMES = """
SELECT (task_runs.start_time - $1) * $2 / $3,
  sum(CASE WHEN task_runs.state_type IN ('CRASHED', 'FAILED') THEN 1 ELSE 0 END), count(*)
FROM task_runs
WHERE task_runs.start_time >= $1 AND {where}
GROUP BY 1
"""


async def outcomes(
    reader: Reader, filters: Filters, dialect: Dialect, *, now: datetime
) -> list[Outcomes]:
    """Ended task runs by start, in as many intervals as the dashboard has bars.

    The window reaches from the minute of `task_runs.start_time.after_` to the end of the minute of
    `before_`, or of now. A state in the filter is overruled. Raises Invalid without `after_`.
    """
    asked = filters.task_runs
    if asked is None or asked.start_time is None or asked.start_time.after_ is None:
        raise Invalid("task_runs.start_time.after_ is required")
    ended: list[StateType] = sorted(TERMINAL)
    task_runs = replace(asked, state=State(type=StateTypes(any_=ended)))
    first = _minute(asked.start_time.after_)
    last = _minute(asked.start_time.before_ or now) + 60 * _MICROSECONDS_PER_SECOND - 1
    matching = where("task_runs", replace(filters, task_runs=task_runs), dialect, first=4)
    rows = await reader.fetch(
        _OUTCOMES.format(where=matching.sql),
        first,
        OUTCOME_BUCKETS,
        max(1, last - first),
        *matching.params,
    )
    failed, ended_runs = [0] * OUTCOME_BUCKETS, [0] * OUTCOME_BUCKETS
    for bucket, failures, count in rows:
        # A client whose clock is ahead may have started a run after the window.
        at = min(bucket, OUTCOME_BUCKETS - 1)
        failed[at] += failures
        ended_runs[at] += count
    return [
        Outcomes(completed=count - failures, failed=failures)
        for count, failures in zip(ended_runs, failed, strict=True)
    ]


def _minute(time: datetime) -> int:
    return microseconds(time.replace(second=0, microsecond=0))


def _time(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)
