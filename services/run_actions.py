"""What people do to flow runs: set a state, cancel, pause, suspend, retry, and take that back."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal, TypeAlias

from msgspec import Struct

from eventstore.ids import new_id
from orchestration.documents import parse
from orchestration.flow_runs import FlowRun
from orchestration.refusals import Conflict, NotFound
from orchestration.states import (
    CANCELLED,
    CANCELLING,
    COMPLETED,
    PAUSED,
    RUNNING,
    SCHEDULED,
    TERMINAL,
    ProposedDetails,
    ProposedState,
    State,
    StateType,
    has_result,
)
from projections import states
from projections.flow_runs import FLOW_RUNS
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


StatesSeen: TypeAlias = Mapping[str, str | None]
"""Ids of the states in which runs have to be, by the runs' ids; others may be in any."""
ANY_STATE: StatesSeen = MappingProxyType({})


async def set_states(
    shell: Shell,
    ids: Sequence[str],
    wanted: ProposedState,
    now: datetime,
    origin: Origin,
    instead_of: StatesSeen = ANY_STATE,
    *,
    force: bool = False,
) -> Outcome:
    """Propose a state to each run; the rules decide, unless `force`. One in another state than
    `instead_of` says is refused."""
    changed: list[Changed] = []
    refused: list[str] = []
    for id_ in ids:
        try:
            done = await flow_runs.set_state(
                shell,
                id_,
                wanted,
                force=force,
                now=now,
                origin=origin,
                instead_of=instead_of.get(id_),
            )
        except (NotFound, Conflict) as why:
            refused.append(str(why))
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


async def found(shell: Shell, ids: Sequence[str]) -> Sequence[FlowRun]:
    """Those of the runs that there are."""
    rows = await shell.store.database.fetch_keys(FLOW_RUNS.table, [(id_,) for id_ in ids])
    return [FLOW_RUNS.parse(row) for row in rows]


async def cancel(shell: Shell, ids: Sequence[str], now: datetime, origin: Origin) -> Outcome:
    """Ask each run to end. One that nothing runs is cancelled at once; the rules see to that.

    A run that is paused is cancelled at once too: nothing leads from Paused to Cancelling.
    """
    paused = {run.id for run in await found(shell, ids) if run.state_type == PAUSED}
    others = [id_ for id_ in ids if id_ not in paused]
    at_once = await set_states(shell, sorted(paused), ProposedState(type=CANCELLED), now, origin)
    asked = await set_states(shell, others, ProposedState(type=CANCELLING), now, origin)
    changed, refused = [*at_once.changed, *asked.changed], [*at_once.refused, *asked.refused]
    return Outcome(changed, refused)


Choice: TypeAlias = Literal["retry", "pause", "suspend", "resume", "cancel"]


def choices(run: FlowRun) -> frozenset[Choice]:
    """What a person can have done with a run in its state. The rules have the last word."""
    kind = run.state_type
    if kind in TERMINAL:
        data = run.state.data if run.state else None
        kept = kind == COMPLETED and bool(data) and has_result(data)
        return frozenset() if run.deployment_id is None or kept else frozenset({"retry"})
    found: set[Choice] = set()
    if kind == RUNNING:
        found.add("pause")
        if run.deployment_id is not None and run.parent_task_run_id is None:
            found.add("suspend")
    if kind == PAUSED:
        found.add("resume")
    if kind != CANCELLING:
        found.add("cancel")
    return frozenset(found)


async def pause(
    shell: Shell,
    id_: str,
    lasting: timedelta,
    suspend: bool,
    now: datetime,
    origin: Origin,
    instead_of: StatesSeen = ANY_STATE,
) -> Outcome:
    """Pause a run for at most so long, after which it has failed.

    `suspend`: its process ends, and a worker starts it anew when it is resumed.
    """
    details = ProposedDetails(
        pause_timeout=now + lasting, pause_reschedule=suspend, pause_key=new_id()
    )
    name = "Suspended" if suspend else None
    wanted = ProposedState(type=PAUSED, name=name, state_details=details)
    return await set_states(shell, [id_], wanted, now, origin, instead_of)


async def retry(
    shell: Shell, id_: str, now: datetime, origin: Origin, instead_of: StatesSeen = ANY_STATE
) -> Outcome:
    """Have a run that has ended started once more by whoever runs its deployment."""
    details = ProposedDetails(scheduled_time=now)
    wanted = ProposedState(
        type=SCHEDULED, name="AwaitingRetry", message="Retried by hand", state_details=details
    )
    return await set_states(shell, [id_], wanted, now, origin, instead_of)


async def restore(
    shell: Shell, changes: Sequence[Changed], now: datetime, origin: Origin
) -> Outcome:
    """Give runs the state back that they had before a change, if nothing happened since."""
    changed: list[Changed] = []
    refused: list[str] = []
    for change in changes:
        history = await states.of_flow_run(shell.store.database, change.run_id)
        wanted = state_before(change, history)
        if wanted is None:
            refused.append(flow_runs.MOVED_ON)
            continue
        seen = {change.run_id: change.state_id}
        done = await set_states(shell, [change.run_id], wanted, now, origin, seen, force=True)
        changed += done.changed
        refused += done.refused
    return Outcome(changed, refused)


def state_before(change: Changed, history: Sequence[str]) -> ProposedState | None:
    """The state that a run had before a change, to be proposed anew; None if another came since.

    `history` are all its states as they are kept, oldest first.
    """
    known = [parse(State, text) for text in history]
    if len(known) < 2 or known[-1].id != change.state_id:
        return None
    before = known[-2]
    return ProposedState(
        type=before.type,
        name=before.name,
        message=before.message,
        data=before.data,
        state_details=ProposedDetails(scheduled_time=before.state_details.scheduled_time),
    )


def settable() -> Sequence[StateType]:
    """The states that a person may give a run by hand: where it is said to have ended."""
    return ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
