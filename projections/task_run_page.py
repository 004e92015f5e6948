"""What a person wants to know of one task run: the run and its surroundings, the states it went
through, the facts of its stream. Everything is found by the run's id.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from eventstore import log
from eventstore.codec import Codec
from eventstore.database import Dialect, Reader
from eventstore.events import Recorded, type_name
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
from projections.run_pages import Named

FACTS_MAX = 2_000
"""Facts of one task run that are read."""
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
    """What goes with a task run."""

    states: int
    log_lines: int


_LOST = """
SELECT (SELECT count(*) FROM task_run_states WHERE task_run_id = $1),
  (SELECT count(*) FROM log_lines WHERE task_run_id = $1)
"""


async def losses(reader: Reader, id: str) -> Losses:
    """What would be lost with a task run."""
    ((kept, lines),) = await reader.fetch(_LOST, id)
    return Losses(int(kept), int(lines))


class Stated(Struct, frozen=True):
    """The state that a fact told of."""

    type: str
    name: str
    message: str | None


class Fact(Struct, frozen=True):
    """One event of the run's stream."""

    version: int
    position: int
    recorded_at: datetime
    actor: str
    correlation: str | None
    type: str
    title: str
    state: Stated | None
    reason: str | None
    data: str
    """The whole fact as JSON, indented."""


_TITLES: Mapping[type, str] = {
    TaskRunCreated: "Created",
    TaskRunUpdated: "Renamed",
    TaskRunStateSet: "State set",
    TaskRunReported: "Reported by its client",
    TaskRunDeleted: "Deleted",
}


async def facts(reader: Reader, dialect: Dialect, codec: Codec, id: str) -> Sequence[Fact]:
    """The facts of a task run, newest first."""
    stream = f"task-run:{id}"
    recorded = await log.read_stream(reader, dialect, codec, stream, limit=FACTS_MAX)
    return list(_told(recorded))[::-1]


def _told(stream: Sequence[Recorded[Any]]) -> Iterator[Fact]:
    for recorded in stream:
        event: TaskRunEvent = recorded.event
        stated, reason = None, None
        if isinstance(event, TaskRunStateSet):
            stated = Stated(event.state.type, event.state.name, event.state.message)
            reason = event.reason
        elif isinstance(event, TaskRunReported):
            state = report_of(event).state
            stated = Stated(state.type, state.name, state.message)
        yield Fact(
            version=recorded.version,
            position=recorded.position,
            recorded_at=recorded.recorded_at,
            actor=recorded.actor,
            correlation=recorded.correlation,
            type=type_name(type(event)),
            title=_TITLES[type(event)],
            state=stated,
            reason=reason,
            data=msgspec.json.format(msgspec.json.encode(event), indent=2).decode(),
        )
