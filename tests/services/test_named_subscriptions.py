"""Named subscriptions on a log that is replaced, and their state in the database."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from eventstore import log, named
from eventstore.database import Database, Transaction
from eventstore.events import ANY_VERSION
from eventstore.selection import EVERYTHING, Selection
from eventstore.store import EventStore
from eventstore.subscription import hash_at
from eventstore.token import Gone
from orchestration.refusals import Conflict
from services import named_subscriptions
from services.named_subscriptions import Consumer, NamedSubscriptions, Superseded
from tests.conformance.test_set_back import set_back
from tests.conformance.toys import adding, store_on

SELECTION = Selection(type=("counter.*",), resource=("a", "ü"))


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
async def store(database: Database) -> AsyncIterator[EventStore]:
    store = store_on(database)
    await store.open()
    yield store
    await store.close()


async def test_it_is_read_back_as_it_was_written(store: EventStore) -> None:
    subscriptions = NamedSubscriptions(store)
    made, is_new = await subscriptions.create("mine", SELECTION, 7, 1.5, now())
    assert is_new
    assert await subscriptions.get("mine") == made
    assert await subscriptions.create("mine", SELECTION, 9, 1.5, now()) == (made, False)


async def test_on_a_log_that_was_replaced_it_has_to_be_moved_before_it_goes_on(
    store: EventStore, database: Database
) -> None:
    await NamedSubscriptions(store).create("mine", EVERYTHING, 0, 30, now())
    await store.submit(adding("n:1", 0, 1))
    consumer = await NamedSubscriptions(store).consume("mine", now)
    token = consumer.token(1, b"")

    async def erase(tx: Transaction) -> None:
        await log.erase(tx, database.dialect, "another")

    await database.transact(erase)
    later = store_on(database)
    await later.open()
    subscriptions = NamedSubscriptions(later)
    await later.submit(adding("n:1", 0, 1))
    assert (await subscriptions.lag(await subscriptions.get("mine"))).events == 1
    for work in (
        subscriptions.consume("mine", now),
        subscriptions.acknowledge("mine", token, now()),
    ):
        with pytest.raises(Gone):
            await work
    await subscriptions.seek("mine", 0, now())
    consumer = await subscriptions.consume("mine", now)
    assert [row[0] for row in (await consumer.take(10, 0)).rows] == [1]
    await later.close()


async def token_of(consumer: Consumer, position: int, database: Database) -> str:
    return consumer.token(position, await hash_at(database, position))


async def test_what_was_lost_with_a_log_that_was_set_back_acknowledges_nothing(
    store: EventStore, database: Database
) -> None:
    """Also in a term that has begun once more, of which the log knew nothing."""
    subscriptions = NamedSubscriptions(store)
    await subscriptions.create("mine", EVERYTHING, 0, 30, now())
    for _ in range(3):
        await store.submit(adding("n:1", ANY_VERSION, 1))
    consumer = await subscriptions.consume("mine", now)
    kept, lost = [await token_of(consumer, position, database) for position in (1, 3)]
    await set_back(database, 1)
    later = store_on(database)
    await later.open(follow_others=False)
    for _ in range(3):
        await later.submit(adding("n:1", ANY_VERSION, 1))
    again = NamedSubscriptions(later)

    with pytest.raises(Gone, match="restored from a backup") as refused:
        await again.acknowledge("mine", lost, now())

    assert refused.value.reason == "replaced"
    assert (await again.get("mine")).position == 0
    assert (await again.acknowledge("mine", kept, now())).position == 1
    await later.close()


async def test_acknowledgements_only_move_forward_and_only_in_their_term(
    store: EventStore,
) -> None:
    subscriptions = NamedSubscriptions(store)
    await subscriptions.create("mine", EVERYTHING, 0, 30, now())
    for _ in range(3):
        await store.submit(adding("n:1", ANY_VERSION, 1))
    consumer = await subscriptions.consume("mine", now)
    for position, reached in ((2, 2), (1, 2), (3, 3)):
        await consumer.acknowledge(await token_of(consumer, position, store.database))
        assert (await subscriptions.get("mine")).position == reached
    await subscriptions.seek("mine", 0, now())
    with pytest.raises(Superseded):
        await consumer.acknowledge(await token_of(consumer, 3, store.database))
    assert (await subscriptions.get("mine")).position == 0


async def test_there_is_a_limit_to_how_many_are_remembered(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_subscriptions, "SUBSCRIPTIONS_MAX", 2)
    subscriptions = NamedSubscriptions(store)
    for name in ("a", "b"):
        await subscriptions.create(name, EVERYTHING, 0, 30, now())
    with pytest.raises(Conflict, match="2 subscriptions already"):
        await subscriptions.create("c", EVERYTHING, 0, 30, now())
    assert [it.name for it in await named.load_all(store.database)] == ["a", "b"]
