"""The history of a flow run: every fact of its stream, and what it changed.

What changed is found by folding the stream once more and comparing the run before and after.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from eventstore.codec import Codec
from eventstore.database import Dialect, Reader
from eventstore.events import Recorded
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
from projections.facts import Change, Fact, read, told

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


async def facts(reader: Reader, dialect: Dialect, codec: Codec, flow_run_id: str) -> Sequence[Fact]:
    """The facts of a flow run, newest first."""
    recorded = await read(reader, dialect, codec, f"flow-run:{flow_run_id}")
    return list(_told(recorded))[::-1]


def _told(stream: Sequence[Recorded[Any]]) -> Iterator[Fact]:
    run: FlowRun | None = None
    for recorded in stream:
        event: FlowRunEvent = recorded.event
        before, run = run, evolve(run, event)
        changes = [] if run is None else list(_changes(before, run))
        title = TITLES[type(event)]
        if isinstance(event, FlowRunStateSet) and run is not None:
            yield told(
                recorded,
                title,
                state=run.state,
                reason=event.reason,
                before=None if before is None else before.state,
                changes=changes,
            )
        else:
            yield told(recorded, title, changes=changes)


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
