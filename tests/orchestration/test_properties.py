"""What holds for every run, whatever was proposed to it."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import json

from orchestration import (
    flow_rules,
    flow_run_decisions,
    flow_runs,
    task_rules,
    task_run_decisions,
    task_runs,
)
from orchestration.documents import document, parse
from orchestration.flow_runs import FlowRun, FlowRunStateSet
from orchestration.refusals import NotFound
from orchestration.run_policies import FlowRunPolicy, TaskRunPolicy
from orchestration.states import NAMES, STATE_TYPES, TERMINAL, State
from orchestration.task_runs import TaskRun, TaskRunStateSet
from tests.examples import examples
from tests.orchestration.runs import (
    HOUR,
    NOON,
    flow_run,
    id_,
    set_flow,
    set_task,
    state,
    task_run,
    within,
)

FLOW_POLICIES = [flow_rules.CORE, flow_rules.MINIMAL, flow_rules.MARK_LATE]
TASK_POLICIES = [
    task_rules.CORE,
    task_rules.CLIENT_SIDE,
    task_rules.BACKGROUND,
    task_rules.MINIMAL,
]
DATA = st.sampled_from([None, {"type": "unpersisted"}, {"type": "reference"}, "text", [1]])
SOON = st.sampled_from([None, NOON - HOUR, NOON + HOUR])


@st.composite
def states(draw: st.DrawFn) -> State:
    type = draw(st.sampled_from(STATE_TYPES))
    return state(
        type,
        draw(st.sampled_from([*NAMES[type], "Anything"])),
        id=draw(st.uuids()).__str__(),
        at=NOON + timedelta(microseconds=draw(st.integers(-5, 10**7))),
        message=draw(st.none() | st.just("message")),
        data=draw(DATA),
        scheduled_time=draw(SOON),
        pause_timeout=draw(SOON),
        pause_reschedule=draw(st.booleans()),
        pause_key=draw(st.sampled_from([None, "a", "b"])),
        transition_id=draw(st.sampled_from([None, id_(50), id_(51)])),
        cache_key=draw(st.sampled_from([None, "k"])),
        retriable=draw(st.sampled_from([None, True, False])),
    )


FLOW_RUNS = st.builds(
    flow_run,
    st.none() | states(),
    deployment_id=st.sampled_from([None, id_(9)]),
    parent_task_run_id=st.sampled_from([None, id_(2)]),
    infrastructure_pid=st.sampled_from([None, "1"]),
    run_count=st.integers(0, 4),
    empirical_policy=st.builds(
        FlowRunPolicy,
        retries=st.none() | st.integers(0, 3),
        retry_delay=st.none() | st.integers(0, 100),
        resuming=st.booleans(),
        pause_keys=st.sampled_from([None, (), ("a",)]),
    ),
)
TASK_RUNS = st.builds(
    task_run,
    st.none() | states(),
    run_count=st.integers(0, 4),
    flow_run_run_count=st.integers(0, 3),
    empirical_policy=st.builds(
        TaskRunPolicy,
        retries=st.none() | st.integers(0, 3),
        retry_delay=st.sampled_from([None, 0, 3, 2.5, (), (1, 2)]),
        retry_jitter_factor=st.sampled_from([None, 0.0, 0.5, 80.0]),
    ),
)
AROUND = st.none() | st.builds(
    within, st.sampled_from([None, *STATE_TYPES]), run_count=st.integers(0, 4)
)


def sound(before: Any, event: Any, run: Any) -> None:
    """What must be true of a run after it took on a state."""
    assert run.state is not None
    assert (run.state_id, run.state_type, run.state_name) == (
        run.state.id,
        run.state.type,
        run.state.name,
    )
    assert run.run_count >= 0
    assert run.total_run_time >= before.total_run_time
    assert before.state is None or run.state.timestamp > before.state.timestamp
    assert (run.end_time is not None) >= (run.state.type in TERMINAL)
    assert run.end_time is None or run.state.type in TERMINAL
    assert run.start_time is not None or run.run_count == before.run_count
    assert (run.next_scheduled_start_time is not None) == (run.state.type == "SCHEDULED")
    assert run.expected_start_time is not None
    assert parse(type(run), document(run)) == run


@given(FLOW_RUNS, states(), st.sampled_from(FLOW_POLICIES))
@settings(max_examples=examples(600), deadline=None)
def test_any_state_may_be_proposed_to_any_flow_run(run: FlowRun, wish: State, rules: Any) -> None:
    command = set_flow(run, wish, rules, now=NOON)
    settled = flow_run_decisions.settle(command, run)
    assert (settled.event is None) <= (settled.answer.state == run.state)
    if settled.event is None:
        assert settled.answer.status != "ACCEPT"
        assert flow_run_decisions.decide(command, run) == []
        return
    stored = json.decode(json.encode(settled.event), type=FlowRunStateSet)
    assert stored == settled.event
    assert flow_runs.answer_from(stored) == settled.answer
    afterwards = flow_runs.evolve(run, stored)
    assert afterwards is not None
    sound(run, stored, afterwards)
    assert afterwards.run_count - run.run_count in (0, 1)
    assert afterwards.state_id == wish.id
    assert afterwards.state is not None
    assert afterwards.state.state_details.flow_run_id == run.id


@given(TASK_RUNS, states(), st.sampled_from(TASK_POLICIES), AROUND, st.floats(0, 0.999))
@settings(max_examples=examples(600), deadline=None)
def test_any_state_may_be_proposed_to_any_task_run(
    run: TaskRun, wish: State, rules: Any, around: Any, chance: float
) -> None:
    command = set_task(run, wish, rules, around, chance=chance)
    settled = task_run_decisions.settle(command, run)
    if settled.event is None:
        assert settled.answer.status != "ACCEPT"
        assert settled.answer.state == run.state
        return
    stored = json.decode(json.encode(settled.event), type=TaskRunStateSet)
    assert stored == settled.event
    assert task_runs.answer_from(stored) == settled.answer
    afterwards = task_runs.evolve(run, stored)
    assert afterwards is not None
    sound(run, stored, afterwards)
    assert afterwards.state is not None
    assert afterwards.state.state_details.task_run_id == run.id


@given(FLOW_RUNS, states())
@settings(max_examples=examples(300), deadline=None)
def test_repeating_an_accepted_transition_records_nothing_new(run: FlowRun, wish: State) -> None:
    if wish.state_details.transition_id is None:
        return
    settled = flow_run_decisions.settle(set_flow(run, wish, now=NOON), run)
    if settled.event is None or settled.answer.status != "ACCEPT":
        return
    afterwards = flow_runs.evolve(run, settled.event)
    again = flow_run_decisions.settle(set_flow(run, wish, now=NOON + HOUR), afterwards)
    assert again.event is None
    assert again.answer.status == "REJECT"
    assert afterwards is not None
    assert again.answer.state == afterwards.state


@given(st.lists(states(), max_size=12))
@settings(max_examples=examples(200), deadline=None)
def test_a_history_of_wishes_folds_to_what_was_decided_on(wishes: list[State]) -> None:
    run = flow_run()
    timestamps = []
    for wish in wishes:
        event = flow_run_decisions.settle(set_flow(run, wish, now=NOON), run).event
        if event is not None:
            folded = flow_runs.evolve(run, event)
            assert folded is not None
            run = folded
            timestamps.append(event.state.timestamp)
    assert timestamps == sorted(set(timestamps))


@given(states(), st.sampled_from([t for t in STATE_TYPES if t not in TERMINAL]))
@settings(max_examples=examples(300), deadline=None)
def test_what_ended_with_a_result_stays_ended(wish: State, _: str) -> None:
    ended = flow_run(state("COMPLETED", data={"type": "reference"}), deployment_id=id_(9))
    settled = flow_run_decisions.settle(set_flow(ended, wish, now=NOON), ended)
    assert settled.answer.state is not None
    assert settled.answer.state.type in TERMINAL


@given(states(), st.sampled_from([*FLOW_POLICIES]))
def test_a_run_that_does_not_exist_is_not_found(wish: State, rules: Any) -> None:
    with pytest.raises(NotFound):
        flow_run_decisions.settle(set_flow(flow_run(), wish, rules), None)
    with pytest.raises(NotFound):
        task_run_decisions.settle(set_task(task_run(), wish), None)
