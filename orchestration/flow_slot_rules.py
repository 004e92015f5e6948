"""The rules for slots of the concurrency limit of a flow run's deployment.

A run has a slot from when a worker takes it on until it ends or is put back. It is held under a
lease that the run's state names, and that the run's process renews: a state that does not name it
has let it go. So a run that retries, or pauses, while its process goes on keeps its slot, and with
it the lease that its process would end the run for, were it lost.

A rule's docstring begins with the name that Prefect's documentation knows it by.
"""

from datetime import timedelta

from orchestration.flow_runs import FlowRun
from orchestration.shared_rules import detailed
from orchestration.states import (
    AWAITING_RETRY,
    AWAITING_SLOT,
    CANCELLED,
    CANCELLING,
    LATE,
    PAUSED,
    PENDING,
    RUNNING,
    SCHEDULED,
    STATE_TYPES,
    State,
    StateDetails,
    new_state,
)
from orchestration.transition import (
    ACCEPT,
    ANY,
    Abort,
    Accept,
    FlowFacts,
    Reject,
    TakeSlots,
    Transition,
    Verdict,
    Wait,
    rule,
)

_FULL = "All slots of the deployment's concurrency limit are taken."


@rule(STATE_TYPES, {PENDING, RUNNING, CANCELLING, PAUSED})
def keep_lease(t: Transition[FlowRun], facts: FlowFacts) -> Verdict:
    """PreserveDeploymentConcurrencyLeaseId: workers propose states that do not name the lease."""
    assert t.current is not None
    lease_id = lease_of(t.current)
    details = t.proposed.state_details
    if lease_id is None or details.deployment_concurrency_lease_id is not None:
        return ACCEPT
    if details.pause_reschedule:
        return ACCEPT  # Its process ends; it takes another slot when it is started again.
    return Accept(detailed(t.proposed, deployment_concurrency_lease_id=lease_id))


@rule({PENDING, SCHEDULED, PAUSED}, {RUNNING})
def hold_slot(t: Transition[FlowRun], facts: FlowFacts) -> Verdict:
    """ValidateDeploymentConcurrencyAtRunning: what took too long to begin may have lost its slot.

    It takes another one if there is. If there is none, a run that has not begun is cancelled, for
    a worker has made what it runs in; one that goes on with its process waits.
    """
    assert t.current is not None
    slot = facts.slot
    if slot is None or slot.held:
        return ACCEPT
    if slot.free:
        return Accept(
            detailed(t.proposed, deployment_concurrency_lease_id=slot.lease_id),
            afterwards=TakeSlots(),
        )
    if t.current.type != PENDING:
        return Wait(_FULL, round(slot.wait_seconds))
    message = "The run lost its slot of the deployment's limit before it began; none is free."
    return Reject(message, _cancelled(t.proposed, message))


@rule(ANY - {PENDING, RUNNING, CANCELLING}, {PENDING})
def secure_slot(t: Transition[FlowRun], facts: FlowFacts) -> Verdict:
    """SecureFlowConcurrencySlots: a run that a worker takes on has a slot, or is put off.

    It waits for one, or is cancelled if the deployment wants that.
    """
    if facts.deployment_gone:
        return Abort("Deployment not found.")
    slot = facts.slot
    if slot is None or slot.held:
        return ACCEPT
    if slot.limit == 0:
        return Abort("The deployment's concurrency limit is 0: the run would wait for ever.")
    if slot.free:
        return Accept(
            detailed(t.proposed, deployment_concurrency_lease_id=slot.lease_id),
            afterwards=TakeSlots(),
        )
    if slot.cancel_new:
        return Reject(_FULL, _cancelled(t.proposed, _FULL))
    due = facts.now + timedelta(seconds=slot.wait_seconds)
    waiting = new_state(
        SCHEDULED,
        t.proposed.id,
        t.proposed.timestamp,
        name=AWAITING_SLOT,
        details=StateDetails(scheduled_time=due),
    )
    return Reject(_FULL, waiting)


@rule({SCHEDULED}, {SCHEDULED})
def cancel_late(t: Transition[FlowRun], facts: FlowFacts) -> Verdict:
    """EnforceDeploymentConcurrencyOnLate: what would be cancelled later is cancelled now."""
    slot = facts.slot
    if t.proposed.name != LATE or slot is None or not slot.cancel_new or slot.free:
        return ACCEPT
    return Reject(_FULL, _cancelled(t.proposed, _FULL))


def lease_of(state: State) -> str | None:
    """The lease under which a run in this state holds a slot of its deployment's limit."""
    return state.state_details.deployment_concurrency_lease_id


def holds_slot(state: State) -> bool:
    """Whether the lease that a state names is to last: something runs for the run, or will."""
    if state.type in (PENDING, RUNNING, CANCELLING):
        return True
    if state.type == PAUSED:
        return not state.state_details.pause_reschedule
    return state.type == SCHEDULED and state.name == AWAITING_RETRY


def _cancelled(proposed: State, message: str) -> State:
    return new_state(CANCELLED, proposed.id, proposed.timestamp, message=message)
