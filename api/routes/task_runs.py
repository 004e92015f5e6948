"""Task runs over REST: /task_runs. Clients report most of them as emissions instead."""

from api.errors import HttpError, missing, not_found, there
from api.http import NO_CONTENT, Answer, Area, Call
from api.lists import Counting, Listing, Page, Paginating, number, numbered_page, some
from api.runs import HistoryQuery, history
from orchestration.documents import document
from orchestration.refusals import NotFound
from orchestration.states import ProposedTransition
from orchestration.task_run_bodies import TaskRunCreate, TaskRunUpdate
from orchestration.task_runs import TaskRun
from orchestration.transition import OrchestrationResult
from projections import task_runs
from projections.run_history import HistoryInterval
from projections.sorting import TaskRunSort
from services import task_runs as commands

DEFAULT_SORT: TaskRunSort = "ID_DESC"

area = Area("/task_runs", "Task Runs")


class TaskRunQuery(Listing, frozen=True, kw_only=True):
    """The body of `POST /task_runs/filter`."""

    sort: TaskRunSort | None = None


class TaskRunPages(Paginating, frozen=True, kw_only=True):
    """The body of `POST /task_runs/paginate`."""

    sort: TaskRunSort | None = None


@area.post("/", body=TaskRunCreate, answers={201: TaskRun, 200: TaskRun})
async def create_task_run(call: Call, body: TaskRunCreate) -> Answer:
    """Make a task run known, or find the one that has these keys in this flow run."""
    shown, new, position = await commands.create(
        call.server.shell,
        body,
        call.server.now,
        call.origin,
        cache_key_max=call.server.settings.tasks_max_cache_key_length,
    )
    return Answer(201 if new else 200, shown, position=position)


@area.get("/{id:uuid}", answers={200: TaskRun})
async def read_task_run(call: Call) -> Answer:
    """Read a task run."""
    found = await task_runs.by_id(call.server.database, call.id, call.server.now())
    return Answer(200, there(found, "Task not found"))


@area.patch("/{id:uuid}", body=TaskRunUpdate, answers={204: None})
async def update_task_run(call: Call, body: TaskRunUpdate) -> Answer:
    """Give a task run another name."""
    await commands.update(call.server.shell, call.id, body, call.origin)
    return NO_CONTENT


@area.delete("/{id:uuid}", answers={204: None})
async def delete_task_run(call: Call) -> Answer:
    """Delete a task run with its states and logs."""
    try:
        await commands.delete(call.server.shell, call.id, call.origin)
    except NotFound:
        raise not_found("Task not found") from None
    return NO_CONTENT


@area.post(
    "/{id:uuid}/set_state",
    body=ProposedTransition,
    by_field=True,
    answers={201: OrchestrationResult, 200: OrchestrationResult},
)
async def set_task_run_state(call: Call, body: ProposedTransition) -> Answer:
    """Propose a state; the rules decide."""
    try:
        done = await commands.set_state(
            call.server.shell,
            call.id,
            body.state,
            force=body.force,
            now=call.server.now(),
            origin=call.origin,
            cache_key_max=call.server.settings.tasks_max_cache_key_length,
            slot_wait_seconds=call.server.settings.tasks_tag_concurrency_slot_wait_seconds,
        )
    except NotFound as refusal:
        if refusal.kind == "Flow run":
            # A client that is told of a flow run that is gone stops running its tasks.
            text = f"The flow run {refusal.id} around task run {call.id} is gone."
            raise HttpError(404, {"detail": text}) from None
        raise missing(f"Task run with id {call.id} not found") from None
    status = 201 if done.written else 200
    return Answer(status, document(done.answer), position=done.position)


@area.post("/filter", body=TaskRunQuery, body_optional=True, answers={200: list[TaskRun]})
async def read_task_runs(call: Call, body: TaskRunQuery) -> Answer:
    """Task runs that match."""
    sort = body.sort or DEFAULT_SORT
    return await some(call, "task_runs", body, sort, body.limit, body.offset)


@area.post("/paginate", body=TaskRunPages, body_optional=True, answers={200: Page})
async def paginate_task_runs(call: Call, body: TaskRunPages) -> Answer:
    """Task runs that match, a numbered page of them."""
    sort = body.sort or DEFAULT_SORT
    return await numbered_page(call, "task_runs", body, sort, body.limit, body.page)


@area.post("/count", body=Counting, body_optional=True, answers={200: int})
async def count_task_runs(call: Call, body: Counting) -> Answer:
    """How many task runs match."""
    return await number(call, "task_runs", body)


@area.post("/history", body=HistoryQuery, by_field=True, answers={200: list[HistoryInterval]})
async def task_run_history(call: Call, body: HistoryQuery) -> Answer:
    """How many matching task runs were expected when, by their state now."""
    return await history(call, "task_runs", body)
