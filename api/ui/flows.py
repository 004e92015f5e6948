"""Flows: what they are called, how their last runs went, how often they succeed."""

from collections.abc import Sequence

from msgspec import Struct

from api.ui import flow_actions, window
from api.ui.page import Nav, Page, Region, Visit
from api.ui.window import Window
from eventstore.selection import Selection
from projections import flow_pages
from projections.flow_pages import FlowOrder, FlowPage

ORDERS: dict[str, FlowOrder] = {
    "": "NAME_ASC",
    "-name": "NAME_DESC",
    "last": "LAST_RUN_DESC",
    "-last": "LAST_RUN_ASC",
}
"""The orders of the list by their parameter."""
RANGES = ("24h", "7d", "30d")
USUAL = "7d"


class Asked(Struct, frozen=True):
    """What the filter bar holds."""

    text: str
    tags: Sequence[str]
    sort: str
    window: Window


class Bar(Struct, frozen=True):
    """What the filter bar offers."""

    asked: Asked
    ranges: Sequence[str]


class Listed(Struct, frozen=True):
    """The list."""

    asked: Asked
    page: FlowPage
    empty: bool
    """There are no flows at all."""
    api_url: str


def asked(visit: Visit) -> Asked:
    """The filters of an address. Values that mean nothing are left out."""
    query = visit.query
    wanted = query.choice("range", RANGES, USUAL)
    return Asked(
        text=query.text("q"),
        tags=query.texts("tag"),
        sort=query.choice("sort", ORDERS),
        window=window.last(wanted, visit.now),
    )


async def bar(visit: Visit) -> Bar:
    """What stands above the list."""
    return Bar(asked(visit), RANGES)


async def listed(visit: Visit) -> Listed:
    """The list."""
    database, wanted = visit.server.database, asked(visit)
    page = await flow_pages.page(
        database,
        database.dialect,
        wanted.text,
        wanted.tags,
        ORDERS[wanted.sort],
        wanted.window.bins,
        after=visit.query.one("after") or None,
        before=visit.query.one("before") or None,
    )
    empty = not page.total and not await flow_pages.any_flows(database)
    return Listed(wanted, page, empty, visit.api_url)


def concerns(_: Visit) -> Selection:
    """Flows and their runs."""
    return Selection(type=("flow.*", "flow-run.*"))


page = Page(
    path="/flows",
    template="flows.html",
    title="Flows",
    view=bar,
    regions=(Region("flows", listed, concerns, moves=lambda visit: asked(visit).window),),
    actions=flow_actions.ACTIONS,
    nav=Nav("Flows", "flows", "f"),
    styles=("charts.css", "flows.css"),
)
