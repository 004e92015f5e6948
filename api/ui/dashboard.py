"""The front page: what fails and since when, what is late, what runs now, over a window of time."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from api.ui import window, work_pools
from api.ui.page import Nav, Page, Region, Visit
from api.ui.query import Query
from api.ui.window import Window
from eventstore.selection import Selection
from projections import failures, overview, task_run_totals, work_pool_pages
from projections.criteria import Ids, Tags
from projections.failures import Failing
from projections.filters import NO_FILTERS, Filters, FlowRunFilter
from projections.overview import Counts, LateFlow, NextRun, RunningRun
from projections.work_pool_pages import PoolLine

TAGS_MAX = 20
"""Tags that one address may ask for."""
TAG_CHARACTERS_MAX = 200
POOLS_SHOWN = 6

KINDS = (
    "FAILED",
    "CRASHED",
    "LATE",
    "RUNNING",
    "PENDING",
    "CANCELLING",
    "PAUSED",
    "SCHEDULED",
    "CANCELLED",
    "COMPLETED",
)
"""What runs count as, in the order of a bar from the bottom: what went wrong stands on the line."""
ALWAYS_SHOWN = ("FAILED", "CRASHED", "LATE", "RUNNING", "COMPLETED")
"""Kinds that have a tile even if no run is like that."""


class Asked(Struct, frozen=True):
    """What the filter bar holds."""

    window: Window
    tags: Sequence[str]
    no_subflows: bool

    @property
    def query(self) -> Mapping[str, Any]:
        """The same for the list of runs, without the window."""
        return {"tag": list(self.tags) or None, "subflows": "no" if self.no_subflows else None}


class Bar(Struct, frozen=True):
    """What the filter bar offers."""

    asked: Asked
    ranges: Sequence[str]


class History(Struct, frozen=True):
    """Runs over time."""

    asked: Asked
    counts: Counts
    kinds: Sequence[str]
    tiles: Sequence[str]
    empty: bool
    """There are no flow runs at all."""
    scanned: int
    """So many runs are looked at for what totals do not know."""
    api_url: str

    @property
    def query(self) -> Mapping[str, Any]:
        """See `Asked.query`."""
        return self.asked.query


class Failures(Struct, frozen=True):
    """What fails."""

    asked: Asked
    failing: Failing

    @property
    def query(self) -> Mapping[str, Any]:
        """See `Asked.query`."""
        return self.asked.query


class Late(Struct, frozen=True):
    """What is late by now."""

    query: Mapping[str, Any]
    flows: Sequence[LateFlow]
    shown: int


class Running(Struct, frozen=True):
    """What runs now."""

    query: Mapping[str, Any]
    runs: Sequence[RunningRun]
    in_all: int


class Upcoming(Struct, frozen=True):
    """What comes next."""

    query: Mapping[str, Any]
    runs: Sequence[NextRun]


class Pools(Struct, frozen=True):
    """Work pools, whatever the filters; those that somebody should look at first."""

    pools: Sequence[PoolLine]
    in_all: int


class Tasks(Struct, frozen=True):
    """Task runs that ended, of whichever flow runs."""

    asked: Asked
    by_kind: dict[str, Sequence[int]]

    @property
    def runs(self) -> int:
        """All of them."""
        return sum(sum(values) for values in self.by_kind.values())

    @property
    def failed(self) -> int:
        """Those that failed or crashed."""
        return sum(sum(self.by_kind.get(kind, ())) for kind in ("FAILED", "CRASHED"))


def asked(visit: Visit) -> Asked:
    """The filters of an address. Values that mean nothing are left out."""
    query: Query = visit.query
    tags = [tag.strip() for text in query.all("tag") for tag in text.split(",")]
    return Asked(
        window=window.asked(query, visit.now),
        tags=[tag[:TAG_CHARACTERS_MAX] for tag in tags if tag][:TAGS_MAX],
        no_subflows=query.one("subflows") == "no",
    )


def window_of(visit: Visit) -> Window:
    """The window, which may end now."""
    return asked(visit).window


def filters(asked: Asked) -> Filters:
    """The same in the filter language of the API, without the window."""
    if not asked.tags and not asked.no_subflows:
        return NO_FILTERS
    return Filters(
        flow_runs=FlowRunFilter(
            tags=Tags(all_=list(asked.tags)) if asked.tags else None,
            parent_task_run_id=Ids(is_null_=True) if asked.no_subflows else None,
        )
    )


async def bar(visit: Visit) -> Bar:
    """What stands above the rest."""
    return Bar(asked(visit), tuple(window.RANGES))


async def history(visit: Visit) -> History:
    """Runs over time, or what a newcomer does first."""
    database, wanted = visit.server.database, asked(visit)
    counts = await overview.counts(database, database.dialect, filters(wanted), wanted.window.bins)
    there = counts.by_kind
    return History(
        asked=wanted,
        counts=counts,
        kinds=[kind for kind in KINDS if kind in there],
        tiles=[kind for kind in KINDS if kind in there or kind in ALWAYS_SHOWN],
        empty=not there and not await overview.any_runs(database),
        scanned=overview.SCANNED_MAX,
        api_url=visit.api_url,
    )


async def failing(visit: Visit) -> Failures:
    """What fails in the window."""
    database, wanted = visit.server.database, asked(visit)
    bins = wanted.window.bins
    found = await failures.failing(database, database.dialect, filters(wanted), bins)
    return Failures(wanted, found)


async def late(visit: Visit) -> Late:
    """What should have started by now, whenever that was."""
    database, wanted = visit.server.database, asked(visit)
    found = await overview.late(database, database.dialect, filters(wanted))
    return Late(wanted.query, found, overview.LATE_FLOWS_SHOWN)


async def running(visit: Visit) -> Running:
    """What runs now, whenever it started."""
    database, wanted = visit.server.database, asked(visit)
    runs, in_all = await overview.running(database, database.dialect, filters(wanted))
    return Running(wanted.query, runs, in_all)


async def upcoming(visit: Visit) -> Upcoming:
    """What comes next, and what should have come."""
    database, wanted = visit.server.database, asked(visit)
    found = await overview.upcoming(database, database.dialect, filters(wanted), visit.now)
    return Upcoming(wanted.query, found)


async def pools(visit: Visit) -> Pools:
    """Whether somebody works for the work pools."""
    server = visit.server
    await server.pulses.flush()
    database = server.database
    return Pools(
        *await work_pool_pages.worst_first(database, database.dialect, visit.now, POOLS_SHOWN)
    )


async def tasks(visit: Visit) -> Tasks:
    """Task runs that ended in the window."""
    database, wanted = visit.server.database, asked(visit)
    bins = wanted.window.bins
    found = await task_run_totals.ended(database, bins)
    numbers: dict[str, list[int]] = {}
    for at, kind, runs in found:
        numbers.setdefault(kind, [0] * bins.number)[at] += runs
    return Tasks(wanted, {kind: numbers[kind] for kind in KINDS if kind in numbers})


def flow_runs(_: Visit) -> Selection:
    """Flow runs, and the names of flows."""
    return Selection(type=("flow-run.*", "flow.*"))


def runs_and_tasks(_: Visit) -> Selection:
    """The same, and how far their task runs are."""
    return Selection(type=("flow-run.*", "flow.*", "task-run.*"))


def task_runs(_: Visit) -> Selection:
    """Task runs, and flow runs that take theirs with them."""
    return Selection(type=("task-run.*", "flow-run.deleted"))


page = Page(
    path="/dashboard",
    template="dashboard.html",
    title="Dashboard",
    view=bar,
    regions=(
        Region("history", history, flow_runs, moves=window_of),
        Region("failing", failing, flow_runs, moves=window_of),
        Region("late", late, flow_runs),
        Region("running", running, runs_and_tasks),
        Region("upcoming", upcoming, flow_runs),
        Region("tasks", tasks, task_runs, moves=window_of),
        Region("pools", pools, work_pools.concerns, pulses=True),
    ),
    nav=Nav("Dashboard", "dashboard", "d"),
    styles=("charts.css", "dashboard.css"),
    scripts=("dates.js", "run_bars.js", "progress.js"),
)
