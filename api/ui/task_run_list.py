"""Task runs of all flow runs: the second tab of the list of runs, `/runs?tab=task-runs`."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from api.ui.page import Visit
from api.ui.query import Query
from api.ui.run_filters import RANGES, Asked, flows_meant
from projections import task_run_list
from projections.task_run_list import COUNTED_MAX, Order, TaskRunPage, Wanted

ORDERS: dict[str, Order] = {"": "NEWEST", "oldest": "OLDEST"}
"""The orders of the list by their parameter."""


class Listed(Struct, frozen=True):
    """The list and how long it is in all."""

    asked: Asked
    run: str
    """The name or id of their flow run."""
    page: TaskRunPage
    total: int | None
    """None: not counted."""
    many: bool
    """There are more than `total`."""
    empty: bool
    """There are no task runs at all."""
    sort: str
    api_url: str


def run_of(query: Query) -> str:
    """The flow run that an address names."""
    return query.text("run")


async def wanted(visit: Visit, asked: Asked) -> Wanted:
    """The filters of an address, what they name looked up."""
    database, run = visit.server.database, run_of(visit.query)
    found = Wanted(
        states=asked.states,
        names=asked.names,
        text=asked.text,
        tags=asked.tags,
        since=_since(asked, visit.now),
        until=asked.until,
    )
    if asked.flow:
        flows = await flows_meant(visit, asked.flow)
        found = replace(found, flows=flows)
    if run:
        runs = await task_run_list.flow_runs_named(database, database.dialect, run)
        found = replace(found, flow_runs=runs)
    return found


def _since(asked: Asked, now: datetime) -> datetime | None:
    if not asked.range:
        return asked.since
    since = now - RANGES[asked.range]
    return max(since, asked.since) if asked.since else since


async def listed(visit: Visit, asked: Asked) -> Listed:
    """A page of the list."""
    database, query = visit.server.database, visit.query
    sort = query.choice("sort", ORDERS)
    found = await wanted(visit, asked)
    page = await task_run_list.page(
        database,
        database.dialect,
        found,
        ORDERS[sort],
        after=query.one("after") or None,
        before=query.one("before") or None,
    )
    total = await task_run_list.count(database, database.dialect, found)
    return Listed(
        asked=asked,
        run=run_of(query),
        page=page,
        total=None if total is None else min(total, COUNTED_MAX),
        many=total is not None and total > COUNTED_MAX,
        empty=total == 0 and not found.anything,
        sort=sort,
        api_url=visit.api_url,
    )


def shown(query: Query) -> bool:
    """Whether an address is that of this tab."""
    return query.one("tab") == "task-runs"


TABS: Sequence[tuple[str, str | None]] = (("Flow runs", None), ("Task runs", "task-runs"))
"""Of the list of runs: label and parameter."""
