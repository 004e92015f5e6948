"""Flow runs and task runs: what ran, runs and will run; choose some flow runs and act on them."""

from collections.abc import Sequence

from msgspec import Struct

from api.ui import run_actions, run_dots, saved_filters, task_run_list
from api.ui.page import Nav, Page, Region, Visit
from api.ui.run_filters import (
    ORDERS,
    RANGES,
    STATE_NAMES,
    Asked,
    asked,
    deployment_name,
    flow_name,
    matching,
)
from eventstore.selection import Selection
from projections import deployment_pages, queries, run_pages
from projections.filters import Filters
from projections.run_pages import ListedRun, RunPage

UPCOMING_SHOWN = 10
"""Runs to come that the list shows when they are unfolded: the next ones."""


class Upcoming(Struct, frozen=True):
    """Runs that wait for a moment to come. They are apart from the list of what has happened."""

    total: int
    next: ListedRun
    runs: Sequence[ListedRun]
    """The next ones, the last first as in the list; none while they are folded."""


class Listed(Struct, frozen=True):
    """The list and how long it is in all."""

    asked: Asked
    upcoming: Upcoming | None
    """None: there are none, or an order or a state was asked for that has them in the list."""
    page: RunPage
    total: int
    """Without those that are apart."""
    empty: bool
    """There are no flow runs at all."""
    api_url: str


class Bar(Struct, frozen=True):
    """What the filter bar offers."""

    asked: Asked
    names: Sequence[str]
    ranges: Sequence[str]
    task_runs: bool
    """Task runs are listed, not flow runs."""
    run: str
    """The flow run of the task runs."""
    deployment: str
    """What the filter on deployments is called."""
    flow: str
    """What the flow is called whose id the filter on flows is."""
    pools: Sequence[str]
    """Work pools that runs can be in."""


async def bar(visit: Visit) -> Bar:
    """What stands above the list."""
    query = visit.query
    tasks = task_run_list.shown(query)
    run = task_run_list.run_of(query) if tasks else ""
    deployment = await deployment_name(visit)
    flow = await flow_name(visit)
    pools = [] if tasks else await deployment_pages.pools(visit.server.database)
    return Bar(asked(query), STATE_NAMES, tuple(RANGES), tasks, run, deployment, flow, pools)


async def listed(visit: Visit) -> Listed | task_run_list.Listed:
    """The list of the chosen tab."""
    database, wanted = visit.server.database, asked(visit.query)
    if task_run_list.shown(visit.query):
        return await task_run_list.listed(visit, wanted)
    filters = await matching(visit)
    apart = run_pages.upcoming(filters, visit.now) if wanted.sort == "" else None
    page = await run_pages.page(
        database,
        database.dialect,
        filters,
        ORDERS[wanted.sort],  # type: ignore[arg-type]
        after=visit.query.one("after") or None,
        before=visit.query.one("before") or None,
        due_by=visit.now if apart is not None else None,
    )
    total = await queries.count(database, "flow_runs", filters, database.dialect)
    upcoming = None if apart is None else await _upcoming(visit, apart)
    empty = total == 0 and not wanted.anything
    rest = total - (upcoming.total if upcoming else 0)
    return Listed(wanted, upcoming, page, rest, empty, visit.api_url)


async def _upcoming(visit: Visit, filters: Filters) -> Upcoming | None:
    database = visit.server.database
    page = await run_pages.page(database, database.dialect, filters, "START_TIME_ASC")
    if not page.runs:
        return None
    number = len(page.runs)
    if page.after is not None:
        number = await queries.count(database, "flow_runs", filters, database.dialect)
    shown = page.runs[:UPCOMING_SHOWN] if visit.query.one("upcoming") == "open" else ()
    return Upcoming(number, page.runs[0], shown[::-1])


def concerns(visit: Visit) -> Selection:
    """Flow runs, their flows' names, and how many task runs they have; or the task runs."""
    if task_run_list.shown(visit.query):
        return Selection(type=("task-run.*", "flow-run.deleted", "flow.*"))
    return Selection(type=("flow-run.*", "flow.*", "task-run.created", "task-run.reported"))


page = Page(
    path="/runs",
    template="runs.html",
    title="Runs",
    view=bar,
    regions=(Region("runs", listed, concerns, moves=run_dots.window_of), saved_filters.region),
    feeds=(run_dots.feed,),
    sources=(run_dots.source,),
    actions=(*run_actions.ACTIONS, *saved_filters.ACTIONS),
    nav=Nav("Runs", "runs", "r"),
    scripts=("dates.js", "select.js", "run_scatter.js"),
    styles=("run_scatter.css", "saved_filters.css"),
)
