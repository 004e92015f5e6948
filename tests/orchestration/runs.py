"""Runs to begin a test with: in any state, of any kind."""

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from msgspec.structs import replace

from eventstore.decider import Decider
from orchestration import flow_rules, flow_run_decisions, task_rules, task_run_decisions
from orchestration.flow_run_decisions import SetFlowRunState
from orchestration.flow_runs import FlowRun
from orchestration.states import ProposedDetails, ProposedState, State, StateType, proposed
from orchestration.surroundings import Neighbour, Surroundings
from orchestration.task_run_decisions import SetTaskRunState
from orchestration.task_runs import TaskRun
from orchestration.transition import (
    EnclosingFlowRun,
    FlowFacts,
    OrchestrationResult,
    Policy,
    TaskFacts,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)

FLOW = Neighbour("f1000000-0000-4000-8000-000000000001", "etl", ("nightly",))
AROUND = Surroundings(flow=FLOW)

V = TypeVar("V")


def id_(number: int) -> str:
    """A readable UUID."""
    return str(UUID(int=number, version=4))


def state(
    type: StateType,
    name: str | None = None,
    *,
    at: datetime = NOON,
    id: str = id_(7),
    message: str | None = None,
    data: Any = None,
    **details: Any,
) -> State:
    """A state as it is proposed."""
    body = ProposedState(
        type=type,
        name=name,
        message=message,
        data=data,
        state_details=ProposedDetails(**details),
    )
    return proposed(body, id, at)


def flow_run(current: State | None = None, **fields: Any) -> FlowRun:
    """A flow run that took on `current` by force."""
    run = FlowRun(id=id_(1), name="brave-otter", flow_id=FLOW.id)
    if current is not None:
        run = after(flow_run_decisions.decider, set_flow(run, current, flow_rules.MINIMAL), run)
    return replace(run, **fields)


def task_run(current: State | None = None, **fields: Any) -> TaskRun:
    """A task run that took on `current` by force."""
    run = TaskRun(id=id_(2), name="load-1", task_key="load", dynamic_key="1")
    if current is not None:
        run = after(task_run_decisions.decider, set_task(run, current, task_rules.MINIMAL), run)
    return replace(run, **fields)


def set_flow(
    run: FlowRun, to: State, rules: Policy = flow_rules.CORE, now: datetime | None = None
) -> SetFlowRunState:
    """The wish that a flow run be in a state."""
    return SetFlowRunState(
        id=run.id,
        proposed=to,
        rules=rules,
        facts=FlowFacts(now=now or to.timestamp, pause_key="minted-key"),
        around=AROUND,
    )


def set_task(
    run: TaskRun,
    to: State,
    rules: Policy = task_rules.CORE,
    within: EnclosingFlowRun | None = None,
    cached: State | None = None,
    chance: float = 0.5,
) -> SetTaskRunState:
    """The wish that a task run be in a state."""
    return SetTaskRunState(
        id=run.id,
        proposed=to,
        rules=rules,
        facts=TaskFacts(now=to.timestamp, flow_run=within, cached=cached, chance=chance),
    )


def within(state_type: StateType | None, **known: Any) -> EnclosingFlowRun:
    """The flow run around a task run."""
    return EnclosingFlowRun(id=id_(3), state_type=state_type, **known)


def after(decider: Decider[Any, V, Any], command: Any, value: V) -> V:
    """The value after a command."""
    folded: V | None = value
    for event in decider.decide(command, value):
        folded = decider.evolve(folded, event)
    assert folded is not None
    return folded


def flow_answer(
    run: FlowRun, to: State, rules: Policy = flow_rules.CORE, now: datetime | None = None
) -> tuple[OrchestrationResult, FlowRun]:
    """What the client is told, and the flow run afterwards."""
    command = set_flow(run, to, rules, now)
    settled = flow_run_decisions.settle(command, run)
    return settled.answer, after(flow_run_decisions.decider, command, run)


def task_answer(
    run: TaskRun, to: State, rules: Policy = task_rules.CORE, **facts: Any
) -> tuple[OrchestrationResult, TaskRun]:
    """What the client is told, and the task run afterwards."""
    command = set_task(run, to, rules, **facts)
    settled = task_run_decisions.settle(command, run)
    return settled.answer, after(task_run_decisions.decider, command, run)
