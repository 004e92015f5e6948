"""Flow runs and task runs as the API shows them: the stored document and two estimates.

How long a run has been running and how late it is depend on now, so they are not stored; they are
put in front of the document when it is read.
"""

from datetime import datetime

from eventstore.codec import from_microseconds
from eventstore.database import Row, Table
from orchestration.run_clock import NO_TIME, estimated_run_time, estimated_start_time_delta
from orchestration.states import TERMINAL

MICROSECONDS_PER_SECOND = 1_000_000
SHOWN = "document, state_type, state_timestamp, total_run_time, expected_start_time, start_time"
"""Columns from which a run is shown, in either table."""


def shown_columns(table: Table) -> Table:
    """`table` seen through the columns of `SHOWN`, and its key: a run is read from these alone.

    A third of the time of reading a whole row (12 µs to 4 µs on SQLite).
    """
    names = (*SHOWN.split(", "), *table.key)
    return Table(table.name, {name: table.columns[name] for name in names}, table.key)


def shown_places(table: Table) -> tuple[int, ...]:
    """Where the columns of `SHOWN` are in a whole row of `table`."""
    at = list(table.columns)
    return tuple(at.index(name) for name in SHOWN.split(", "))


def shown(row: Row, now: datetime) -> str:
    """A run as the API answers with it, from the columns of `SHOWN`. Estimates are in seconds."""
    text, state_type, state_timestamp, total_run_time, expected, started = row
    if state_type in TERMINAL and expected is not None and started is not None:
        # Most runs of a list, and of them nothing depends on now: 2 µs, the other way takes 5.
        late = max(NO_TIME, (started - expected) / MICROSECONDS_PER_SECOND)
        return (
            f'{{"estimated_run_time":{total_run_time!r},"estimated_start_time_delta":{late!r},'
            f"{text[1:]}"
        )
    ran = estimated_run_time(state_type, _time(state_timestamp), total_run_time, now)
    late = estimated_start_time_delta(state_type, _time(expected), _time(started), now)
    return f'{{"estimated_run_time":{ran!r},"estimated_start_time_delta":{late!r},{text[1:]}'


def _time(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else from_microseconds(microseconds)
