"""Read model: task runs and their states.   Tables: migrations/0002.read-models.sql"""

from datetime import datetime
from typing import Any, get_args

from msgspec import json

from eventstore.codec import to_microseconds
from eventstore.database import Reader, Row, Table
from eventstore.events import Recorded
from orchestration.documents import document, parse
from orchestration.flow_runs import FlowRunDeleted
from orchestration.states import State
from orchestration.task_runs import (
    TaskRun,
    TaskRunDeleted,
    TaskRunEvent,
    TaskRunReported,
    TaskRunStateSet,
    evolve,
    report_of,
)
from projections import task_keys
from projections.columns import json_array, micros
from projections.entities import entity_id, evolved, own_row
from projections.projection import Model, Projection, Rows, rows_of
from projections.run_documents import SHOWN, shown, shown_columns, shown_places
from projections.states import TASK_RUN_STATES
from projections.states import render as render_state
from projections.task_run_totals import TASK_RUN_TOTALS, TOTALS_OF_TASK_RUNS

TABLE = Table(
    "task_runs",
    {
        "id": "text",
        "created": "bigint",
        "updated": "bigint",
        "name": "text",
        "flow_run_id": "text",
        "task_key": "text",
        "dynamic_key": "text",
        "cache_key": "text",
        "cache_expiration": "bigint",
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
        "subflow_run_id": "text",
        "tags": "text",
        "document": "text",
    },
)


def render(run: TaskRun) -> Row:
    """The task run's row."""
    state = run.state
    return (
        run.id,
        micros(run.created),
        micros(run.updated),
        run.name,
        run.flow_run_id,
        task_keys.column(run.task_key),
        task_keys.column(run.dynamic_key),
        run.cache_key,
        micros(run.cache_expiration),
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
        None if state is None else state.state_details.child_flow_run_id,
        json_array(run.tags),
        document(run).decode(),
    )


def from_row(row: Row) -> TaskRun:
    """The task run of a row."""
    return parse(TaskRun, row[-1])


TASK_RUNS = Model(TABLE, render, from_row, remembered=True, totals=TOTALS_OF_TASK_RUNS)
CACHED_STATES = rows_of(
    Table(
        "cached_states",
        {
            "id": "text",
            "cache_key": "text",
            "cache_expiration": "bigint",
            "recorded": "bigint",
            "document": "text",
        },
    )
)

STATES_OF_TASK_RUN = "DELETE FROM task_run_states WHERE task_run_id = $1"
STATES_IN_FLOW_RUN = (
    "DELETE FROM task_run_states WHERE task_run_id IN "
    "(SELECT id FROM task_runs WHERE flow_run_id = $1)"
)
TASK_RUNS_IN_FLOW_RUN = "DELETE FROM task_runs WHERE flow_run_id = $1"


def apply(rows: Rows, recorded: Recorded[Any]) -> None:
    """Fold an event into its task run; a deleted flow run takes its task runs with it."""
    event: TaskRunEvent | FlowRunDeleted = recorded.event
    id_ = entity_id(recorded)
    if isinstance(event, FlowRunDeleted):
        within = {key[0] for key, run in rows.held(TASK_RUNS) if run.flow_run_id == id_}
        rows.cascade(TASK_RUN_STATES, STATES_IN_FLOW_RUN, id_, lambda row: row[1] in within)
        rows.cascade(TASK_RUNS, TASK_RUNS_IN_FLOW_RUN, id_, lambda run: run.flow_run_id == id_)
        return
    before = rows.get(TASK_RUNS, id_)
    run = evolved(rows, TASK_RUNS, evolve, recorded)
    match event:
        case TaskRunStateSet() if run is not None and run.state is not None:
            rows.put(TASK_RUN_STATES, (run.state.id,), render_state(run.state, run.id))
            if event.cached:
                _cache(rows, run.state, recorded.recorded_at)
        case TaskRunReported() if run is not None:
            # In the history even if a newer state was reported before.
            state = run.state
            if state is None or (before is not None and state is before.state):
                state = report_of(event).state
            rows.put(TASK_RUN_STATES, (state.id,), render_state(state, run.id))
        case TaskRunDeleted():
            rows.cascade(TASK_RUN_STATES, STATES_OF_TASK_RUN, id_, lambda row: row[1] == id_)


def _cache(rows: Rows, state: State, recorded_at: datetime) -> None:
    details = state.state_details
    row = (
        state.id,
        details.cache_key,
        micros(details.cache_expiration),
        to_microseconds(recorded_at),
        document(state).decode(),
    )
    rows.put(CACHED_STATES, (state.id,), row)


_own_row = own_row(TASK_RUNS)


def reads(recorded: Recorded[Any]) -> Any:
    """Its own row; a flow run's deletion looks at none."""
    return () if isinstance(recorded.event, FlowRunDeleted) else _own_row(recorded)


projection = Projection(
    name="task_runs",
    version=2,
    mode="inline",
    models=(TASK_RUNS, TASK_RUN_STATES, CACHED_STATES, TASK_RUN_TOTALS),
    handles=frozenset((*get_args(TaskRunEvent), FlowRunDeleted)),
    apply=apply,
    reads=reads,
    own=TASK_RUNS,
    cascades=frozenset((FlowRunDeleted, TaskRunDeleted)),
)

_places = shown_places(TABLE)
_SHOWN_BY_ID = shown_columns(TABLE)


def shown_row(row: Row, now: datetime) -> bytes:
    """A whole row of the table as the API shows it."""
    return shown(tuple(row[i] for i in _places), now).encode()


async def by_id(reader: Reader, id: str, now: datetime) -> bytes | None:
    """One task run as the API shows it."""
    rows = await reader.fetch_keys(_SHOWN_BY_ID, [(id,)])
    return shown(tuple(rows[0])[:-1], now).encode() if rows else None


_shown = ", ".join(f"task_runs.{name}" for name in SHOWN.split(", "))

FLOW_RUN_NAME = (
    f"SELECT {_shown}, flow_runs.name FROM task_runs "
    "LEFT JOIN flow_runs ON flow_runs.id = task_runs.flow_run_id WHERE task_runs.id = $1"
)


async def with_flow_run_name(reader: Reader, id: str, now: datetime) -> bytes | None:
    """One task run as the API shows it, with `flow_run_name` as its last field."""
    rows = await reader.fetch(FLOW_RUN_NAME, id)
    if not rows:
        return None
    *row, name = rows[0]
    return b'%b,"flow_run_name":%b}' % (shown(row, now).encode()[:-1], json.encode(name))


BY_KEYS = (
    f"SELECT id, {SHOWN} FROM task_runs WHERE flow_run_id = $1 AND task_key = $2 "
    "AND dynamic_key = $3 LIMIT 1"
)
BY_KEYS_OUTSIDE = (
    f"SELECT id, {SHOWN} FROM task_runs WHERE flow_run_id IS NULL AND task_key = $1 "
    "AND dynamic_key = $2 LIMIT 1"
)


async def by_keys(
    reader: Reader, flow_run_id: str | None, task_key: str, dynamic_key: str, now: datetime
) -> tuple[str, bytes] | None:
    """Id and shown form of the task run with this natural key."""
    task_key, dynamic_key = task_keys.column(task_key), task_keys.column(dynamic_key)
    if flow_run_id is None:
        rows = await reader.fetch(BY_KEYS_OUTSIDE, task_key, dynamic_key)
    else:
        rows = await reader.fetch(BY_KEYS, flow_run_id, task_key, dynamic_key)
    return (rows[0][0], shown(tuple(rows[0])[1:], now).encode()) if rows else None


CACHED_STATE = (
    "SELECT document FROM cached_states WHERE cache_key = $1 "
    "AND (cache_expiration IS NULL OR cache_expiration > $2) ORDER BY recorded DESC LIMIT 1"
)


async def cached_state(reader: Reader, cache_key: str, now: datetime) -> State | None:
    """The newest state under a cache key that has not expired."""
    rows = await reader.fetch(CACHED_STATE, cache_key, to_microseconds(now))
    return parse(State, rows[0][0]) if rows else None
