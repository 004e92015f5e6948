"""What can be done with flow runs: delete, cancel, set a state; each with a question or an undo.

What is said of several runs, flow runs or task runs, is made here.
"""

from collections.abc import Sequence
from typing import get_args

from api.ui import editing
from api.ui.page import Action, Ask, Deed, Said, Undo
from api.ui.shown import counted
from orchestration.flow_runs import FlowRun
from orchestration.identifiers import canonical
from orchestration.refusals import Invalid
from orchestration.states import NAMES, ProposedState, StateType
from orchestration.task_runs import TaskRun
from projections import run_pages
from services import flow_runs, run_actions
from services.run_actions import Changed, Outcome, StatesSeen

RUNS_MAX = 200
"""Runs that one action may change."""
MESSAGE_CHARACTERS_MAX = 1_000
SET_STATE = "Set state"


def chosen(deed: Deed, noun: str) -> list[str]:
    """The runs that a form names. Raises Invalid."""
    ids = list(dict.fromkeys(deed.form.all("id")))
    if not ids:
        raise Invalid(f"Choose a {noun} first.")
    if len(ids) > RUNS_MAX:
        raise Invalid(f"Choose no more than {RUNS_MAX} {noun}s at a time; these are {len(ids)}.")
    return [_id(id_) for id_ in ids]


def _ids(deed: Deed) -> list[str]:
    return chosen(deed, "flow run")


def _id(text: str) -> str:
    try:
        return canonical(text)
    except ValueError:
        raise Invalid(f"{text[:40]!r} is not an id") from None


async def ask_delete(deed: Deed) -> Ask:
    """Names what goes with the runs."""
    database = deed.visit.server.database
    lost = await run_pages.losses(database, database.dialect, _ids(deed))
    runs = counted(lost.flow_runs, "flow run")
    numbers = ((lost.task_runs, "task run"), (lost.log_lines, "log line"))
    with_them = [counted(number, what) for number, what in numbers if number]
    return Ask(
        title=f"Delete {runs}?",
        text="This cannot be undone. Subflow runs stay, without their parent.",
        button=f"Delete {runs}",
        lost=(runs, *with_them),
    )


async def delete(deed: Deed) -> Said:
    """Forget the runs, with their task runs, states and log lines."""
    ids = _ids(deed)
    gone = await flow_runs.delete_all(deed.visit.server.shell, ids, deed.origin)
    return deleted(len(gone), len(ids), "flow run")


def deleted(number: int, of: int, noun: str) -> Said:
    """How many of the runs that were meant have been deleted."""
    if number == of:
        return Said(f"Deleted {counted(number, noun)}.")
    text = f"Deleted {counted(number, noun)}; {of - number} had been deleted already."
    return Said(text, failed=not number)


async def cancel(deed: Deed) -> Said:
    """Ask the runs to end."""
    server = deed.visit.server
    outcome = await run_actions.cancel(server.shell, _ids(deed), server.now(), deed.origin)
    return _told("Cancelling", outcome)


async def ask_state(deed: Deed) -> Ask | None:
    """Which state, unless the form says so."""
    ids = _ids(deed)
    runs = await run_actions.found(deed.visit.server.shell, ids)
    return which_state(deed, counted(len(ids), "flow run"), runs)


def which_state(deed: Deed, whose: str, runs: Sequence[FlowRun | TaskRun]) -> Ask | None:
    """The question for a state, unless the form says which."""
    if "to" in deed.form:
        return None
    return Ask(
        title=f"Set the state of {whose}",
        text="Nothing that runs is stopped or started; what is recorded changes.",
        button=SET_STATE,
        fields=(("to", ",".join(run_actions.settable())), ("message", "")),
        sent=(seen(runs),),
    )


def seen(runs: Sequence[FlowRun | TaskRun]) -> tuple[str, str]:
    """The field of a question that was asked of runs in the states that they have now."""
    return editing.carried({run.id: run.state_id for run in runs})


def unmoved(deed: Deed, runs: Sequence[FlowRun | TaskRun], doing: str) -> StatesSeen:
    """The states that the runs had when the question was asked, and still have.

    `doing` is the button of the question. Raises ChangedMeanwhile, if any has another by now. Who
    was asked nothing decided on no state.
    """
    if editing.MADE_FROM not in deed.form:
        return {}
    states = {run.id: run.state_id for run in runs}
    moved = editing.differing(deed.form, states)
    if moved:
        told = [f"{run.name}: {run.state_name or 'no state'}" for run in runs if run.id in moved]
        _, made_from = seen(runs)
        raise editing.ChangedMeanwhile(made_from, told, doing)
    return states


async def set_state(deed: Deed) -> Said:
    """Propose a state by hand."""
    ids, server, wanted = _ids(deed), deed.visit.server, proposed(deed)
    states = unmoved(deed, await run_actions.found(server.shell, ids), SET_STATE)
    outcome = await run_actions.set_states(
        server.shell, ids, wanted, server.now(), deed.origin, states
    )
    return _told(f"Set to {NAMES[wanted.type][0]}:", outcome)


def proposed(deed: Deed) -> ProposedState:
    """The state that a form names. Raises Invalid."""
    to = deed.form.one("to")
    kind = next((kind for kind in get_args(StateType) if kind == to), None)
    if kind is None:
        raise Invalid(f"{to!r} is not a state")
    message = deed.form.one("message")[:MESSAGE_CHARACTERS_MAX] or "Set by hand"
    return ProposedState(type=kind, message=message)


async def restore(deed: Deed) -> Said:
    """Take one of the two above back."""
    server = deed.visit.server
    outcome = await run_actions.restore(server.shell, changes(deed), server.now(), deed.origin)
    return _told("Back in the state before:", outcome, undo=False)


def changes(deed: Deed) -> list[Changed]:
    """What an undo is to take back. Raises Invalid."""
    pairs = [pair.partition("/") for pair in deed.form.all("changed")[:RUNS_MAX]]
    return [Changed(_id(run), _id(state)) for run, _, state in pairs]


def _told(what: str, outcome: Outcome, undo: bool = True) -> Said:
    return became(what, outcome, "flow run", "runs/actions/restore" if undo else None)


def became(what: str, outcome: Outcome, noun: str, restore: str | None) -> Said:
    """What became of the runs. `restore` is the path of the action that takes it back."""
    done, refused = len(outcome.changed), outcome.refused
    text = f"{what} {counted(done, noun)}."
    if refused:
        left = f"{counted(len(refused), noun)} stayed as before: {_reasons(refused)}"
        text = f"{text} {left}" if done else left[0].upper() + left[1:]
    back = None
    if restore and outcome.changed:
        fields = [("changed", f"{one.run_id}/{one.state_id}") for one in outcome.changed]
        back = Undo(restore, fields)
    return Said(text, back, failed=not done)


def _reasons(refused: Sequence[str]) -> str:
    first, *others = dict.fromkeys(refused)
    return first + (f" (and {counted(len(others), 'other reason')})" if others else "")


ACTIONS = (
    Action("/runs/actions/delete", delete, ask_delete),
    Action("/runs/actions/cancel", cancel),
    Action("/runs/actions/set-state", set_state, ask_state),
    Action("/runs/actions/restore", restore),
)
