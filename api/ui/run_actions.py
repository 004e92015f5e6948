"""What can be done with flow runs: delete, cancel, set a state; each with a question or an undo."""

from collections.abc import Sequence
from typing import get_args

from api.ui.page import Action, Ask, Deed, Said, Undo
from api.ui.shown import counted
from orchestration.identifiers import canonical
from orchestration.refusals import Invalid
from orchestration.states import NAMES, ProposedState, StateType
from projections import run_pages
from services import flow_runs, run_actions
from services.run_actions import Changed, Outcome

RUNS_MAX = 200
"""Flow runs that one action may change."""
MESSAGE_CHARACTERS_MAX = 1_000


def _ids(deed: Deed) -> list[str]:
    """The flow runs that a form names. Raises Invalid."""
    ids = list(dict.fromkeys(deed.form.all("id")))
    if not ids:
        raise Invalid("Choose a flow run first.")
    if len(ids) > RUNS_MAX:
        raise Invalid(f"Choose no more than {RUNS_MAX} flow runs at a time; these are {len(ids)}.")
    return [_id(id_) for id_ in ids]


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
    if len(gone) == len(ids):
        return Said(f"Deleted {counted(len(gone), 'flow run')}.")
    missing = len(ids) - len(gone)
    text = f"Deleted {counted(len(gone), 'flow run')}; {missing} had been deleted already."
    return Said(text, failed=not gone)


async def cancel(deed: Deed) -> Said:
    """Ask the runs to end."""
    server = deed.visit.server
    outcome = await run_actions.cancel(server.shell, _ids(deed), server.now(), deed.origin)
    return _told("Cancelling", outcome)


async def ask_state(deed: Deed) -> Ask | None:
    """Which state, unless the form says so."""
    if "to" in deed.form:
        return None
    ids = _ids(deed)
    return Ask(
        title=f"Set the state of {counted(len(ids), 'flow run')}",
        text="Nothing that runs is stopped or started; what is recorded changes.",
        button="Set state",
        fields=(("to", ",".join(run_actions.settable())), ("message", "")),
    )


async def set_state(deed: Deed) -> Said:
    """Propose a state by hand."""
    ids, server, to = _ids(deed), deed.visit.server, deed.form.one("to")
    kind = next((kind for kind in get_args(StateType) if kind == to), None)
    if kind is None:
        raise Invalid(f"{to!r} is not a state")
    message = deed.form.one("message")[:MESSAGE_CHARACTERS_MAX] or "Set by hand"
    wanted = ProposedState(type=kind, message=message)
    outcome = await run_actions.set_states(server.shell, ids, wanted, server.now(), deed.origin)
    return _told(f"Set to {NAMES[kind][0]}:", outcome)


async def restore(deed: Deed) -> Said:
    """Take one of the two above back."""
    server = deed.visit.server
    pairs = [pair.partition("/") for pair in deed.form.all("changed")[:RUNS_MAX]]
    changes = [Changed(_id(run), _id(state)) for run, _, state in pairs]
    outcome = await run_actions.restore(server.shell, changes, server.now(), deed.origin)
    return _told("Back in the state before:", outcome, undo=False)


def _told(what: str, outcome: Outcome, undo: bool = True) -> Said:
    done, refused = len(outcome.changed), outcome.refused
    text = f"{what} {counted(done, 'flow run')}."
    if refused:
        left = f"{counted(len(refused), 'flow run')} stayed as before: {_reasons(refused)}"
        text = f"{text} {left}" if done else left[0].upper() + left[1:]
    back = None
    if undo and outcome.changed:
        fields = [("changed", f"{one.run_id}/{one.state_id}") for one in outcome.changed]
        back = Undo("runs/actions/restore", fields)
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
