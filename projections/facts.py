"""The facts of one run's stream, for people: what the history of a flow run and that of a task run
have in common.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from eventstore import log
from eventstore.codec import Codec
from eventstore.database import Dialect, Reader
from eventstore.events import Recorded, type_name
from orchestration.states import State

FACTS_MAX = 2_000
"""Facts of one run that are read; a stream is that long only if somebody misuses it."""


class Change(Struct, frozen=True):
    """One field of the run that a fact changed: values as JSON, None for one that says nothing."""

    field: str
    before: str | None
    after: str | None


class Fact(Struct, frozen=True):
    """One event of a run's stream."""

    version: int
    position: int
    recorded_at: datetime
    actor: str
    correlation: str | None
    type: str
    title: str
    data: str
    """The whole fact as JSON, indented."""
    state: State | None = None
    """That it gave the run, or told of."""
    reason: str | None = None
    """Why a rule put another state in the place of the proposed one."""
    before: State | None = None
    """The state that the run left, if it took on another and that is known."""
    changes: Sequence[Change] = ()


async def read(
    reader: Reader, dialect: Dialect, codec: Codec, stream: str
) -> Sequence[Recorded[Any]]:
    """The events of a run's stream, oldest first: FACTS_MAX of them at most."""
    return await log.read_stream(reader, dialect, codec, stream, limit=FACTS_MAX)


def told(
    recorded: Recorded[Any],
    title: str,
    *,
    state: State | None = None,
    reason: str | None = None,
    before: State | None = None,
    changes: Sequence[Change] = (),
) -> Fact:
    """An event as a fact, with what its kind of run knows about it."""
    return Fact(
        version=recorded.version,
        position=recorded.position,
        recorded_at=recorded.recorded_at,
        actor=recorded.actor,
        correlation=recorded.correlation,
        type=type_name(type(recorded.event)),
        title=title,
        data=msgspec.json.format(msgspec.json.encode(recorded.event), indent=2).decode(),
        state=state,
        reason=reason,
        before=before,
        changes=changes,
    )
