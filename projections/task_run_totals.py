"""Totals of task runs that have ended, by the time that they started, or should have.

Tables: migrations/0010.dashboard.sql

Kept like those of flow runs (`projections/run_totals.py`), but fewer: task runs are the most
written rows, and what is asked of them over a window is how many there were and how they ended.
They come in bursts, of which one batch writes one row per bucket and state.
"""

from collections.abc import Sequence

from eventstore.database import Reader, Row, Table
from orchestration.task_runs import TaskRun
from projections.bucket_places import places
from projections.columns import micros
from projections.criteria import ACTIVE
from projections.projection import Key, Model, Totals, rows_of
from projections.run_sums import Bins
from projections.run_totals import WIDTHS

TASK_RUN_TOTALS: Model[Row] = rows_of(
    Table(
        "task_run_totals",
        {"width": "bigint", "at": "bigint", "state_type": "text", "runs": "bigint"},
        ("width", "at", "state_type"),
    )
)

_COLUMNS = ("start_time", "expected_start_time", "state_type")


def _of(run: TaskRun) -> Row | None:
    if run.state_type is None or run.state_type in ACTIVE:
        return None
    return (micros(run.start_time), micros(run.expected_start_time), run.state_type)


def parts(row: Row) -> list[tuple[Key, Sequence[int]]]:
    """What a task run adds to the totals, from its `_COLUMNS`."""
    started, expected, kind = row
    at = expected if started is None else started
    if at is None or kind is None or kind in ACTIVE:
        return []
    return [((width, at - at % width, kind), (1,)) for width in WIDTHS]


TOTALS_OF_TASK_RUNS = Totals(TASK_RUN_TOTALS.table, _COLUMNS, _of, parts)


# A bucket that reaches into the next interval is left out: the narrower ones in it are read.
_ENDED = """
SELECT (at - $1) / $2, state_type, CAST(sum(runs) AS BIGINT) FROM task_run_totals
WHERE width = {width} AND at >= $3 AND at < $4 AND (at - $1) / $2 = (at + {width} - 1 - $1) / $2
GROUP BY 1, 2
"""


async def ended(reader: Reader, bins: Bins) -> list[tuple[int, str, int]]:
    """How many task runs that began in each interval ended in which state: number of the interval,
    type of state, runs. Intervals begin and end with minutes. Raises ValueError otherwise."""
    narrowest = WIDTHS[-1]
    if bins.first % narrowest or bins.width % narrowest:
        raise ValueError("intervals of task run totals begin and end with minutes")
    found: dict[tuple[int, str], int] = {}
    seams = bins.between(bins.first, bins.until)
    for width, ranges in places(bins.first, bins.until, seams, WIDTHS).buckets:
        for first, until in ranges:
            sql = _ENDED.format(width=width)
            for at, kind, runs in await reader.fetch(sql, bins.first, bins.width, first, until):
                found[at, kind] = found.get((at, kind), 0) + int(runs)
    return [(at, kind, runs) for (at, kind), runs in sorted(found.items())]
