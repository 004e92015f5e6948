"""What can be done with a task run: delete it, set its state."""

from typing import get_args

from api.ui.page import Action, Ask, Deed, Said, Undo
from api.ui.run_actions import MESSAGE_CHARACTERS_MAX
from api.ui.shown import counted
from orchestration.identifiers import canonical
from orchestration.refusals import Invalid, NotFound
from orchestration.states import NAMES, ProposedState, StateType
from projections import task_run_page
from services import run_actions, task_run_actions, task_runs


def _id(deed: Deed) -> str:
    try:
        return canonical(deed.form.one("id"))
    except ValueError:
        raise Invalid(f"{deed.form.one('id')[:40]!r} is not an id") from None


async def _name(deed: Deed) -> str:
    about = await task_run_page.run(deed.visit.server.database, _id(deed))
    if about is None:
        raise NotFound("Task run", _id(deed))
    return about.run.name


async def ask_delete(deed: Deed) -> Ask:
    """Names what goes with the run."""
    name = await _name(deed)
    lost = await task_run_page.losses(deed.visit.server.database, _id(deed))
    numbers = ((lost.states, "state"), (lost.log_lines, "log line"))
    return Ask(
        title="Delete this task run?",
        text="This cannot be undone. A subflow run that it stands for stays, without its parent.",
        button="Delete task run",
        lost=(name, *(counted(number, what) for number, what in numbers if number)),
    )


async def delete(deed: Deed) -> Said:
    """Forget the run, with its states and log lines."""
    await task_runs.delete(deed.visit.server.shell, _id(deed), deed.origin)
    return Said("Deleted the task run.")


async def ask_state(deed: Deed) -> Ask | None:
    """Which state, unless the form says so."""
    if "to" in deed.form:
        return None
    return Ask(
        title=f"Set the state of {await _name(deed)}",
        text="Nothing that runs is stopped or started; what is recorded changes.",
        button="Set state",
        fields=(("to", ",".join(run_actions.settable())), ("message", "")),
    )


async def set_state(deed: Deed) -> Said:
    """Propose a state by hand."""
    server, to = deed.visit.server, deed.form.one("to")
    kind = next((kind for kind in get_args(StateType) if kind == to), None)
    if kind is None:
        raise Invalid(f"{to!r} is not a state")
    message = deed.form.one("message")[:MESSAGE_CHARACTERS_MAX] or "Set by hand"
    outcome = await task_run_actions.set_state(
        server.shell,
        _id(deed),
        ProposedState(type=kind, message=message),
        server.now(),
        deed.origin,
        cache_key_max=server.settings.tasks_max_cache_key_length,
    )
    if outcome.state is None:
        return Said(f"The task run stayed as before: {outcome.reason}", failed=True)
    fields = [("id", _id(deed)), ("state", outcome.state.id)]
    said = f"Set to {NAMES[kind][0]}."
    if outcome.state.type != kind:
        said = f"Set to {outcome.state.name} instead: {outcome.reason}"
    return Said(said, Undo("runs/task-run/actions/restore", fields))


async def restore(deed: Deed) -> Said:
    """Take that back."""
    server = deed.visit.server
    outcome = await task_run_actions.restore(
        server.shell,
        _id(deed),
        deed.form.one("state"),
        server.now(),
        deed.origin,
        cache_key_max=server.settings.tasks_max_cache_key_length,
    )
    if outcome.state is None:
        return Said(f"The task run stayed as before: {outcome.reason}", failed=True)
    return Said(f"Back to {outcome.state.name}.")


ACTIONS = (
    Action("/runs/task-run/actions/delete", delete, ask_delete),
    Action("/runs/task-run/actions/set-state", set_state, ask_state),
    Action("/runs/task-run/actions/restore", restore),
)
