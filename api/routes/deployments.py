"""Deployments and their schedules: /deployments."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct

from api import background
from api.bulk import BulkLimit, Deleted, delete_each, meant
from api.errors import HttpError, http_error, invalid, not_found, there
from api.http import NO_CONTENT, Answer, Area, Call, ok
from api.lists import (
    Counting,
    Listing,
    Page,
    Paginating,
    array,
    documents,
    limited,
    number,
    numbered_page,
    some,
)
from api.runs import check_size
from orchestration.deployment_bodies import (
    DeploymentCreate,
    DeploymentFlowRunCreate,
    DeploymentUpdate,
)
from orchestration.deployment_schedules import DeploymentSchedule, ScheduleCreate, ScheduleUpdate
from orchestration.deployments import Deployment
from orchestration.documents import document
from orchestration.flow_runs import FlowRun
from orchestration.identifiers import Id, canonical, tidy
from orchestration.refusals import Invalid, NotFound, Refusal
from orchestration.work_queues import WorkQueue
from projections import deployments
from projections.filters import DeploymentFilter, Filters
from projections.sorting import DeploymentSort
from services import deployment_runs, polling, scheduled_runs
from services import deployments as commands
from services.scheduled_runs import Horizon

BULK_CREATE_MAX = 100
"""Flow runs that one request may create."""
POLLED_DEPLOYMENTS_MAX = 1_000
"""Deployments whose runs one request may ask for."""
DEFAULT_SORT: DeploymentSort = "NAME_ASC"

area = Area("/deployments", "Deployments")


class DeploymentQuery(Listing, frozen=True, kw_only=True):
    """The body of `POST /deployments/filter`."""

    sort: DeploymentSort | None = None


class DeploymentPages(Paginating, frozen=True, kw_only=True):
    """The body of `POST /deployments/paginate`."""

    sort: DeploymentSort | None = None


class DeploymentBulkDelete(Struct, frozen=True, kw_only=True):
    """The body of `POST /deployments/bulk_delete`."""

    deployments: DeploymentFilter | None = None
    limit: BulkLimit | None = None


class Polling(Struct, frozen=True, kw_only=True):
    """The body of `POST /deployments/get_scheduled_flow_runs`."""

    deployment_ids: Annotated[tuple[Id, ...], Meta(max_length=POLLED_DEPLOYMENTS_MAX)]
    scheduled_before: datetime | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        tidy(self, times=("scheduled_before",))


class Scheduling(Struct, frozen=True, kw_only=True):
    """The body of `POST /deployments/{id}/schedule`. `min_time` is in seconds."""

    start_time: datetime | None = None
    end_time: datetime | None = None
    min_time: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    min_runs: Annotated[int, Meta(ge=0)] | None = None
    max_runs: Annotated[int, Meta(ge=0, le=1_000)] | None = None

    def __post_init__(self) -> None:
        tidy(self, times=("start_time", "end_time"))


class Created(Struct, frozen=True, kw_only=True):
    """What became of one flow run of a bulk request."""

    flow_run_id: str | None = None
    status: Literal["CREATED", "FAILED"]
    error: str | None = None


class BulkCreated(Struct, frozen=True):
    """The answer of `POST /deployments/{id}/create_flow_run/bulk`."""

    results: Sequence[Created]


async def _existing(call: Call) -> Deployment:
    found = await deployments.entity(call.server.database, call.id)
    return there(found, "Deployment not found")


def _refused(refusal: Invalid) -> HttpError:
    """422 in the shape of what Prefect finds out after it has read the body."""
    return HttpError(422, {"detail": str(refusal)})


@area.post("/", body=DeploymentCreate, answers={201: Deployment, 200: Deployment})
async def create_deployment(call: Call, body: DeploymentCreate) -> Answer:
    """Create a deployment, or make the one of this name what the body says."""
    check_size(call, body.parameters)
    server = call.server
    shown, new, position = await commands.put(server.shell, body, server.now, call.origin)
    return Answer(201 if new else 200, shown, position=position)


@area.get("/{id:uuid}", answers={200: Deployment})
async def read_deployment(call: Call) -> Answer:
    """Read a deployment."""
    found = await deployments.by_id(call.server.database, call.id)
    return Answer(200, there(found, "Deployment not found").encode())


@area.get("/name/{flow_name:str}/{deployment_name:str}", answers={200: Deployment})
async def read_deployment_by_name(call: Call) -> Answer:
    """Read the deployment with this name, of the flow with that name."""
    names = call.path["flow_name"], call.path["deployment_name"]
    found = await deployments.by_names(call.server.database, *names)
    return Answer(200, there(found, "Deployment not found").encode())


@area.patch("/{id:uuid}", body=DeploymentUpdate, answers={204: None})
async def update_deployment(call: Call, body: DeploymentUpdate) -> Answer:
    """Change some of a deployment's fields."""
    if body.parameters is not UNSET and body.parameters is not None:
        check_size(call, body.parameters)
    if not body.job_variables:
        # What deploys again and was told of none sends `{}`, and means those that are there.
        body = msgspec.structs.replace(body, job_variables=UNSET)
    server = call.server
    try:
        await commands.update(server.shell, call.id, body, server.now, call.origin)
    except NotFound as refusal:
        raise not_found(_sentence(refusal)) from None
    except Invalid as refusal:
        raise _refused(refusal) from None
    return NO_CONTENT


def _sentence(refusal: NotFound) -> str:
    """Here Prefect ends its sentence with a full stop."""
    return f"{refusal}."


@area.delete("/{id:uuid}", answers={204: None})
async def delete_deployment(call: Call) -> Answer:
    """Delete a deployment, its schedules and the runs that wait for their time."""
    await commands.delete(call.server.shell, call.id, call.origin)
    return NO_CONTENT


@area.post("/filter", body=DeploymentQuery, body_optional=True, answers={200: list[Deployment]})
async def read_deployments(call: Call, body: DeploymentQuery) -> Answer:
    """Deployments that match."""
    sort = body.sort or DEFAULT_SORT
    return await some(call, "deployments", body, sort, body.limit, body.offset)


@area.post("/paginate", body=DeploymentPages, body_optional=True, answers={200: Page})
async def paginate_deployments(call: Call, body: DeploymentPages) -> Answer:
    """Deployments that match, a numbered page of them."""
    sort = body.sort or DEFAULT_SORT
    return await numbered_page(call, "deployments", body, sort, body.limit, body.page)


@area.post("/count", body=Counting, body_optional=True, answers={200: int})
async def count_deployments(call: Call, body: Counting) -> Answer:
    """How many deployments match."""
    return await number(call, "deployments", body)


@area.post("/bulk_delete", body=DeploymentBulkDelete, body_optional=True, answers={200: Deleted})
async def bulk_delete_deployments(call: Call, body: DeploymentBulkDelete) -> Answer:
    """Delete up to 50 deployments that match."""
    filters = Filters(deployments=body.deployments)
    ids = await meant(call, "deployments", filters, DEFAULT_SORT, body.limit)
    return await delete_each(call, ids, commands.delete)


@area.post("/get_scheduled_flow_runs", body=Polling, by_field=True, answers={200: list[FlowRun]})
async def read_scheduled_flow_runs(call: Call, body: Polling) -> Answer:
    """The runs of these deployments that are to start, for the one who runs them."""
    ids = [canonical(id_) for id_ in body.deployment_ids]
    asked = {
        "deployment_id": {"any_": ids},
        "state": {"type": {"any_": ["SCHEDULED"]}},
        "next_scheduled_start_time": {"before_": body.scheduled_before},
    }
    filters = msgspec.convert({"flow_runs": asked}, Filters)
    limit = limited(call, body.limit)
    found = await documents(call, "flow_runs", filters, "NEXT_SCHEDULED_START_TIME_ASC", limit, 0)
    server = call.server
    await polling.note_served(server.shell, server.pulses, ids, server.now(), call.origin)
    return array(found)


@area.get("/{id:uuid}/work_queue_check", answers={200: list[WorkQueue]})
async def check_work_queues(call: Call) -> Answer:
    """The work queue that the deployment's runs go to, if there is one."""
    await _existing(call)
    found = await deployments.queue(call.server.database, call.id)
    return Answer(200, f"[{found or ''}]".encode())


@area.post("/{id:uuid}/pause_deployment", answers={200: None})
async def pause_deployment(call: Call) -> Answer:
    """Let the deployment's schedules rest, and take away the runs that wait for their time."""
    await commands.pause(call.server.shell, call.id, True, call.server.now, call.origin)
    return Answer(200, b"null")


@area.post("/{id:uuid}/resume_deployment", answers={200: None})
async def resume_deployment(call: Call) -> Answer:
    """Let the deployment's schedules go on."""
    await commands.pause(call.server.shell, call.id, False, call.server.now, call.origin)
    return Answer(200, b"null")


@area.post("/{id:uuid}/schedule", body=Scheduling, body_optional=True, answers={200: None})
async def schedule_deployment(call: Call, body: Scheduling) -> Answer:
    """Make the runs of the deployment's active schedules in a span of time, which may be past."""
    usual = background.horizon(call.server.settings)
    horizon = Horizon(
        min_runs=usual.min_runs if body.min_runs is None else body.min_runs,
        max_runs=usual.max_runs if body.max_runs is None else body.max_runs,
        min_time=usual.min_time if body.min_time is None else timedelta(seconds=body.min_time),
        max_time=usual.max_time,
    )
    now = call.server.now()
    start = body.start_time or now
    try:
        end = body.end_time or start + horizon.max_time
    except OverflowError:
        raise invalid(("body", "start_time"), "value_error", "This is too far ahead") from None
    await scheduled_runs.make_of(call.server.shell, call.id, start, end, horizon, now, call.origin)
    return Answer(200, b"null")


@area.post(
    "/{id:uuid}/create_flow_run",
    body=DeploymentFlowRunCreate,
    answers={201: FlowRun, 200: FlowRun},
)
async def create_flow_run(call: Call, body: DeploymentFlowRunCreate) -> Answer:
    """Create a run of the deployment, or find the one under this idempotency key."""
    deployment = await _existing(call)
    check_size(call, body.parameters)
    server = call.server
    try:
        shown, new, position = await deployment_runs.create(
            server.shell, deployment, body, server.now, call.origin
        )
    except Invalid as refusal:
        raise _refused(refusal) from None
    return Answer(201 if new else 200, shown, position=position)


@area.post(
    "/{id:uuid}/create_flow_run/bulk",
    body=tuple[DeploymentFlowRunCreate, ...],
    answers={200: BulkCreated},
)
async def bulk_create_flow_runs(call: Call, body: Sequence[DeploymentFlowRunCreate]) -> Answer:
    """Create up to 100 runs of the deployment, each on its own."""
    if len(body) > BULK_CREATE_MAX:
        raise HttpError(
            400, {"detail": f"Cannot create more than {BULK_CREATE_MAX} flow runs at once."}
        )
    deployment = await _existing(call)
    return ok(BulkCreated([await _created(call, deployment, one) for one in body]))


async def _created(call: Call, deployment: Deployment, body: DeploymentFlowRunCreate) -> Created:
    server = call.server
    try:
        check_size(call, body.parameters)
        shown, _, _ = await deployment_runs.create(
            server.shell, deployment, body, server.now, call.origin
        )
    except (Refusal, HttpError) as error:
        said = http_error(error, b"").body.get("detail") or str(error)
        return Created(status="FAILED", error=str(said))
    return Created(status="CREATED", flow_run_id=msgspec.json.decode(shown)["id"])


@area.get("/{id:uuid}/schedules", answers={200: list[DeploymentSchedule]})
async def read_schedules(call: Call) -> Answer:
    """The deployment's schedules."""
    found = await deployments.entity(call.server.database, call.id)
    return _shown(there(found, "Deployment not found.").schedules)


def _shown(schedules: Sequence[DeploymentSchedule], status: int = 200) -> Answer:
    return Answer(status, b"[" + b",".join(map(document, schedules)) + b"]")


@area.post(
    "/{id:uuid}/schedules",
    body=tuple[ScheduleCreate, ...],
    answers={201: list[DeploymentSchedule]},
)
async def create_schedules(call: Call, body: Sequence[ScheduleCreate]) -> Answer:
    """Give the deployment more schedules."""
    server = call.server
    try:
        made = await commands.add_schedules(server.shell, call.id, body, server.now, call.origin)
    except NotFound as refusal:
        raise not_found(_sentence(refusal)) from None
    return _shown(made, 201)


@area.patch("/{id:uuid}/schedules/{schedule_id:uuid}", body=ScheduleUpdate, answers={204: None})
async def update_schedule(call: Call, body: ScheduleUpdate) -> Answer:
    """Change one of the deployment's schedules; its runs are made anew."""
    return await _change_schedule(call, body)


@area.delete("/{id:uuid}/schedules/{schedule_id:uuid}", answers={204: None})
async def delete_schedule(call: Call) -> Answer:
    """Remove one of the deployment's schedules, and its runs that are still to come."""
    return await _change_schedule(call, None)


async def _change_schedule(call: Call, body: ScheduleUpdate | None) -> Answer:
    server = call.server
    try:
        await commands.change_schedule(
            server.shell, call.id, call.path["schedule_id"], body, server.now, call.origin
        )
    except NotFound as refusal:
        raise not_found(_sentence(refusal)) from None
    return NO_CONTENT
