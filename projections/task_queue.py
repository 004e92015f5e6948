"""Read model: background tasks that wait for a task worker.   Table: migrations/0014.task-queue.sql

A task that was handed over stays until it is known to have begun: should its worker be gone before
that, the next one gets it.
"""

from collections.abc import Iterable, Sequence
from typing import Any, get_args

from eventstore.codec import from_microseconds, to_microseconds
from eventstore.database import Reader, Row, Table
from eventstore.events import Recorded
from orchestration.flow_runs import FlowRunDeleted
from orchestration.states import SCHEDULED
from orchestration.task_queue import QueuedTask, TaskHandedOver, TaskQueueEvent, evolve
from orchestration.task_runs import TaskRunDeleted, TaskRunStateSet
from projections.entities import entity_id
from projections.projection import Key, Model, Projection, Rows
from projections.task_keys import column

TABLE = Table(
    "task_queue",
    {
        "id": "text",
        "task_key": "text",
        "flow_run_id": "text",
        "since": "bigint",
        "free_at": "bigint",
        "holder": "text",
        "handed_over": "bigint",
    },
)


def render(task: QueuedTask) -> Row:
    """The task's row."""
    return (
        task.id,
        column(task.task_key),
        task.flow_run_id,
        to_microseconds(task.since),
        to_microseconds(task.free_at),
        task.holder,
        int(task.handed_over),
    )


def from_row(row: Row) -> QueuedTask:
    """The task of a row."""
    return QueuedTask(
        id=row[0],
        task_key=row[1],
        flow_run_id=row[2],
        since=from_microseconds(row[3]),
        free_at=from_microseconds(row[4]),
        holder=row[5],
        handed_over=bool(row[6]),
    )


TASK_QUEUE = Model(TABLE, render, from_row)
OF_FLOW_RUN = "DELETE FROM task_queue WHERE flow_run_id = $1"


def apply(rows: Rows, recorded: Recorded[Any]) -> None:
    """Fold an event into its task; one that is not scheduled any more is in no queue."""
    event: TaskQueueEvent | TaskRunStateSet | TaskRunDeleted | FlowRunDeleted = recorded.event
    id_ = entity_id(recorded)
    match event:
        case FlowRunDeleted():
            rows.cascade(TASK_QUEUE, OF_FLOW_RUN, id_, lambda task: task.flow_run_id == id_)
        case TaskRunDeleted():
            rows.delete(TASK_QUEUE, id_)
        case TaskRunStateSet():
            if event.state.type != SCHEDULED and event.state.state_details.deferred:
                rows.delete(TASK_QUEUE, id_)
        case _:
            task = evolve(rows.get(TASK_QUEUE, id_), event, recorded.recorded_at)
            if task is not None:
                rows.put(TASK_QUEUE, (id_,), task)
            if isinstance(event, TaskHandedOver):
                for begun in event.begun:
                    rows.delete(TASK_QUEUE, begun)


def reads(recorded: Recorded[Any]) -> Iterable[tuple[Model[Any], Key]]:
    """Its own row, for events of the queue."""
    if isinstance(recorded.event, TaskRunStateSet | TaskRunDeleted | FlowRunDeleted):
        return ()
    return ((TASK_QUEUE, (entity_id(recorded),)),)


projection = Projection(
    name="task_queue",
    version=1,
    mode="inline",
    models=(TASK_QUEUE,),
    handles=frozenset((*get_args(TaskQueueEvent), TaskRunStateSet, TaskRunDeleted, FlowRunDeleted)),
    apply=apply,
    reads=reads,
    cascades=frozenset((FlowRunDeleted,)),
)


# What nobody holds is free whatever the clock says, which may be behind the log's.
NEXT_FREE = (
    "SELECT since, task_queue.id FROM task_queue JOIN task_runs ON task_runs.id = task_queue.id "
    "WHERE task_queue.task_key = $1 AND handed_over = 0 AND (holder IS NULL OR free_at <= $2) "
    "AND task_runs.state_type = 'SCHEDULED' ORDER BY since LIMIT 1"
)
NEXT_ORPHAN = (
    "SELECT since, task_queue.id FROM task_queue JOIN task_runs ON task_runs.id = task_queue.id "
    "WHERE task_queue.task_key = $1 AND handed_over = 1 AND free_at <= $2 "
    "AND task_runs.state_type = 'SCHEDULED' AND NOT EXISTS (SELECT 1 FROM task_workers "
    "WHERE task_workers.identifier = task_queue.holder AND task_workers.seen > $3) "
    "ORDER BY since LIMIT 1"
)


async def next_free(
    reader: Reader, task_keys: Sequence[str], now: int, gone_before: int
) -> str | None:
    """The task run that a worker for these keys gets now.

    First those that nobody has, then those of a worker that was not seen since `gone_before`; of
    all keys together the one that waits for longest. Times are in microseconds.
    """
    waiting: list[tuple[int, str]] = []
    for key in task_keys:
        waiting += [(row[0], row[1]) for row in await reader.fetch(NEXT_FREE, column(key), now)]
    if not waiting:
        for key in task_keys:
            rows = await reader.fetch(NEXT_ORPHAN, column(key), gone_before, gone_before)
            waiting += [(row[0], row[1]) for row in rows]
    return min(waiting)[1] if waiting else None


BEGUN = (
    "SELECT task_queue.id FROM task_queue JOIN task_runs ON task_runs.id = task_queue.id "
    "WHERE task_queue.task_key = $1 AND handed_over = 1 "
    "AND task_runs.state_type <> 'SCHEDULED' ORDER BY since LIMIT $2"
)


async def begun(reader: Reader, task_key: str, limit: int) -> list[str]:
    """Task runs that were handed over and have begun since."""
    return [row[0] for row in await reader.fetch(BEGUN, column(task_key), limit)]
