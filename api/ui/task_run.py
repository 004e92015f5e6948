"""One task run: its state and why, the states it went through, what it printed and made."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from api.ui import log_lines, task_run_actions
from api.ui.page import Missing, Page, Region, Visit
from api.ui.tabs import Tab, Tabs
from eventstore.selection import Selection
from orchestration.states import RUNNING, TERMINAL
from projections import artifact_pages, task_run_page
from projections.facts import Fact
from projections.task_run_page import Stay, Surroundings

GONE = "This task run does not exist"


class Head(Struct, frozen=True):
    """What stands above the tabs."""

    about: Surroundings
    stays: Sequence[Stay]
    running_since: datetime | None
    """When the current stretch began."""
    ended: bool
    attempts_max: int


class Details(Struct, frozen=True):
    """What the run was made with."""

    about: Surroundings
    inputs: Mapping[str, str]
    """Names of the runs whose results it was given, by id."""


async def _about(visit: Visit) -> Surroundings:
    about = await task_run_page.run(visit.server.database, visit.id)
    if about is None:
        raise Missing(GONE)
    return about


async def head(visit: Visit) -> Head:
    """The run and its states."""
    about = await _about(visit)
    run = about.run
    policy = run.empirical_policy
    return Head(
        about=about,
        stays=await task_run_page.stays(visit.server.database, visit.id),
        running_since=run.state.timestamp if run.state and run.state_type == RUNNING else None,
        ended=run.state_type in TERMINAL,
        attempts_max=1 + (policy.retries or policy.max_retries or 0),
    )


async def logs(visit: Visit) -> log_lines.Log:
    """What it printed."""
    run = (await _about(visit)).run
    return log_lines.log(visit, "task-run", run.state_type not in TERMINAL)


async def states(visit: Visit) -> Sequence[Stay]:
    """The states, newest first."""
    return (await task_run_page.stays(visit.server.database, visit.id))[::-1]


async def artifacts(visit: Visit) -> Sequence[artifact_pages.Listed]:
    """What it left behind."""
    return await artifact_pages.of_task_run(visit.server.database, visit.id)


async def details(visit: Visit) -> Details:
    """What it was made with."""
    database, about = visit.server.database, await _about(visit)
    return Details(about, await task_run_page.inputs(database, database.dialect, about.run))


async def history(visit: Visit) -> Sequence[Fact]:
    """The facts of its stream."""
    database, codec = visit.server.database, visit.server.store.codec
    return await task_run_page.facts(database, database.dialect, codec, visit.id)


def _own_stream(visit: Visit) -> Selection:
    return Selection(stream=(f"task-run:{visit.id}",))


def _around(visit: Visit) -> Selection:
    """Itself, a subflow that it stands for, artifacts that name it."""
    return Selection(resource=(f"task-run:{visit.id}",))


TABS = Tabs(
    "task_run",
    (
        Tab("logs", "Logs", logs, _own_stream),
        Tab("states", "States", states, _own_stream),
        Tab("artifacts", "Artifacts", artifacts, _around),
        Tab("details", "Details", details, _own_stream),
        Tab("history", "History", history, _own_stream),
    ),
)


page = Page(
    path="/runs/task-run/{id:uuid}",
    template="task_run.html",
    title="Task run",
    section="/runs",
    regions=(
        Region("head", head, _around),
        Region("tab", TABS.shown, TABS.concerns),
    ),
    lines=(log_lines.lines("task-run", "logs", first=True),),
    sources=(log_lines.source("task-run"),),
    actions=task_run_actions.ACTIONS,
    scripts=("flow_run.js", "log_view.js"),
    styles=("flow_run.css", "log_view.css", "artifacts.css", "task_run.css"),
)
