"""The shell around the deciders: load an entity, let it decide, append; on conflict do it again.

Handlers and background services share it. What a command needs from outside its stream is gathered
by the caller's `decide`, which is asked again, from fresh state, after a conflict.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from msgspec import Struct

from eventstore import log
from eventstore.committer import Written
from eventstore.database import Reader, Row, Transaction, Value
from eventstore.events import ANY_VERSION, Event, NewEvents
from eventstore.execute import execute
from eventstore.ids import id_from, new_id
from eventstore.log import Command, Decision, Effect, Fence, Lines, SerialDecide
from eventstore.store import EventStore
from orchestration.refusals import Refusal
from projections.inline import InlineProjector
from projections.projection import Model
from services.places import Places

V = TypeVar("V")
A = TypeVar("A")
Clock = Callable[[], datetime]
"""Tells the time, UTC."""


NEIGHBOURS_MAX = 1_000
"""Entities remembered only because commands on others mention them."""

NATURAL_KEYS = UUID("0b6f7f0e-6f5a-5c2b-9d7a-3c1f6f0e9a11")
"""Namespace of event ids that are natural keys. For ever: changing it forgets what was done."""


class Proviso(Struct, frozen=True):
    """What has to be so for a command to be carried out, looked at under the lock."""

    stream: str
    """Only commands that write to it depend on that."""
    check: Callable[[Transaction], Awaitable[None]]
    """Raises a refusal if it is not so."""


class Origin(Struct, frozen=True):
    """Who asked for something, and as part of what."""

    actor: str
    correlation: str | None = None
    causation: int | None = None
    fence: Fence | None = None
    """Of a service: the term in which it may write."""
    proviso: Proviso | None = None
    """Of a person, who decided on what was there then."""


class Decided(Struct, Generic[A], frozen=True):
    """What one decision comes to: events for its stream, and an answer for the caller."""

    events: Sequence[Event]
    answer: A
    event_ids: Sequence[str] | None = None
    """Natural keys of the events; None: fresh ids, a repeat is not recognised."""
    more: Sequence[NewEvents] = ()
    """Events for other streams, recorded together with these or not at all."""
    effects: Sequence[Effect] = ()
    locked: "Locked[A] | None" = None
    """Which decision it is in the end is seen under the lock; the other fields are not looked at.
    """


class Locked(Struct, Generic[A], frozen=True):
    """A choice between decisions that were made for everything that the lock may show."""

    contention: tuple[str, ...]
    choose: Callable[[Transaction], Awaitable[Decided[A]]]


def whichever(decided: Decided[A], change: Callable[[Decided[A]], Decided[A]]) -> Decided[A]:
    """A decision with a change, made when it is clear which decision it is."""
    locked = decided.locked
    if locked is None:
        return change(decided)

    async def choose(tx: Transaction) -> Decided[A]:
        return change(await locked.choose(tx))

    return Decided((), decided.answer, locked=Locked(locked.contention, choose))


def untold(decided: Decided[Any]) -> Decided[None]:
    """A decision, none that is chosen under the lock, whose answer nobody waits for."""
    assert decided.locked is None
    return Decided(decided.events, None, decided.event_ids, decided.more, decided.effects)


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


class Once(Struct, frozen=True):
    """A natural key under which only one entity may be created."""

    name: str
    """Of the key with its value. Commands with the same one never share a batch."""
    taken: str
    """SQL that finds a row where the key is taken already."""
    params: tuple[Value, ...]


class Shell:
    """Carries out commands on the event store of this process."""

    def __init__(self, store: EventStore, projector: InlineProjector) -> None:
        self.store = store
        self.places = Places(store.database)
        self._projector = projector
        self._neighbours: dict[tuple[Model[Any], str], tuple[int, Any]] = {}

    async def load(
        self,
        model: Model[Any],
        stream: str,
        key: str,
        *,
        fresh: bool = False,
        reader: Reader | None = None,
    ) -> tuple[int, Any]:
        """An entity and the version of its stream.

        Unless `fresh`, what this process remembers will do: if it is old, the append will find out.
        The version is read first, so it is never newer than the entity. `reader` is the database
        for those who read many together.
        """
        if not fresh:
            version = self._projector.version(stream)
            recent = self._projector.recent(model, key)
            if version is not None and recent is not None:
                return version, recent.value
        reader = reader or self.store.database
        version = await log.stream_version(reader, stream)
        if version == 0:
            return 0, None
        rows = await reader.fetch_keys(model.table, [(key,)])
        return version, model.parse(rows[0]) if rows else None

    async def neighbour(
        self, model: Model[Any], stream: str, key: str, *, fresh: bool = False
    ) -> tuple[int, Any]:
        """Like `load`, for an entity that other entities' commands mention all the time.

        What comes back may be old: record the decision together with `unchanged`.
        """
        if not fresh:
            known = self._neighbours.get((model, key))
            if known is not None:
                return known
        version, entity = await self.load(model, stream, key, fresh=fresh)
        self._neighbours.pop((model, key), None)
        if entity is not None:
            self._neighbours[model, key] = version, entity
            if len(self._neighbours) > NEIGHBOURS_MAX:
                del self._neighbours[next(iter(self._neighbours))]
        return version, entity

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

        async def decide_alone(entity: V | None, fresh: bool) -> Decided[A]:
            return await decide(entity)

        return await self.execute_with_facts(model, category, key, decide_alone, origin)

    async def execute_with_facts(
        self,
        model: Model[V],
        category: str,
        key: str,
        decide: Callable[[V | None, bool], Awaitable[Decided[A]]],
        origin: Origin,
    ) -> Done[A]:
        """Like `execute`, for a decision that looks at other entities as well.

        `decide(entity, fresh)` is asked again after a conflict, then with `fresh` set: what it
        gathers has to be read past every cache.
        """
        stream = f"{category}:{key}"
        chosen: list[Decided[A]] = []

        async def attempt(fresh: bool) -> tuple[Command | None, A]:
            chosen.clear()
            version, entity = await self.load(model, stream, key, fresh=fresh)
            try:
                decided = await decide(entity, fresh)
            except Refusal:
                if fresh or await self._is_at(stream, version):
                    raise
                return await attempt(True)
            if decided.locked is not None:
                command = self._choosing(stream, version, decided.locked, origin, chosen)
                return _provided(command, origin), decided.answer
            if not decided.events and not decided.effects:
                # No append will find out that this was decided on something old.
                if fresh or await self._is_at(stream, version):
                    return None, decided.answer
                return await attempt(True)
            command = self._command(stream, version, decided, origin)
            return _provided(command, origin), decided.answer

        answer, written = await execute(self.store.submit, attempt)
        if chosen:
            answer = chosen[0].answer
        if written is None or (chosen and not written.recorded):
            return Done(answer, None)
        return Done(answer, written, self.recent_row(model, key))

    async def create(
        self,
        model: Model[V],
        category: str,
        key: str,
        decide: Callable[[V | None, bool], Awaitable[Decided[A]]],
        origin: Origin,
        once: Once | None = None,
    ) -> Done[A] | None:
        """Carry out a command that begins a stream; `decide` as in `execute_with_facts`.

        That the stream is new is believed until the append says otherwise. None if the natural key
        `once` is taken: then nothing is recorded.
        """
        stream = f"{category}:{key}"

        async def attempt(fresh: bool) -> tuple[Command | None, A]:
            version, entity = (0, None)
            if fresh:
                version, entity = await self.load(model, stream, key, fresh=True)
            decided = await decide(entity, fresh)
            command = self._command(stream, version, decided, origin)
            if once is not None:
                command.decide = _unless_taken(once, command.decision)
                command.contention = once.name
            return command, decided.answer

        answer, written = await execute(self.store.submit, attempt)
        if written is None or not written.recorded:
            return None
        return Done(answer, written, self.recent_row(model, key))

    def _command(self, stream: str, version: int, decided: Decided[Any], origin: Origin) -> Command:
        ids = decided.event_ids or fresh_ids(decided.events)
        own = NewEvents(stream, version, decided.events, ids)
        return Command(
            Decision(appends=(own, *decided.more), effects=decided.effects),
            actor=origin.actor,
            correlation=origin.correlation,
            causation=origin.causation,
            natural_ids=decided.event_ids is not None,
            fence=origin.fence,
        )

    def _choosing(
        self,
        stream: str,
        version: int,
        locked: Locked[A],
        origin: Origin,
        chosen: list[Decided[A]],
    ) -> Command:
        """A command that is what was chosen under the lock, which then stands in `chosen`.

        Nothing may have happened to the stream meanwhile, even if nothing follows.
        """

        async def decide(tx: Transaction) -> Decision:
            decided = await locked.choose(tx)
            chosen[:] = [decided]
            wanted = self._command(stream, version, decided, origin)
            command.natural_ids = wanted.natural_ids
            return wanted.decision

        command = self._command(stream, version, Decided((), None), origin)
        command.decide, command.contention = decide, locked.contention
        return command

    async def _is_at(self, stream: str, version: int) -> bool:
        return await log.stream_version(self.store.database, stream) == version

    async def execute_serially(
        self, contention: str | tuple[str, ...], decide: SerialDecide, origin: Origin
    ) -> Written:
        """Carry out a command that decides under the lock, seeing every commit before it.

        Commands with the same `contention`, or one in common, never share a batch.
        """
        command = Command(
            Decision(),
            actor=origin.actor,
            correlation=origin.correlation,
            causation=origin.causation,
            decide=decide,
            contention=contention,
            fence=origin.fence,
        )
        return await self.store.submit(_provided(command, origin))

    def recent_row(self, model: Model[Any], key: str) -> Row | None:
        """An entity's row as this process's newest batch left it, if remembered."""
        recent = self._projector.recent(model, key)
        return None if recent is None else recent.row

    async def append_lines(self, lines: Lines, size: int) -> Written:
        """Write rows of an append-only table that shares the log's commits."""
        return await self.store.submit(Command(Decision(lines=(lines,))), size)


def _provided(command: Command, origin: Origin) -> Command:
    """A command that is refused if what it was wished for with is not so any more."""
    proviso, decide = origin.proviso, command.decide
    if proviso is None:
        return command
    decided = command.decision

    async def check_and_decide(tx: Transaction) -> Decision:
        decision = decided if decide is None else await decide(tx)
        if any(new.stream == proviso.stream and new.events for new in decision.appends):
            await proviso.check(tx)
        return decision

    command.decide = check_and_decide
    return command


def _unless_taken(once: Once, decision: Decision) -> SerialDecide:
    async def decide(tx: Transaction) -> Decision:
        return Decision() if await tx.fetch(once.taken, *once.params) else decision

    return decide


def appended(category: str, id_: str, events: Sequence[Event]) -> NewEvents:
    """Events for the stream of an entity that was read under the lock."""
    return NewEvents(f"{category}:{id_}", ANY_VERSION, events, fresh_ids(events))


def unchanged(stream: str, version: int) -> NewEvents:
    """For `Decided.more`: recorded only if that stream is still at this version."""
    return NewEvents(stream, version, (), ())


def fresh_ids(events: Sequence[Event]) -> list[str]:
    """New event ids for events without a natural key."""
    return [new_id() for _ in events]


def natural_id(*parts: str) -> str:
    """The event id that stands for a natural key, for example of a run's transition."""
    return id_from(NATURAL_KEYS.bytes, "/".join(parts))
