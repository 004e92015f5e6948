"""Task workers: /task_workers."""

from msgspec import Struct

from api.http import Answer, Area, Call, ok
from projections.task_workers import TaskWorker
from services import task_queue

area = Area("/task_workers", "Task Workers")


class TaskWorkerFilter(Struct, frozen=True, kw_only=True):
    """Which task workers are meant."""

    task_keys: tuple[str, ...]


class TaskWorkerQuery(Struct, frozen=True, kw_only=True):
    """The body of `POST /task_workers/filter`."""

    task_worker_filter: TaskWorkerFilter | None = None


@area.post("/filter", body=TaskWorkerQuery, body_optional=True, answers={200: list[TaskWorker]})
async def read_task_workers(call: Call, body: TaskWorkerQuery) -> Answer:
    """Task workers that are connected, to whichever process of the server."""
    asked = body.task_worker_filter
    keys = () if asked is None else asked.task_keys
    return ok(await task_queue.connected(call.server.shell, call.server.now(), keys))
