"""The foreman: who fell silent is offline, what nobody polls is not ready, and no sooner."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec import json

from api.server import Server
from api.settings import Settings
from eventstore import log
from eventstore.codec import to_microseconds
from eventstore.migrate import Target
from orchestration.deployment_bodies import DeploymentCreate
from orchestration.deployments import Deployment, DeploymentStatusSet
from orchestration.documents import parse
from orchestration.flows import FlowCreate
from orchestration.work_pools import WorkPool, WorkPoolCreate, WorkPoolStatusChanged
from orchestration.work_queues import WorkQueueStatusChanged
from orchestration.workers import WorkerCameOnline, WorkerWentOffline
from projections import deployments as deployment_rows
from projections import pulses, work_queues, workers
from projections import work_pools as rows
from services import deployments, flows, foreman, polling, work_pools
from services import workers as people
from services.foreman import Foreman, Patience
from services.shell import Origin
from tests.services.serving_here import serving
from tests.serving import verify_digests

ORIGIN = Origin("tester")
SETTINGS = Settings(
    services_foreman_loop=timedelta(seconds=0.2),
    services_foreman_inactivity_heartbeat_multiple=2,
    services_foreman_work_queue_last_polled_timeout=timedelta(seconds=1),
    services_foreman_deployment_last_polled_timeout=timedelta(seconds=1),
)
PATIENCE = Patience(
    look=timedelta(seconds=0.01),
    missed_heartbeats=2,
    fallback_interval=timedelta(seconds=30),
    queue=timedelta(seconds=1),
    deployment=timedelta(seconds=1),
)
NEARLY, A_MOMENT = timedelta(seconds=0.9), timedelta(microseconds=1)
WAIT_SECONDS = 20.0


class Watching(Foreman):
    """A foreman with a clock that stands still until a test moves it: whoever is to be heard of in
    time is, however slow the machine."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.shell, lambda: self.now, PATIENCE)
        self.now = server.now()
        self._looks = 0
        self._looked = asyncio.Event()

    def _pause(self) -> float:
        self._looks += 1
        self._looked.set()
        return min(super()._pause(), PATIENCE.look.total_seconds())

    async def looks(self) -> None:
        """Return when it has looked at everybody, by what its clock says now."""
        after = self._looks + 2  # It may be looking already.
        async with asyncio.timeout(WAIT_SECONDS):
            while self._looks < after:
                self._looked.clear()
                await self._looked.wait()


@asynccontextmanager
async def watched(target: Target) -> AsyncIterator[tuple[Server, Watching]]:
    """A server, and who watches over it."""
    async with serving(target, Settings(services_enabled=False)) as server:
        foreman = Watching(server)
        running = asyncio.create_task(foreman.run(Origin(Foreman.name)))
        try:
            yield server, foreman
        finally:
            running.cancel()
            await asyncio.wait({running})


async def new_pool(server: Server) -> WorkPool:
    body = WorkPoolCreate(name="pool", type="process")
    pool, _ = await work_pools.create(server.shell, body, ORIGIN)
    return pool


async def beat(server: Server, pool: WorkPool, name: str, at: datetime | None = None) -> None:
    current = await rows.by_id(server.database, pool.id)
    assert current is not None
    now = at or server.now()
    await people.heartbeat(server.shell, server.pulses, current, name, 1, now, ORIGIN)


async def new_deployment(server: Server, **fields: Any) -> str:
    """Id of a new deployment."""
    flow, _, _ = await flows.create(server.shell, FlowCreate(name="f"), server.now(), ORIGIN)
    body = DeploymentCreate(name="d", flow_id=str(json.decode(flow)["id"]), **fields)
    made, _, _ = await deployments.put(server.shell, body, server.now, ORIGIN)
    return str(json.decode(made)["id"])


async def shown(server: Server, id_: str) -> tuple[str, datetime | None]:
    """The status of a deployment, and when somebody last asked for its runs."""
    await server.pulses.flush()
    text = await deployment_rows.by_id(server.database, id_)
    assert text is not None
    deployment = parse(Deployment, text)
    return deployment.status, deployment.last_polled


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
        began = server.now()
        await beat(server, pool, "w")
        fact = await said(server, WorkerWentOffline)
        assert fact.recorded_at - began >= timedelta(seconds=2), "two of its intervals"
        changed = await said(server, WorkPoolStatusChanged)
        assert (changed.event.status, changed.position) == ("NOT_READY", fact.position + 1)
        database = server.database
        (worker,) = await workers.of_pool(database, database.dialect, pool.id, None, 10, 0)
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


async def test_those_that_are_heard_of_hide_none_that_is_gone(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreman, "LOOKED_AT_MAX", 2)
    monkeypatch.setattr(foreman, "PAGE_QUEUES", 2)
    async with serving(target, SETTINGS) as server:
        pool = await new_pool(server)
        current = await rows.by_id(server.database, pool.id)
        assert current is not None
        # These want to be heard of every hour, and were before the others were.
        for n in range(3):
            now = server.now()
            await people.heartbeat(
                server.shell, server.pulses, current, f"slow-{n}", 3600, now, ORIGIN
            )
        gone = [f"gone-{n}" for n in range(5)]
        for name in gone:
            await beat(server, pool, name)
        left = set(gone)
        async with asyncio.timeout(WAIT_SECONDS):
            while left:
                worker = await workers.by_name(server.database, pool.id, next(iter(left)))
                assert worker is not None
                if worker.status == "OFFLINE":
                    left.discard(worker.name)
                else:
                    await server.store.ring.wait(server.store.ring.head)
        slow = await workers.by_name(server.database, pool.id, "slow-0")
        assert slow is not None and slow.status == "ONLINE"
    verify_digests(target)


async def test_many_deployments_that_nobody_asks_for_are_all_not_ready(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreman, "DEPLOYMENTS_LOOKED_AT_MAX", 2)
    async with watched(target) as (server, watching):
        flow, _, _ = await flows.create(server.shell, FlowCreate(name="f"), server.now(), ORIGIN)
        flow_id = str(json.decode(flow)["id"])
        made = []
        for n in range(6):
            body = DeploymentCreate(name=f"d{n}", flow_id=flow_id)
            shown_now, _, _ = await deployments.put(server.shell, body, server.now, ORIGIN)
            made.append(str(json.decode(shown_now)["id"]))
        *gone, asked_for = made
        await polling.note_served(server.shell, server.pulses, gone, watching.now, ORIGIN)
        await server.pulses.flush()
        watching.now += 2 * PATIENCE.deployment
        await polling.note_served(server.shell, server.pulses, [asked_for], watching.now, ORIGIN)
        async with asyncio.timeout(WAIT_SECONDS):
            while {(await shown(server, id_))[0] for id_ in gone} != {"NOT_READY"}:
                await watching.looks()
        assert (await shown(server, asked_for))[0] == "READY"
    verify_digests(target)


async def test_a_pool_is_ready_as_long_as_one_worker_is_heard_of(target: Target) -> None:
    async with watched(target) as (server, watching):
        pool = await new_pool(server)
        for name in ("silent", "alive"):
            await beat(server, pool, name, watching.now)
        for _ in range(2):  # So many intervals of one second.
            watching.now += timedelta(seconds=1)
            await beat(server, pool, "alive", watching.now)
        await watching.looks()
        silent = await workers.by_name(server.database, pool.id, "silent")
        assert silent is not None and silent.status == "ONLINE"
        watching.now += A_MOMENT
        await watching.looks()
        fact = await said(server, WorkerWentOffline)
        assert fact.stream == f"worker:{silent.id}"
        alive = await workers.by_name(server.database, pool.id, "alive")
        assert alive is not None and alive.status == "ONLINE"
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
        deployed = await new_deployment(server, work_pool_name=pool.name)
        polled = server.now()
        await polling.note(server.shell, server.pulses, queues, polled, ORIGIN)
        assert await shown(server, deployed) == ("READY", polled)
        fact = await said(server, WorkQueueStatusChanged)
        assert fact.event.status == "NOT_READY"
        gone = await said(server, DeploymentStatusSet)
        assert gone.event.last_polled == polled
        assert gone.event.around.work_pool is not None
        assert gone.event.around.work_pool.name == pool.name
        assert await shown(server, deployed) == ("NOT_READY", polled)
        queue = await work_queues.by_id(server.database, pool.default_queue_id)
        assert queue is not None
        assert queue.status == "NOT_READY"
        assert queue.last_polled is not None
        assert fact.recorded_at - queue.last_polled > timedelta(seconds=0.9)
    verify_digests(target)


async def test_a_served_deployment_is_ready_as_long_as_its_server_asks_for_runs(
    target: Target,
) -> None:
    async with watched(target) as (server, watching):
        served = await new_deployment(server)

        async def ask() -> datetime:
            now = watching.now
            await polling.note_served(server.shell, server.pulses, [served], now, ORIGIN)
            return now

        asked = await ask()
        before = (await log.head(server.database)).position
        for _ in range(3):
            assert await shown(server, served) == ("READY", asked)
            watching.now += NEARLY
            await watching.looks()
            assert await shown(server, served) == ("READY", asked)
            asked = await ask()
        assert (await log.head(server.database)).position == before, "no poll is an event"
        assert await shown(server, served) == ("READY", asked)
        watching.now += PATIENCE.deployment
        await watching.looks()
        assert await shown(server, served) == ("READY", asked)
        watching.now += A_MOMENT
        fact = await said(server, DeploymentStatusSet)
        assert fact.event.last_polled == asked
        assert await shown(server, served) == ("NOT_READY", asked)
        asked = await ask()
        assert await shown(server, served) == ("READY", asked)
    verify_digests(target)


async def test_a_deployment_is_ready_as_long_as_either_it_or_its_queue_is_polled(
    target: Target,
) -> None:
    async with watched(target) as (server, watching):
        pool = await new_pool(server)
        deployed = await new_deployment(server, work_pool_name=pool.name)
        queues, _ = await polling.poll_pool(
            server.shell, pool, None, polling.window(None, None), 10
        )
        await polling.note_served(server.shell, server.pulses, [deployed], watching.now, ORIGIN)
        for _ in range(3):
            assert (await shown(server, deployed))[0] == "READY"
            watching.now += NEARLY
            await watching.looks()
            assert (await shown(server, deployed))[0] == "READY"
            await polling.note(server.shell, server.pulses, queues, watching.now, ORIGIN)
        assert await shown(server, deployed) == ("READY", watching.now)
        polled_last = watching.now
        watching.now += PATIENCE.deployment + A_MOMENT
        fact = await said(server, DeploymentStatusSet)
        assert fact.event.last_polled == polled_last
    verify_digests(target)


async def test_pulses_that_nobody_asks_for_any_more_are_taken_away(target: Target) -> None:
    async with serving(target, Settings(services_enabled=False)) as server:
        now = server.now()
        old = now - timedelta(days=2)
        for subject in ("flow-run:1", "deployment:1", "worker:1", "work-queue:1"):
            server.pulses.note(subject, old)
        server.pulses.note("flow-run:2", now)
        await server.pulses.flush()
        before = to_microseconds(now - timedelta(days=1))
        await server.database.transact(lambda tx: pulses.forget(tx, before))
        for subject in ("flow-run:1", "deployment:1"):
            assert await server.pulses.last(subject) is None
        for subject in ("flow-run:2", "worker:1", "work-queue:1"):
            assert await server.pulses.last(subject) is not None
