"""Deployments: what is to run by itself, when next, and how it went; pause, resume, delete many."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from api.ui import deployment_actions
from api.ui.page import Nav, Page, Region, Visit
from api.ui.query import Query
from api.ui.schedule_words import Words, all_words
from eventstore.selection import Selection
from orchestration.deployment_schedules import DeploymentSchedule
from projections import deployment_pages
from projections.deployment_pages import READINESS, DeploymentOrder, DeploymentPage, Wanted

ORDERS: dict[str, DeploymentOrder] = {
    "": "FLOW_ASC",
    "-flow": "FLOW_DESC",
    "name": "NAME_ASC",
    "-name": "NAME_DESC",
    "next": "NEXT_ASC",
}
"""The orders of the list by their parameter."""


class Asked(Struct, frozen=True):
    """What the filter bar holds."""

    wanted: Wanted
    sort: str

    @property
    def anything(self) -> bool:
        """Whether anything is left out of the list."""
        return self.wanted != Wanted()


class Bar(Struct, frozen=True):
    """What the filter bar offers."""

    asked: Asked
    readiness: Sequence[str]
    pools: Sequence[str]


class Listed(Struct, frozen=True):
    """The list."""

    asked: Asked
    page: DeploymentPage
    schedules: Mapping[str, Sequence[tuple[DeploymentSchedule, Words]]]
    """By deployment: its schedules in words."""
    empty: bool
    """There are no deployments at all."""
    api_url: str


def asked(query: Query) -> Asked:
    """The filters of an address. Values that mean nothing are left out."""
    wanted = Wanted(
        text=query.text("q"),
        tags=tuple(query.texts("tag")),
        readiness=tuple(query.choices("status", READINESS)),
        pool=query.text("pool"),
    )
    return Asked(wanted, query.choice("sort", ORDERS))


async def bar(visit: Visit) -> Bar:
    """What stands above the list."""
    return Bar(asked(visit.query), READINESS, await deployment_pages.pools(visit.server.database))


async def listed(visit: Visit) -> Listed:
    """The list."""
    database, wanted = visit.server.database, asked(visit.query)
    page = await deployment_pages.page(
        database,
        database.dialect,
        wanted.wanted,
        ORDERS[wanted.sort],
        visit.now,
        after=visit.query.one("after") or None,
        before=visit.query.one("before") or None,
    )
    schedules = {one.deployment.id: all_words(one.deployment.schedules) for one in page.deployments}
    empty = not page.total and not await deployment_pages.any_deployments(database)
    return Listed(wanted, page, schedules, empty, visit.api_url)


def concerns(_: Visit) -> Selection:
    """Deployments, their flows' names and their runs."""
    return Selection(type=("deployment.*", "flow-run.*", "flow.*"))


page = Page(
    path="/deployments",
    template="deployments.html",
    title="Deployments",
    view=bar,
    regions=(Region("deployments", listed, concerns),),
    actions=deployment_actions.ACTIONS,
    nav=Nav("Deployments", "deployments", "p"),
    scripts=("select.js",),
    styles=("charts.css", "flows.css", "deployments.css"),
)
