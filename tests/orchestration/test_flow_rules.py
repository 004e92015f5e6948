"""Each rule for flow runs: what it lets pass, what it answers otherwise."""

from typing import Any

import pytest
from msgspec.structs import replace

from orchestration import flow_rules
from orchestration.flow_rules import CORE, GIVEN_UP, MARK_LATE, MINIMAL, policy_for
from orchestration.flow_runs import FlowRun
from orchestration.run_policies import FlowRunPolicy
from orchestration.states import STATE_TYPES, TERMINAL, StateType
from orchestration.transition import AbortDetails, RejectDetails, Rule, WaitDetails
from tests.orchestration.runs import HOUR, NOON, SECOND, flow_answer, flow_run, id_, state

LATER = NOON + SECOND
RESULT = {"type": "reference", "storage_key": "x"}
DEPLOYED: dict[str, Any] = {"deployment_id": id_(9)}


def went_nowhere(run: FlowRun, afterwards: FlowRun) -> bool:
    return afterwards is run or afterwards == run


class TestPreventDuplicate:
    def test_the_same_transition_is_not_made_twice(self) -> None:
        run = flow_run(state("RUNNING", transition_id=id_(50)))
        told, afterwards = flow_answer(run, state("RUNNING", at=LATER, transition_id=id_(50)))
        assert told.status == "REJECT"
        assert told.state == run.state
        assert went_nowhere(run, afterwards)

    def test_another_transition_to_the_same_type_is_made(self) -> None:
        run = flow_run(state("RUNNING", transition_id=id_(50)))
        told, afterwards = flow_answer(run, state("RUNNING", at=LATER, transition_id=id_(51)))
        assert told.status == "ACCEPT"
        assert afterwards.run_count == 2


class TestKeepTerminal:
    @pytest.mark.parametrize("current", sorted(TERMINAL))
    @pytest.mark.parametrize("to", ["CANCELLING", "PAUSED", "CRASHED"])
    def test_what_has_ended_is_not_stopped(self, current: StateType, to: StateType) -> None:
        run = flow_run(state(current))
        told, afterwards = flow_answer(run, state(to, at=LATER))
        assert told.status == "ABORT"
        assert isinstance(told.details, AbortDetails)
        assert told.state == run.state
        assert went_nowhere(run, afterwards)

    def test_a_run_with_a_result_does_not_run_again(self) -> None:
        run = flow_run(state("COMPLETED", data=RESULT))
        told, afterwards = flow_answer(run, state("RUNNING", at=LATER))
        assert told.status == "REJECT"
        assert went_nowhere(run, afterwards)

    @pytest.mark.parametrize("data", [None, {"type": "unpersisted"}])
    def test_a_run_without_a_result_may_run_again(self, data: Any) -> None:
        run = flow_run(state("COMPLETED", data=data))
        told, afterwards = flow_answer(run, state("RUNNING", at=LATER))
        assert told.status == "ACCEPT"
        assert afterwards.end_time is None

    def test_a_result_is_not_overwritten_by_nothing(self) -> None:
        run = flow_run(state("COMPLETED", data=RESULT))
        told, _ = flow_answer(run, state("COMPLETED", at=LATER))
        assert told.status == "REJECT"
        told, _ = flow_answer(run, state("COMPLETED", at=LATER, data=RESULT))
        assert told.status == "ACCEPT"

    def test_only_runs_of_deployments_are_scheduled_again(self) -> None:
        told, _ = flow_answer(flow_run(state("FAILED")), state("SCHEDULED", at=LATER))
        assert told.status == "ABORT"
        run = flow_run(state("FAILED"), **DEPLOYED)
        told, afterwards = flow_answer(run, state("SCHEDULED", at=LATER))
        assert told.status == "ACCEPT"
        assert afterwards.empirical_policy.retry_type == "reschedule"

    def test_a_run_that_comes_back_forgets_its_pauses(self) -> None:
        used = FlowRunPolicy(pause_keys=("a",), resuming=True, retry_type="in_process")
        run = flow_run(state("FAILED"), empirical_policy=used)
        _, afterwards = flow_answer(run, state("RUNNING", at=LATER))
        assert afterwards.empirical_policy == FlowRunPolicy()
        assert afterwards.run_count == 1

    def test_what_was_done_for_a_proposal_that_another_rule_stopped_is_undone(self) -> None:
        used = FlowRunPolicy(pause_keys=("a",), retry_type="in_process")
        run = flow_run(state("CANCELLED"), empirical_policy=used)
        told, afterwards = flow_answer(run, state("PENDING", at=LATER))
        assert told.status == "ABORT"
        assert afterwards.empirical_policy == used


class TestCancelling:
    @pytest.mark.parametrize("to", [t for t in STATE_TYPES if t != "CANCELLED"])
    def test_there_is_one_way_out(self, to: StateType) -> None:
        run = flow_run(state("CANCELLING"))
        told, afterwards = flow_answer(run, state(to, at=LATER))
        assert told.status == "REJECT"
        assert told.state == run.state
        assert went_nowhere(run, afterwards)

    def test_cancelling_ends_cancelled(self) -> None:
        told, afterwards = flow_answer(flow_run(state("CANCELLING")), state("CANCELLED", at=LATER))
        assert told.status == "ACCEPT"
        assert afterwards.end_time == LATER

    @pytest.mark.parametrize("rules", [CORE, MINIMAL])
    def test_where_nothing_runs_there_is_nothing_to_wait_for(self, rules: Any) -> None:
        for run in (
            flow_run(state("SCHEDULED")),
            flow_run(state("SCHEDULED", "Resuming"), infrastructure_pid="1"),
            flow_run(state("PAUSED", "Suspended", pause_reschedule=True), **DEPLOYED),
        ):
            told, afterwards = flow_answer(run, state("CANCELLING", at=LATER), rules)
            assert told.status == "REJECT"
            assert told.state is not None
            assert told.state.type == afterwards.state_type == "CANCELLED"
            assert told.state.id == afterwards.state_id

    def test_a_scheduled_run_with_infrastructure_is_cancelled_in_two_steps(self) -> None:
        run = flow_run(state("SCHEDULED", "AwaitingRetry"), infrastructure_pid="1")
        told, afterwards = flow_answer(run, state("CANCELLING", at=LATER))
        assert told.status == "ACCEPT"
        assert afterwards.state_type == "CANCELLING"


class TestPending:
    @pytest.mark.parametrize("current", ["PENDING", "RUNNING", "CANCELLED"])
    def test_a_run_is_taken_on_once(self, current: StateType) -> None:
        told, _ = flow_answer(flow_run(state(current)), state("PENDING", at=LATER))
        assert told.status == "ABORT"

    def test_steps_within_pending_keep_the_scheduled_time(self) -> None:
        run = flow_run(state("PENDING", scheduled_time=NOON - HOUR))
        told, afterwards = flow_answer(run, state("PENDING", "Submitting", at=LATER))
        assert told.status == "ACCEPT"
        assert afterwards.state is not None
        assert afterwards.state.state_details.scheduled_time == NOON - HOUR

    def test_a_second_worker_cannot_step_back_to_plain_pending(self) -> None:
        run = flow_run(state("PENDING", "Submitting"))
        told, _ = flow_answer(run, state("PENDING", at=LATER))
        assert told.status == "ABORT"
        told, _ = flow_answer(run, state("PENDING", "Submitting", at=LATER))
        assert told.status == "ABORT"


class TestLate:
    @pytest.mark.parametrize("rules", [CORE, MARK_LATE])
    def test_only_a_scheduled_run_is_late_and_only_once(self, rules: Any) -> None:
        late = state("SCHEDULED", "Late", at=LATER)
        assert flow_answer(flow_run(state("SCHEDULED")), late, rules)[0].status == "ACCEPT"
        assert flow_answer(flow_run(state("RUNNING")), late, rules)[0].status == "REJECT"
        twice = flow_run(state("SCHEDULED", "Late"))
        told, afterwards = flow_answer(twice, late, rules)
        assert told.status == "REJECT"
        assert went_nowhere(twice, afterwards)


class TestPausing:
    def test_a_running_flow_pauses_and_remembers_the_key(self) -> None:
        run = flow_run(state("RUNNING"))
        told, afterwards = flow_answer(run, state("PAUSED", at=LATER, pause_key="approval"))
        assert told.status == "ACCEPT"
        assert afterwards.empirical_policy.pause_keys == ("approval",)

    def test_a_pause_without_a_key_gets_a_minted_one(self) -> None:
        _, afterwards = flow_answer(flow_run(state("RUNNING")), state("PAUSED", at=LATER))
        assert afterwards.empirical_policy.pause_keys == ("minted-key",)

    def test_the_same_pause_does_not_happen_twice(self) -> None:
        run = flow_run(state("RUNNING"), empirical_policy=FlowRunPolicy(pause_keys=("a",)))
        told, afterwards = flow_answer(run, state("PAUSED", at=LATER, pause_key="a"))
        assert told.status == "REJECT"
        assert went_nowhere(run, afterwards)

    @pytest.mark.parametrize("current", ["SCHEDULED", "PENDING", "PAUSED"])
    def test_what_does_not_run_cannot_pause(self, current: StateType) -> None:
        told, _ = flow_answer(flow_run(state(current)), state("PAUSED", at=LATER))
        assert told.status == "REJECT"

    def test_a_run_without_a_state_cannot_pause(self) -> None:
        told, _ = flow_answer(flow_run(), state("PAUSED", at=LATER))
        assert told.status == "ABORT"
        assert told.state is None

    def test_only_a_run_that_somebody_can_start_again_is_suspended(self) -> None:
        suspended = state("PAUSED", "Suspended", at=LATER, pause_reschedule=True)
        assert flow_answer(flow_run(state("RUNNING")), suspended)[0].status == "ABORT"
        child = flow_run(state("RUNNING"), parent_task_run_id=id_(2), **DEPLOYED)
        assert flow_answer(child, suspended)[0].status == "ABORT"
        deployed = flow_run(state("RUNNING"), **DEPLOYED)
        told, afterwards = flow_answer(deployed, suspended)
        assert told.status == "ACCEPT"
        assert afterwards.state_name == "Suspended"


class TestResuming:
    def test_a_paused_run_goes_on(self) -> None:
        told, afterwards = flow_answer(flow_run(state("PAUSED")), state("RUNNING", at=LATER))
        assert told.status == "ACCEPT"
        assert afterwards.empirical_policy.resuming

    def test_a_suspended_run_is_scheduled_and_its_next_start_does_not_count(self) -> None:
        run = flow_run(state("PAUSED", "Suspended", pause_reschedule=True), run_count=1, **DEPLOYED)
        _, run = flow_answer(run, state("SCHEDULED", "Resuming", at=LATER))
        assert run.empirical_policy.resuming
        _, run = flow_answer(run, state("PENDING", at=LATER + SECOND))
        _, run = flow_answer(run, state("RUNNING", at=LATER + 2 * SECOND))
        assert run.run_count == 1
        assert not run.empirical_policy.resuming
        _, run = flow_answer(run, state("RUNNING", at=LATER + 3 * SECOND))
        assert run.run_count == 2

    @pytest.mark.parametrize("to", ["PENDING", "CANCELLING"])
    def test_a_pause_ends_by_going_on_or_by_ending(self, to: StateType) -> None:
        run = flow_run(state("PAUSED"))
        told, afterwards = flow_answer(run, state(to, at=LATER))
        assert told.status == "REJECT"
        assert went_nowhere(run, afterwards)

    def test_a_suspended_run_without_a_deployment_stays_suspended(self) -> None:
        run = flow_run(state("PAUSED", pause_reschedule=True))
        told, afterwards = flow_answer(run, state("SCHEDULED", at=LATER))
        assert told.status == "REJECT"
        assert went_nowhere(run, afterwards)

    def test_a_pause_that_timed_out_is_a_failure(self) -> None:
        run = flow_run(state("PAUSED", pause_timeout=NOON))
        told, afterwards = flow_answer(run, state("RUNNING", at=LATER))
        assert told.status == "REJECT"
        assert told.state is not None
        assert told.state.type == afterwards.state_type == "FAILED"
        assert afterwards.end_time == LATER


class TestSchedule:
    def test_a_run_that_becomes_pending_still_knows_when_it_is_due(self) -> None:
        run = flow_run(state("SCHEDULED", scheduled_time=NOON - HOUR))
        _, afterwards = flow_answer(run, state("PENDING", at=LATER))
        assert afterwards.state is not None
        assert afterwards.state.state_details.scheduled_time == NOON - HOUR

    def test_a_new_scheduled_time_is_kept(self) -> None:
        run = flow_run(state("SCHEDULED", scheduled_time=NOON - HOUR))
        _, afterwards = flow_answer(run, state("PENDING", at=LATER, scheduled_time=NOON + HOUR))
        assert afterwards.state is not None
        assert afterwards.state.state_details.scheduled_time == NOON + HOUR

    @pytest.mark.parametrize("current", ["SCHEDULED", "PENDING"])
    def test_a_run_waits_for_its_time(self, current: StateType) -> None:
        run = flow_run(state(current, scheduled_time=NOON + HOUR))
        told, afterwards = flow_answer(run, state("RUNNING", at=LATER))
        assert told.status == "WAIT"
        assert isinstance(told.details, WaitDetails)
        assert told.details.delay_seconds == 3599
        assert told.state == run.state
        assert went_nowhere(run, afterwards)

    @pytest.mark.parametrize(("early", "seconds"), [(0.5, None), (0.51, 1), (1.49, 1), (1.6, 2)])
    def test_the_wait_is_in_whole_seconds(self, early: float, seconds: int | None) -> None:
        run = flow_run(state("SCHEDULED", scheduled_time=LATER + early * SECOND))
        told, _ = flow_answer(run, state("RUNNING", at=LATER))
        if seconds is None:
            assert told.status == "ACCEPT"
        else:
            assert isinstance(told.details, WaitDetails)
            assert told.details.delay_seconds == seconds


class TestRetries:
    def test_a_failure_with_a_retry_left_waits_for_it(self) -> None:
        policy = FlowRunPolicy(retries=1, retry_delay=30, pause_keys=("a",), resuming=True)
        run = flow_run(state("RUNNING"), empirical_policy=policy)
        told, afterwards = flow_answer(run, state("FAILED", at=LATER, message="boom", data=RESULT))
        assert told.status == "REJECT"
        assert isinstance(told.details, RejectDetails)
        assert told.state == afterwards.state
        assert told.state is not None
        assert (told.state.type, told.state.name) == ("SCHEDULED", "AwaitingRetry")
        assert (told.state.message, told.state.data) == ("boom", RESULT)
        assert afterwards.next_scheduled_start_time == LATER + 30 * SECOND
        assert afterwards.empirical_policy == replace(
            policy, pause_keys=(), resuming=False, retry_type="in_process"
        )

    @pytest.mark.parametrize("delay", [10**12, -(10**12), 10**400])
    def test_no_delay_leads_out_of_the_calendar(self, delay: int) -> None:
        run = flow_run(
            state("RUNNING"), empirical_policy=FlowRunPolicy(retries=1, retry_delay=delay)
        )
        _, afterwards = flow_answer(run, state("FAILED", at=LATER))
        due = afterwards.next_scheduled_start_time
        assert due is not None
        assert (due > LATER) == (delay > 0)

    def test_the_last_failure_is_one(self) -> None:
        policy = FlowRunPolicy(retries=1, retry_type="in_process")
        run = flow_run(state("RUNNING"), empirical_policy=policy, run_count=2)
        told, afterwards = flow_answer(run, state("FAILED", at=LATER))
        assert told.status == "ACCEPT"
        assert afterwards.state_type == "FAILED"
        assert afterwards.empirical_policy.retry_type is None

    def test_without_retries_a_failure_is_one(self) -> None:
        told, _ = flow_answer(flow_run(state("RUNNING")), state("FAILED", at=LATER))
        assert told.status == "ACCEPT"


class TestMinimal:
    def test_force_brings_a_run_back_from_anywhere(self) -> None:
        run = flow_run(state("COMPLETED", data=RESULT))
        told, _ = flow_answer(run, state("SCHEDULED", at=LATER), MINIMAL)
        assert told.status == "ACCEPT"

    def test_not_even_force_loses_a_result(self) -> None:
        run = flow_run(state("COMPLETED", data=RESULT))
        told, afterwards = flow_answer(run, state("COMPLETED", at=LATER), MINIMAL)
        assert told.status == "REJECT"
        assert went_nowhere(run, afterwards)

    def test_force_is_the_minimal_policy(self) -> None:
        assert policy_for(force=True) is MINIMAL
        assert policy_for(force=False) is CORE


def test_every_rule_is_part_of_a_policy() -> None:
    rules = {r for r in vars(flow_rules).values() if isinstance(r, Rule)}
    assert rules == {*CORE.rules, *MINIMAL.rules, *MARK_LATE.rules, *GIVEN_UP.rules}
