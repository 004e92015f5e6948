"""The queue of background tasks: deferred task runs that wait for a task worker to run them.

    queued ──claimed──▶ claimed ──handed over──▶ handed over ──(the run begins)──▶ gone
       ▲                   │                         │
       └───────────────────┴── returned, or its time is up, or the worker is gone

A task worker is sent a task that was claimed for it and acknowledges it. Until then the task is
free again once the claim's time is up.
"""

from datetime import datetime
from typing import TypeAlias, assert_never

from msgspec import Struct

from eventstore.events import Event


class TaskQueued(Event, frozen=True, tag="task-queue.queued"):
    """A deferred task run was scheduled, for the first time or again."""

    id: str
    """Of the task run."""
    task_key: str
    flow_run_id: str | None = None


class TaskClaimed(Event, frozen=True, tag="task-queue.claimed"):
    """A task is being sent to a task worker, which has until then to acknowledge it."""

    client_id: str
    until: datetime


class TaskHandedOver(Event, frozen=True, tag="task-queue.handed-over"):
    """The task worker acknowledged the task."""

    client_id: str
    begun: tuple[str, ...] = ()
    """Task runs handed over before that have begun since: they leave the queue."""


class TaskReturned(Event, frozen=True, tag="task-queue.returned"):
    """The task worker did not take the task; it is free for the next one."""

    client_id: str


TaskQueueEvent: TypeAlias = TaskQueued | TaskClaimed | TaskHandedOver | TaskReturned


class QueuedTask(Struct, frozen=True, kw_only=True):
    """A task in the queue."""

    id: str
    task_key: str
    flow_run_id: str | None = None
    since: datetime
    free_at: datetime
    """From when on it may be claimed."""
    holder: str | None = None
    """The task worker that it was claimed for."""
    handed_over: bool = False


def evolve(
    task: QueuedTask | None, event: TaskQueueEvent, recorded_at: datetime
) -> QueuedTask | None:
    """The task after the event; None if it is in no queue."""
    match event:
        case TaskQueued():
            return QueuedTask(
                id=event.id,
                task_key=event.task_key,
                flow_run_id=event.flow_run_id,
                since=recorded_at,
                free_at=recorded_at,
            )
        case TaskClaimed():
            return task and _held(task, event.until, event.client_id, handed_over=False)
        case TaskHandedOver():
            return task and _held(task, recorded_at, event.client_id, handed_over=True)
        case TaskReturned():
            if task is None or task.holder != event.client_id:
                return task  # It has gone on to somebody else.
            return _held(task, recorded_at, None, handed_over=False)
        case _:
            assert_never(event)


def _held(
    task: QueuedTask, free_at: datetime, holder: str | None, *, handed_over: bool
) -> QueuedTask:
    return QueuedTask(
        id=task.id,
        task_key=task.task_key,
        flow_run_id=task.flow_run_id,
        since=task.since,
        free_at=free_at,
        holder=holder,
        handed_over=handed_over,
    )
