"""A log that is set back beneath a server that has it open: an older copy of the database, or a
standby without its newest events. Nobody is told a second event at a position, and nothing is
folded on what never was."""

import asyncio

import pytest

from eventstore import checkpoints, log
from eventstore.checkpoints import Checkpoint
from eventstore.database import Database, Transaction
from eventstore.errors import LogReplaced
from eventstore.events import ANY_VERSION
from eventstore.log import Command, Decision
from eventstore.migrate import Target
from eventstore.store import EventStore
from tests.conformance.toys import adding, store_on
from tests.conftest import open_database

SOON = 20.0


async def written(store: EventStore, number: int) -> None:
    for _ in range(number):
        await store.submit(adding("n:1", ANY_VERSION, 1))


async def set_back(database: Database, position: int) -> None:
    """To where it was when the event at this position, of one stream, was the newest."""

    async def restore(tx: Transaction) -> None:
        await tx.execute("DELETE FROM events WHERE position > $1", position)
        await tx.execute("UPDATE streams SET version = $1", position)
        await tx.execute(
            "UPDATE log_head SET position = $1, hash = (SELECT hash FROM events "
            "WHERE position = $1)",
            position,
        )

    await database.transact(restore)


async def follows(store: EventStore) -> None:
    """Wait for the next event, which does not come."""
    async with asyncio.timeout(SOON):
        await store.ring.wait(store.ring.head)


async def test_a_log_that_is_erased_between_two_looks_at_it_is_known_as_another(
    target: Target, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = store_on(database)
    await late.open()
    elsewhere = open_database(target)

    async def erased(_: float) -> None:
        """Instead of the moment that the follower waits before it reads what it has found."""
        await elsewhere.transact(lambda tx: log.erase(tx, elsewhere.dialect, "another"))

    monkeypatch.setattr(late.committer, "told", erased)
    fresh = store_on(elsewhere)
    await fresh.open(follow_others=False)
    await written(fresh, 1)
    with pytest.raises(LogReplaced):
        await follows(late)
    assert late.replaced.is_set()
    await fresh.close()
    await elsewhere.close()
    await late.close()


async def test_a_shorter_log_is_not_written(database: Database) -> None:
    store = store_on(database)
    await store.open(follow_others=False)
    await written(store, 3)
    await set_back(database, 2)
    with pytest.raises(LogReplaced):
        await written(store, 1)
    await store.close()


async def test_what_is_no_event_is_not_written_beside_a_shorter_log_either(
    database: Database,
) -> None:
    """How far somebody has come in the log that was, for example."""
    store = store_on(database)
    await store.open(follow_others=False)
    await written(store, 3)
    await set_back(database, 2)

    async def come_so_far(tx: Transaction) -> None:
        await checkpoints.save(tx, Checkpoint("mine", 1, 3))

    with pytest.raises(LogReplaced):
        await store.submit(Command(Decision(effects=(come_so_far,))))
    assert await checkpoints.load(database, "mine") is None
    await store.close()


@pytest.mark.parametrize("others", [0, 1, 3])
async def test_a_log_that_was_set_back_is_neither_followed_nor_written(
    target: Target, database: Database, others: int
) -> None:
    store = store_on(database)
    await store.open(follow_others=False)
    await written(store, 3)
    await store.close()

    late = store_on(database)
    await late.open()
    elsewhere = open_database(target)
    await set_back(elsewhere, 2)
    fresh = store_on(elsewhere)
    await fresh.open(follow_others=False)
    await written(fresh, others)
    with pytest.raises(LogReplaced):
        await follows(late)
    with pytest.raises(LogReplaced):
        await written(late, 1)
    await fresh.close()
    await elsewhere.close()
    await late.close()
