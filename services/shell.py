"""The shell around the deciders: load an entity, let it decide, append; on conflict do it again.

Handlers and background services share it. What a command needs from outside its stream is gathered
by the caller's `decide`, which is asked again, from fresh state, after a conflict.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid5

from msgspec import Struct

from eventstore import log
from eventstore.committer import Written
from eventstore.database import Row
from eventstore.events import Event, NewEvents
from eventstore.execute import execute
from eventstore.ids import new_id
from eventstore.log import Command, Decision, Effect, Lines, SerialDecide
from eventstore.store import EventStore
from projections.inline import InlineProjector
from projections.projection import Model

V = TypeVar("V")
A = TypeVar("A")


NATURAL_KEYS = UUID("0b6f7f0e-6f5a-5c2b-9d7a-3c1f6f0e9a11")
"""Namespace of event ids that are natural keys. For ever: changing it forgets what was done."""


class Origin(Struct, frozen=True):
    """Who asked for something, and as part of what."""

    actor: str
    correlation: str | None = None
    causation: int | None = None


class Decided(Struct, Generic[A], frozen=True):
    """What one decision comes to: events for its stream, and an answer for the caller."""

    events: Sequence[Event]
    answer: A
    event_ids: Sequence[str] | None = None
    """Natural keys of the events; None: fresh ids, a repeat is not recognised."""
    more: Sequence[NewEvents] = ()
    """Events for other streams, recorded together with these or not at all."""
    effects: Sequence[Effect] = ()


class Done(Struct, Generic[A], frozen=True):
    """A command that was carried out."""

    answer: A
    written: Written | None
    row: Row | None = None
    """The entity's row as the command left it; None if nothing was recorded or it was deleted."""

    @property
    def document(self) -> bytes | None:
        """The entity as the API shows it, after the command."""
        return None if self.row is None else str(self.row[-1]).encode()

    @property
    def position(self) -> int | None:
        """Position of the command's last event."""
        return None if self.written is None else self.written.position


class Shell:
    """Carries out commands on the event store of this process."""

    def __init__(self, store: EventStore, projector: InlineProjector) -> None:
        self.store = store
        self._projector = projector

    async def load(
        self, model: Model[Any], stream: str, key: str, *, fresh: bool = False
    ) -> tuple[int, Any]:
        """An entity and the version of its stream.

        Unless `fresh`, what this process remembers will do: if it is old, the append will find out.
        The version is read first, so it is never newer than the entity.
        """
        if not fresh:
            version = self._projector.version(stream)
            recent = self._projector.recent(model, key)
            if version is not None and recent is not None:
                return version, recent.value
        database = self.store.database
        version = await log.stream_version(database, stream)
        if version == 0:
            return 0, None
        rows = await database.fetch_keys(model.table, [(key,)])
        return version, model.parse(rows[0]) if rows else None

    async def execute(
        self,
        model: Model[V],
        category: str,
        key: str,
        decide: Callable[[V | None], Awaitable[Decided[A]]],
        origin: Origin,
    ) -> Done[A]:
        """Carry out a command on one entity.

        Raises refusals of the domain, AlreadyRecorded for a repeated natural key, and what
        `eventstore.execute.execute` raises.
        """
        stream = f"{category}:{key}"

        async def attempt(fresh: bool) -> tuple[Command | None, A]:
            version, entity = await self.load(model, stream, key, fresh=fresh)
            decided = await decide(entity)
            if not decided.events and not decided.effects:
                return None, decided.answer
            own = NewEvents(
                stream, version, decided.events, decided.event_ids or fresh_ids(decided.events)
            )
            command = Command(
                Decision(appends=(own, *decided.more), effects=decided.effects),
                actor=origin.actor,
                correlation=origin.correlation,
                causation=origin.causation,
                natural_ids=decided.event_ids is not None,
            )
            return command, decided.answer

        answer, written = await execute(self.store.submit, attempt)
        if written is None:
            return Done(answer, None)
        return Done(answer, written, self.recent_row(model, key))

    async def create(
        self,
        model: Model[Any],
        category: str,
        key: str,
        events: Sequence[Event],
        origin: Origin,
        more: Sequence[NewEvents] = (),
    ) -> Done[None]:
        """Record the first events of a new stream; nothing has to be loaded for that."""
        own = NewEvents(f"{category}:{key}", 0, events, fresh_ids(events))
        written = await self.store.submit(
            Command(
                Decision(appends=(own, *more)),
                actor=origin.actor,
                correlation=origin.correlation,
                causation=origin.causation,
            )
        )
        return Done(None, written, self.recent_row(model, key))

    async def execute_serially(
        self, contention: str, decide: SerialDecide, origin: Origin
    ) -> Written:
        """Carry out a command that decides under the lock, seeing every commit before it.

        Commands with the same `contention` never share a batch.
        """
        return await self.store.submit(
            Command(
                Decision(),
                actor=origin.actor,
                correlation=origin.correlation,
                causation=origin.causation,
                decide=decide,
                contention=contention,
            )
        )

    def recent_row(self, model: Model[Any], key: str) -> Row | None:
        """An entity's row as this process's newest batch left it, if remembered."""
        recent = self._projector.recent(model, key)
        return None if recent is None else recent.row

    async def append_lines(self, lines: Lines, size: int) -> Written:
        """Write rows of an append-only table that shares the log's commits."""
        return await self.store.submit(Command(Decision(lines=(lines,))), size)


def fresh_ids(events: Sequence[Event]) -> list[str]:
    """New event ids for events without a natural key."""
    return [new_id() for _ in events]


def natural_id(*parts: str) -> str:
    """The event id that stands for a natural key, for example of a run's transition."""
    return str(uuid5(NATURAL_KEYS, "/".join(parts)))
