"""One flow run: what state it is in and why, when what ran (the timeline), what it left behind.

The timeline's data is `flow_run_timeline.py`; what stands below it, a tab each, `flow_run_tabs.py`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from api.ui import flow_run_actions, flow_run_timeline, flow_run_why, log_lines
from api.ui.flow_run_tabs import TABS
from api.ui.page import Missing, Page, Region, Visit
from api.ui.tabs import Tab
from eventstore.selection import Selection
from orchestration.run_clock import NO_TIME
from orchestration.states import RUNNING, TERMINAL
from projections import flow_run_page, pulses
from projections.flow_run_page import FailedTask, Parts, Run
from services import run_actions
from services.run_actions import Choice

GONE = flow_run_why.GONE
FAILED_TYPES = ("CRASHED", "FAILED")


class Head(Struct, frozen=True):
    """What stands above the timeline. Durations in seconds."""

    about: Run
    running_since: datetime | None
    """When the current stretch began."""
    usual: float | None
    """How long a run of this flow takes."""
    expected_end: datetime | None
    attempts_max: int
    ended: bool
    failed: bool
    failures: Sequence[FailedTask]
    traceback: str | None
    choices: frozenset[Choice]
    """What can be done with it now."""
    wants_input: bool
    """It is resumed with a form."""
    heard: datetime | None
    """When its heart last beat, while it runs; None if it sends no heartbeats."""


class Strip(Struct, frozen=True):
    """The tabs, and how the task runs stand."""

    parts: Parts
    tabs: Sequence[Tab]
    current: Tab


async def head(visit: Visit) -> Head:
    """The run, and if it failed, why."""
    database = visit.server.database
    about = await flow_run_page.run(database, visit.id)
    if about is None:
        raise Missing(GONE)
    run = about.run
    started, failed = run.start_time, run.state_type in FAILED_TYPES
    since = run.state.timestamp if run.state is not None and run.state_type == RUNNING else None
    usual = None
    if started is not None and run.state_type not in TERMINAL:
        usual = await flow_run_page.usual_run_time(database, run.flow_id, started)
    expected_end = None
    if usual is not None and since is not None:
        expected_end = since + timedelta(seconds=max(NO_TIME, usual - run.total_run_time))
    return Head(
        about=about,
        running_since=since,
        usual=usual,
        expected_end=expected_end,
        attempts_max=1 + (run.empirical_policy.retries or 0),
        ended=run.state_type in TERMINAL,
        failed=failed,
        failures=await flow_run_page.failed_tasks(database, visit.id) if failed else (),
        traceback=await flow_run_page.traceback(database, visit.id) if failed else None,
        choices=run_actions.choices(run),
        wants_input=bool(run.state and run.state.state_details.run_input_keyset),
        heard=await _heard(visit) if run.state_type == RUNNING else None,
    )


async def _heard(visit: Visit) -> datetime | None:
    await visit.server.pulses.flush()
    return await pulses.heard(visit.server.database, pulses.FLOW_RUN + visit.id)


async def strip(visit: Visit) -> Strip:
    """The tabs with their counts."""
    parts = await flow_run_page.parts(visit.server.database, visit.id)
    return Strip(parts, TABS.tabs, TABS.current(visit))


def _own_stream(visit: Visit) -> Selection:
    return Selection(stream=(f"flow-run:{visit.id}",))


def _parts(visit: Visit) -> Selection:
    """Its task runs, its subflows by the task runs that stand for them, its artifacts."""
    return Selection(resource=(f"flow-run:{visit.id}",))


page = Page(
    path="/runs/flow-run/{id:uuid}",
    template="flow_run.html",
    title="Flow run",
    section="/runs",
    regions=(
        Region("head", head, _own_stream, pulses=True),
        Region("why", flow_run_why.why, flow_run_why.concerns, pulses=True),
        Region("resuming", flow_run_why.resuming, flow_run_why.own_stream),
        Region("strip", strip, _parts),
        Region("tab", TABS.shown, TABS.concerns),
    ),
    feeds=(flow_run_timeline.feed,),
    lines=(log_lines.lines("flow-run", "logs", first=True),),
    sources=(*flow_run_timeline.SOURCES, log_lines.source("flow-run")),
    actions=flow_run_actions.ACTIONS,
    scripts=("flow_run.js", "timeline.js", "log_view.js", "schema_form.js"),
    styles=("flow_run.css", "timeline.css", "log_view.css", "artifacts.css", "forms.css"),
)
