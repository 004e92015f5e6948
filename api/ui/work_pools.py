"""Work pools: which there are, whether somebody works for them, what waits and what is late."""

from collections.abc import Sequence

from msgspec import Struct

from api.ui import work_pool_actions
from api.ui.page import Nav, Page, Region, Visit
from api.ui.query import TEXT_CHARACTERS_MAX
from eventstore.selection import Selection
from projections import work_pool_pages
from projections.work_pool_pages import PoolPage


class Bar(Struct, frozen=True):
    """What the filter bar holds and offers."""

    text: str
    type: str
    types: Sequence[str]


class Listed(Struct, frozen=True):
    """The list."""

    page: PoolPage
    filtered: bool
    api_url: str


def _asked(visit: Visit) -> tuple[str, str]:
    text = visit.query.text("q")
    return text, visit.query.one("type")[:TEXT_CHARACTERS_MAX]


async def bar(visit: Visit) -> Bar:
    """What stands above the list."""
    return Bar(*_asked(visit), await work_pool_pages.types(visit.server.database))


async def listed(visit: Visit) -> Listed:
    """The pools that match."""
    server, (text, type) = visit.server, _asked(visit)
    await server.pulses.flush()
    page = await work_pool_pages.page(
        server.database,
        server.database.dialect,
        work_pool_pages.named(text, type),
        visit.now,
        after=visit.query.one("after") or None,
        before=visit.query.one("before") or None,
    )
    return Listed(page, bool(text or type), visit.api_url)


def concerns(_: Visit) -> Selection:
    """Pools and what belongs to them, and the runs that wait and work in them."""
    return Selection(type=("work-pool.*", "work-queue.*", "worker.*", "flow-run.*", "deployment.*"))


page = Page(
    path="/work-pools",
    template="work_pools.html",
    title="Work pools",
    view=bar,
    regions=(Region("pools", listed, concerns, pulses=True),),
    actions=work_pool_actions.ACTIONS,
    nav=Nav("Work pools", "work-pools", "w"),
    styles=("work_pools.css",),
)
