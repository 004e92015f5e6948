"""Rules that flow runs and task runs have in common.

A rule's docstring begins with the name that Prefect's documentation knows it by.
"""

from datetime import timedelta
from typing import Any

from orchestration.states import (
    CANCELLED,
    CANCELLING,
    NAMES,
    PENDING,
    RUNNING,
    SCHEDULED,
    State,
    with_details,
)
from orchestration.transition import ACCEPT, Abort, Accept, Facts, Transition, Verdict, Wait, rule

_HALF_A_SECOND_MICROSECONDS = 500_000
_SECOND = timedelta(seconds=1)


@rule({SCHEDULED}, {PENDING})
def copy_scheduled_time(t: Transition[Any], facts: Facts) -> Verdict:
    """CopyScheduledTime: a run that becomes pending still knows when it is due."""
    scheduled = t.current.state_details.scheduled_time if t.current else None
    if scheduled is None or t.proposed.state_details.scheduled_time is not None:
        return ACCEPT
    return Accept(detailed(t.proposed, scheduled_time=scheduled))


@rule({SCHEDULED, PENDING}, {RUNNING})
def wait_for_scheduled_time(t: Transition[Any], facts: Facts) -> Verdict:
    """WaitForScheduledTime: a run does not start before its time, by the server's clock."""
    scheduled = t.current.state_details.scheduled_time if t.current else None
    if scheduled is None or scheduled <= facts.now:
        return ACCEPT
    early = scheduled - facts.now
    # The answer has room for whole seconds only: to the nearest, half a second is nothing.
    seconds = early // _SECOND + (early.microseconds > _HALF_A_SECOND_MICROSECONDS)
    return Wait("The run is scheduled for later.", seconds) if seconds else ACCEPT


@rule({PENDING, CANCELLING, RUNNING, CANCELLED}, {PENDING})
def prevent_pending(t: Transition[Any], facts: Facts) -> Verdict:
    """PreventPendingTransitions: only one worker gets to submit a run.

    The first that proposes Pending wins; a second one finds the run pending, running or cancelled
    and must leave it alone. Steps within pending (Submitting, InfrastructurePending) are fine:
    they have names of their own, and keep what was found out for the run before.
    """
    assert t.current is not None
    current, proposal = t.current, t.proposed
    if current.type == PENDING and proposal.name not in (current.name, NAMES[PENDING][0]):
        return Accept(
            detailed(
                proposal,
                scheduled_time=current.state_details.scheduled_time,
                deployment_concurrency_lease_id=(
                    current.state_details.deployment_concurrency_lease_id
                ),
            )
        )
    return Abort(
        f"The run is {current.type}, so somebody has taken it on; it cannot become PENDING."
    )


def detailed(state: State, **changes: Any) -> State:
    """The state with some of its details changed."""
    return State(
        state.id,
        state.type,
        state.name,
        state.timestamp,
        state.message,
        state.data,
        with_details(state.state_details, **changes),
        state.extras,
    )


def renamed(state: State, name: str) -> State:
    """The state under another name."""
    return State(
        state.id,
        state.type,
        name,
        state.timestamp,
        state.message,
        state.data,
        state.state_details,
        state.extras,
    )
