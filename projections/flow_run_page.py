"""What a person wants to know of one flow run at a glance: the run and its surroundings, what it is
made of and how far it is, why it failed.

Everything is found by the run's id in an index; only its task runs are counted one by one, inside
the index that holds them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import median

import msgspec
from msgspec import Struct

from eventstore.codec import from_microseconds, to_microseconds
from eventstore.database import Reader
from orchestration.documents import parse
from orchestration.flow_runs import FlowRun

PAST_RUNS_MAX = 100
"""Runs of the flow that are looked at for how long it takes."""
PAST_RUNS_MIN = 3
"""Fewer completed ones among them say nothing."""
FAILURES_MAX = 5
"""Failed task runs that are named."""
LAST_LINES = 200
"""Log lines among which the traceback of a failure is looked for."""
ERROR_LEVEL = 40


class Neighbour(Struct, frozen=True):
    """Something around the run that has a page of its own."""

    id: str
    name: str


class Run(Struct, frozen=True):
    """A flow run with the names of what surrounds it."""

    run: FlowRun
    flow_name: str | None
    deployment: Neighbour | None
    parent: Neighbour | None
    """The flow run of which this is a subflow."""
    actor: str | None
    """Who asked for it."""


_RUN = """
SELECT flow_runs.document, flows.name, deployments.id, deployments.name, parent.id, parent.name,
  events.actor
FROM flow_runs
LEFT JOIN flows ON flows.id = flow_runs.flow_id
LEFT JOIN deployments ON deployments.id = flow_runs.deployment_id
LEFT JOIN task_runs ON task_runs.id = flow_runs.parent_task_run_id
LEFT JOIN flow_runs AS parent ON parent.id = task_runs.flow_run_id
LEFT JOIN events ON events.stream = $2 AND events.version = 1
WHERE flow_runs.id = $1
"""


async def run(reader: Reader, id: str) -> Run | None:
    """A flow run; None if there is no such run."""
    rows = await reader.fetch(_RUN, id, f"flow-run:{id}")
    if not rows:
        return None
    text, flow, deployment_id, deployment, parent_id, parent, actor = rows[0]
    return Run(
        parse(FlowRun, text),
        flow,
        None if deployment_id is None else Neighbour(deployment_id, deployment),
        None if parent_id is None else Neighbour(parent_id, parent),
        actor,
    )


# Without the runs after it, so that what is said of a run does not change with time. The inner
# query walks an index; runs that did not complete say nothing about how long one takes.
_PAST = """
SELECT total_run_time FROM (
  SELECT total_run_time, state_type FROM flow_runs
  WHERE flow_id = $1 AND COALESCE(start_time, expected_start_time) < $2
  ORDER BY COALESCE(start_time, expected_start_time) DESC LIMIT $3
) AS past WHERE state_type = 'COMPLETED'
"""


async def usual_run_time(reader: Reader, flow_id: str, before: datetime) -> float | None:
    """Seconds that the flow's runs before this moment took, the median; None if too few did."""
    rows = await reader.fetch(_PAST, flow_id, to_microseconds(before), PAST_RUNS_MAX)
    return median(row[0] for row in rows) if len(rows) >= PAST_RUNS_MIN else None


class Parts(Struct, frozen=True):
    """What a run consists of."""

    task_runs: Mapping[str, int]
    """Task runs that are not subflows, by type of state."""
    subflows: int
    artifacts: int

    @property
    def total(self) -> int:
        """All task runs that are not subflows."""
        return sum(self.task_runs.values())


_TASK_RUNS = """
SELECT task_runs.state_type, sub.id IS NOT NULL, count(*) FROM task_runs
LEFT JOIN flow_runs AS sub ON sub.parent_task_run_id = task_runs.id
WHERE task_runs.flow_run_id = $1
GROUP BY 1, 2
"""
_ARTIFACTS = "SELECT count(*) FROM artifacts WHERE flow_run_id = $1 AND type <> 'result'"


async def parts(reader: Reader, id: str) -> Parts:
    """Counts of what a flow run consists of."""
    states: dict[str, int] = {}
    subflows = 0
    for kind, is_subflow, number in await reader.fetch(_TASK_RUNS, id):
        if is_subflow:
            subflows += int(number)
        else:
            states[kind or "NONE"] = int(number)
    ((artifacts,),) = await reader.fetch(_ARTIFACTS, id)
    return Parts(states, subflows, int(artifacts))


class FailedTask(Struct, frozen=True):
    """A task run that may be why its flow run failed."""

    id: str
    name: str
    state_type: str
    state_name: str
    ended: datetime | None
    message: str | None


class _Message(Struct, frozen=True):
    message: str | None = None


class _Stated(Struct, frozen=True):
    state: _Message | None = None


_stated = msgspec.json.Decoder(_Stated)

_FAILED = """
SELECT id, name, state_type, state_name, end_time, document FROM task_runs
WHERE flow_run_id = $1 AND state_type IN ('CRASHED', 'FAILED')
ORDER BY end_time, id LIMIT $2
"""


async def failed_tasks(reader: Reader, id: str) -> Sequence[FailedTask]:
    """The task runs of a flow run that failed first."""
    found = []
    for id_, name, kind, state_name, ended, text in await reader.fetch(_FAILED, id, FAILURES_MAX):
        state = _stated.decode(text).state
        found.append(
            FailedTask(
                id_,
                name,
                kind,
                state_name,
                None if ended is None else from_microseconds(ended),
                None if state is None else state.message,
            )
        )
    return found


_LAST_ERRORS = """
SELECT message FROM (
  SELECT timestamp, line, level, message FROM log_lines
  WHERE flow_run_id = $1 ORDER BY timestamp DESC, line DESC LIMIT $2
) AS last_lines WHERE level >= $3 ORDER BY timestamp DESC, line DESC
"""
_TRACEBACK = "Traceback (most recent call last)"


async def traceback(reader: Reader, id: str) -> str | None:
    """The last traceback that a flow run printed near its end."""
    rows = await reader.fetch(_LAST_ERRORS, id, LAST_LINES, ERROR_LEVEL)
    return next((str(row[0]) for row in rows if _TRACEBACK in row[0]), None)
