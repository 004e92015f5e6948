"""A flow run over time: its task runs with the states they went through, what waited for what, and
what was left behind; as columns, because a run may have 20,000 task runs.

    {"origin": …, "names": ["Running", …], "tasks": {"id": [...], "name": [...], …}}

Times are microseconds after `origin` (itself microseconds since 1970). Types of states are numbers:
places in `STATE_TYPES`. What a task run has several of (states, upstream) is one long list, and a
column says how many of it are whose.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from eventstore.codec import to_microseconds
from eventstore.database import Dialect, Reader, Row, Value
from eventstore.events import type_name
from orchestration.emissions import EmissionReceived
from orchestration.states import STATE_TYPES
from projections.run_graph import PARENTS

TASKS_MAX = 25_000
"""Task runs of one timeline; of more, those that began first are shown."""
ARTIFACTS_MAX = 5_000
EMISSIONS_MAX = 500
SEARCHED_EMISSIONS_MAX = 20_000
"""Emissions of a run among which those of its own making are looked for."""
THREAD_ROWS_MIN = 500

KINDS = {kind: place for place, kind in enumerate(STATE_TYPES)}
NO_KIND = -1

_encode = msgspec.json.Encoder().encode


class TaskColumns(Struct):
    """Task runs, each a place in these columns."""

    id: list[str]
    name: list[str]
    type: list[int]
    """Of the state it is in."""
    label: list[int]
    """Of that state: a place in `names`."""
    start: list[int | None]
    end: list[int | None]
    due: list[int | None]
    """When it was expected to start."""
    sub: list[str | None]
    """The subflow run that it stands for."""
    runs: list[int]
    """How often it began."""
    upstream_count: list[int]
    upstream: list[str]
    """Task runs whose results it was given."""
    state_count: list[int]
    state_type: list[int]
    state_label: list[int]
    state_at: list[int]


class Timeline(Struct):
    """The whole picture, or the part of it that is new."""

    id: str
    name: str
    origin: int
    names: list[str]
    start: int | None
    end: int | None
    type: int
    label: int
    state_type: list[int]
    state_label: list[int]
    state_at: list[int]
    tasks: TaskColumns
    cut: bool
    """There are more task runs."""


class _Reference(Struct, frozen=True):
    id: str | None = None


class _Inputs(Struct, frozen=True):
    task_inputs: dict[str, tuple[_Reference, ...]] = {}


_inputs = msgspec.json.Decoder(_Inputs)

_RUN = (
    "SELECT name, start_time, end_time, state_type, state_name, created FROM flow_runs "
    "WHERE id = $1"
)
_RUN_STATES = (
    "SELECT timestamp, type, name FROM flow_run_states "
    "WHERE flow_run_id = $1 ORDER BY timestamp, id"
)
_OF_RUN = "task_runs.flow_run_id = $1"
# Task runs that are named are found by their ids: no index answers this.
_AMONG_THEM = "task_runs.flow_run_id || '' = $1"
_TASKS = """
SELECT task_runs.id, task_runs.name, task_runs.state_type, task_runs.state_name,
  COALESCE(sub.start_time, task_runs.start_time), COALESCE(sub.end_time, task_runs.end_time),
  COALESCE(sub.expected_start_time, task_runs.expected_start_time), sub.id, sub.name, flows.name,
  sub.state_type, sub.state_name, task_runs.run_count, task_runs.document
FROM task_runs
LEFT JOIN flow_runs AS sub ON sub.parent_task_run_id = task_runs.id
LEFT JOIN flows ON flows.id = sub.flow_id
WHERE {which}{order}
LIMIT $2
"""
# Only where some have to be left out: SQLite would carry the documents through its sort.
_FIRST = """
ORDER BY COALESCE(sub.start_time, task_runs.start_time, sub.expected_start_time,
                  task_runs.expected_start_time), task_runs.id"""
_TASK_STATES = """
SELECT task_run_states.task_run_id, task_run_states.timestamp, task_run_states.type,
  task_run_states.name
FROM task_runs JOIN task_run_states ON task_run_states.task_run_id = task_runs.id
WHERE {which}
"""


async def timeline(
    reader: Reader, dialect: Dialect, flow_run_id: str, task_run_ids: Sequence[str] | None = None
) -> bytes | None:
    """A flow run over time as JSON, of its task runs only these if any are named; None if there is
    no such run."""
    runs = await reader.fetch(_RUN, flow_run_id)
    if not runs:
        return None
    run_states = await reader.fetch(_RUN_STATES, flow_run_id)
    named: tuple[str, ...] = ()
    which_tasks = which_states = _OF_RUN
    if task_run_ids is not None:
        named = (msgspec.json.encode(task_run_ids).decode(),)
        which_tasks = f"{_AMONG_THEM} AND {dialect.in_list('task_runs.id', '$3')}"
        which_states = f"{_AMONG_THEM} AND {dialect.in_list('task_runs.id', '$2')}"
    limits: tuple[Value, ...] = (flow_run_id, TASKS_MAX + 1, *named)
    tasks = await reader.fetch(_TASKS.format(which=which_tasks, order=""), *limits)
    if len(tasks) > TASKS_MAX:
        tasks = await reader.fetch(_TASKS.format(which=which_tasks, order=_FIRST), *limits)
    states = await reader.fetch(_TASK_STATES.format(which=which_states), flow_run_id, *named)
    if len(tasks) + len(states) < THREAD_ROWS_MIN:
        return _picture(flow_run_id, runs[0], run_states, tasks, states)
    return await asyncio.to_thread(_picture, flow_run_id, runs[0], run_states, tasks, states)


class _Names:
    """Names of states, each once."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._places: dict[str, int] = {}

    def place(self, name: str | None) -> int:
        name = name or ""
        if name not in self._places:
            self._places[name] = len(self.all)
            self.all.append(name)
        return self._places[name]


def _picture(
    flow_run_id: str,
    run: Row,
    run_states: Sequence[Row],
    tasks: Sequence[Row],
    states: Sequence[Row],
) -> bytes:
    name, start, end, kind, label, created = run
    origin = min([created, *(row[0] for row in run_states[:1])])
    names = _Names()
    cut = len(tasks) > TASKS_MAX
    return _encode(
        Timeline(
            id=flow_run_id,
            name=name,
            origin=origin,
            start=_after(origin, start),
            end=_after(origin, end),
            type=KINDS.get(kind, NO_KIND),
            label=names.place(label),
            state_type=[KINDS.get(row[1], NO_KIND) for row in run_states],
            state_label=[names.place(row[2]) for row in run_states],
            state_at=[row[0] - origin for row in run_states],
            tasks=_columns(tasks[:TASKS_MAX], states, origin, names),
            names=names.all,
            cut=cut,
        )
    )


def _columns(
    tasks: Sequence[Row], states: Sequence[Row], origin: int, names: _Names
) -> TaskColumns:
    by_task: dict[str, list[Row]] = {}
    for row in sorted(states, key=_at):
        by_task.setdefault(row[0], []).append(row)
    made = TaskColumns([], [], [], [], [], [], [], [], [], [], [], [], [], [], [])
    stands_for = {row[7]: row[0] for row in tasks if row[7] is not None}
    for row in tasks:
        id_, name, kind, label, start, end, due = row[:7]
        sub, sub_name, flow, sub_kind, sub_label, runs, document = row[7:]
        made.id.append(id_)
        made.name.append(name if sub is None else f"{flow} / {sub_name}" if flow else sub_name)
        made.type.append(KINDS.get(sub_kind or kind, NO_KIND))
        made.label.append(names.place(sub_label or label))
        made.start.append(_after(origin, start))
        made.end.append(_after(origin, end))
        made.due.append(_after(origin, due))
        made.sub.append(sub)
        made.runs.append(runs)
        upstream = _upstream(document, stands_for)
        made.upstream_count.append(len(upstream))
        made.upstream.extend(upstream)
        own = by_task.get(id_, ())
        made.state_count.append(len(own))
        for _, at, state_kind, state_label in own:
            made.state_type.append(KINDS.get(state_kind, NO_KIND))
            made.state_label.append(names.place(state_label))
            made.state_at.append(at - origin)
    return made


def _at(state: Row) -> int:
    return int(state[1])


def _upstream(document: str, stands_for: dict[str, str]) -> list[str]:
    if '"task_inputs":{}' in document:
        return []
    found: dict[str, None] = {}
    for name, given in _inputs.decode(document).task_inputs.items():
        if name != PARENTS:
            for reference in given:
                if reference.id is not None:
                    found[stands_for.get(reference.id, reference.id)] = None
    return list(found)


def _after(origin: int, at: int | None) -> int | None:
    return None if at is None else at - origin


Mark: TypeAlias = tuple[int, str | None, str, str | None, str | None]
"""`(at, task run, id, what, kind)`; `at` is in microseconds since 1970. The kind of an emission is
the resource that it is about."""


class Marks(Struct):
    """What is marked on a timeline."""

    artifacts: Sequence[Mark]
    emissions: Sequence[Mark]


_ARTIFACTS = """
SELECT created, task_run_id, id, key, type FROM artifacts
WHERE flow_run_id = $1 AND type <> 'result' ORDER BY created, id LIMIT $2
"""
_EMITTED = type_name(EmissionReceived)
_OWN = "prefect."
"""What the server and its clients emit by themselves begins so; the timeline shows that already."""
_EMISSIONS = """
SELECT emissions.occurred, emissions.id, emissions.event, emissions.resource_id
FROM (
  SELECT DISTINCT position FROM emission_resources WHERE resource_id = $1 LIMIT $2
) AS named JOIN emissions ON emissions.position = named.position
WHERE emissions.event NOT LIKE 'prefect.%'
ORDER BY emissions.occurred LIMIT $3
"""


async def marks(reader: Reader, flow_run_id: str) -> bytes:
    """Artifacts and emissions of a flow run as JSON."""
    artifacts = await reader.fetch(_ARTIFACTS, flow_run_id, ARTIFACTS_MAX)
    emissions = await reader.fetch(
        _EMISSIONS, f"prefect.flow-run.{flow_run_id}", SEARCHED_EMISSIONS_MAX, EMISSIONS_MAX
    )
    return _encode(
        Marks(
            [(at, task, id_, key, kind) for at, task, id_, key, kind in artifacts],
            [(at, None, id_, event, resource) for at, id_, event, resource in emissions],
        )
    )


class _Emission(Struct, frozen=True):
    id: str
    occurred: datetime
    event: str
    resource: dict[str, str]


class _Received(Struct, frozen=True):
    emission: _Emission


_received = msgspec.json.Decoder(_Received)


def emitted(rows: Sequence[Row], flow_run_id: str) -> Sequence[Mark]:
    """What clients emitted about a flow run, among rows of the log."""
    found: list[Mark] = []
    for row in rows:
        if row[3] == _EMITTED and flow_run_id in row[10]:
            told = _received.decode(row[10]).emission
            if not told.event.startswith(_OWN):
                about = told.resource.get("prefect.resource.id")
                found.append((to_microseconds(told.occurred), None, told.id, told.event, about))
    return found


class FactColumns(Struct):
    """What was recorded of the states of a run and its task runs, in the order of the log."""

    origin: int
    names: list[str]
    tasks: list[str]
    position: list[int]
    recorded: list[int]
    task: list[int]
    """A place in `tasks`; -1 is the flow run."""
    type: list[int]
    label: list[int]
    at: list[int]
    """When the state began."""


_TASK_FACTS = """
SELECT task_runs.id, events.position, events.recorded_at, events.event_id
FROM task_runs JOIN events ON events.stream = 'task-run:' || task_runs.id
WHERE task_runs.flow_run_id = $1 AND events.type IN ('task-run.reported', 'task-run.state-set')
LIMIT $2
"""
_RUN_FACTS = """
SELECT NULL, position, recorded_at, event_id FROM events
WHERE stream = $1 AND type = 'flow-run.state-set' ORDER BY position LIMIT $2
"""
_STATES_BY_ID = """
SELECT task_run_states.task_run_id, task_run_states.timestamp, task_run_states.type,
  task_run_states.name, task_run_states.id
FROM task_runs JOIN task_run_states ON task_run_states.task_run_id = task_runs.id
WHERE task_runs.flow_run_id = $1
"""
FACTS_MAX = 150_000


async def facts(reader: Reader, flow_run_id: str) -> bytes | None:
    """What was recorded when, as JSON; None if there is no such run."""
    runs = await reader.fetch(_RUN, flow_run_id)
    if not runs:
        return None
    own = await reader.fetch(_RUN_FACTS, f"flow-run:{flow_run_id}", FACTS_MAX)
    of_tasks = await reader.fetch(_TASK_FACTS, flow_run_id, FACTS_MAX)
    run_states = await reader.fetch(_RUN_STATES, flow_run_id)
    states = await reader.fetch(_STATES_BY_ID, flow_run_id)
    return await asyncio.to_thread(_facts, runs[0][5], own, of_tasks, run_states, states)


def _facts(
    origin: int,
    own: Sequence[Row],
    of_tasks: Sequence[Row],
    run_states: Sequence[Row],
    states: Sequence[Row],
) -> bytes:
    told: list[tuple[int, int, str | None, Row]] = [
        (position, recorded, None, (None, *state))
        for (_, position, recorded, _), state in zip(own, run_states, strict=False)
    ]
    told += _of_tasks(of_tasks, states)
    told.sort(key=lambda one: one[0])
    names = _Names()
    places: dict[str, int] = {}
    made = FactColumns(origin, [], [], [], [], [], [], [], [])
    for position, recorded, task, state in told:
        made.position.append(position)
        made.recorded.append(recorded - origin)
        made.task.append(-1 if task is None else places.setdefault(task, len(places)))
        made.type.append(KINDS.get(state[2], NO_KIND))
        made.label.append(names.place(state[3]))
        made.at.append(state[1] - origin)
    made.tasks, made.names = list(places), names.all
    return _encode(made)


def _of_tasks(events: Sequence[Row], states: Sequence[Row]) -> list[tuple[int, int, str, Row]]:
    """Which event brought which state. A report's state has the id of its event, and reports come
    in any order; the others were recorded in the order of their times."""
    by_id: dict[str, Row] = {row[4]: row for row in states}
    reported = {event[3] for event in events if event[3] in by_id}
    others: dict[str, list[Row]] = {}
    for row in sorted(states, key=_at, reverse=True):
        if row[4] not in reported:
            others.setdefault(row[0], []).append(row)
    found: list[Any] = []
    for task, position, recorded, event_id in sorted(events, key=_at):
        state = by_id.get(event_id)
        if state is None:
            left = others.get(task)
            state = left.pop() if left else None
        if state is not None:
            found.append((position, recorded, task, state))
    return found
