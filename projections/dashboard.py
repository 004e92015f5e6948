"""What pages ask about many flows or flow runs at once."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from eventstore.codec import from_microseconds
from eventstore.database import Dialect, Reader
from orchestration.run_clock import estimated_run_time, estimated_start_time_delta
from projections import queries
from projections.filters import Filters
from projections.sorting import FlowRunSort


class Dot(Struct, frozen=True):
    """A flow run in the picture of runs over time. Durations in seconds."""

    id: str
    state_type: str | None
    timestamp: datetime | None
    """When it started, or should."""
    duration: float
    lateness: float


class NextRun(Struct, frozen=True):
    """The next run of a flow that is scheduled."""

    id: str
    flow_id: str
    name: str
    state_name: str
    state_type: str
    next_scheduled_start_time: datetime


_DOT = "id, state_type, state_timestamp, total_run_time, expected_start_time, start_time"


async def dots(
    reader: Reader,
    filters: Filters,
    sort: FlowRunSort,
    dialect: Dialect,
    *,
    limit: int,
    offset: int,
    now: datetime,
) -> list[Dot]:
    """Flow runs that match, a page of them, as the picture of runs over time shows them."""
    columns = ", ".join(f"flow_runs.{name}" for name in _DOT.split(", "))
    query = queries.page("flow_runs", columns, filters, sort, dialect, limit=limit, offset=offset)
    found: list[Dot] = []
    for id_, kind, since, total, expected_at, started_at in await reader.fetch(
        query.sql, *query.params
    ):
        expected, started = _time(expected_at), _time(started_at)
        found.append(
            Dot(
                id=id_,
                state_type=kind,
                timestamp=started or expected,
                duration=estimated_run_time(kind, _time(since), total, now),
                lateness=estimated_start_time_delta(kind, expected, started, now),
            )
        )
    return found


_TASK_RUNS = """
SELECT task_runs.flow_run_id, count(*) FROM task_runs
WHERE {in_flow_runs}
  AND NOT EXISTS (SELECT 1 FROM flow_runs AS sub WHERE sub.parent_task_run_id = task_runs.id)
GROUP BY task_runs.flow_run_id
"""


async def task_runs_by_flow_run(
    reader: Reader, flow_run_ids: Sequence[str], dialect: Dialect
) -> Mapping[str, int]:
    """How many task runs each flow run has, without those that stand for a subflow run."""
    sql = _TASK_RUNS.format(in_flow_runs=dialect.in_list("task_runs.flow_run_id", "$1"))
    rows = await reader.fetch(sql, _json(flow_run_ids))
    return dict.fromkeys(flow_run_ids, 0) | {str(id_): int(number) for id_, number in rows}


_DEPLOYMENTS = "SELECT flow_id, count(*) FROM deployments WHERE {in_flows} GROUP BY flow_id"


async def deployments_by_flow(
    reader: Reader, flow_ids: Sequence[str], dialect: Dialect
) -> Mapping[str, int]:
    """How many deployments each flow has."""
    sql = _DEPLOYMENTS.format(in_flows=dialect.in_list("flow_id", "$1"))
    rows = await reader.fetch(sql, _json(flow_ids))
    return dict.fromkeys(flow_ids, 0) | {str(id_): int(number) for id_, number in rows}


# Found among the runs that are scheduled, which are few, not among all that the flows ever had:
# hence nothing that an index on flows could answer.
_ANY_FLOW = "flow_id || ''"

_NEXT_RUNS = """
SELECT id, flow_id, name, state_name, state_type, next_scheduled_start_time
FROM (
  SELECT id, flow_id, name, state_name, state_type, next_scheduled_start_time,
    row_number() OVER (PARTITION BY flow_id ORDER BY next_scheduled_start_time, id) AS place
  FROM flow_runs
  WHERE {in_flows} AND state_type = 'SCHEDULED' AND next_scheduled_start_time IS NOT NULL
) AS scheduled
WHERE place = 1
"""


async def next_runs_by_flow(
    reader: Reader, flow_ids: Sequence[str], dialect: Dialect
) -> Mapping[str, NextRun | None]:
    """The run of each flow that is scheduled first, if any is."""
    sql = _NEXT_RUNS.format(in_flows=dialect.in_list(_ANY_FLOW, "$1"))
    found: dict[str, NextRun | None] = dict.fromkeys(flow_ids)
    for id_, flow_id, name, state_name, state_type, due in await reader.fetch(sql, _json(flow_ids)):
        found[flow_id] = NextRun(id_, flow_id, name, state_name, state_type, from_microseconds(due))
    return found


def _json(ids: Sequence[str]) -> str:
    return msgspec.json.encode(ids).decode()


def _time(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else from_microseconds(microseconds)
