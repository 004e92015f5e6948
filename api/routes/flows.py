"""Flows: /flows."""

from msgspec import Struct

from api.bulk import BulkLimit, Deleted, delete_each, meant
from api.errors import there
from api.http import NO_CONTENT, Answer, Area, Call
from api.lists import Counting, Listing, Page, Paginating, number, numbered_page, some
from orchestration.flows import Flow, FlowCreate, FlowUpdate
from projections import flows
from projections.filters import Filters, FlowFilter
from projections.sorting import FlowSort
from services import flows as commands

DEFAULT_SORT: FlowSort = "NAME_ASC"

area = Area("/flows", "Flows")


class FlowQuery(Listing, frozen=True, kw_only=True):
    """The body of `POST /flows/filter`."""

    sort: FlowSort | None = None


class FlowPages(Paginating, frozen=True, kw_only=True):
    """The body of `POST /flows/paginate`."""

    sort: FlowSort | None = None


class FlowBulkDelete(Struct, frozen=True, kw_only=True):
    """The body of `POST /flows/bulk_delete`."""

    flows: FlowFilter | None = None
    limit: BulkLimit | None = None


@area.post("/", body=FlowCreate, answers={201: Flow, 200: Flow})
async def create_flow(call: Call, body: FlowCreate) -> Answer:
    """Create a flow, or find the one that has this name."""
    shown, new, position = await commands.create(
        call.server.shell, body, call.server.now(), call.origin
    )
    return Answer(201 if new else 200, shown, position=position)


@area.get("/{id:uuid}", answers={200: Flow})
async def read_flow(call: Call) -> Answer:
    """Read a flow."""
    found = await flows.by_id(call.server.database, call.id)
    return Answer(200, there(found, "Flow not found").encode())


@area.get("/name/{name:str}", answers={200: Flow})
async def read_flow_by_name(call: Call) -> Answer:
    """Read the flow with this name."""
    found = await flows.by_name(call.server.database, call.path["name"])
    return Answer(200, there(found, "Flow not found")[1].encode())


@area.patch("/{id:uuid}", body=FlowUpdate, answers={204: None})
async def update_flow(call: Call, body: FlowUpdate) -> Answer:
    """Change a flow's tags."""
    await commands.update(call.server.shell, call.id, body, call.origin)
    return NO_CONTENT


@area.delete("/{id:uuid}", answers={204: None})
async def delete_flow(call: Call) -> Answer:
    """Delete a flow with all its runs."""
    await commands.delete(call.server.shell, call.id, call.origin)
    return NO_CONTENT


@area.post("/filter", body=FlowQuery, body_optional=True, answers={200: list[Flow]})
async def read_flows(call: Call, body: FlowQuery) -> Answer:
    """Flows that match."""
    sort = body.sort or DEFAULT_SORT
    return await some(call, "flows", body, sort, body.limit, body.offset)


@area.post("/paginate", body=FlowPages, body_optional=True, answers={200: Page})
async def paginate_flows(call: Call, body: FlowPages) -> Answer:
    """Flows that match, a numbered page of them."""
    sort = body.sort or DEFAULT_SORT
    return await numbered_page(call, "flows", body, sort, body.limit, body.page)


@area.post("/count", body=Counting, body_optional=True, answers={200: int})
async def count_flows(call: Call, body: Counting) -> Answer:
    """How many flows match."""
    return await number(call, "flows", body)


@area.post("/bulk_delete", body=FlowBulkDelete, body_optional=True, answers={200: Deleted})
async def bulk_delete_flows(call: Call, body: FlowBulkDelete) -> Answer:
    """Delete up to 50 flows that match, with all their runs."""
    ids = await meant(call, "flows", Filters(flows=body.flows), DEFAULT_SORT, body.limit)
    return await delete_each(call, ids, commands.delete)
