"""What people do to flow runs from a list: set a state, cancel, and take that back."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from orchestration.documents import parse
from orchestration.refusals import NotFound
from orchestration.states import CANCELLING, ProposedDetails, ProposedState, State, StateType
from projections import states
from services import flow_runs
from services.shell import Origin, Shell


class Changed(Struct, frozen=True):
    """A run whose state was set, and the state that it has since."""

    run_id: str
    state_id: str


class Outcome(Struct, frozen=True):
    """What became of several runs."""

    changed: Sequence[Changed]
    refused: Sequence[str]
    """Why the others kept their state, in the words of the rules; one per run."""


async def set_states(
    shell: Shell, ids: Sequence[str], wanted: ProposedState, now: datetime, origin: Origin
) -> Outcome:
    """Propose a state to each run; the rules decide."""
    changed: list[Changed] = []
    refused: list[str] = []
    for id_ in ids:
        try:
            done = await flow_runs.set_state(
                shell, id_, wanted, force=False, now=now, origin=origin
            )
        except NotFound as gone:
            refused.append(str(gone))
            continue
        told = done.answer
        if told.status == "ACCEPT" and told.state is not None:
            changed.append(Changed(id_, told.state.id))
        elif told.status == "REJECT" and told.state is not None and done.written is not None:
            # Another state instead of the one that was asked for.
            changed.append(Changed(id_, told.state.id))
        else:
            refused.append(getattr(told.details, "reason", None) or f"answered {told.status}")
    return Outcome(changed, refused)


async def cancel(shell: Shell, ids: Sequence[str], now: datetime, origin: Origin) -> Outcome:
    """Ask each run to end. One that nothing runs is cancelled at once; the rules see to that."""
    return await set_states(shell, ids, ProposedState(type=CANCELLING), now, origin)


async def restore(
    shell: Shell, changes: Sequence[Changed], now: datetime, origin: Origin
) -> Outcome:
    """Give runs the state back that they had before a change, if nothing happened since."""
    database = shell.store.database
    changed: list[Changed] = []
    refused: list[str] = []
    for change in changes:
        known = [parse(State, text) for text in await states.of_flow_run(database, change.run_id)]
        if len(known) < 2 or known[-1].id != change.state_id:
            refused.append("it has moved on since")
            continue
        before = known[-2]
        proposed = ProposedState(
            type=before.type,
            name=before.name,
            message=before.message,
            data=before.data,
            state_details=ProposedDetails(scheduled_time=before.state_details.scheduled_time),
        )
        try:
            done = await flow_runs.set_state(
                shell, change.run_id, proposed, force=True, now=now, origin=origin
            )
        except NotFound as gone:
            refused.append(str(gone))
            continue
        if done.answer.state is not None and done.written is not None:
            changed.append(Changed(change.run_id, done.answer.state.id))
        else:
            refused.append(getattr(done.answer.details, "reason", None) or "it was refused")
    return Outcome(changed, refused)


def settable() -> Sequence[StateType]:
    """The states that a person may give a run by hand: where it is said to have ended."""
    return ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
