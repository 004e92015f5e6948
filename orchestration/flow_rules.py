"""The rules for the states of flow runs. The tuples at the end are the policies.

A rule's docstring begins with the name that Prefect's documentation knows it by. Where a rule puts
a state of its own in place of the proposal, that state takes over the proposal's id and time.
"""

from msgspec.structs import replace

from orchestration.flow_runs import FlowRun
from orchestration.flow_slot_rules import (
    cancel_late,
    hold_slot,
    keep_lease,
    lease_of,
    secure_slot,
)
from orchestration.run_policies import after
from orchestration.shared_rules import (
    copy_scheduled_time,
    prevent_pending,
    wait_for_scheduled_time,
)
from orchestration.states import (
    CANCELLED,
    CANCELLING,
    COMPLETED,
    CRASHED,
    FAILED,
    LATE,
    PAUSED,
    RUNNING,
    SCHEDULED,
    STATE_TYPES,
    TERMINAL,
    StateDetails,
    has_result,
    new_state,
)
from orchestration.transition import (
    ACCEPT,
    ANY,
    Abort,
    Accept,
    FlowFacts,
    PauseSeen,
    Policy,
    Reject,
    Resuming,
    Transition,
    Verdict,
    rule,
)

_NOT_AFTER_THE_END = frozenset({CANCELLING, PAUSED, CRASHED})
_WOULD_LOSE_THE_RESULT = (
    "The run is COMPLETED with a result; another COMPLETED state without one would lose it."
)


@rule(ANY, ANY)
def prevent_duplicate(t: Transition[FlowRun], facts: FlowFacts) -> Verdict:
    """PreventDuplicateTransitions: a client that did not hear the answer may ask again."""
    asked = t.proposed.state_details.transition_id
    if asked is None or t.current is None or t.current.state_details.transition_id != asked:
        return ACCEPT
    return Reject("The run is in this state already: the same transition was recorded before.")


@rule(TERMINAL, ANY)
def keep_terminal(t: Transition[FlowRun], facts: FlowFacts) -> Verdict:
    """HandleFlowTerminalStateTransitions: what has ended stays ended, unless it is run again.

    A run that comes back forgets the pauses it went through.
    """
    assert t.current is not None
    current, kind = t.current, t.proposed.type
    if kind in _NOT_AFTER_THE_END:
        return Abort(f"The run has ended {current.type}; it cannot become {kind} any more.")
    if current.type == COMPLETED and current.data and has_result(current.data):
        if kind not in TERMINAL:
            return Reject("The run is COMPLETED and its result is kept; it does not run again.")
        if kind == COMPLETED and not has_result(t.proposed.data):
            return Reject(_WOULD_LOSE_THE_RESULT)
    if kind == SCHEDULED and t.run.deployment_id is None:
        return Abort("Only a run of a deployment can be scheduled again; this one has none.")
    if kind in TERMINAL:
        return ACCEPT
    policy = replace(
        t.run.empirical_policy,
        resuming=False,
        pause_keys=(),
        retry_type="reschedule" if kind == SCHEDULED else None,
    )
    return Accept(run=replace(t.run, empirical_policy=policy))


@rule(TERMINAL, TERMINAL)
def keep_result(t: Transition[FlowRun], facts: FlowFacts) -> Verdict:
    """PreventResultDataLoss: not even by force is a result forgotten."""
    assert t.current is not None
    if (
        t.current.type == t.proposed.type == COMPLETED
        and t.current.data
        and has_result(t.current.data)
        and not has_result(t.proposed.data)
    ):
        return Reject(_WOULD_LOSE_THE_RESULT)
    return ACCEPT


@rule({CANCELLING}, ANY - {CANCELLED})
def cancelling_ends_cancelled(t: Transition[FlowRun], facts: FlowFacts) -> Verdict:
    """EnforceCancellingToCancelledTransition: there is one way out of Cancelling."""
    return Reject("The run is being cancelled; from here it can only become CANCELLED.")


@rule({SCHEDULED, PAUSED}, {CANCELLING})
def cancel_without_infrastructure(t: Transition[FlowRun], facts: FlowFacts) -> Verdict:
    """BypassCancellingFlowRunsWithNoInfra: where nothing runs, there is nothing to wait for."""
    assert t.current is not None
    current = t.current
    cancelled = new_state(CANCELLED, t.proposed.id, t.proposed.timestamp)
    if current.name == "Resuming" or (current.type == SCHEDULED and not t.run.infrastructure_pid):
        return Reject("Nothing runs yet for this flow run, so it is cancelled at once.", cancelled)
    if current.type == PAUSED and current.state_details.pause_reschedule:
        return Reject(
            "Nothing runs for this flow run while it is suspended, so it is cancelled at once.",
            cancelled,
        )
    return ACCEPT


@rule(ANY, {SCHEDULED})
def only_scheduled_is_late(t: Transition[FlowRun], facts: FlowFacts) -> Verdict:
    """EnsureOnlyScheduledFlowsMarkedLate: a run is late once, and only before it started."""
    if t.proposed.name != LATE or t.current is None:
        return ACCEPT
    if t.current.type != SCHEDULED:
        return Reject("Only a run that is scheduled can be late.")
    if t.current.name == LATE:
        return Reject("The run is marked late already.")
    return ACCEPT


@rule(ANY, {PAUSED})
def pause_once(t: Transition[FlowRun], facts: FlowFacts) -> Verdict:
    """HandlePausingFlows: running flows pause, and at each of their pauses once."""
    verb = "suspend" if t.proposed.name == "Suspended" else "pause"
    if t.current is None:
        return Abort(f"A run without a state cannot {verb}.")
    if t.current.type != RUNNING:
        return Reject(f"Only a running flow run can {verb}; this one is {t.current.type}.")
    details = t.proposed.state_details
    key = facts.pause_key if details.pause_key is None else details.pause_key
    if key in (t.run.empirical_policy.pause_keys or ()):
        return Reject(f"The run went through this {verb} before.")
    if details.pause_reschedule:
        if t.run.parent_task_run_id is not None:
            return Abort(f"The run of a subflow cannot {verb}; {verb} the run around it.")
        if t.run.deployment_id is None:
            return Abort(f"A run without a deployment cannot {verb}: nobody would start it again.")
    return Accept(afterwards=PauseSeen(key))


_OUT_OF_A_PAUSE = frozenset({RUNNING, SCHEDULED}) | TERMINAL


@rule({PAUSED}, STATE_TYPES)
def resume(t: Transition[FlowRun], facts: FlowFacts) -> Verdict:
    """HandleResumingPausedFlows: a pause ends by going on, in time, or by ending the run."""
    assert t.current is not None
    current, proposal = t.current, t.proposed
    if proposal.type not in _OUT_OF_A_PAUSE:
        return Reject(f"A PAUSED run can go on, be scheduled or end; not become {proposal.type}.")
    if current.state_details.pause_reschedule and t.run.deployment_id is None:
        return Reject("The run is suspended and has no deployment that could start it again.")
    timeout = current.state_details.pause_timeout
    if timeout is not None and timeout < facts.now:
        failed = new_state(
            FAILED,
            proposal.id,
            proposal.timestamp,
            message="The run was paused and nobody resumed it in time.",
        )
        return Reject(
            "The pause has timed out; the run can no longer be resumed.",
            failed,
            afterwards=Resuming(),
        )
    return Accept(afterwards=Resuming())


@rule({RUNNING}, {FAILED})
def retry_failed(t: Transition[FlowRun], facts: FlowFacts) -> Verdict:
    """RetryFailedFlows: as long as there are retries left, a failure is not the end."""
    assert t.current is not None
    policy = t.run.empirical_policy
    if policy.retries is None or t.run.run_count > policy.retries:
        # Somebody may still run it again by hand; that is another kind of retry.
        return Accept(
            run=replace(t.run, empirical_policy=replace(policy, retry_type=None))
            if policy.retry_type is not None
            else None
        )
    due = after(facts.now, policy.retry_delay or 0)
    again = new_state(
        SCHEDULED,
        t.proposed.id,
        t.proposed.timestamp,
        name="AwaitingRetry",
        message=t.proposed.message,
        data=t.proposed.data,
        details=StateDetails(
            scheduled_time=due,
            deployment_concurrency_lease_id=lease_of(t.current),
        ),
    )
    fresh = replace(policy, resuming=False, pause_keys=(), retry_type="in_process")
    return Reject(
        "A retry is left; the run waits for it.", again, run=replace(t.run, empirical_policy=fresh)
    )


@rule({RUNNING, SCHEDULED}, {SCHEDULED})
def start_over(t: Transition[FlowRun], facts: FlowFacts) -> Verdict:
    """A run whose process is gone is for another one to start, with all of its pauses to come."""
    policy = replace(t.run.empirical_policy, resuming=False, pause_keys=(), retry_type="reschedule")
    return Accept(run=replace(t.run, empirical_policy=policy))


CORE = Policy.of(
    keep_lease,
    prevent_duplicate,
    keep_terminal,
    cancelling_ends_cancelled,
    cancel_without_infrastructure,
    prevent_pending,
    hold_slot,
    secure_slot,
    # RemoveDeploymentConcurrencyLeaseForOldClientVersions is not a rule here: see
    # `services/deployment_slots.py`, and there as well for ReleaseFlowConcurrencySlots.
    only_scheduled_is_late,
    pause_once,
    resume,
    copy_scheduled_time,
    wait_for_scheduled_time,
    retry_failed,
    # InstrumentFlowRunStateTransitions is not a rule here: see `emissions.emission_of`.
)
"""What a client's wish is judged by."""

MINIMAL = Policy.of(
    keep_lease,
    keep_result,
    cancel_without_infrastructure,
)
"""What is left when a state is forced: also how the first state of a run is set."""

MARK_LATE = Policy.of(
    only_scheduled_is_late,
    cancel_late,
)
"""What the service that finds late runs goes by."""


GIVEN_UP = Policy.of(start_over)
"""What the service that gives up silent runs goes by; it proposes nothing to a run that ended."""


def policy_for(force: bool) -> Policy:
    """The policy for a client's proposal."""
    return MINIMAL if force else CORE
