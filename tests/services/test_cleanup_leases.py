"""Leases on clean-ups: one that is not renewed ends, and nobody keeps a clean-up for ever."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from api.server import Server
from api.settings import Settings
from eventstore.database import Transaction
from eventstore.ids import new_id
from eventstore.log import Decision
from eventstore.migrate import Target
from orchestration.work_pools import WorkPool
from orchestration.worker_cleanups import (
    TEAR_DOWN,
    CleanupGivenUp,
    CleanupLapsed,
    CleanupRequested,
)
from projections import worker_cleanups as rows
from services import cleanup_leases, work_pools, worker_cleanups
from services.cleanup_leases import CleanupLeases
from services.worker_cleanups import Taker, Terms, of_cleanup
from tests.services.clocks import set_back
from tests.services.in_pools import new_pool
from tests.services.runs_here import ORIGIN
from tests.services.serving_here import serving
from tests.serving import verify_digests

LEASE = timedelta(seconds=1)
SETTINGS = Settings(
    worker_channel_cleanup_lease=LEASE, worker_channel_cleanup_max_delivery_attempts=2
)
TERMS = Terms(LEASE, 2)
WAIT_SECONDS = 20.0


@pytest.fixture
async def server(target: Target) -> AsyncIterator[Server]:
    async with serving(target, SETTINGS) as server:
        yield server
    verify_digests(target)


async def request(server: Server, pool: WorkPool) -> str:
    """Id of a new clean-up."""
    id_ = new_id()
    requested = CleanupRequested(id=id_, work_pool_id=pool.id, kind=TEAR_DOWN, target={})

    async def decide(tx: Transaction) -> Decision:
        return Decision(appends=(of_cleanup(id_, (requested,)),))

    await server.shell.execute_serially("test", decide, ORIGIN)
    return id_


async def deliver(
    server: Server,
    pool: WorkPool,
    at_once: int = 1,
    later: timedelta = timedelta(),
    terms: Terms = TERMS,
) -> str | None:
    """Id of what a worker gets, by a clock that is ahead by so much."""
    taker = Taker(
        pool_id=pool.id, consumer_id="w", kinds=(TEAR_DOWN,), queue_ids=(), at_once=at_once
    )
    got = await worker_cleanups.deliver(
        server.shell, terms, taker, lambda: server.now() + later, ORIGIN
    )
    return None if got is None else got.cleanup.id


async def said(server: Server, kind: type[Any], id_: str) -> Any:
    """Wait until the service has said this of a clean-up; the fact."""
    async with asyncio.timeout(WAIT_SECONDS):
        async for page in server.store.follow(0):
            for entry in page:
                fact = entry.recorded
                about = fact.stream == f"worker-cleanup:{id_}" and fact.actor == CleanupLeases.name
                if about and isinstance(fact.event, kind):
                    return fact
    raise AssertionError


async def test_a_clean_up_waits_for_no_clock_that_was_set_back(server: Server) -> None:
    pool = await new_pool(server)
    await set_back(server.database)
    id_ = await request(server, pool)
    assert await deliver(server, pool) == id_
    assert await deliver(server, pool) is None, "it is with somebody"


async def test_a_lease_that_is_not_renewed_ends_and_so_does_the_patience(server: Server) -> None:
    pool = await new_pool(server)
    id_ = await request(server, pool)
    delivered = server.now()
    assert await deliver(server, pool) == id_
    assert await deliver(server, pool) is None, "it is with somebody"
    lapsed = await said(server, CleanupLapsed, id_)
    assert delivered + LEASE <= lapsed.recorded_at < delivered + LEASE + timedelta(seconds=5)
    assert await deliver(server, pool) == id_
    given_up = await said(server, CleanupGivenUp, id_)
    assert given_up.event.reason == "max_delivery_attempts_reached"
    assert await rows.by_id(server.database, id_) is None


async def test_what_no_worker_takes_is_given_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup_leases, "KEPT", timedelta(seconds=0.3))
    id_ = await request(server, await new_pool(server))
    given_up = await said(server, CleanupGivenUp, id_)
    assert given_up.event.reason == "no_worker_took_it"


async def test_leases_end_without_the_service_as_well(target: Target) -> None:
    async with serving(target, Settings(services_enabled=False)) as server:
        pool = await new_pool(server)
        id_ = await request(server, pool)
        assert await deliver(server, pool) == id_
        assert await deliver(server, pool, later=LEASE) == id_
        assert await deliver(server, pool, later=LEASE) is None, "it is with somebody"
        assert await deliver(server, pool, later=3 * LEASE) is None, "it was delivered too often"
        assert await rows.by_id(server.database, id_) is None
    verify_digests(target)


async def test_clean_ups_go_with_their_pool(server: Server) -> None:
    pool, other = await new_pool(server), await new_pool(server)
    gone, kept = await request(server, pool), await request(server, other)
    await work_pools.delete(server.shell, server.pulses, pool.name, ORIGIN)
    assert await rows.by_id(server.database, gone) is None
    assert await rows.by_id(server.database, kept) is not None
    assert await deliver(server, pool) is None


async def test_two_processes_never_give_out_the_same_one(target: Target) -> None:
    settings = Settings(services_enabled=False)
    async with serving(target, settings) as one, serving(target, settings) as two:
        pool = await new_pool(one)
        ids = {await request(one, pool) for _ in range(10)}
        servers = [one, two] * 10
        terms = Terms(timedelta(hours=1), 2)
        got = await asyncio.gather(
            *(deliver(server, pool, at_once=100, terms=terms) for server in servers)
        )
        assert sorted(filter(None, got)) == sorted(ids)
    verify_digests(target)
