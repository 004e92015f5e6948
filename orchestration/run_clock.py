"""What a new state does to the clock of a run: counts, starts, ends and durations.

Flow runs and task runs tell time alike. `advance` is called by their `evolve`; the two estimates
depend on now and are therefore computed when a run is read, never stored.
"""

from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from orchestration.states import (
    RUNNING,
    SCHEDULED,
    TERMINAL,
    State,
    StateType,
    kept,
)

MICROSECOND = timedelta(microseconds=1)
NO_TIME = 0.0
_DIGITS_OF_A_SECOND = 6


class Run(Protocol):
    """What flow runs and task runs have in common. Durations are in seconds."""

    @property
    def state(self) -> State | None: ...
    @property
    def run_count(self) -> int: ...
    @property
    def start_time(self) -> datetime | None: ...
    @property
    def end_time(self) -> datetime | None: ...
    @property
    def total_run_time(self) -> float: ...
    @property
    def expected_start_time(self) -> datetime | None: ...
    @property
    def next_scheduled_start_time(self) -> datetime | None: ...


R = TypeVar("R", bound=Struct)


def advance(run: R, state: State, **also: Any) -> R:
    """The run after it took on `state`; `also` are further fields to change with it."""
    before: Run = run  # type: ignore[assignment]
    current = before.state
    stamp = state.timestamp
    kind = state.type
    start, end, total = before.start_time, before.end_time, before.total_run_time
    expected, scheduled = before.expected_start_time, before.next_scheduled_start_time
    if kind == RUNNING:
        start = start or stamp
    if kind in TERMINAL:
        if end is None:
            start = start or stamp
            end = stamp
    elif current is not None and current.type in TERMINAL:
        end = None
    if current is not None:
        if current.type == RUNNING:
            total = total + (stamp - current.timestamp).total_seconds()
            total = round(total, _DIGITS_OF_A_SECOND)
        elif current.type == SCHEDULED:
            scheduled = None
    if kind == SCHEDULED:
        scheduled = state.state_details.scheduled_time
        expected = expected or scheduled
    else:
        expected = expected or stamp
    return replace(
        run,
        state=kept(state),
        state_id=state.id,
        state_type=kind,
        state_name=state.name,
        start_time=start,
        end_time=end,
        total_run_time=total,
        expected_start_time=expected,
        next_scheduled_start_time=scheduled,
        **also,
    )


def timestamp_after(current: State | None, now: datetime) -> datetime:
    """When a new state begins: now, but never at or before the beginning of the current one.

    A run's history is ordered by these, so two states may not share one, and a clock that steps
    back must not give a run a negative duration.
    """
    if current is None or now > current.timestamp:
        return now
    return current.timestamp + MICROSECOND


def estimated_run_time(
    state_type: StateType | None,
    state_timestamp: datetime | None,
    total_run_time: float,
    now: datetime,
) -> float:
    """Seconds that a run has been running so far, the current stretch included."""
    if state_type == RUNNING and state_timestamp is not None:
        total_run_time = total_run_time + (now - state_timestamp).total_seconds()
        return round(total_run_time, _DIGITS_OF_A_SECOND)
    return total_run_time


def estimated_start_time_delta(
    state_type: StateType | None,
    expected_start_time: datetime | None,
    start_time: datetime | None,
    now: datetime,
) -> float:
    """Seconds that a run started late, or is late by now if it should have started already."""
    if expected_start_time is None:
        return NO_TIME
    if start_time is not None:
        return max(NO_TIME, (start_time - expected_start_time).total_seconds())
    if state_type in TERMINAL:
        return NO_TIME
    return max(NO_TIME, (now - expected_start_time).total_seconds())
