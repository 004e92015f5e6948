"""Checkpoints: how far a follower is, in one transaction with what it made of it."""

import pytest

from eventstore import checkpoints
from eventstore.checkpoints import Checkpoint
from eventstore.database import Database, Transaction


async def test_a_follower_that_never_ran_has_no_checkpoint(database: Database) -> None:
    assert await checkpoints.load(database, "feed") is None


async def test_a_checkpoint_moves_and_each_follower_has_its_own(database: Database) -> None:
    for checkpoint in (
        Checkpoint("feed", 1, 5),
        Checkpoint("other", 3, 1),
        Checkpoint("feed", 2, 9),
    ):

        async def save(tx: Transaction, checkpoint: Checkpoint = checkpoint) -> None:
            await checkpoints.save(tx, checkpoint)

        await database.transact(save)
    assert await checkpoints.load(database, "feed") == Checkpoint("feed", 2, 9)
    assert await checkpoints.load(database, "other") == Checkpoint("other", 3, 1)


async def test_a_checkpoint_is_rolled_back_with_what_it_stands_for(database: Database) -> None:
    async def fail(tx: Transaction) -> None:
        await checkpoints.save(tx, Checkpoint("feed", 1, 5))
        assert await checkpoints.load(tx, "feed") == Checkpoint("feed", 1, 5)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.transact(fail)
    assert await checkpoints.load(database, "feed") is None
