"""Derived read models follow the log, are written by one process at a time, and skip nothing."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from api.server import Server
from api.settings import Settings
from eventstore import checkpoints
from eventstore.checkpoints import Checkpoint
from eventstore.database import Database, Transaction
from eventstore.errors import DatabaseUnavailable
from eventstore.events import Recorded
from eventstore.migrate import Target
from projections import rebuild
from projections import runner as running
from projections.catalogue import CODEC
from projections.emissions import projection
from projections.projection import Rows
from projections.runner import Projector, Superseded
from services.shell import Origin
from tests.conformance.test_migrations import run_sql
from tests.emitting import at, emission, report, wire
from tests.services.serving_here import serving
from tests.serving import verify_digests

ORIGIN = Origin("tester")
SOON = 20.0
"""Seconds; a busy machine is slow."""


@pytest.fixture
async def server(target: Target) -> AsyncIterator[Server]:
    async with serving(target) as server:
        yield server
    verify_digests(target)


async def emit(server: Server, number: int = 1) -> int:
    taken = await server.intake.take([wire(emission()) for _ in range(number)], ORIGIN)
    assert taken.position is not None
    return taken.position


def projector_of(server: Server) -> Projector:
    return server.runner.projectors["emissions"]


async def emissions_in(database: Database) -> int:
    ((number,),) = await database.fetch("SELECT count(*) FROM emissions")
    return int(number)


async def test_the_feed_has_what_was_recorded_as_soon_as_somebody_waits_for_it(
    server: Server,
) -> None:
    for round in range(1, 20):
        position = await emit(server, 3)
        assert await projector_of(server).reached(position, SOON)
        assert await emissions_in(server.database) == 3 * round


async def test_a_feed_behind_by_many_pages_catches_up(target: Target) -> None:
    async with serving(target, Settings(services_enabled=False)) as server:
        for _ in range(8):
            position = await emit(server, 200)
        assert not await projector_of(server).reached(position, 0.1)
    async with serving(target) as server:
        assert await projector_of(server).reached(position, SOON)
        assert await emissions_in(server.database) == 1_600
    verify_digests(target)


async def test_two_processes_write_every_emission_once(server: Server, target: Target) -> None:
    async with serving(target) as other:
        for _ in range(30):
            await asyncio.gather(emit(server, 5), emit(other, 5))
        position = max(await emit(server), await emit(other))
        assert await projector_of(server).reached(position, SOON)
        assert await projector_of(other).reached(position, SOON)
        assert await emissions_in(other.database) == 302


async def test_another_process_takes_over_when_the_first_one_ends(target: Target) -> None:
    async with serving(target) as heir:
        async with serving(target) as first:
            for _ in range(20):
                await asyncio.gather(emit(first, 2), emit(heir, 2))
        position = await emit(heir)
        assert await projector_of(heir).reached(position, SOON)
    verify_digests(target)


async def test_an_event_that_cannot_be_folded_holds_the_projection_up_and_is_not_skipped(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "FAILED_PAUSE_SECONDS", 0.05)
    mended = False

    def fails_on_the_second(rows: Rows, recorded: Recorded[Any]) -> None:
        if recorded.position == 2 and not mended:
            raise ZeroDivisionError("on purpose")
        projection.apply(rows, recorded)

    await server.runner.close()
    broken = Projector(server.store, replace(projection, apply=fails_on_the_second))
    task = asyncio.create_task(broken.run())
    await emit(server)
    assert await broken.reached(1, SOON)
    await emit(server, 3)
    assert not await broken.reached(4, SOON)
    assert isinstance(broken.failure, ZeroDivisionError)
    checkpoint = await checkpoints.load(server.database, "emissions")
    assert checkpoint == Checkpoint("emissions", projection.version, 1)
    mended = True
    async with asyncio.timeout(SOON):
        while broken.failure is not None:  # noqa: ASYNC110 - no signal
            await asyncio.sleep(0.01)
    assert await broken.reached(4, SOON)
    task.cancel()


async def test_what_was_read_of_a_log_is_not_folded_when_that_is_set_back_meanwhile(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint is the same in both."""
    monkeypatch.setattr(running, "STANDSTILL_SECONDS", 0.01)
    attempts = 0

    def set_back_beneath_the_second(rows: Rows, recorded: Recorded[Any]) -> None:
        nonlocal attempts
        if recorded.position == 2:
            attempts += 1
            run_sql(
                target,
                "DELETE FROM events WHERE position = 2",
                "UPDATE log_head SET position = 1, hash = "
                "(SELECT hash FROM events WHERE position = 1)",
            )
        projection.apply(rows, recorded)

    async with serving(target, Settings(services_enabled=False)) as server:
        late = Projector(server.store, replace(projection, apply=set_back_beneath_the_second))
        task = asyncio.create_task(late.run())
        await emit(server)
        assert await late.reached(1, SOON)
        await emit(server)
        async with asyncio.timeout(SOON):
            # Or it hears first that the log was set back, and ends.
            while attempts < 2 and late.position < 2 and not task.done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        task.cancel()
        checkpoint = await checkpoints.load(server.database, "emissions")
        assert checkpoint == Checkpoint("emissions", projection.version, 1)
        assert await emissions_in(server.database) == 1
    verify_digests(target)


async def test_a_read_model_of_another_version_is_left_alone_until_it_is_ours_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "SUPERSEDED_SECONDS", 0.01)
    position = await emit(server, 3)
    assert await projector_of(server).reached(position, SOON)
    newer = replace(projection, version=projection.version + 1)
    await rebuild.rebuild(server.database, CODEC, [newer])
    await emit(server, 2)
    async with asyncio.timeout(SOON):
        while projector_of(server).failure is None:  # noqa: ASYNC110 - no signal
            await asyncio.sleep(0.01)
    assert isinstance(projector_of(server).failure, Superseded)
    assert await emissions_in(server.database) == 3
    await rebuild.rebuild(server.database, CODEC, [projection])
    async with asyncio.timeout(SOON):
        while projector_of(server).failure is not None:  # noqa: ASYNC110 - no signal
            await asyncio.sleep(0.01)
    position = await emit(server)
    assert await projector_of(server).reached(position, SOON)
    assert await emissions_in(server.database) == 6


async def test_a_database_that_goes_away_holds_the_feed_up_but_does_not_stop_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "UNAVAILABLE_PAUSES_SECONDS", (0.01,))
    away = 5
    transact = server.database.transact

    async def now_and_then(work: Any) -> Any:
        nonlocal away
        if away and work.__qualname__.startswith("Projector"):
            away -= 1
            raise DatabaseUnavailable("away")
        return await transact(work)

    monkeypatch.setattr(server.database, "transact", now_and_then)
    position = await emit(server, 3)
    assert await projector_of(server).reached(position, SOON)
    assert away == 0


async def test_the_feed_shows_reports_and_what_the_server_itself_has_to_say(
    server: Server,
) -> None:
    id = str(uuid.uuid4())
    taken = await server.intake.take([wire(report(id, "RUNNING", at(1)))], ORIGIN)
    assert taken.position is not None
    assert await projector_of(server).reached(taken.position, SOON)
    rows = await server.database.fetch("SELECT event, resource_id FROM emissions ORDER BY position")
    assert [tuple(row) for row in rows] == [("prefect.task-run.Running", f"prefect.task-run.{id}")]


async def test_a_long_or_strange_name_does_not_stop_the_feed(server: Server) -> None:
    odd = emission(
        event="é" * 500,
        resource={"prefect.resource.id": "x", "nul\x00": "\x00", "prefect.resource.name": "\x00"},
    )
    taken = await server.intake.take([wire(odd)], ORIGIN)
    assert taken.position is not None
    assert await projector_of(server).reached(taken.position, SOON)


async def test_nothing_is_written_where_the_checkpoint_was_moved_by_another(
    server: Server,
) -> None:
    await server.runner.close()
    await emit(server, 4)

    async def move(tx: Transaction) -> None:
        await checkpoints.save(tx, Checkpoint("emissions", projection.version, 2))

    late = Projector(server.store, projection)
    await late._locate()
    await server.database.transact(move)
    page = await anext(server.store.follow(0).__aiter__())
    assert not await late._take_in(page)
    assert await emissions_in(server.database) == 0
    await server.database.transact(_forget)


async def _forget(tx: Transaction) -> None:
    await tx.execute("DELETE FROM checkpoints")
