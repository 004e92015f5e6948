"""Counts, starts, ends and durations of a run."""

from datetime import datetime

import pytest

from orchestration.flow_rules import MINIMAL
from orchestration.flow_runs import FlowRun
from orchestration.run_clock import (
    MICROSECOND,
    estimated_run_time,
    estimated_start_time_delta,
    timestamp_after,
)
from orchestration.states import StateType
from tests.orchestration.runs import HOUR, NOON, SECOND, flow_answer, flow_run, state


def second(n: int) -> datetime:
    return NOON + n * SECOND


def lived(*steps: tuple[StateType, int]) -> FlowRun:
    """The flow run that took on these types, each at a second, by force."""
    run = flow_run()
    for type, at in steps:
        _, run = flow_answer(run, state(type, at=second(at)), MINIMAL)
    return run


def test_an_ordinary_life() -> None:
    run = lived(("SCHEDULED", 0), ("PENDING", 1), ("RUNNING", 2), ("COMPLETED", 5))
    assert (run.start_time, run.end_time) == (second(2), second(5))
    assert run.total_run_time == 3.0
    assert run.run_count == 1
    assert run.expected_start_time == second(0)
    assert run.next_scheduled_start_time is None


def test_a_run_that_never_ran_started_when_it_ended() -> None:
    run = lived(("PENDING", 1), ("CRASHED", 4))
    assert (run.start_time, run.end_time, run.total_run_time) == (second(4), second(4), 0.0)


def test_a_run_that_runs_again_has_no_end_and_adds_up_its_time() -> None:
    again = lived(("RUNNING", 0), ("FAILED", 2), ("RUNNING", 10))
    assert (again.start_time, again.end_time) == (second(0), None)
    run = lived(("RUNNING", 0), ("FAILED", 2), ("RUNNING", 10), ("COMPLETED", 13))
    assert (run.start_time, run.end_time) == (second(0), second(13))
    assert run.total_run_time == 5.0
    assert run.run_count == 2


def test_one_end_after_another_is_not_a_later_end() -> None:
    run = lived(("RUNNING", 0), ("FAILED", 2), ("COMPLETED", 9))
    assert run.end_time == second(2)
    assert run.total_run_time == 2.0


def test_a_scheduled_run_shows_when_it_is_due() -> None:
    due = state("SCHEDULED", at=second(0), scheduled_time=NOON + HOUR)
    _, run = flow_answer(flow_run(), due, MINIMAL)
    assert run.expected_start_time == run.next_scheduled_start_time == NOON + HOUR
    _, run = flow_answer(run, state("PENDING", at=second(1)), MINIMAL)
    assert run.expected_start_time == NOON + HOUR
    assert run.next_scheduled_start_time is None


def test_tenths_of_seconds_add_up_without_noise() -> None:
    run = flow_run()
    for tenth in range(7):
        to = state("RUNNING" if tenth % 2 == 0 else "PENDING", at=NOON + tenth * SECOND / 10)
        _, run = flow_answer(run, to, MINIMAL)
    assert run.total_run_time == 0.3


@pytest.mark.parametrize("back", [0, 1, 3600])
def test_a_clock_that_steps_back_does_not_turn_history_around(back: int) -> None:
    current = state("RUNNING", at=NOON)
    assert timestamp_after(current, NOON - back * SECOND) == NOON + MICROSECOND
    assert timestamp_after(current, NOON + SECOND) == NOON + SECOND
    assert timestamp_after(None, NOON) == NOON


class TestEstimates:
    def test_a_running_run_is_running_longer_and_longer(self) -> None:
        assert estimated_run_time("RUNNING", NOON, 2.0, second(3)) == 5.0
        assert estimated_run_time("COMPLETED", NOON, 2.0, second(3)) == 2.0
        assert estimated_run_time(None, None, 0.0, second(3)) == 0.0

    def test_a_run_that_started_late_was_late(self) -> None:
        assert estimated_start_time_delta("COMPLETED", NOON, second(4), second(9)) == 4.0
        assert estimated_start_time_delta("COMPLETED", second(4), NOON, second(9)) == 0.0

    def test_a_run_that_should_have_started_is_late_by_now(self) -> None:
        assert estimated_start_time_delta("SCHEDULED", NOON, None, second(9)) == 9.0
        assert estimated_start_time_delta("SCHEDULED", NOON + HOUR, None, second(9)) == 0.0
        assert estimated_start_time_delta("CANCELLED", NOON, None, second(9)) == 0.0
        assert estimated_start_time_delta("PENDING", None, None, second(9)) == 0.0
