"""One search over everything that has a name or an id."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from api.ui.page import Page, Visit
from api.ui.run_filters import asked, filters
from projections import deployment_pages, named_pages, run_pages, task_run_list, work_pool_pages
from projections.run_pages import SEARCH_MAX, ListedRun, Named
from projections.task_run_list import ListedTaskRun, Wanted


class Hits(Struct, frozen=True):
    """What was found."""

    text: str
    runs: Sequence[ListedRun]
    flows: Sequence[Named]
    pools: Sequence[str]
    queues: Sequence[tuple[str, str, str]]
    """Id, name, and the pool's name."""
    deployments: Sequence[deployment_pages.Named]
    by_id: Mapping[str, Sequence[Named]]
    task_runs: Sequence[ListedTaskRun]
    looked_until: datetime | None
    """There are more task runs than were looked through: those before it were not."""
    others: Mapping[named_pages.Kind, Sequence[Named]]
    """Variables, limits, blocks and their types, by table."""


async def hits(visit: Visit) -> Hits:
    """What has a name that contains the text, and whatever has it for an id."""
    database = visit.server.database
    text = visit.query.text("q")
    if not text:
        return Hits("", (), (), (), (), (), {}, (), None, {})
    runs = await _runs(visit)
    flows = await run_pages.flows_found(database, database.dialect, text)
    pools = await work_pool_pages.pools_named(database, database.dialect, text, SEARCH_MAX)
    queues = await work_pool_pages.queues_named(database, database.dialect, text, SEARCH_MAX)
    deployments = await deployment_pages.named(database, database.dialect, text, SEARCH_MAX)
    try:
        by_id = await run_pages.with_id(database, str(UUID(text)))
    except ValueError:
        by_id = {}
    tasks = await task_run_list.page(database, database.dialect, Wanted(text=text))
    return Hits(
        text=text,
        runs=runs,
        flows=flows,
        pools=pools,
        queues=queues,
        deployments=deployments,
        by_id=by_id,
        task_runs=tasks.runs[:SEARCH_MAX],
        looked_until=tasks.looked_until,
        others=await named_pages.named(database, database.dialect, text),
    )


async def _runs(visit: Visit) -> list[ListedRun]:
    """What has run comes first, newest first; then what is yet to come, the next one first."""
    database, dialect = visit.server.database, visit.server.database.dialect
    matching = filters(asked(visit.query), visit.now)
    due = await run_pages.page(database, dialect, matching, "START_TIME_DESC", due_by=visit.now)
    coming = run_pages.upcoming(matching, visit.now)
    if len(due.runs) >= SEARCH_MAX or coming is None:
        return list(due.runs[:SEARCH_MAX])
    later = await run_pages.page(database, dialect, coming, "START_TIME_ASC")
    return [*due.runs, *later.runs][:SEARCH_MAX]


page = Page(
    path="/search",
    template="search.html",
    title="Search",
    section="/runs",
    view=hits,
)
