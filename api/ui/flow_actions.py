"""What can be done with flows: delete one, after a question that names what goes with it."""

from api.ui.page import Action, Ask, Deed, Said
from api.ui.shown import counted
from orchestration.identifiers import canonical
from orchestration.refusals import Invalid, NotFound
from projections import flow_pages
from services import flows


def _id(deed: Deed) -> str:
    try:
        return canonical(deed.form.one("id"))
    except ValueError:
        raise Invalid("Choose a flow first.") from None


async def ask_delete(deed: Deed) -> Ask:
    """Names what goes with the flow. Raises NotFound."""
    database, id_ = deed.visit.server.database, _id(deed)
    flow = await flow_pages.flow(database, id_)
    if flow is None:
        raise NotFound("Flow", id_)
    lost = await flow_pages.losses(database, id_)
    numbers = (
        (lost.flow_runs, "flow run"),
        (lost.task_runs, "task run"),
        (lost.log_lines, "log line"),
    )
    with_it = [counted(number, what) for number, what in numbers if number]
    running = ""
    if lost.running:
        are = "is" if lost.running == 1 else "are"
        running = f" {counted(lost.running, 'run')} {are} running and will not be stopped."
    return Ask(
        title=f"Delete the flow {flow.name}?",
        text=f"Its runs go with it. This cannot be undone.{running}",
        button="Delete the flow",
        lost=(f"the flow {flow.name}", *with_it),
    )


async def delete(deed: Deed) -> Said:
    """Forget the flow and its runs."""
    server, id_ = deed.visit.server, _id(deed)
    flow = await flow_pages.flow(server.database, id_)
    lost = await flow_pages.losses(server.database, id_)
    await flows.delete(server.shell, id_, deed.origin)
    runs = f" and {counted(lost.flow_runs, 'flow run')}" if lost.flow_runs else ""
    return Said(f"Deleted the flow {flow.name if flow else id_}{runs}.")


ACTIONS = (Action("/flows/actions/delete", delete, ask_delete),)
