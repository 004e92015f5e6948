"""Flow runs: /flow_runs."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote

from msgspec import UNSET, Struct

from api.bulk import BulkLimit, Deleted, meant
from api.errors import HttpError, missing, there
from api.http import NO_CONTENT, Answer, Area, Call, Parameter, ok
from api.lists import Counting, Listing, Page, Paginating, number, numbered_page, some
from api.runs import HistoryQuery, check_size, history, slot_terms, time_parameter
from orchestration.documents import document
from orchestration.flow_run_bodies import FlowRunCreate, FlowRunUpdate
from orchestration.flow_runs import FlowRun
from orchestration.identifiers import Labels
from orchestration.refusals import NotFound
from orchestration.states import ProposedState, ProposedTransition, State
from orchestration.transition import (
    AbortDetails,
    AcceptDetails,
    OrchestrationResult,
    RejectDetails,
    SetStateStatus,
    WaitDetails,
)
from projections import flow_runs, log_lines, run_graph, run_history
from projections.filters import Filters, FlowRunFilter
from projections.run_graph import Dependency, Graph
from projections.run_history import HistoryInterval
from projections.sorting import FlowRunSort
from services import flow_runs as commands

DEFAULT_SORT: FlowRunSort = "ID_DESC"

area = Area("/flow_runs", "Flow Runs")


class FlowRunQuery(Listing, frozen=True, kw_only=True):
    """The body of `POST /flow_runs/filter`."""

    sort: FlowRunSort | None = None


class FlowRunPages(Paginating, frozen=True, kw_only=True):
    """The body of `POST /flow_runs/paginate`."""

    sort: FlowRunSort | None = None


class FlowRunBulkDelete(Struct, frozen=True, kw_only=True):
    """The body of `POST /flow_runs/bulk_delete`."""

    flow_runs: FlowRunFilter | None = None
    limit: BulkLimit | None = None


class FlowRunBulkSetState(Struct, frozen=True, kw_only=True):
    """The body of `POST /flow_runs/bulk_set_state`."""

    state: ProposedState
    flow_runs: FlowRunFilter | None = None
    force: bool | None = None
    limit: BulkLimit | None = None


class BulkResult(Struct, frozen=True):
    """What became of one flow run of a bulk request."""

    flow_run_id: str
    status: SetStateStatus
    state: State | None
    details: AcceptDetails | RejectDetails | AbortDetails | WaitDetails


class BulkResults(Struct, frozen=True):
    """The answer of `POST /flow_runs/bulk_set_state`."""

    results: Sequence[BulkResult]


@area.post("/", body=FlowRunCreate, answers={201: FlowRun, 200: FlowRun})
async def create_flow_run(call: Call, body: FlowRunCreate) -> Answer:
    """Create a flow run, or find the one that was created under this idempotency key."""
    check_size(call, body.parameters)
    shown, new, position = await commands.create(
        call.server.shell, body, call.server.now, call.origin
    )
    return Answer(201 if new else 200, shown, position=position)


@area.get("/{id:uuid}", answers={200: FlowRun})
async def read_flow_run(call: Call) -> Answer:
    """Read a flow run."""
    found = await flow_runs.by_id(call.server.database, call.id, call.server.now())
    return Answer(200, there(found, "Flow run not found"))


@area.patch("/{id:uuid}", body=FlowRunUpdate, answers={204: None})
async def update_flow_run(call: Call, body: FlowRunUpdate) -> Answer:
    """Change some of a flow run's fields."""
    if body.parameters is not UNSET:
        check_size(call, body.parameters)
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
    by_field=True,
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
            terms=slot_terms(call),
        )
    except NotFound:
        raise missing(f"Flow run with id {call.id} not found") from None
    status = 201 if done.written else 200
    return Answer(status, document(done.answer), position=done.position)


@area.post("/filter", body=FlowRunQuery, body_optional=True, answers={200: list[FlowRun]})
async def read_flow_runs(call: Call, body: FlowRunQuery) -> Answer:
    """Flow runs that match."""
    sort = body.sort or DEFAULT_SORT
    return await some(call, "flow_runs", body, sort, body.limit, body.offset)


@area.post("/paginate", body=FlowRunPages, body_optional=True, answers={200: Page})
async def paginate_flow_runs(call: Call, body: FlowRunPages) -> Answer:
    """Flow runs that match, a numbered page of them."""
    sort = body.sort or DEFAULT_SORT
    return await numbered_page(call, "flow_runs", body, sort, body.limit, body.page)


@area.post("/count", body=Counting, body_optional=True, answers={200: int})
async def count_flow_runs(call: Call, body: Counting) -> Answer:
    """How many flow runs match."""
    return await number(call, "flow_runs", body)


@area.post("/history", body=HistoryQuery, by_field=True, answers={200: list[HistoryInterval]})
async def flow_run_history(call: Call, body: HistoryQuery) -> Answer:
    """How many matching flow runs were expected when, by their state now."""
    return await history(call, "flow_runs", body)


@area.post("/lateness", body=Counting, body_optional=True, answers={200: float | None})
async def flow_run_lateness(call: Call, body: Counting) -> Answer:
    """Seconds that matching flow runs are late on average."""
    database = call.server.database
    mean = await run_history.mean_lateness(database, body, database.dialect, now=call.server.now())
    return ok(mean)


@area.get("/{id:uuid}/graph", answers={200: list[Dependency]})
async def read_flow_run_dependencies(call: Call) -> Answer:
    """The task runs of a flow run and what each waited for."""
    database = call.server.database
    if await flow_runs.name_of(database, call.id) is None:
        raise missing(f"Flow run with id {call.id} not found")
    parts = run_graph.dependencies(database, database.dialect, call.id, call.server.now())
    return Answer(200, parts)


@area.get(
    "/{id:uuid}/graph-v2",
    query=(Parameter("since", datetime, description="Leave out what ended before."),),
    answers={200: Graph},
)
async def read_flow_run_graph(call: Call) -> Answer:
    """The picture of a flow run: its task runs and subflow runs, and what waited for what."""
    settings = call.server.settings
    try:
        found = await run_graph.graph(
            call.server.database,
            call.id,
            since=time_parameter(call, "since"),
            nodes_max=settings.flow_run_graph_max_nodes,
            artifacts_max=settings.flow_run_graph_max_artifacts,
        )
    except run_graph.TooManyNodes as refusal:
        raise HttpError(400, {"detail": str(refusal)}) from None
    if found is None:
        raise missing(f"Flow run {call.id} not found")
    return Answer(200, found)


@area.patch("/{id:uuid}/labels", body=Labels, answers={204: None})
async def update_flow_run_labels(call: Call, body: Labels) -> Answer:
    """Add labels to a flow run, or change their values."""
    try:
        await commands.update_labels(call.server.shell, call.id, body, call.origin)
    except NotFound:
        raise missing(f"Flow run with id {call.id} not found") from None
    return NO_CONTENT


@area.get("/{id:uuid}/logs/download", answers={200: str}, media_type="text/csv")
async def download_flow_run_logs(call: Call) -> Answer:
    """All log lines of a flow run and its task runs, as CSV."""
    database = call.server.database
    name = there(await flow_runs.name_of(database, call.id), "Flow run not found")
    file = f"filename=\"flow-run-logs.csv\"; filename*=UTF-8''{quote(f'{name}-logs.csv', safe='')}"
    headers = (
        (b"content-type", b"text/csv; charset=utf-8"),
        (b"content-disposition", f"attachment; {file}".encode()),
    )
    return Answer(200, log_lines.csv_pages(database, call.id), headers)


async def _ids(call: Call, matching: FlowRunFilter | None, limit: int | None) -> list[str]:
    """Ids of the flow runs that a bulk request means, newest first."""
    return await meant(call, "flow_runs", Filters(flow_runs=matching), DEFAULT_SORT, limit)


@area.post("/bulk_delete", body=FlowRunBulkDelete, body_optional=True, answers={200: Deleted})
async def bulk_delete_flow_runs(call: Call, body: FlowRunBulkDelete) -> Answer:
    """Delete up to 50 flow runs that match."""
    ids = await _ids(call, body.flow_runs, body.limit)
    return ok(Deleted(await commands.delete_all(call.server.shell, ids, call.origin)))


@area.post("/bulk_set_state", body=FlowRunBulkSetState, by_field=True, answers={200: BulkResults})
async def bulk_set_flow_run_state(call: Call, body: FlowRunBulkSetState) -> Answer:
    """Propose a state to up to 50 flow runs that match."""
    ids = await _ids(call, body.flow_runs, body.limit)
    now, origin, terms = call.server.now(), call.origin, slot_terms(call)

    async def propose(id_: str) -> BulkResult | None:
        try:
            done = await commands.set_state(
                call.server.shell,
                id_,
                body.state,
                force=bool(body.force),
                now=now,
                origin=origin,
                terms=terms,
            )
        except NotFound:
            return None  # Deleted since it was listed.
        told = done.answer
        return BulkResult(id_, told.status, told.state, told.details)

    results = await asyncio.gather(*map(propose, ids))
    shown = b",".join(document(result) for result in results if result is not None)
    return Answer(200, b'{"results":[%b]}' % shown)
