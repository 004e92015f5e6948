"""What works in the background goes on after an error that nobody foresaw, and says what it was.

The error is one of the database's that it is not told to expect: a table has another name.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from api.server import Server
from eventstore.database import Database, Transaction
from eventstore.errors import EventStoreError
from eventstore.events import Recorded
from eventstore.migrate import Target
from orchestration.flows import FlowCreate
from projections.catalogue import CODEC
from projections.emissions import projection
from projections.projection import Rows
from projections.pulses import heard
from services import flows, pulses, refolding
from services import vault as the_vault
from services.master_keys import MasterKeys
from services.pool_watch import UPDATED, PoolWatch
from services.refolding import Refolding
from services.shell import Origin
from services.vault import Vault
from tests.conftest import open_database
from tests.services.serving_here import serving

SOON = 20.0
"""Seconds; a busy machine is slow."""


@pytest.fixture
async def server(target: Target) -> AsyncIterator[Server]:
    async with serving(target) as server:
        yield server


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not true():  # noqa: ASYNC110 - no signal
            await asyncio.sleep(0.01)


@asynccontextmanager
async def renamed(database: Database, table: str) -> AsyncIterator[None]:
    """While a table has another name."""

    async def to(tx: Transaction, one: str, other: str) -> None:
        await tx.execute(f"ALTER TABLE {one} RENAME TO {other}")

    await database.transact(lambda tx: to(tx, table, "elsewhere"))
    yield
    await database.transact(lambda tx: to(tx, "elsewhere", table))


async def test_pulses_are_written_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pulses, "WRITE_SECONDS", 0.01)
    async with renamed(server.database, "pulses"):
        server.pulses.note("flow-run:a", server.now())
        await until(lambda: "pulses could not be written" in caplog.text)
    async with asyncio.timeout(SOON):
        while await heard(server.database, "flow-run:a") is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_server_that_ends_lets_go_of_everything_although_pulses_are_left(
    target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(target) as server, renamed(server.database, "pulses"):
        server.pulses.note("flow-run:a", server.now())
        await server.pulses.close()
    assert "the last pulses could not be written" in caplog.text


async def test_traces_of_secrets_are_removed_although_it_is_not_known_whether_there_are_keys(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vault = Vault(database, MasterKeys((), tmp_path / "key"))
    async with renamed(database, "secret_keys"):
        vault.open()
        await until(lambda: "whether there are keys for all secrets" in caplog.text)
    await vault.destroyed()
    async with asyncio.timeout(SOON):
        await vault._clean.wait()
    await vault.close()


@pytest.mark.parametrize("backend", ["postgres"])
async def test_traces_of_secrets_that_could_not_be_removed_are_removed_later(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(the_vault, "TRACES_FAILED_SECONDS", 0.01)
    vault = Vault(database, MasterKeys((), tmp_path / "key"))
    async with renamed(database, "secret_payloads"):
        vault.open()
        await until(lambda: "traces of deleted secrets could not be removed" in caplog.text)
        assert not vault._clean.is_set()
    async with asyncio.timeout(SOON):
        await vault._clean.wait()
    await vault.close()


async def test_workers_of_a_pool_are_told_that_nothing_more_can_be_told(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    watches = PoolWatch(server.store)
    with watches.watching("pool") as one, watches.watching("pool") as other:

        def fail(_: object) -> None:
            raise ZeroDivisionError("on purpose")

        monkeypatch.setattr(watches, "_hear", fail)
        await flows.create(server.shell, FlowCreate(name="f"), server.now(), Origin("tester"))
        for watch in (one, other):
            with pytest.raises(EventStoreError, match="on purpose"):
                async with asyncio.timeout(SOON):
                    await watch.change(0)
        monkeypatch.undo()
        with watches.watching("pool") as again:
            watches._note("pool", UPDATED)
            assert await again.change(0) == UPDATED


async def test_read_models_are_folded_anew_when_what_was_in_the_way_is_mended(
    server: Server, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refolding, "FAILED_AGAIN_SECONDS", 0.05)
    await flows.create(server.shell, FlowCreate(name="f"), server.now(), Origin("tester"))
    await server.runner.close()
    tried = 0

    def fails_at_first(rows: Rows, recorded: Recorded[Any]) -> None:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise ZeroDivisionError("on purpose")
        projection.apply(rows, recorded)

    newer = replace(projection, version=projection.version + 1, apply=fails_at_first)
    folding = Refolding(server.store, lambda: open_database(target), CODEC, [newer])
    await folding.open()
    done = asyncio.Event()
    folding.then(done.set)
    async with asyncio.timeout(SOON):
        await done.wait()
    assert tried > 1
    await folding.close()
