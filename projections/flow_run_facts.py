"""The history of a flow run: every fact of its stream, and what it changed.

What changed is found by folding the stream once more and comparing the run before and after.
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
from orchestration.flow_runs import (
    FlowRun,
    FlowRunCreated,
    FlowRunDeleted,
    FlowRunEvent,
    FlowRunLabelsUpdated,
    FlowRunStateSet,
    FlowRunUpdated,
    evolve,
)

FACTS_MAX = 2_000
"""Facts of one run that are read; a stream is that long only if somebody misuses it."""
VALUE_CHARACTERS_MAX = 300
"""Longer values are cut off, visibly; the whole of them is in the fact's data."""

TITLES: Mapping[type, str] = {
    FlowRunCreated: "Created",
    FlowRunUpdated: "Changed",
    FlowRunLabelsUpdated: "Labels changed",
    FlowRunStateSet: "State set",
    FlowRunDeleted: "Deleted",
}
# Said by the state itself, or the same in every fact.
_NOT_TOLD = frozenset({"id", "created", "updated", "state", "state_id", "state_type", "state_name"})


class Change(Struct, frozen=True):
    """One field of the run that a fact changed: values as JSON, None for one that says nothing."""

    field: str
    before: str | None
    after: str | None


class Stated(Struct, frozen=True):
    """The state that a fact gave the run."""

    type: str
    name: str
    message: str | None
    timestamp: datetime


class Fact(Struct, frozen=True):
    """One event of the run's stream."""

    version: int
    position: int
    recorded_at: datetime
    actor: str
    correlation: str | None
    type: str
    title: str
    before: Stated | None
    """The state that the run left, if it took on another."""
    state: Stated | None
    reason: str | None
    """Why a rule put another state in the place of the proposed one."""
    changes: Sequence[Change]
    data: str
    """The whole fact as JSON, indented."""


async def facts(reader: Reader, dialect: Dialect, codec: Codec, flow_run_id: str) -> Sequence[Fact]:
    """The facts of a flow run, newest first."""
    stream = f"flow-run:{flow_run_id}"
    recorded = await log.read_stream(reader, dialect, codec, stream, limit=FACTS_MAX)
    return list(_told(recorded))[::-1]


def _told(stream: Sequence[Recorded[Any]]) -> Iterator[Fact]:
    run: FlowRun | None = None
    for recorded in stream:
        event: FlowRunEvent = recorded.event
        before, run = run, evolve(run, event)
        state = _stated(run) if isinstance(event, FlowRunStateSet) else None
        yield Fact(
            version=recorded.version,
            position=recorded.position,
            recorded_at=recorded.recorded_at,
            actor=recorded.actor,
            correlation=recorded.correlation,
            type=type_name(type(event)),
            title=TITLES[type(event)],
            before=None if state is None else _stated(before),
            state=state,
            reason=event.reason if isinstance(event, FlowRunStateSet) else None,
            changes=[] if run is None else list(_changes(before, run)),
            data=msgspec.json.format(msgspec.json.encode(event), indent=2).decode(),
        )


def _stated(run: FlowRun | None) -> Stated | None:
    if run is None or run.state is None:
        return None
    state = run.state
    return Stated(state.type, state.name, state.message, state.timestamp)


def _changes(before: FlowRun | None, after: FlowRun) -> Iterator[Change]:
    old = _fields(before) if before is not None else _fields(FlowRun(id="", name="", flow_id=""))
    for name, value in _fields(after).items():
        if name not in _NOT_TOLD and old.get(name) != value:
            change = Change(name, _text(old.get(name)), _text(value))
            if change.before != change.after:
                yield change


def _fields(run: FlowRun) -> dict[str, Any]:
    fields = msgspec.to_builtins(run)
    return dict(fields)


def _text(value: Any) -> str | None:
    if value is None or value in ("", (), [], {}):
        return None
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= VALUE_CHARACTERS_MAX else f"{text[:VALUE_CHARACTERS_MAX]}…"
