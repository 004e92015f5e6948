"""Read model: flow runs and their states.   Tables: migrations/0002.read-models.sql"""

from datetime import datetime
from typing import Any, get_args

from eventstore.database import Reader, Row, Table
from eventstore.events import Recorded
from orchestration.documents import document, parse
from orchestration.flow_runs import (
    FlowRun,
    FlowRunDeleted,
    FlowRunEvent,
    FlowRunStateSet,
    evolve,
)
from projections.columns import json_array, micros
from projections.entities import entity_id, evolved, own_row
from projections.projection import Model, Projection, Rows
from projections.run_documents import SHOWN, shown, shown_columns, shown_places
from projections.run_totals import FLOW_RUN_TOTALS, TOTALS_OF_FLOW_RUNS
from projections.states import FLOW_RUN_STATES
from projections.states import render as render_state

TABLE = Table(
    "flow_runs",
    {
        "id": "text",
        "created": "bigint",
        "updated": "bigint",
        "name": "text",
        "flow_id": "text",
        "deployment_id": "text",
        "work_pool_id": "text",
        "work_queue_id": "text",
        "work_queue_name": "text",
        "parent_task_run_id": "text",
        "idempotency_key": "text",
        "flow_version": "text",
        "deployment_version": "text",
        "infrastructure_pid": "text",
        "state_id": "text",
        "state_type": "text",
        "state_name": "text",
        "state_timestamp": "bigint",
        "start_time": "bigint",
        "end_time": "bigint",
        "expected_start_time": "bigint",
        "next_scheduled_start_time": "bigint",
        "run_count": "bigint",
        "total_run_time": "float",
        "auto_scheduled": "bigint",
        "tags": "text",
        "created_by_id": "text",
        "created_by_type": "text",
        "document": "text",
    },
)


def render(run: FlowRun) -> Row:
    """The flow run's row."""
    state, creator = run.state, run.created_by
    return (
        run.id,
        micros(run.created),
        micros(run.updated),
        run.name,
        run.flow_id,
        run.deployment_id,
        run.work_pool_id,
        run.work_queue_id,
        run.work_queue_name,
        run.parent_task_run_id,
        run.idempotency_key,
        run.flow_version,
        run.deployment_version,
        run.infrastructure_pid,
        run.state_id,
        run.state_type,
        run.state_name,
        None if state is None else micros(state.timestamp),
        micros(run.start_time),
        micros(run.end_time),
        micros(run.expected_start_time),
        micros(run.next_scheduled_start_time),
        run.run_count,
        run.total_run_time,
        int(run.auto_scheduled),
        json_array(run.tags),
        None if creator is None else creator.id,
        None if creator is None else creator.type,
        document(run).decode(),
    )


def from_row(row: Row) -> FlowRun:
    """The flow run of a row."""
    return parse(FlowRun, row[-1])


FLOW_RUNS = Model(TABLE, render, from_row, remembered=True, totals=TOTALS_OF_FLOW_RUNS)

STATES_OF_RUN = "DELETE FROM flow_run_states WHERE flow_run_id = $1"


def apply(rows: Rows, recorded: Recorded[Any]) -> None:
    """Fold an event into its run; keep the states that the run goes through."""
    event: FlowRunEvent = recorded.event
    run = evolved(rows, FLOW_RUNS, evolve, recorded)
    match event:
        case FlowRunStateSet() if run is not None and run.state is not None:
            rows.put(FLOW_RUN_STATES, (run.state.id,), render_state(run.state, run.id))
        case FlowRunDeleted():
            gone = entity_id(recorded)
            rows.cascade(FLOW_RUN_STATES, STATES_OF_RUN, gone, lambda row: row[1] == gone)


projection = Projection(
    name="flow_runs",
    version=2,
    mode="inline",
    models=(FLOW_RUNS, FLOW_RUN_STATES, FLOW_RUN_TOTALS),
    handles=frozenset(get_args(FlowRunEvent)),
    apply=apply,
    reads=own_row(FLOW_RUNS),
    own=FLOW_RUNS,
    cascades=frozenset((FlowRunDeleted,)),
)

_places = shown_places(TABLE)
_SHOWN_BY_ID = shown_columns(TABLE)


def shown_row(row: Row, now: datetime) -> bytes:
    """A whole row of the table as the API shows it."""
    return shown(tuple(row[i] for i in _places), now).encode()


async def by_id(reader: Reader, id: str, now: datetime) -> bytes | None:
    """One flow run as the API shows it."""
    rows = await reader.fetch_keys(_SHOWN_BY_ID, [(id,)])
    return shown(tuple(rows[0])[:-1], now).encode() if rows else None


NAME_OF = "SELECT name FROM flow_runs WHERE id = $1"


async def name_of(reader: Reader, id: str) -> str | None:
    """The name of a flow run; None if there is no such run."""
    rows = await reader.fetch(NAME_OF, id)
    return rows[0][0] if rows else None


BY_IDEMPOTENCY_KEY = f"SELECT {SHOWN} FROM flow_runs WHERE idempotency_key = $1 AND flow_id = $2"


async def by_idempotency_key(reader: Reader, flow_id: str, key: str, now: datetime) -> bytes | None:
    """The flow run that was created under this key, as the API shows it."""
    rows = await reader.fetch(BY_IDEMPOTENCY_KEY, key, flow_id)
    return shown(rows[0], now).encode() if rows else None


ID_BY_IDEMPOTENCY_KEY = "SELECT id FROM flow_runs WHERE idempotency_key = $1 AND flow_id = $2"

CHILDREN = (
    "SELECT id FROM flow_runs WHERE parent_task_run_id IN "
    "(SELECT id FROM task_runs WHERE flow_run_id = $1)"
)


async def children(reader: Reader, id: str) -> list[str]:
    """Ids of the subflow runs that a flow run's task runs stand for."""
    return [row[0] for row in await reader.fetch(CHILDREN, id)]


CHILDREN_OF_TASK_RUN = "SELECT id FROM flow_runs WHERE parent_task_run_id = $1"


async def children_of_task_run(reader: Reader, task_run_id: str) -> list[str]:
    """Ids of the subflow runs that a task run stands for."""
    return [row[0] for row in await reader.fetch(CHILDREN_OF_TASK_RUN, task_run_id)]


SOME_OF_FLOW = "SELECT id FROM flow_runs WHERE flow_id = $1 LIMIT 200"


async def some_of_flow(reader: Reader, flow_id: str) -> list[str]:
    """Ids of up to 200 runs of a flow; none if there are none left."""
    return [row[0] for row in await reader.fetch(SOME_OF_FLOW, flow_id)]


SCHEDULED_FIRST = (
    "SELECT id, next_scheduled_start_time FROM flow_runs "
    "WHERE state_type = 'SCHEDULED' AND state_name = 'Scheduled' "
    "AND next_scheduled_start_time IS NOT NULL "
    "ORDER BY next_scheduled_start_time LIMIT $1"
)


async def scheduled_first(reader: Reader, limit: int) -> list[Row]:
    """Ids of the runs that wait for their time and that time, in microseconds, nearest first."""
    return await reader.fetch(SCHEDULED_FIRST, limit)
