"""A small application on the event store: counters, with a read model of their sums."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

from eventstore.codec import Codec
from eventstore.database import Database, Table, Transaction
from eventstore.events import Event, NewEvents, Recorded
from eventstore.log import Appended, Command, Decision, Head
from eventstore.notifier import DatabaseNotifier, Notifier
from eventstore.ring import Entry
from eventstore.store import EventStore


class Added(Event, frozen=True, tag="counter.added"):
    amount: int = 1


class Noted(Event, frozen=True, tag="counter.noted"):
    text: str


CODEC = Codec([Added, Noted])
SUMS = Table("sums", {"stream": "text", "amount": "bigint"}, key=("stream",))
CREATE_SUMS = "CREATE TABLE IF NOT EXISTS sums (stream TEXT PRIMARY KEY, amount BIGINT NOT NULL)"


async def no_projection(tx: Transaction, before: Head, recorded: Sequence[Recorded[Any]]) -> None:
    """An application without read models."""


async def project_sums(tx: Transaction, before: Head, recorded: Sequence[Recorded[Any]]) -> None:
    sums: dict[str, int] = {}
    for fact in recorded:
        if isinstance(fact.event, Added):
            sums[fact.stream] = sums.get(fact.stream, 0) + fact.event.amount
    held = {row[0]: row[1] for row in await tx.fetch_keys(SUMS, [(key,) for key in sums])}
    if sums:
        await tx.upsert(SUMS, [(key, held.get(key, 0) + by) for key, by in sums.items()])


def nothing(*_: object) -> None:
    """A hook nobody listens to."""


def store_on(
    database: Database,
    inline: Callable[..., Any] = no_projection,
    *,
    codec: Codec = CODEC,
    notifier: Notifier | None = None,
    committed: Callable[[Appended], None] = nothing,
    foreign: Callable[[Sequence[Entry]], None] = nothing,
) -> EventStore:
    return EventStore(
        database,
        codec,
        notifier or DatabaseNotifier(database),
        inline,
        committed=committed,
        rolled_back=nothing,
        foreign=foreign,
    )


def adding(stream: str, expected: int, *amounts: int, **options: Any) -> Command:
    """A command that adds amounts to a counter at an expected version."""
    events = [Added(amount=amount) for amount in amounts]
    ids = options.pop("ids", None) or [str(uuid4()) for _ in events]
    return Command(Decision(appends=[NewEvents(stream, expected, events, ids)]), **options)
