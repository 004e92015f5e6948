"""Each rule for task runs: what it lets pass, what it answers otherwise."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration import task_rules
from orchestration.refusals import NotFound
from orchestration.run_policies import TaskRunPolicy
from orchestration.states import TERMINAL, StateType
from orchestration.task_rules import (
    BACKGROUND,
    CLIENT_SIDE,
    CORE,
    MINIMAL,
    jittered_seconds,
    policy_for,
    retry_delay_seconds,
)
from orchestration.task_run_decisions import decide
from orchestration.task_runs import TaskRunStateSet
from orchestration.transition import Rule, WaitDetails
from tests.orchestration.runs import (
    HOUR,
    NOON,
    SECOND,
    id_,
    set_task,
    state,
    task_answer,
    task_run,
    within,
)

LATER = NOON + SECOND
RESULT = {"type": "reference", "storage_key": "x"}


class TestCache:
    CACHED = state("COMPLETED", id=id_(70), data=RESULT, cache_key="k", message="from before")

    @pytest.mark.parametrize("rules", [CORE, CLIENT_SIDE, BACKGROUND])
    def test_a_cached_result_takes_the_place_of_the_work(self, rules: Any) -> None:
        run = task_run(state("PENDING"))
        wish = state("RUNNING", id=id_(71), at=LATER, cache_key="k")
        told, afterwards = task_answer(run, wish, rules, cached=self.CACHED)
        assert told.status == "REJECT"
        assert told.state == afterwards.state
        assert told.state is not None
        assert (told.state.type, told.state.name) == ("COMPLETED", "Cached")
        assert (told.state.id, told.state.timestamp) == (id_(71), LATER)
        assert told.state.data == RESULT
        assert told.state.state_details.task_run_id == run.id
        assert afterwards.run_count == 0

    def test_a_wish_to_refresh_the_cache_is_heard(self) -> None:
        wish = state("RUNNING", at=LATER, cache_key="k", refresh_cache=True)
        told, _ = task_answer(task_run(state("PENDING")), wish, cached=self.CACHED)
        assert told.status == "ACCEPT"

    def test_nothing_cached_nothing_used(self) -> None:
        wish = state("RUNNING", at=LATER, cache_key="k")
        told, _ = task_answer(task_run(state("PENDING")), wish)
        assert told.status == "ACCEPT"

    def test_a_completed_state_with_a_key_is_cached(self) -> None:
        run = task_run(state("RUNNING"))
        [event] = decide(set_task(run, state("COMPLETED", at=LATER, cache_key="k")), run)
        assert isinstance(event, TaskRunStateSet)
        assert event.cached
        [event] = decide(set_task(run, state("COMPLETED", at=LATER)), run)
        assert isinstance(event, TaskRunStateSet)
        assert not event.cached

    def test_a_forced_state_is_not_cached(self) -> None:
        run = task_run(state("RUNNING"))
        [event] = decide(set_task(run, state("COMPLETED", at=LATER, cache_key="k"), MINIMAL), run)
        assert isinstance(event, TaskRunStateSet)
        assert not event.cached

    def test_a_key_that_is_too_long_is_complained_about(self) -> None:
        run = task_run(state("RUNNING"))
        told, afterwards = task_answer(run, state("COMPLETED", at=LATER, cache_key="k" * 2001))
        assert told.status == "REJECT"
        assert afterwards.state_type == "COMPLETED"


class TestKeepTerminal:
    @pytest.mark.parametrize("current", sorted(TERMINAL))
    @pytest.mark.parametrize("to", ["CANCELLING", "PAUSED", "CRASHED"])
    def test_what_has_ended_is_not_stopped(self, current: StateType, to: StateType) -> None:
        run = task_run(state(current))
        told, afterwards = task_answer(run, state(to, at=LATER))
        assert told.status == "ABORT"
        assert afterwards == run

    @pytest.mark.parametrize("to", ["RUNNING", "COMPLETED", "FAILED", "SCHEDULED"])
    def test_a_task_run_with_a_result_is_done(self, to: StateType) -> None:
        run = task_run(state("COMPLETED", data=RESULT))
        told, afterwards = task_answer(run, state(to, at=LATER))
        assert told.status == "REJECT"
        assert afterwards == run

    def test_a_task_run_that_runs_again_has_all_its_retries(self) -> None:
        run = task_run(state("FAILED"), run_count=4)
        told, afterwards = task_answer(run, state("RUNNING", at=LATER))
        assert told.status == "ACCEPT"
        assert afterwards.run_count == 1
        assert afterwards.state_name == "Running"

    def test_a_retry_of_the_flow_run_shows_in_the_name(self) -> None:
        run = task_run(state("FAILED"), flow_run_id=id_(3), flow_run_run_count=1)
        _, afterwards = task_answer(
            run, state("RUNNING", at=LATER), within=within("RUNNING", run_count=2)
        )
        assert afterwards.state_name == "Retrying"
        assert afterwards.flow_run_run_count == 2

    def test_the_run_count_stays_if_another_rule_stops_the_rerun(self) -> None:
        run = task_run(state("FAILED"), run_count=4, flow_run_id=id_(3))
        told, afterwards = task_answer(run, state("RUNNING", at=LATER), within=within("PAUSED"))
        assert told.status == "REJECT"
        assert afterwards.state_type == "PAUSED"
        assert afterwards.run_count == 4


class TestEnclosingFlow:
    @pytest.mark.parametrize("rules", [CORE, CLIENT_SIDE])
    @pytest.mark.parametrize("flow_state", [None, "PENDING", "COMPLETED", "CANCELLING"])
    def test_tasks_run_while_their_flow_does(
        self, rules: Any, flow_state: StateType | None
    ) -> None:
        run = task_run(state("PENDING"), flow_run_id=id_(3))
        told, afterwards = task_answer(
            run, state("RUNNING", at=LATER), rules, within=within(flow_state)
        )
        assert told.status == "ABORT"
        assert afterwards == run

    def test_a_paused_flow_pauses_its_tasks(self) -> None:
        run = task_run(state("PENDING"), flow_run_id=id_(3))
        paused = within("PAUSED", pause_timeout=NOON + HOUR, pause_reschedule=True)
        told, afterwards = task_answer(run, state("RUNNING", at=LATER), within=paused)
        assert told.status == "REJECT"
        assert told.state == afterwards.state
        assert told.state is not None
        assert (told.state.type, told.state.name) == ("PAUSED", "NotReady")
        assert told.state.state_details.pause_timeout == NOON + HOUR
        assert told.state.state_details.pause_reschedule

    def test_a_task_run_knows_its_attempt_of_the_flow(self) -> None:
        run = task_run(state("PENDING"), flow_run_id=id_(3))
        _, afterwards = task_answer(
            run, state("RUNNING", at=LATER), within=within("RUNNING", run_count=3)
        )
        assert afterwards.flow_run_run_count == 3

    def test_a_task_run_of_a_deleted_flow_run_cannot_run(self) -> None:
        run = task_run(state("PENDING"), flow_run_id=id_(3))
        with pytest.raises(NotFound):
            task_answer(run, state("RUNNING", at=LATER))


class TestSchedule:
    def test_a_task_run_waits_for_its_time(self) -> None:
        run = task_run(state("SCHEDULED", scheduled_time=NOON + HOUR))
        told, afterwards = task_answer(run, state("RUNNING", at=LATER))
        assert told.status == "WAIT"
        assert isinstance(told.details, WaitDetails)
        assert told.details.delay_seconds == 3599
        assert afterwards == run

    def test_the_scheduled_time_goes_along_to_pending(self) -> None:
        run = task_run(state("SCHEDULED", scheduled_time=NOON - HOUR))
        _, afterwards = task_answer(run, state("PENDING", at=LATER))
        assert afterwards.state is not None
        assert afterwards.state.state_details.scheduled_time == NOON - HOUR


class TestRetries:
    def test_a_failure_with_a_retry_left_waits_for_it(self) -> None:
        policy = TaskRunPolicy(retries=2, retry_delay=(5, 60))
        run = task_run(state("RUNNING"), empirical_policy=policy)
        told, afterwards = task_answer(run, state("FAILED", at=LATER, message="boom"))
        assert told.status == "REJECT"
        assert told.state is not None
        assert (told.state.name, told.state.message) == ("AwaitingRetry", "boom")
        assert afterwards.next_scheduled_start_time == LATER + 5 * SECOND

    def test_three_attempts_and_their_names(self) -> None:
        run = task_run(state("RUNNING"), empirical_policy=TaskRunPolicy(retries=2))
        names = [run.state_name]
        for minute in (1, 2, 3):
            at = NOON + minute * 60 * SECOND
            _, run = task_answer(run, state("FAILED", at=at))
            names.append(run.state_name)
            if run.state_type == "SCHEDULED":
                _, run = task_answer(run, state("RUNNING", at=at + SECOND))
                names.append(run.state_name)
        assert names == [
            "Running",
            "AwaitingRetry",
            "Retrying",
            "AwaitingRetry",
            "Retrying",
            "Failed",
        ]
        assert run.run_count == 3

    @pytest.mark.parametrize("policy", [TaskRunPolicy(), TaskRunPolicy(retries=0)])
    def test_without_a_retry_left_a_failure_is_one(self, policy: TaskRunPolicy) -> None:
        told, _ = task_answer(
            task_run(state("RUNNING"), empirical_policy=policy), state("FAILED", at=LATER)
        )
        assert told.status == "ACCEPT"

    def test_a_failure_that_is_not_worth_a_retry_is_one(self) -> None:
        run = task_run(state("RUNNING"), empirical_policy=TaskRunPolicy(retries=2))
        told, _ = task_answer(run, state("FAILED", at=LATER, retriable=False))
        assert told.status == "ACCEPT"

    @pytest.mark.parametrize("delay", [10**12, -(10**12), 10**400, 1e300, (1e300,)])
    @pytest.mark.parametrize("jitter", [None, 0.5, 1e300])
    def test_no_delay_leads_out_of_the_calendar(self, delay: Any, jitter: float | None) -> None:
        policy = TaskRunPolicy(retries=1, retry_delay=delay, retry_jitter_factor=jitter)
        run = task_run(state("RUNNING"), empirical_policy=policy)
        told, afterwards = task_answer(run, state("FAILED", at=LATER), chance=0.999)
        assert told.status == "REJECT"
        assert afterwards.next_scheduled_start_time is not None

    def test_the_last_delay_is_for_all_further_attempts(self) -> None:
        assert [retry_delay_seconds((1, 2, 3), n) for n in (1, 2, 3, 4, 9)] == [1, 2, 3, 3, 3]
        assert retry_delay_seconds(2.5, 7) == 2.5
        assert retry_delay_seconds(None, 1) == retry_delay_seconds((), 1) == 0

    @given(st.floats(0.01, 1e5), st.floats(0.01, 60), st.floats(0, 1, exclude_max=True))
    def test_jitter_stays_within_its_bounds(
        self, mean: float, factor: float, chance: float
    ) -> None:
        delay = jittered_seconds(mean, factor, chance)
        # Delays of more than 23 times the mean are as good as impossible, and are cut off.
        assert 0 <= delay <= mean * (1 + factor) * 1.0001

    def test_jitter_is_the_delay_on_average(self) -> None:
        for factor in (0.1, 0.5, 1.0, 3.0):
            delays = [jittered_seconds(10, factor, (n + 0.5) / 10_000) for n in range(10_000)]
            assert min(delays) < 10 < max(delays)
            assert abs(sum(delays) / len(delays) - 10) < 0.6

    def test_a_jittered_retry_uses_the_given_chance(self) -> None:
        policy = TaskRunPolicy(retries=1, retry_delay=100, retry_jitter_factor=0.5)
        run = task_run(state("RUNNING"), empirical_policy=policy)
        dues = []
        for chance in (0.0, 0.5, 0.99):
            _, afterwards = task_answer(run, state("FAILED", at=LATER), chance=chance)
            assert afterwards.next_scheduled_start_time is not None
            dues.append((afterwards.next_scheduled_start_time - LATER).total_seconds())
        assert dues == sorted(dues)
        assert 50 < dues[0] < 100 < dues[2] <= 150


class TestReruns:
    def test_running_twice_shows_in_the_name(self) -> None:
        told, afterwards = task_answer(task_run(state("RUNNING")), state("RUNNING", at=LATER))
        assert told.status == "ACCEPT"
        assert afterwards.state_name == "Rerunning"
        assert afterwards.run_count == 2


class TestBackground:
    @pytest.mark.parametrize("current", ["PENDING", "RUNNING", "CANCELLING", "CANCELLED"])
    def test_a_deferred_task_run_is_taken_on_once(self, current: StateType) -> None:
        told, _ = task_answer(task_run(state(current)), state("PENDING", at=LATER), BACKGROUND)
        assert told.status == "ABORT"

    def test_it_keeps_knowing_where_its_parameters_are(self) -> None:
        run = task_run(state("SCHEDULED", task_parameters_id=id_(60)))
        _, run = task_answer(run, state("PENDING", at=LATER), BACKGROUND)
        _, run = task_answer(run, state("RUNNING", at=LATER + SECOND), BACKGROUND)
        assert run.state is not None
        assert run.state.state_details.task_parameters_id == id_(60)

    def test_deferred_states_have_their_own_policy(self) -> None:
        assert policy_for(state("PENDING", deferred=True), force=True) is BACKGROUND
        assert policy_for(state("PENDING"), force=True) is MINIMAL
        assert policy_for(state("PENDING"), force=False) is CORE


def test_every_rule_is_part_of_a_policy() -> None:
    rules = {r for r in vars(task_rules).values() if isinstance(r, Rule)}
    assert rules == {*CORE.rules, *CLIENT_SIDE.rules, *BACKGROUND.rules, *MINIMAL.rules}
