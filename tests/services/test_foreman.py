"""The foreman: who fell silent is offline, what nobody polls is not ready, and no sooner."""

import asyncio
from datetime import timedelta
from typing import Any

from msgspec import json

from api.server import Server
from api.settings import Settings
from eventstore import log
from eventstore.migrate import Target
from orchestration.deployment_bodies import DeploymentCreate
from orchestration.flows import FlowCreate
from orchestration.work_pools import WorkPool, WorkPoolCreate, WorkPoolStatusChanged
from orchestration.work_queues import WorkQueueStatusChanged
from orchestration.workers import WorkerCameOnline, WorkerWentOffline
from projections import polls, work_queues, workers
from projections import work_pools as rows
from services import deployments, flows, polling, work_pools
from services import workers as people
from services.shell import Origin
from tests.services.serving_here import serving
from tests.serving import verify_digests

ORIGIN = Origin("tester")
SETTINGS = Settings(
    services_foreman_loop=timedelta(seconds=0.2),
    services_foreman_inactivity_heartbeat_multiple=2,
    services_foreman_work_queue_last_polled_timeout=timedelta(seconds=1),
)
WAIT_SECONDS = 20.0


async def new_pool(server: Server) -> WorkPool:
    body = WorkPoolCreate(name="pool", type="process")
    pool, _ = await work_pools.create(server.shell, body, ORIGIN)
    return pool


async def beat(server: Server, pool: WorkPool, name: str) -> None:
    current = await rows.by_id(server.database, pool.id)
    assert current is not None
    now = server.now()
    await people.heartbeat(server.shell, server.pulses, current, name, 1, now, ORIGIN)


async def said(server: Server, kind: type[Any]) -> Any:
    """Wait until the foreman has said this; the fact."""
    async with asyncio.timeout(WAIT_SECONDS):
        async for page in server.store.follow(0):
            for entry in page:
                fact = entry.recorded
                if isinstance(fact.event, kind) and fact.actor == "foreman":
                    return fact
    raise AssertionError


async def test_a_worker_that_falls_silent_is_offline_and_its_pool_not_ready(
    target: Target,
) -> None:
    async with serving(target, SETTINGS) as server:
        pool = await new_pool(server)
        await beat(server, pool, "w")
        began = server.now()
        fact = await said(server, WorkerWentOffline)
        assert fact.recorded_at - began > timedelta(seconds=1.5), "two of its intervals"
        changed = await said(server, WorkPoolStatusChanged)
        assert (changed.event.status, changed.position) == ("NOT_READY", fact.position + 1)
        (worker,) = await workers.of_pool(server.database, pool.id, None, 10, 0)
        assert worker.status == "OFFLINE"
        assert worker.last_heartbeat_time == fact.event.last_heartbeat_time
        await beat(server, pool, "w")
        stream = fact.stream
        codec, database = server.store.codec, server.database
        facts = await log.read_stream(database, database.dialect, codec, stream)
        assert isinstance(facts[-1].event, WorkerCameOnline)
        current = await rows.by_id(database, pool.id)
        assert current is not None
        assert current.status == "READY"
    verify_digests(target)


async def test_a_pool_is_ready_as_long_as_one_worker_is_heard_of(target: Target) -> None:
    async with serving(target, SETTINGS) as server:
        pool = await new_pool(server)
        await beat(server, pool, "silent")

        async def keep_beating() -> None:
            while True:
                await beat(server, pool, "alive")
                await asyncio.sleep(0.1)  # The interval of its heartbeats, not a wait for anything.

        beating = asyncio.ensure_future(keep_beating())
        fact = await said(server, WorkerWentOffline)
        beating.cancel()
        silent = await workers.by_name(server.database, pool.id, "silent")
        assert silent is not None
        assert fact.stream == f"worker:{silent.id}"
        current = await rows.by_id(server.database, pool.id)
        assert current is not None
        assert current.status == "READY"
    verify_digests(target)


async def test_a_queue_that_nobody_polls_any_more_is_not_ready_nor_are_its_deployments(
    target: Target,
) -> None:
    async with serving(target, SETTINGS) as server:
        pool = await new_pool(server)
        when = polling.window(None, None)
        queues, _ = await polling.poll_pool(server.shell, pool, None, when, 10)
        flow, _, _ = await flows.create(server.shell, FlowCreate(name="f"), server.now(), ORIGIN)
        flow_id = str(json.decode(flow)["id"])
        body = DeploymentCreate(name="d", flow_id=flow_id, work_pool_name=pool.name)
        await deployments.put(server.shell, body, server.now, ORIGIN)
        await polling.note(server.shell, server.pulses, queues, server.now(), ORIGIN)
        ids = [pool.default_queue_id]
        dialect = server.database.dialect
        (deployed,) = await polls.deployments(server.database, dialect, ids, ready=True)
        fact = await said(server, WorkQueueStatusChanged)
        idle = await polls.deployments(server.database, dialect, ids, ready=False)
        assert idle == [deployed]
        assert fact.event.status == "NOT_READY"
        queue = await work_queues.by_id(server.database, pool.default_queue_id)
        assert queue is not None
        assert queue.status == "NOT_READY"
        assert queue.last_polled is not None
        assert fact.recorded_at - queue.last_polled > timedelta(seconds=0.9)
    verify_digests(target)
