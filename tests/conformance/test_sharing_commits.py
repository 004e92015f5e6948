"""Clients that write one command after the other share slow commits: nobody misses each second one
by a moment, and nobody is waited for who does not come again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from eventstore import committer
from eventstore.database import Database, Transaction
from tests.conformance.toys import adding, store_on

ROUNDS = 5
CLIENTS = 8


@pytest.fixture
def commits(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One for each transaction of the database, which takes its time."""
    transactions: list[None] = []
    transact = database.transact

    async def slowly(work: Callable[[Transaction], Awaitable[Any]]) -> Any:
        transactions.append(None)
        await asyncio.sleep(committer.SLOW_COMMIT_SECONDS)
        return await transact(work)

    monkeypatch.setattr(database, "transact", slowly)
    return transactions


async def write(submit: Callable[..., Awaitable[Any]], name: str) -> None:
    for version in range(ROUNDS):
        await submit(adding(name, version, 1))
        # As what a client says next comes from a thread that reads its socket.
        await asyncio.to_thread(lambda: None)


async def test_those_who_were_answered_together_write_together_again(
    database: Database, commits: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "WAIT_PER_COMMIT", 1_000.0)
    store = store_on(database)
    await store.open()
    async with asyncio.timeout(20):
        await asyncio.gather(*(write(store.submit, f"n:{n}") for n in range(CLIENTS)))
    assert len(commits) == ROUNDS
    await store.close()


async def test_a_lone_client_waits_for_nobody(
    database: Database, commits: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "WAIT_PER_COMMIT", 1_000.0)
    store = store_on(database)
    await store.open()
    async with asyncio.timeout(15):
        await write(store.submit, "n:1")
    assert len(commits) == ROUNDS
    await store.close()


async def test_who_does_not_come_again_is_waited_for_once_and_not_for_long(
    database: Database, commits: list[None]
) -> None:
    store = store_on(database)
    await store.open()
    async with asyncio.timeout(20):
        await asyncio.gather(*(store.submit(adding(f"n:{n}", 0, 1)) for n in range(CLIENTS)))
        await write(store.submit, "n:lone")
    assert len(commits) == 1 + ROUNDS
    await store.close()
