"""Queries: flow runs that a service sees to when it is time, and what is left of cancelled ones."""

from msgspec import json

from eventstore.database import Reader, Row
from orchestration.documents import parse
from orchestration.flow_runs import FlowRun
from orchestration.states import AWAITING_RETRY

PAGE = 500
"""Rows that are read at once."""
_ACTIVE = "state_type IN ('CANCELLING', 'PAUSED', 'PENDING', 'RUNNING', 'SCHEDULED')"
"""The condition of the index `flow_runs_by_state`, word for word."""
_ENDED = "('CANCELLED', 'COMPLETED', 'CRASHED', 'FAILED')"

PAUSED = (
    "SELECT id, document FROM flow_runs "
    f"WHERE state_type = 'PAUSED' AND {_ACTIVE} AND id > $1 ORDER BY id LIMIT $2"
)


async def paused(reader: Reader, after: str) -> list[FlowRun]:
    """Up to `PAGE` paused runs, those with the next ids."""
    return [parse(FlowRun, row[1]) for row in await reader.fetch(PAUSED, after, PAGE)]


RUNNING = (
    "SELECT id, tags FROM flow_runs "
    f"WHERE state_type = 'RUNNING' AND {_ACTIVE} AND id > $1 ORDER BY id LIMIT $2"
)


async def running(reader: Reader, after: str) -> list[tuple[str, list[str]]]:
    """Ids and tags of up to `PAGE` flow runs that are Running, those with the next ids."""
    return [(row[0], json.decode(row[1])) for row in await reader.fetch(RUNNING, after, PAGE)]


TO_BE_RETRIED = (
    "SELECT id, tags FROM flow_runs WHERE state_type = 'SCHEDULED' "
    f"AND state_name = '{AWAITING_RETRY}' AND {_ACTIVE} AND id > $1 ORDER BY id LIMIT $2"
)


async def to_be_retried(reader: Reader, after: str) -> list[tuple[str, list[str]]]:
    """Ids and tags of up to `PAGE` flow runs that wait to be tried again, those with the next
    ids."""
    return [(row[0], json.decode(row[1])) for row in await reader.fetch(TO_BE_RETRIED, after, PAGE)]


# Part by part as the indexes have it, word for word.
OF_QUEUE = (
    "SELECT id FROM flow_runs WHERE work_queue_id = $1 AND state_type = 'SCHEDULED' "
    "UNION ALL SELECT id FROM flow_runs WHERE work_queue_id = $1 AND work_queue_id IS NOT NULL "
    "AND state_type IN ('CANCELLING', 'PENDING', 'RUNNING') "
    f"UNION ALL SELECT id FROM flow_runs WHERE state_type = 'PAUSED' AND {_ACTIVE} "
    "AND work_queue_id = $1 LIMIT 200"
)


async def some_of_queue(reader: Reader, queue_id: str) -> list[str]:
    """Ids of up to 200 runs of a work queue that have not ended."""
    return [row[0] for row in await reader.fetch(OF_QUEUE, queue_id)]


CANCELLING_FIRST = (
    "SELECT id, state_timestamp FROM flow_runs "
    f"WHERE state_type = 'CANCELLING' AND {_ACTIVE} ORDER BY state_timestamp LIMIT $1"
)


async def cancelling_first(reader: Reader, limit: int) -> list[Row]:
    """Ids of runs that are being cancelled and since when, in microseconds, longest first."""
    return await reader.fetch(CANCELLING_FIRST, limit)


PENDING = (
    "SELECT id, state_timestamp FROM flow_runs "
    f"WHERE state_type = 'PENDING' AND {_ACTIVE} AND id > $1 ORDER BY id LIMIT $2"
)


async def pending(reader: Reader, after: str) -> list[Row]:
    """Ids of up to `PAGE` pending runs and since when, in microseconds, those with the next
    ids."""
    return await reader.fetch(PENDING, after, PAGE)


CANCELLED_AFTER = (
    "SELECT id, end_time FROM flow_runs WHERE end_time >= $1 AND (end_time > $1 OR id > $2) "
    "AND state_type = 'CANCELLED' ORDER BY end_time, id LIMIT $3"
)


async def cancelled_after(reader: Reader, since: int, id: str, limit: int) -> list[Row]:
    """Ids of runs that were cancelled and when, in microseconds, in order: those after `since`, and
    of those at that time the ones with higher ids. Many are cancelled at the same time."""
    return await reader.fetch(CANCELLED_AFTER, since, id, limit)


# Neither engine looks through a LIMIT: for the order of the ids SQLite would walk through all runs
# that there are, and read each.
CRASHED_WITH_OPEN_TASK_RUNS = (
    "SELECT id FROM (SELECT id, state_type FROM flow_runs WHERE end_time >= $1 "
    f"ORDER BY end_time LIMIT {2**62}) AS ended WHERE state_type = 'CRASHED' AND id > $2 "
    "AND EXISTS (SELECT 1 FROM task_runs WHERE task_runs.flow_run_id = ended.id AND "
    f"(task_runs.state_type IS NULL OR task_runs.state_type NOT IN {_ENDED})) "
    "ORDER BY id LIMIT $3"
)


async def crashed_with_open_task_runs(reader: Reader, since: int, after: str) -> list[str]:
    """Ids of up to `PAGE` flow runs that have crashed since a time, in microseconds, and have task
    runs that have not ended: those with the next ids."""
    found = await reader.fetch(CRASHED_WITH_OPEN_TASK_RUNS, since, after, PAGE)
    return [row[0] for row in found]


ACTOR_OF_STATE = (
    "SELECT actor FROM events WHERE stream = $1 AND type = 'flow-run.state-set' "
    "ORDER BY version DESC LIMIT 1"
)


async def actor_of_state(reader: Reader, id: str) -> str | None:
    """Who brought a flow run into the state that it is in."""
    rows = await reader.fetch(ACTOR_OF_STATE, f"flow-run:{id}")
    return str(rows[0][0]) if rows else None


OPEN_TASK_RUNS = (
    "SELECT id FROM task_runs WHERE flow_run_id = $1 AND id > $2 "
    f"AND (state_type IS NULL OR state_type NOT IN {_ENDED}) ORDER BY id LIMIT $3"
)


async def open_task_runs(reader: Reader, flow_run_id: str, after: str) -> list[str]:
    """Ids of up to `PAGE` task runs of a flow run that have not ended, the next ones."""
    return [row[0] for row in await reader.fetch(OPEN_TASK_RUNS, flow_run_id, after, PAGE)]


OPEN_SUBFLOW_RUNS = (
    "SELECT id FROM flow_runs WHERE parent_task_run_id IN "
    "(SELECT id FROM task_runs WHERE flow_run_id = $1) AND id > $2 "
    f"AND (state_type IS NULL OR state_type NOT IN {_ENDED}) ORDER BY id LIMIT $3"
)


async def open_subflow_runs(reader: Reader, flow_run_id: str, after: str) -> list[str]:
    """Ids of up to `PAGE` subflow runs of a flow run that have not ended, the next ones."""
    return [row[0] for row in await reader.fetch(OPEN_SUBFLOW_RUNS, flow_run_id, after, PAGE)]
