"""What people do to a task run by hand: set a state, and take that back."""

from datetime import datetime

from msgspec import Struct

from orchestration.documents import parse
from orchestration.refusals import Invalid
from orchestration.states import ProposedDetails, ProposedState, State
from projections import states
from services import task_runs
from services.shell import Origin, Shell


class Outcome(Struct, frozen=True):
    """What became of a proposed state."""

    state: State | None
    """The one that the run has taken on; None if it stayed as it was."""
    reason: str | None
    """Why a rule decided otherwise."""


async def set_state(
    shell: Shell,
    id_: str,
    wanted: ProposedState,
    now: datetime,
    origin: Origin,
    *,
    force: bool = False,
    cache_key_max: int,
) -> Outcome:
    """Propose a state; the rules decide, unless `force`. Raises NotFound."""
    done = await task_runs.set_state(
        shell, id_, wanted, force=force, now=now, origin=origin, cache_key_max=cache_key_max
    )
    state = done.answer.state if done.written is not None else None
    reason = getattr(done.answer.details, "reason", None)
    if state is None and reason is None:
        reason = f"answered {done.answer.status}"
    return Outcome(state, reason)


async def restore(
    shell: Shell,
    id_: str,
    state_id: str,
    now: datetime,
    origin: Origin,
    *,
    cache_key_max: int,
) -> Outcome:
    """Give the run the state back that it had before `state_id`, if nothing happened since.

    Raises NotFound, Invalid.
    """
    known = [parse(State, text) for text in await states.of_task_run(shell.store.database, id_)]
    if len(known) < 2 or known[-1].id != state_id:
        raise Invalid("The task run has moved on since; nothing was changed.")
    before = known[-2]
    details = ProposedDetails(scheduled_time=before.state_details.scheduled_time)
    wanted = ProposedState(
        type=before.type,
        name=before.name,
        message=before.message,
        data=before.data,
        state_details=details,
    )
    return await set_state(shell, id_, wanted, now, origin, force=True, cache_key_max=cache_key_max)
