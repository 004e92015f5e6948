"""One flow: how its runs went over a window of time, how long they take, why they fail."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import median
from uuid import UUID

from msgspec import Struct

from api.ui import window
from api.ui.dashboard import KINDS
from api.ui.page import Missing, Page, Region, Visit
from api.ui.schedule_words import Words, all_words
from api.ui.window import Window
from eventstore.selection import Selection
from orchestration.deployment_schedules import DeploymentSchedule
from orchestration.flows import Flow
from orchestration.states import RUNNING
from projections import deployment_pages, failures, flow_pages, overview, run_pages
from projections.criteria import Ids
from projections.deployment_pages import ListedDeployment
from projections.failures import FailingFlow
from projections.filters import NO_FILTERS, Filters, FlowFilter
from projections.flow_pages import DOTS_MAX, PastRun, Rate
from projections.overview import Counts
from projections.run_pages import ListedRun

USUAL = "7d"
RECENT_SHOWN = 20


class Header(Struct, frozen=True):
    """What the flow is called and since when it is known."""

    flow: Flow
    window: Window
    ranges: Sequence[str]


class Dot(Struct, frozen=True):
    """A run in the picture of durations; places in percent."""

    run: PastRun
    x: float
    y: float


class History(Struct, frozen=True):
    """The runs in the window."""

    flow: Flow
    window: Window
    counts: Counts
    kinds: Sequence[str]
    rate: Rate
    usual: float | None
    """Median of the durations in the picture, in seconds."""
    longest: float
    dots: Sequence[Dot]
    mean: str
    """The mean durations of the intervals, as points of a line in percent."""
    cut: datetime | None
    """The picture has no older runs; None if it has all of the window."""


class Failures(Struct, frozen=True):
    """Why it fails."""

    flow: Flow
    window: Window
    failing: FailingFlow | None


class Recent(Struct, frozen=True):
    """Its newest runs."""

    flow: Flow
    runs: Sequence[ListedRun]
    more: bool


async def _flow(visit: Visit) -> Flow:
    flow = await flow_pages.flow(visit.server.database, visit.id)
    if flow is None:
        raise Missing("This flow does not exist")
    return flow


def _filters(visit: Visit) -> Filters:
    return Filters(flows=FlowFilter(id=Ids(any_=[UUID(visit.id)])))


def _window(visit: Visit) -> Window:
    return window.asked(visit.query, visit.now, USUAL)


async def header(visit: Visit) -> Header:
    """What stands above the rest."""
    return Header(await _flow(visit), _window(visit), tuple(window.RANGES))


async def history(visit: Visit) -> History:
    """The runs in the window."""
    database, within = visit.server.database, _window(visit)
    dialect, bins = database.dialect, within.bins
    flow = await _flow(visit)
    counts = await overview.counts(database, dialect, _filters(visit), bins)
    newest = await flow_pages.newest(database, visit.id, DOTS_MAX, bins.first, bins.until)
    shown = [run for run in newest if run.state_type not in (RUNNING, "PENDING")]
    took = flow_pages.durations(shown)
    means = await flow_pages.mean_durations(database, dialect, _filters(visit), bins)
    known = [mean for mean in means if mean is not None]
    longest = max((*(run.run_time for run in shown), *known), default=0.0)
    there = counts.by_kind
    span = within.until - within.first
    rates = await flow_pages.success(database, dialect, [visit.id], bins)
    return History(
        flow=flow,
        window=within,
        counts=counts,
        kinds=[kind for kind in KINDS if kind in there],
        rate=rates.get(visit.id, Rate()),
        usual=median(took) if took else None,
        longest=longest,
        dots=[
            Dot(
                run,
                round(100 * ((run.start - within.first) / span), 2),
                _height(run.run_time, longest),
            )
            for run in reversed(shown)
        ],
        mean=" ".join(
            f"{100 * (at + 0.5) / bins.number:.2f},{_height(mean, longest)}"
            for at, mean in enumerate(means)
            if mean is not None
        ),
        cut=newest[-1].start if len(newest) == DOTS_MAX else None,
    )


def _height(seconds: float, longest: float) -> float:
    return round(100 - 92 * seconds / (longest or 1), 2)


async def failing(visit: Visit) -> Failures:
    """Why it fails."""
    database, within = visit.server.database, _window(visit)
    found = await failures.failing(
        database, database.dialect, NO_FILTERS, within.bins, flow_id=visit.id
    )
    return Failures(await _flow(visit), within, found.flows[0] if found.flows else None)


async def recent(visit: Visit) -> Recent:
    """Its newest runs, whenever they were. Those to come are told of with its deployments."""
    database = visit.server.database
    page = await run_pages.page(
        database, database.dialect, _filters(visit), "START_TIME_DESC", due_by=visit.now
    )
    runs = page.runs[:RECENT_SHOWN]
    return Recent(await _flow(visit), runs, len(page.runs) > len(runs))


class Planned(Struct, frozen=True):
    """How it is run without somebody starting it."""

    deployments: Sequence[ListedDeployment]
    schedules: Mapping[str, Sequence[tuple[DeploymentSchedule, Words]]]
    """By deployment: its schedules in words."""


async def planned(visit: Visit) -> Planned:
    """Its deployments."""
    found = await deployment_pages.of_flow(visit.server.database, visit.id, visit.now)
    schedules = {one.deployment.id: all_words(one.deployment.schedules) for one in found}
    return Planned(found, schedules)


def concerns(_: Visit) -> Selection:
    """The flow and its runs. Only a run's first event names its flow, so any run may be one."""
    return Selection(type=("flow.*", "flow-run.*"))


def _planned_concerns(_: Visit) -> Selection:
    return Selection(type=("deployment.*", "flow.*", "flow-run.*"))


page = Page(
    path="/flows/flow/{id:uuid}",
    template="flow.html",
    title="Flow",
    section="/flows",
    view=header,
    regions=(
        Region("history", history, concerns, moves=_window),
        Region("failing", failing, concerns, moves=_window),
        Region("planned", planned, _planned_concerns),
        Region("recent", recent, concerns),
    ),
    styles=("charts.css", "dashboard.css", "flows.css", "deployments.css"),
    scripts=("run_bars.js",),
)
