"""What can be done with task runs, of their own page and of the list: delete, set a state."""

from api.ui.page import Action, Ask, Deed, Said
from api.ui.run_actions import (
    SET_STATE,
    became,
    changes,
    chosen,
    deleted,
    proposed,
    unmoved,
    which_state,
)
from api.ui.shown import counted
from orchestration.refusals import NotFound
from orchestration.states import NAMES
from projections import task_run_page
from services import task_run_actions, task_runs

_NOUN = "task run"


async def _called(deed: Deed) -> str:
    """The name of the one that is meant, or how many they are. Raises Invalid, NotFound."""
    ids = chosen(deed, _NOUN)
    if len(ids) > 1:
        return counted(len(ids), _NOUN)
    about = await task_run_page.run(deed.visit.server.database, ids[0])
    if about is None:
        raise NotFound("Task run", ids[0])
    return about.run.name


async def ask_delete(deed: Deed) -> Ask:
    """Names what goes with the runs."""
    ids, called, database = chosen(deed, _NOUN), await _called(deed), deed.visit.server.database
    lost = await task_run_page.losses(database, database.dialect, ids)
    numbers = ((lost.states, "state"), (lost.log_lines, "log line"))
    several = len(ids) > 1
    return Ask(
        title=f"Delete {called}?" if several else "Delete this task run?",
        text="This cannot be undone. A subflow run that it stands for stays, without its parent.",
        button=f"Delete {called}" if several else "Delete task run",
        lost=(called, *(counted(number, what) for number, what in numbers if number)),
    )


async def delete(deed: Deed) -> Said:
    """Forget the runs, with their states and log lines."""
    ids = chosen(deed, _NOUN)
    gone = await task_runs.delete_all(deed.visit.server.shell, ids, deed.origin)
    return deleted(gone, len(ids), _NOUN)


async def ask_state(deed: Deed) -> Ask | None:
    """Which state, unless the form says so."""
    runs = await task_run_actions.found(deed.visit.server.shell, chosen(deed, _NOUN))
    return which_state(deed, await _called(deed), runs)


async def set_state(deed: Deed) -> Said:
    """Propose a state by hand."""
    ids, server, wanted = chosen(deed, _NOUN), deed.visit.server, proposed(deed)
    states = unmoved(deed, await task_run_actions.found(server.shell, ids), SET_STATE)
    outcome = await task_run_actions.set_states(
        server.shell,
        ids,
        wanted,
        server.now(),
        deed.origin,
        cache_key_max=server.settings.tasks_max_cache_key_length,
        instead_of=states,
    )
    said = f"Set to {NAMES[wanted.type][0]}:"
    return became(said, outcome, _NOUN, "runs/task-run/actions/restore")


async def restore(deed: Deed) -> Said:
    """Take that back."""
    server = deed.visit.server
    outcome = await task_run_actions.restore(
        server.shell,
        changes(deed),
        server.now(),
        deed.origin,
        cache_key_max=server.settings.tasks_max_cache_key_length,
    )
    return became("Back in the state before:", outcome, _NOUN, None)


ACTIONS = (
    Action("/runs/task-run/actions/delete", delete, ask_delete),
    Action("/runs/task-run/actions/set-state", set_state, ask_state),
    Action("/runs/task-run/actions/restore", restore),
)
