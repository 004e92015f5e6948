"""What all lists have in common: a filtered, sorted page of documents, and numbered pages."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from api.errors import HttpError
from api.http import Answer, Call, ok
from eventstore.database import Row
from orchestration.refusals import Invalid
from projections import deployments, paging, queries, runs_of_flows
from projections.filters import EntityTable, Filters
from projections.paging import Offset, PageNumber
from projections.run_documents import SHOWN, shown
from projections.sorting import Sort

RUNS = ("flow_runs", "task_runs")
"""Tables whose documents are shown with estimates that depend on now."""


class Counting(Filters, frozen=True, kw_only=True):
    """The body of a `count`."""


class Listing(Filters, frozen=True, kw_only=True):
    """The body of a `filter`; an entity adds its `sort`. What is null has its default."""

    limit: int | None = None
    offset: Offset | None = None


class Paginating(Filters, frozen=True, kw_only=True):
    """The body of a `paginate`; an entity adds its `sort`. What is null has its default."""

    limit: int | None = None
    page: PageNumber | None = None


class Page(Struct, frozen=True, kw_only=True):
    """The answer of a `paginate`, for the documentation; `results` are the entity's documents."""

    results: Sequence[object]
    count: int
    limit: int
    pages: int
    page: int


def limited(call: Call, limit: int | None) -> int:
    """How many rows to answer with. Raises HttpError 422 in the shape that Prefect gives it."""
    try:
        return paging.limited(limit, call.server.settings.api_default_limit)
    except Invalid as refusal:
        raise HttpError(422, {"detail": str(refusal)}) from None


async def documents(
    call: Call,
    table: EntityTable,
    filters: Filters,
    sort: Sort,
    limit: int,
    offset: int,
) -> list[str]:
    """One page of matching entities as the API shows them."""
    if limit == 0:
        return []
    database = call.server.database
    runs = table in RUNS
    columns, dialect = SHOWN if runs else "document", database.dialect
    if table == "deployments":
        columns = deployments.SHOWN
    query = None
    if table == "flow_runs":
        query = await runs_of_flows.page(
            database, columns, filters, sort, dialect, limit=limit, offset=offset
        )
    query = query or queries.page(
        table, columns, filters, sort, dialect, limit=limit, offset=offset, wide=True
    )
    rows = await database.fetch(query.sql, *query.params)
    if table == "deployments":
        return [deployments.shown(row) for row in rows]
    return shown_all(rows, call.server.now()) if runs else [row[0] for row in rows]


def shown_all(rows: Sequence[Row], now: datetime) -> list[str]:
    """Rows of `SHOWN` as the API shows them."""
    return [shown(row, now) for row in rows]


async def some(
    call: Call,
    table: EntityTable,
    filters: Filters,
    sort: Sort,
    limit: int | None,
    offset: Offset | None,
) -> Answer:
    """The answer of a `filter`."""
    found = await documents(call, table, filters, sort, limited(call, limit), offset or 0)
    return array(found)


def array(documents: Iterable[str]) -> Answer:
    """Documents as a JSON array."""
    return Answer(200, f"[{','.join(documents)}]".encode())


async def numbered_page(
    call: Call,
    table: EntityTable,
    filters: Filters,
    sort: Sort,
    limit: int | None,
    page: PageNumber | None,
) -> Answer:
    """The answer of a `paginate`: a page of documents and where it is among all pages."""
    rows, page = limited(call, limit), page or 1
    count = await queries.count(call.server.database, table, filters, call.server.database.dialect)
    found = await documents(call, table, filters, sort, rows, paging.offset_of(page, rows))
    pages = paging.pages(count, rows)
    text = (
        f'{{"results":[{",".join(found)}],"count":{count},"limit":{rows},'
        f'"pages":{pages},"page":{page}}}'
    )
    return Answer(200, text.encode())


async def number(call: Call, table: EntityTable, filters: Filters) -> Answer:
    """The answer of a `count`."""
    database = call.server.database
    count = await queries.count(database, table, filters, database.dialect)
    return ok(count)
