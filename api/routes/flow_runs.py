"""Flow runs: /flow_runs."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from api.errors import HttpError, not_found
from api.http import NO_CONTENT, Answer, Area, Call, ok
from api.lists import Counting, Page, number, numbered_page, some
from orchestration.flow_runs import FlowRun, FlowRunCreate, FlowRunUpdate
from orchestration.refusals import NotFound
from orchestration.states import ProposedState, ProposedTransition
from orchestration.transition import OrchestrationResult
from projections import flow_runs
from projections.filters import Filters, FlowRunFilter
from projections.paging import Offset, PageNumber
from projections.sorting import FlowRunSort
from services import flow_runs as commands

BULK_MAX = 50
"""Flow runs that one bulk request may change."""

area = Area("/flow_runs", "Flow Runs")


class FlowRunQuery(Filters, frozen=True, kw_only=True):
    """The body of `POST /flow_runs/filter`."""

    sort: FlowRunSort = "ID_DESC"
    limit: int | None = None
    offset: Offset = 0


class FlowRunPages(Filters, frozen=True, kw_only=True):
    """The body of `POST /flow_runs/paginate`."""

    sort: FlowRunSort = "ID_DESC"
    limit: int | None = None
    page: PageNumber = 1


class HistoryQuery(Filters, frozen=True, kw_only=True):
    """The body of a history: a time range and the width of its intervals in seconds."""

    history_start: datetime
    history_end: datetime
    history_interval: float


class FlowRunBulkDelete(Struct, frozen=True, kw_only=True):
    """The body of `POST /flow_runs/bulk_delete`."""

    flow_runs: FlowRunFilter | None = None
    limit: Annotated[int, Meta(ge=1, le=BULK_MAX)] = BULK_MAX


class FlowRunBulkSetState(Struct, frozen=True, kw_only=True):
    """The body of `POST /flow_runs/bulk_set_state`."""

    state: ProposedState
    flow_runs: FlowRunFilter | None = None
    force: bool = False
    limit: Annotated[int, Meta(ge=1, le=BULK_MAX)] = BULK_MAX


@area.post("/", body=FlowRunCreate, answers={201: FlowRun, 200: FlowRun})
async def create_flow_run(call: Call, body: FlowRunCreate) -> Answer:
    """Create a flow run, or find the one that was created under this idempotency key."""
    shown, new, position = await commands.create(
        call.server.shell, body, call.server.now(), call.origin
    )
    return Answer(201 if new else 200, shown, position=position)


@area.get("/{id:uuid}", answers={200: FlowRun})
async def read_flow_run(call: Call) -> Answer:
    """Read a flow run."""
    found = await flow_runs.by_id(call.server.database, call.id, call.server.now())
    if found is None:
        raise not_found("Flow run not found")
    return Answer(200, found)


@area.patch("/{id:uuid}", body=FlowRunUpdate, answers={204: None})
async def update_flow_run(call: Call, body: FlowRunUpdate) -> Answer:
    """Change some of a flow run's fields."""
    await commands.update(call.server.shell, call.id, body, call.origin)
    return NO_CONTENT


@area.delete("/{id:uuid}", answers={204: None})
async def delete_flow_run(call: Call) -> Answer:
    """Delete a flow run with its task runs, states and logs."""
    await commands.delete(call.server.shell, call.id, call.origin)
    return NO_CONTENT


@area.post(
    "/{id:uuid}/set_state",
    body=ProposedTransition,
    answers={201: OrchestrationResult, 200: OrchestrationResult},
)
async def set_flow_run_state(call: Call, body: ProposedTransition) -> Answer:
    """Propose a state; the rules decide."""
    try:
        done = await commands.set_state(
            call.server.shell,
            call.id,
            body.state,
            force=body.force,
            now=call.server.now(),
            origin=call.origin,
        )
    except NotFound:
        raise HttpError(
            404, {"exception_message": f"Flow run with id {call.id} not found"}
        ) from None
    answer = ok(done.answer, 201 if done.written else 200)
    return answer._replace(position=done.position)


@area.post("/filter", body=FlowRunQuery, body_optional=True, answers={200: list[FlowRun]})
async def read_flow_runs(call: Call, body: FlowRunQuery) -> Answer:
    """Flow runs that match."""
    return await some(call, "flow_runs", body, body.sort, body.limit, body.offset)


@area.post("/paginate", body=FlowRunPages, body_optional=True, answers={200: Page})
async def paginate_flow_runs(call: Call, body: FlowRunPages) -> Answer:
    """Flow runs that match, a numbered page of them."""
    return await numbered_page(call, "flow_runs", body, body.sort, body.limit, body.page)


@area.post("/count", body=Counting, body_optional=True, answers={200: int})
async def count_flow_runs(call: Call, body: Counting) -> Answer:
    """How many flow runs match."""
    return await number(call, "flow_runs", body)
