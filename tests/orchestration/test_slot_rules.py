"""The rules for slots: who may begin, who waits, who is turned away, who keeps what they have."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from orchestration import flow_run_decisions, task_run_decisions
from orchestration.flow_rules import CORE, MARK_LATE, MINIMAL
from orchestration.flow_runs import FlowRun, FlowRunStateSet
from orchestration.flow_slot_rules import holds_slot
from orchestration.run_policies import FlowRunPolicy
from orchestration.settling import Settled
from orchestration.states import State, StateType
from orchestration.task_rules import CLIENT_SIDE, holds_slots
from orchestration.task_rules import CORE as TASK_CORE
from orchestration.task_rules import MINIMAL as TASK_MINIMAL
from orchestration.task_runs import TaskRunStateSet
from orchestration.transition import (
    AbortDetails,
    DeploymentSlot,
    FlowFacts,
    Policy,
    RejectDetails,
    TagSlots,
    WaitDetails,
)
from tests.orchestration.runs import (
    NOON,
    SECOND,
    flow_run,
    id_,
    set_flow,
    set_task,
    state,
    task_run,
)

LATER = NOON + SECOND
LEASE, MINTED = id_(20), id_(21)
DEPLOYED: dict[str, Any] = {"deployment_id": id_(9)}


def slot(**known: Any) -> DeploymentSlot:
    facts: dict[str, Any] = {
        "limit": 1,
        "free": False,
        "held": False,
        "lease_id": MINTED,
        "cancel_new": False,
        "wait_seconds": 30.0,
    }
    return DeploymentSlot(**(facts | known))


def settled(
    run: FlowRun, to: State, found: DeploymentSlot | None, rules: Policy = CORE, **known: Any
) -> Settled[FlowRunStateSet]:
    command = set_flow(run, to, rules)
    facts: FlowFacts = replace(command.facts, slot=found, **known)
    return flow_run_decisions.settle(replace(command, facts=facts), run)


def lease_of(told: Settled[FlowRunStateSet]) -> str | None:
    assert told.answer.state is not None
    return told.answer.state.state_details.deployment_concurrency_lease_id


class TestSecureSlot:
    @pytest.mark.parametrize("current", ["SCHEDULED", "FAILED", "CRASHED", None])
    def test_a_run_that_is_taken_on_takes_a_free_slot(self, current: StateType | None) -> None:
        run = flow_run(current and state(current), **DEPLOYED)
        told = settled(run, state("PENDING", at=LATER), slot(free=True))
        assert told.answer.status == "ACCEPT"
        assert told.takes_slots
        assert lease_of(told) == MINTED

    def test_without_a_free_one_it_waits(self) -> None:
        run = flow_run(state("SCHEDULED"), **DEPLOYED)
        told = settled(run, state("PENDING", at=LATER), slot())
        assert told.answer.status == "REJECT"
        assert not told.takes_slots
        assert told.answer.state is not None
        assert told.answer.state.name == "AwaitingConcurrencySlot"
        due = told.answer.state.state_details.scheduled_time
        assert due == LATER + timedelta(seconds=30)

    def test_or_is_cancelled_if_the_deployment_wants_that(self) -> None:
        run = flow_run(state("SCHEDULED"), **DEPLOYED)
        told = settled(run, state("PENDING", at=LATER), slot(cancel_new=True))
        assert told.answer.status == "REJECT"
        assert told.answer.state is not None
        assert told.answer.state.type == "CANCELLED"
        assert isinstance(told.answer.details, RejectDetails)

    def test_where_there_are_none_at_all_it_is_not_begun(self) -> None:
        run = flow_run(state("SCHEDULED"), **DEPLOYED)
        told = settled(run, state("PENDING", at=LATER), slot(limit=0))
        assert told.answer.status == "ABORT"
        assert isinstance(told.answer.details, AbortDetails)

    def test_nor_is_a_run_of_a_deployment_that_is_gone(self) -> None:
        run = flow_run(state("SCHEDULED"), **DEPLOYED)
        told = settled(run, state("PENDING", at=LATER), None, deployment_gone=True)
        assert told.answer.status == "ABORT"

    def test_a_run_that_has_a_slot_takes_no_second_one(self) -> None:
        waiting = state("SCHEDULED", "AwaitingRetry", deployment_concurrency_lease_id=LEASE)
        run = flow_run(waiting, **DEPLOYED)
        told = settled(run, state("PENDING", at=LATER), slot(held=True))
        assert told.answer.status == "ACCEPT"
        assert not told.takes_slots
        assert lease_of(told) == LEASE


class TestHoldSlot:
    PENDING = state("PENDING", deployment_concurrency_lease_id=LEASE)

    def test_a_run_that_begins_keeps_its_slot(self) -> None:
        told = settled(
            flow_run(self.PENDING, **DEPLOYED), state("RUNNING", at=LATER), slot(held=True)
        )
        assert told.answer.status == "ACCEPT"
        assert (lease_of(told), told.takes_slots) == (LEASE, False)

    def test_one_that_lost_it_takes_another(self) -> None:
        told = settled(
            flow_run(self.PENDING, **DEPLOYED), state("RUNNING", at=LATER), slot(free=True)
        )
        assert told.answer.status == "ACCEPT"
        assert (lease_of(told), told.takes_slots) == (MINTED, True)

    def test_or_is_cancelled_before_it_begins(self) -> None:
        told = settled(flow_run(self.PENDING, **DEPLOYED), state("RUNNING", at=LATER), slot())
        assert told.answer.status == "REJECT"
        assert told.answer.state is not None
        assert told.answer.state.type == "CANCELLED"
        assert lease_of(told) is None

    @pytest.mark.parametrize(("current", "name"), [("SCHEDULED", "AwaitingRetry"), ("PAUSED", "")])
    def test_but_a_process_that_goes_on_waits(self, current: StateType, name: str) -> None:
        before = state(current, name or None, deployment_concurrency_lease_id=LEASE)
        told = settled(flow_run(before, **DEPLOYED), state("RUNNING", at=LATER), slot())
        assert told.answer.status == "WAIT"
        assert isinstance(told.answer.details, WaitDetails)
        assert told.answer.details.delay_seconds == 30


class TestKeepLease:
    @pytest.mark.parametrize("rules", [CORE, MINIMAL])
    def test_a_state_that_does_not_name_the_lease_is_told_it(self, rules: Policy) -> None:
        run = flow_run(state("RUNNING", deployment_concurrency_lease_id=LEASE), **DEPLOYED)
        told = settled(run, state("CANCELLING", at=LATER), None, rules)
        assert lease_of(told) == LEASE

    def test_a_retry_keeps_it_and_so_does_a_pause_in_which_the_process_goes_on(self) -> None:
        run = flow_run(
            state("RUNNING", deployment_concurrency_lease_id=LEASE),
            empirical_policy=FlowRunPolicy(retries=1),
            **DEPLOYED,
        )
        again = settled(run, state("FAILED", at=LATER), None)
        assert lease_of(again) == LEASE
        paused = settled(run, state("PAUSED", at=LATER), None)
        assert lease_of(paused) == LEASE
        suspended = settled(run, state("PAUSED", at=LATER, pause_reschedule=True), None)
        assert lease_of(suspended) is None

    @pytest.mark.parametrize("kind", ["COMPLETED", "FAILED", "CRASHED", "CANCELLED", "SCHEDULED"])
    def test_what_ends_or_is_put_back_does_not(self, kind: StateType) -> None:
        run = flow_run(state("RUNNING", deployment_concurrency_lease_id=LEASE), **DEPLOYED)
        told = settled(run, state(kind, at=LATER), None, MINIMAL)
        assert lease_of(told) is None

    def test_a_state_that_ends_a_run_holds_nothing_whatever_it_names(self) -> None:
        named: dict[str, Any] = {"deployment_concurrency_lease_id": LEASE}
        held = {
            (one.type, one.name)
            for one in (
                state("PENDING", **named),
                state("RUNNING", **named),
                state("CANCELLING", **named),
                state("PAUSED", **named),
                state("PAUSED", pause_reschedule=True, **named),
                state("SCHEDULED", **named),
                state("SCHEDULED", "AwaitingRetry", **named),
                state("COMPLETED", **named),
                state("CRASHED", **named),
            )
            if holds_slot(one)
        }
        assert held == {
            ("PENDING", "Pending"),
            ("RUNNING", "Running"),
            ("CANCELLING", "Cancelling"),
            ("PAUSED", "Paused"),
            ("SCHEDULED", "AwaitingRetry"),
        }


class TestCancelLate:
    LATE = state("SCHEDULED", "Late", at=LATER)

    def test_a_late_run_that_would_be_cancelled_is_cancelled(self) -> None:
        run = flow_run(state("SCHEDULED"), **DEPLOYED)
        told = settled(run, self.LATE, slot(cancel_new=True), MARK_LATE)
        assert told.answer.state is not None
        assert told.answer.state.type == "CANCELLED"

    @pytest.mark.parametrize("found", [slot(), slot(cancel_new=True, free=True), None])
    def test_any_other_is_late(self, found: DeploymentSlot | None) -> None:
        run = flow_run(state("SCHEDULED"), **DEPLOYED)
        told = settled(run, self.LATE, found, MARK_LATE)
        assert told.answer.state is not None
        assert told.answer.state.name == "Late"


class TestSecureTagSlots:
    def _settled(
        self, found: TagSlots | None, rules: Policy = TASK_CORE, current: State | None = None
    ) -> Settled[TaskRunStateSet]:
        run = task_run(current or state("PENDING"), tags=("db", "gpu"))
        command = set_task(run, state("RUNNING", at=LATER), rules)
        return task_run_decisions.settle(
            replace(command, facts=replace(command.facts, slots=found)), run
        )

    def _found(self, *, free: bool, none_at_all: str | None = None) -> TagSlots:
        return TagSlots(tags=("db",), none_at_all=none_at_all, free=free, wait_seconds=7)

    def test_a_task_runs_with_a_slot_for_each_of_its_tags(self) -> None:
        told = self._settled(self._found(free=True))
        assert (told.answer.status, told.takes_slots) == ("ACCEPT", True)

    def test_without_one_it_waits(self) -> None:
        told = self._settled(self._found(free=False))
        assert (told.answer.status, told.takes_slots) == ("WAIT", False)
        assert isinstance(told.answer.details, WaitDetails)
        assert told.answer.details.delay_seconds == 7
        assert "db" in (told.answer.details.reason or "")

    def test_where_there_are_none_at_all_it_does_not_wait_for_ever(self) -> None:
        told = self._settled(self._found(free=False, none_at_all="db"))
        assert told.answer.status == "ABORT"

    @pytest.mark.parametrize("rules", [TASK_MINIMAL, CLIENT_SIDE])
    def test_by_force_and_by_clients_that_take_slots_themselves_none_is_taken(
        self, rules: Policy
    ) -> None:
        told = self._settled(self._found(free=False), rules)
        assert (told.answer.status, told.takes_slots) == ("ACCEPT", False)

    def test_a_run_that_is_not_due_takes_none(self) -> None:
        early = state("SCHEDULED", scheduled_time=NOON + 60 * SECOND)
        told = self._settled(self._found(free=True), current=early)
        assert (told.answer.status, told.takes_slots) == ("WAIT", False)

    def test_slots_are_kept_while_it_runs_or_is_being_cancelled(self) -> None:
        kinds: tuple[StateType, ...] = ("RUNNING", "CANCELLING", "COMPLETED", "PAUSED", "SCHEDULED")
        assert [holds_slots(kind) for kind in kinds] == [True, True, False, False, False]
