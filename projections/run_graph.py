"""A flow run as a picture: its task runs and subflow runs, and which waited for which.

`graph` is what the UI draws; `dependencies` is its older form. Both are put together off the event
loop, for a flow run may have ten thousand task runs.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from eventstore.codec import from_microseconds
from eventstore.database import Dialect, Reader, Row
from orchestration.run_clock import estimated_run_time
from projections.run_documents import SHOWN

DEPENDENCIES_PAGE = 1_000
"""Task runs of the older form that are read and sent at a time."""
THREAD_ROWS_MIN = 500
"""Fewer rows are worked on at once; handing them to a thread would take longer."""

PARENTS = "__parents__"
"""Under this name a client reports the task runs around a task run, beside its arguments."""
PROGRESS = "progress"
"""The one type of artifact whose data the picture shows."""

_encode = msgspec.json.Encoder().encode


class TooManyNodes(Exception):
    """The graph has more nodes than may be shown."""


class GraphArtifact(Struct, frozen=True):
    """An artifact that a run of the graph made."""

    id: str
    created: datetime
    key: str | None
    type: str | None
    is_latest: bool
    data: Any = None


class GraphState(Struct, frozen=True):
    """A state that the flow run went through."""

    id: str
    timestamp: datetime
    type: str
    name: str


class Edge(Struct, frozen=True):
    """One end of an edge: the other node."""

    id: str


class Node(Struct, frozen=True):
    """A task run, or the subflow run that it stands for."""

    kind: Literal["flow-run", "task-run"]
    id: str
    label: str
    state_type: str | None
    start_time: datetime
    end_time: datetime | None
    parents: list[Edge]
    children: list[Edge]
    encapsulating: list[Edge]
    artifacts: Sequence[GraphArtifact] = ()


class Graph(Struct, frozen=True):
    """The picture of one flow run."""

    start_time: datetime | None
    end_time: datetime | None
    root_node_ids: Sequence[str]
    nodes: Sequence[tuple[str, Node]]
    artifacts: Sequence[GraphArtifact]
    states: Sequence[GraphState]


class _Reference(Struct, frozen=True):
    """An input of a task run; only references to runs have an id."""

    id: str | None = None


class _Inputs(Struct, frozen=True):
    """All that a graph wants to know of a task run's document."""

    task_inputs: dict[str, tuple[_Reference, ...]] = {}


class _Made(Struct, frozen=True):
    """What a graph wants to know of an artifact's document."""

    data: Any = None


_inputs = msgspec.json.Decoder(_Inputs)
_made = msgspec.json.Decoder(_Made)

FLOW_RUN = "SELECT COALESCE(start_time, expected_start_time), end_time FROM flow_runs WHERE id = $1"

NODES = """
SELECT task_runs.id, task_runs.name, task_runs.state_type,
  COALESCE(sub.start_time, sub.expected_start_time,
           task_runs.start_time, task_runs.expected_start_time) AS began,
  COALESCE(sub.end_time, task_runs.end_time,
           CASE WHEN task_runs.state_type = 'COMPLETED' THEN task_runs.expected_start_time END)
    AS ended,
  sub.id, sub.name, sub.state_type, flows.name, task_runs.document
FROM task_runs
LEFT JOIN flow_runs AS sub ON sub.parent_task_run_id = task_runs.id
LEFT JOIN flows ON flows.id = sub.flow_id
WHERE task_runs.flow_run_id = $1
  AND COALESCE(sub.start_time, sub.expected_start_time,
               task_runs.start_time, task_runs.expected_start_time) IS NOT NULL
ORDER BY began, ended, task_runs.id
LIMIT $2
"""

ARTIFACTS = """
SELECT artifacts.id, artifacts.created, artifacts.key, artifacts.type, artifacts.task_run_id,
  artifact_collections.latest_id, artifacts.document
FROM artifacts
LEFT JOIN artifact_collections ON artifact_collections.key = artifacts.key
WHERE artifacts.flow_run_id = $1 AND artifacts.type <> 'result'
ORDER BY artifacts.created, artifacts.id
LIMIT $2
"""

STATES = (
    "SELECT id, timestamp, type, name FROM flow_run_states WHERE flow_run_id = $1 "
    "ORDER BY timestamp, id"
)


async def graph(
    reader: Reader,
    flow_run_id: str,
    *,
    since: datetime | None,
    nodes_max: int,
    artifacts_max: int,
) -> bytes | None:
    """The picture of a flow run as JSON; None if there is no such run.

    `since` leaves out what ended before, after the edges were drawn. Raises TooManyNodes.
    """
    runs = await reader.fetch(FLOW_RUN, flow_run_id)
    if not runs:
        return None
    rows = await reader.fetch(NODES, flow_run_id, nodes_max + 1)
    if len(rows) > nodes_max:
        raise TooManyNodes(f"The graph of flow run {flow_run_id} has more than {nodes_max} nodes.")
    artifacts = await reader.fetch(ARTIFACTS, flow_run_id, artifacts_max)
    states = await reader.fetch(STATES, flow_run_id)
    if len(rows) + len(artifacts) < THREAD_ROWS_MIN:
        return _picture(runs[0], rows, artifacts, states, since)
    return await asyncio.to_thread(_picture, runs[0], rows, artifacts, states, since)


def _picture(
    run: Row,
    rows: Sequence[Row],
    artifact_rows: Sequence[Row],
    state_rows: Sequence[Row],
    since: datetime | None,
) -> bytes:
    artifacts = _artifacts(artifact_rows)
    nodes = [
        node
        for node in _nodes(rows, artifacts)
        if since is None or node.end_time is None or node.end_time >= since
    ]
    return _encode(
        Graph(
            start_time=_time(run[0]),
            end_time=_time(run[1]),
            root_node_ids=[node.id for node in nodes if not node.parents],
            nodes=[(node.id, node) for node in nodes],
            artifacts=artifacts.get(None, ()),
            states=[
                GraphState(id_, from_microseconds(at), kind, name)
                for id_, at, kind, name in state_rows
            ],
        )
    )


def _nodes(
    rows: Sequence[Row], artifacts: Mapping[str | None, Sequence[GraphArtifact]]
) -> list[Node]:
    """The nodes with their edges, in the order of `rows`; so each list of edges is in it too."""
    nodes: dict[str, Node] = {}
    for id_, name, state_type, began, ended, sub_id, sub_name, sub_state, flow_name, _ in rows:
        is_sub = sub_id is not None
        shown = sub_id if is_sub else id_
        nodes[shown] = Node(
            kind="flow-run" if is_sub else "task-run",
            id=shown,
            label=f"{flow_name} / {sub_name}" if is_sub and flow_name is not None else name,
            state_type=sub_state or state_type,
            start_time=from_microseconds(began),
            end_time=_time(ended),
            parents=[],
            children=[],
            encapsulating=[],
            artifacts=artifacts.get(shown, ()),
        )
    order = {id_: place for place, id_ in enumerate(nodes)}
    for row in rows:
        node = nodes[row[0] if row[5] is None else row[5]]
        inputs = _inputs.decode(row[-1]).task_inputs
        around = _known(inputs.get(PARENTS, ()), order)
        before = _known(
            (reference for name, given in inputs.items() if name != PARENTS for reference in given),
            order,
        )
        node.encapsulating.extend(Edge(id_) for id_ in around)
        for id_ in before:
            node.parents.append(Edge(id_))
            nodes[id_].children.append(Edge(node.id))
    return list(nodes.values())


def _known(references: Iterable[_Reference], order: Mapping[str, int]) -> list[str]:
    """Ids of those referred to that are nodes, each once, in the order of the nodes."""
    ids = {reference.id for reference in references if reference.id in order}
    return sorted((id_ for id_ in ids if id_ is not None), key=order.__getitem__)


def _artifacts(rows: Sequence[Row]) -> dict[str | None, list[GraphArtifact]]:
    by_task_run: dict[str | None, list[GraphArtifact]] = {}
    for id_, created, key, kind, task_run_id, latest_id, document in rows:
        by_task_run.setdefault(task_run_id, []).append(
            GraphArtifact(
                id=id_,
                created=from_microseconds(created),
                key=key,
                type=kind,
                is_latest=key is None or latest_id == id_,
                data=_made.decode(document).data if kind == PROGRESS else None,
            )
        )
    return by_task_run


class Dependency(Struct, frozen=True):
    """A task run and what it waited for: an item of the older form. Durations in seconds."""

    id: str
    name: str
    upstream_dependencies: Sequence[Raw]
    state: Raw | None
    expected_start_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    total_run_time: float
    estimated_run_time: float
    untrackable_result: bool


class _Details(Struct, frozen=True):
    untrackable_result: bool = False


class _State(Struct, frozen=True):
    state_details: _Details = _Details()


class _TaskRun(Struct, frozen=True):
    id: str
    name: str
    state: Raw = Raw(b"null")
    end_time: datetime | None = None
    task_inputs: dict[str, list[Raw]] = {}


_task_run = msgspec.json.Decoder(_TaskRun)
_state = msgspec.json.Decoder(_State | None)

TASK_RUN_IDS = "SELECT id FROM task_runs WHERE flow_run_id = $1 ORDER BY id DESC"


async def dependencies(
    reader: Reader, dialect: Dialect, flow_run_id: str, now: datetime
) -> AsyncIterator[bytes]:
    """The task runs of a flow run and what they waited for: the parts of a JSON array."""
    ids = [row[0] for row in await reader.fetch(TASK_RUN_IDS, flow_run_id)]
    yield b"["
    sql = (
        f"SELECT {SHOWN} FROM task_runs WHERE {dialect.in_list('task_runs.id', '$1')} "
        "ORDER BY id DESC"
    )
    first = True
    for start in range(0, len(ids), DEPENDENCIES_PAGE):
        page = ids[start : start + DEPENDENCIES_PAGE]
        rows = await reader.fetch(sql, _encode(page).decode())
        if len(rows) < THREAD_ROWS_MIN:
            text = _dependencies(rows, now)
        else:
            text = await asyncio.to_thread(_dependencies, rows, now)
        if text:
            yield text if first else b"," + text
            first = False
    yield b"]"


def _dependencies(rows: Sequence[Row], now: datetime) -> bytes:
    return b",".join(_encode(_dependency(row, now)) for row in rows)


def _dependency(row: Row, now: datetime) -> Dependency:
    document, state_type, state_timestamp, total_run_time, expected, started = row
    run = _task_run.decode(document)
    state = _state.decode(run.state)
    upstream = {bytes(given): given for inputs in run.task_inputs.values() for given in inputs}
    return Dependency(
        id=run.id,
        name=run.name,
        upstream_dependencies=list(upstream.values()),
        state=None if state is None else run.state,
        expected_start_time=_time(expected),
        start_time=_time(started),
        end_time=run.end_time,
        total_run_time=total_run_time,
        estimated_run_time=estimated_run_time(
            state_type, _time(state_timestamp), total_run_time, now
        ),
        untrackable_result=state is not None and state.state_details.untrackable_result,
    )


def _time(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else from_microseconds(microseconds)
