"""One work pool: whether somebody works for it, what waits in which queue, who its workers are.

What stands below its head, a tab each, is in `work_pool_tabs.py`.
"""

from collections.abc import Sequence

from msgspec import Struct

from api.ui.page import Page, Region, Visit
from api.ui.tabs import Tab
from api.ui.work_pool_tabs import TABS, pool_line
from api.ui.work_pools import concerns
from orchestration.work_pools import is_reserved
from projections.work_pool_pages import PoolLine


class Head(Struct, frozen=True):
    """What stands above the tabs."""

    line: PoolLine
    reserved: bool
    """It is not changed or deleted by hand."""
    tabs: Sequence[Tab]
    current: Tab


async def head(visit: Visit) -> Head:
    """How the pool does. Raises Missing."""
    line = await pool_line(visit)
    return Head(line, is_reserved(line.pool.name), TABS.tabs, TABS.current(visit))


page = Page(
    path="/work-pools/work-pool/{name:str}",
    template="work_pool.html",
    title="Work pool",
    section="/work-pools",
    regions=(
        Region("head", head, concerns, pulses=True),
        Region("tab", TABS.shown, TABS.concerns, pulses=True),
    ),
    styles=("flow_run.css", "work_pools.css"),
)
