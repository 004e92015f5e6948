"""Totals of runs that have ended, by the time that they were expected or started at.

Tables: migrations/0005.run-totals.sql, migrations/0037.totals-of-days.sql

A run that has ended hardly ever changes, and ended runs are nearly all that there are. So they are
counted once, in the transaction in which they end; those still going somewhere are few, have an
index of their own and are looked at when somebody asks (`projections/run_sums.py`). A run counts in
the totals of all runs and in those of its flow and its deployment.
"""

from collections.abc import Sequence

from eventstore.database import Row, Table
from orchestration.flow_runs import FlowRun
from projections.columns import micros
from projections.criteria import ACTIVE
from projections.projection import Key, Model, Totals, rows_of

MICROSECONDS_PER_SECOND = 1_000_000
MINUTE = 60 * MICROSECONDS_PER_SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
"""Widths of buckets, in microseconds. All begin at multiples of their width since 1970."""

EVERY_RUN = ""
"""The scope of all runs; the other scopes are ids."""
WIDTHS = (HOUR, 10 * MINUTE, MINUTE)
"""Of buckets in general, widest first; each is a multiple of the next."""
EVERY_RUN_WIDTHS = (DAY, *WIDTHS)
"""Of those of all runs: what is counted over a month, or ever, would else be all its hours."""
SCOPED_WIDTHS = (HOUR,)
"""Of those of one flow or deployment. One that runs every minute would have as many buckets of a
minute as it has runs."""

BY_EXPECTED, BY_START = 0, 1
"""The axes: `expected_start_time`; and `start_time`, or the expected one if it did not start."""

DURATION_MAX = 10 * 365 * 24 * HOUR
"""Microseconds of one run that count in a sum: clients report durations and times, and a sum has to
fit a BIGINT whatever they report."""

_KEY = ("scope", "axis", "width", "at", "state_type", "state_name", "subflow", "started")
_SUMS = ("runs", "run_time", "lateness")
"""Number of runs; microseconds."""


def _table(name: str) -> Table:
    texts = ("scope", "state_type", "state_name")
    columns = (*_KEY, *_SUMS)
    return Table(
        name, {column: "text" if column in texts else "bigint" for column in columns}, _KEY
    )


FLOW_RUN_TOTALS: Model[Row] = rows_of(_table("flow_run_totals"))

_COLUMNS = (
    "expected_start_time",
    "start_time",
    "state_type",
    "state_name",
    "total_run_time",
    "parent_task_run_id",
    "flow_id",
    "deployment_id",
)


def _of(run: FlowRun) -> Row | None:
    if run.state_type in ACTIVE:
        return None
    return (
        micros(run.expected_start_time),
        micros(run.start_time),
        run.state_type,
        run.state_name,
        run.total_run_time,
        run.parent_task_run_id,
        run.flow_id,
        run.deployment_id,
    )


def parts(row: Row) -> list[tuple[Key, Sequence[int]]]:
    """What a flow run adds to the totals, from its `_COLUMNS`."""
    expected, started, kind, name, seconds, parent, flow_id, deployment_id = row
    if kind in ACTIVE:
        return []
    state = (kind or "", name or "", int(parent is not None), int(started is not None))
    late = 0 if expected is None or started is None else started - expected
    sums = (1, _run_time(seconds), max(0, min(late, DURATION_MAX)))
    axes = ((BY_EXPECTED, expected), (BY_START, expected if started is None else started))
    scopes = [(EVERY_RUN, width) for width in EVERY_RUN_WIDTHS]
    for scope in (flow_id, deployment_id):
        if scope is not None:
            scopes += [(scope, width) for width in SCOPED_WIDTHS]
    return [
        ((scope, axis, width, at - at % width, *state), sums)
        for axis, at in axes
        if at is not None
        for scope, width in scopes
    ]


def _run_time(seconds: float) -> int:
    most = DURATION_MAX / MICROSECONDS_PER_SECOND
    return round(max(-most, min(seconds, most)) * MICROSECONDS_PER_SECOND)


TOTALS_OF_FLOW_RUNS = Totals(FLOW_RUN_TOTALS.table, _COLUMNS, _of, parts)
