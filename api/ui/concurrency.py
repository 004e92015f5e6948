"""Concurrency limits: how many slots there are, who holds them since when, who waits."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from api.ui import concurrency_actions
from api.ui.page import Missing, Nav, Page, Region, Visit
from api.ui.shown import iso
from api.ui.tabs import Tab, Tabs
from eventstore.selection import Selection
from projections import concurrency_pages
from projections.concurrency_pages import (
    HOLDERS_SHOWN,
    Holding,
    Kind,
    LimitedPage,
    LimitLine,
    LimitPage,
)

KINDS: Mapping[str, Kind] = {"global": "global", "task-run": "tag", "deployments": "deployment"}
"""Kinds of limits by their tab, which are named as in Prefect's pages."""


CLOCKS_DIFFER = timedelta(minutes=2)
"""Between an event that a client says it sent then, and what happened here."""


class Listed(Struct, frozen=True):
    """A list of limits of one kind."""

    page: LimitPage
    filtered: bool
    api_url: str


class Bar(Struct, frozen=True):
    """What stands above the lists."""

    text: str
    tab: str


class Head(Struct, frozen=True):
    """The tabs and how many limits each has."""

    tabs: Sequence[Tab]
    current: Tab
    counts: Mapping[str, int]


class One(Struct, frozen=True):
    """One limit and who holds its slots."""

    line: LimitLine
    active_slots: int
    holders: Sequence[tuple[Holding, str, Mapping[str, str]]]
    """With what each is called, and which events say who took its slots."""
    limited: LimitedPage
    """The deployments whose runs take its slots."""
    shown_max: int = HOLDERS_SHOWN


def _text(visit: Visit) -> str:
    return visit.query.text("q")


async def listed(visit: Visit) -> Listed:
    """The limits of the chosen tab."""
    database, text = visit.server.database, _text(visit)
    page = await concurrency_pages.page(
        database,
        database.dialect,
        KINDS[TABS.current(visit).name],
        text,
        after=visit.query.one("after") or None,
        before=visit.query.one("before") or None,
    )
    return Listed(page, bool(text), visit.api_url)


def concerns(_: Visit) -> Selection:
    """Limits, who takes and returns their slots, and the runs that wait for them."""
    return Selection(
        type=("concurrency-limit.*", "concurrency-lease.*", "deployment.*", "flow-run.*")
    )


def held(_: Visit) -> Selection:
    """Besides, what becomes of the task runs that hold slots."""
    return Selection(
        type=(
            "concurrency-limit.*",
            "concurrency-lease.*",
            "deployment.*",
            "flow-run.*",
            "task-run.*",
        )
    )


TABS = Tabs(
    "concurrency",
    (
        Tab("global", "Global", listed, concerns),
        Tab("task-run", "Tags of tasks", listed, concerns),
        Tab("deployments", "Deployments", listed, concerns),
    ),
)


async def bar(visit: Visit) -> Bar:
    """What is filled in above the list."""
    return Bar(_text(visit), TABS.current(visit).name)


async def head(visit: Visit) -> Head:
    """How many limits there are."""
    counts = await concurrency_pages.counts(visit.server.database)
    by_tab = {tab: counts[kind] for tab, kind in KINDS.items()}
    return Head(TABS.tabs, TABS.current(visit), by_tab)


async def line(visit: Visit) -> LimitLine:
    """The limit that the page is about. Raises Missing."""
    database = visit.server.database
    found = await concurrency_pages.one(database, database.dialect, visit.id)
    if found is None:
        raise Missing("This concurrency limit does not exist")
    return found


def _acquired(id: str, since: datetime) -> Mapping[str, str]:
    """What the page of events is asked for by who looks for a holder: `concurrency` of Prefect's
    client does not say for whom it takes slots, and sends an event that does once it has them."""
    return {
        "resource": f"prefect.concurrency-limit.{id}",
        "event": "prefect.concurrency-limit.acquired",
        "from": iso(since - CLOCKS_DIFFER),
        "to": iso(since + CLOCKS_DIFFER),
    }


async def one(visit: Visit) -> One:
    """The limit with its holders. Raises Missing."""
    found = await line(visit)
    leases = await concurrency_pages.holders(visit.server.database, visit.id)
    holders = [
        (lease, concurrency_actions.holder_of(lease), _acquired(visit.id, lease.since))
        for lease in leases
    ]
    limited = await concurrency_pages.deployments_of(
        visit.server.database,
        visit.id,
        after=visit.query.one("after") or None,
        before=visit.query.one("before") or None,
    )
    return One(found, found.seen.active_slots(visit.now), holders, limited)


page = Page(
    path="/concurrency-limits",
    template="concurrency.html",
    title="Concurrency",
    view=bar,
    regions=(
        Region("head", head, lambda _: Selection(category=("concurrency-limit",))),
        Region("tab", TABS.shown, TABS.concerns),
    ),
    actions=concurrency_actions.ACTIONS,
    nav=Nav("Concurrency", "concurrency", "c"),
    scripts=("slots.js",),
    styles=("work_pools.css", "concurrency.css"),
)
one_page = Page(
    path="/concurrency-limits/concurrency-limit/{id:uuid}",
    template="concurrency_limit.html",
    title="Concurrency limit",
    section="/concurrency-limits",
    regions=(Region("one", one, held, pulses=True),),
    scripts=("slots.js",),
    styles=("flow_run.css", "work_pools.css", "concurrency.css"),
)
