"""What a person wants to know of one task run: the run and its surroundings, the states it went
through, the facts of its stream. Everything is found by the run's id.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from eventstore.codec import Codec
from eventstore.database import Dialect, Reader
from eventstore.events import Recorded
from orchestration.documents import parse
from orchestration.states import State
from orchestration.task_inputs import FlowRunInput, TaskRunInput
from orchestration.task_runs import (
    TaskRun,
    TaskRunCreated,
    TaskRunDeleted,
    TaskRunEvent,
    TaskRunReported,
    TaskRunStateSet,
    TaskRunUpdated,
    report_of,
)
from projections import states
from projections.facts import Fact, read, told
from projections.run_pages import Named

INPUTS_MAX = 200
"""Runs whose results it was given that are named."""


class Surroundings(Struct, frozen=True):
    """A task run with the names of what is around it."""

    run: TaskRun
    flow_run: Named | None
    flow: Named | None
    subflow: Named | None
    """The flow run that it stands for."""


_RUN = """
SELECT task_runs.document, flow_runs.id, flow_runs.name, flows.id, flows.name, sub.id, sub.name
FROM task_runs
LEFT JOIN flow_runs ON flow_runs.id = task_runs.flow_run_id
LEFT JOIN flows ON flows.id = flow_runs.flow_id
LEFT JOIN flow_runs AS sub ON sub.parent_task_run_id = task_runs.id
WHERE task_runs.id = $1 LIMIT 1
"""


async def run(reader: Reader, id: str) -> Surroundings | None:
    """A task run; None if there is no such run."""
    rows = await reader.fetch(_RUN, id)
    if not rows:
        return None
    text, *names = rows[0]
    pairs = (names[at : at + 2] for at in range(0, len(names), 2))
    around = [None if one is None else Named(one, name or "") for one, name in pairs]
    return Surroundings(parse(TaskRun, text), *around)


class Stay(Struct, frozen=True):
    """A state that the run went through."""

    state: State
    seconds: float | None
    """How long it lasted; None for the one that still holds."""


async def stays(reader: Reader, id: str) -> Sequence[Stay]:
    """The states of a task run, oldest first."""
    known = [parse(State, text) for text in await states.of_task_run(reader, id)]
    ends: list[datetime | None] = [state.timestamp for state in known[1:]]
    return [
        Stay(state, None if end is None else max(0.0, (end - state.timestamp).total_seconds()))
        for state, end in zip(known, [*ends, None], strict=False)
    ]


_NAMES = {
    "task-run": "SELECT id, name FROM task_runs WHERE {in_ids}",
    "flow-run": "SELECT id, name FROM flow_runs WHERE {in_ids}",
}


async def inputs(reader: Reader, dialect: Dialect, run: TaskRun) -> Mapping[str, str]:
    """Names of the runs whose results it was given, by id."""
    given = [one for several in run.task_inputs.values() for one in several]
    wanted = {
        "task-run": [one.id for one in given if isinstance(one, TaskRunInput)],
        "flow-run": [one.id for one in given if isinstance(one, FlowRunInput)],
    }
    names: dict[str, str] = {}
    for kind, ids in wanted.items():
        if ids:
            sql = _NAMES[kind].format(in_ids=dialect.in_list("id", "$1"))
            bound = msgspec.json.encode(ids[:INPUTS_MAX]).decode()
            names |= {row[0]: row[1] for row in await reader.fetch(sql, bound)}
    return names


class Losses(Struct, frozen=True):
    """What goes with some task runs."""

    states: int
    log_lines: int


_LOST = """
SELECT (SELECT count(*) FROM task_run_states WHERE {in_ids}),
  (SELECT count(*) FROM log_lines WHERE {in_ids})
"""


async def losses(reader: Reader, dialect: Dialect, ids: Sequence[str]) -> Losses:
    """What would be lost with these task runs."""
    sql = _LOST.format(in_ids=dialect.in_list("task_run_id", "$1"))
    ((kept, lines),) = await reader.fetch(sql, msgspec.json.encode(ids).decode())
    return Losses(int(kept), int(lines))


_TITLES: Mapping[type, str] = {
    TaskRunCreated: "Created",
    TaskRunUpdated: "Renamed",
    TaskRunStateSet: "State set",
    TaskRunReported: "Reported by its client",
    TaskRunDeleted: "Deleted",
}


async def facts(reader: Reader, dialect: Dialect, codec: Codec, id: str) -> Sequence[Fact]:
    """The facts of a task run, newest first."""
    recorded = await read(reader, dialect, codec, f"task-run:{id}")
    return [_told(one) for one in reversed(recorded)]


def _told(recorded: Recorded[Any]) -> Fact:
    event: TaskRunEvent = recorded.event
    title = _TITLES[type(event)]
    if isinstance(event, TaskRunStateSet):
        return told(recorded, title, state=event.state, reason=event.reason)
    if isinstance(event, TaskRunReported):
        return told(recorded, title, state=report_of(event).state)
    return told(recorded, title)
