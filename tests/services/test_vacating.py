"""What is left of a work pool: its deployments and runs stay, in no queue, as on a real server."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from msgspec import json

from api.server import Server
from api.settings import Settings
from eventstore import log
from eventstore.migrate import Target
from orchestration.deployment_bodies import DeploymentCreate, DeploymentFlowRunCreate
from orchestration.deployment_schedules import ScheduleCreate
from orchestration.flow_run_bodies import FlowRunCreate
from orchestration.flow_runs import FlowRun, FlowRunStateSet
from orchestration.refusals import Conflict, NotFound
from orchestration.schedules import Schedule
from orchestration.surroundings import Neighbour
from orchestration.work_pools import WorkPoolCreate
from orchestration.work_queues import WorkQueueCreate
from projections import deployments as rows
from projections import work_queues
from projections.flow_runs import FLOW_RUNS
from services import deployment_runs, deployments, flow_runs, flows, scheduled_runs, work_pools
from services.scheduled_runs import Horizon
from tests.services.runs_here import ORIGIN, new_flow, set_state
from tests.services.serving_here import serving
from tests.serving import verify_digests

IDLE = Settings(services_enabled=False)


@pytest.fixture
async def server(target: Target) -> AsyncIterator[Server]:
    async with serving(target, IDLE) as server:
        yield server
    verify_digests(target)


async def deployed(server: Server, **fields: Any) -> str:
    body = DeploymentCreate(name=str(uuid4()), flow_id=await new_flow(server), **fields)
    made, _, _ = await deployments.put(server.shell, body, server.now, ORIGIN)
    return str(json.decode(made)["id"])


async def run_of(server: Server, deployment_id: str) -> str:
    deployment = await rows.entity(server.database, deployment_id)
    assert deployment is not None
    run, _, _ = await deployment_runs.create(
        server.shell, deployment, DeploymentFlowRunCreate(), server.now, ORIGIN
    )
    return str(json.decode(run)["id"])


async def shown(server: Server, id_: str) -> FlowRun:
    _, run = await server.shell.load(FLOW_RUNS, f"flow-run:{id_}", id_, fresh=True)
    assert isinstance(run, FlowRun)
    return run


def place(run: FlowRun) -> tuple[str | None, ...]:
    return run.work_queue_id, run.work_queue_name, run.work_pool_id, run.work_pool_name


async def test_a_run_of_a_pool_waits_in_its_default_queue_or_in_the_one_that_is_named(
    server: Server,
) -> None:
    pool, _ = await work_pools.create(server.shell, WorkPoolCreate(name="p"), ORIGIN)
    queue, _ = await work_pools.create_queue(server.shell, "p", WorkQueueCreate(name="q"), ORIGIN)
    flow_id = await new_flow(server)
    for name, expected in ((None, (pool.default_queue_id, "default")), ("q", (queue.id, "q"))):
        body = FlowRunCreate(flow_id=flow_id, work_pool_name="p", work_queue_name=name)
        run, _, _ = await flow_runs.create(server.shell, body, server.now, ORIGIN)
        made = await shown(server, json.decode(run)["id"])
        assert place(made) == (*expected, pool.id, "p")
    for pool_name, queue_name in (("other", None), ("p", "other")):
        body = FlowRunCreate(flow_id=flow_id, work_pool_name=pool_name, work_queue_name=queue_name)
        with pytest.raises(NotFound, match="other"):
            await flow_runs.create(server.shell, body, server.now, ORIGIN)


async def test_the_runs_of_schedules_know_their_pool(server: Server) -> None:
    pool, _ = await work_pools.create(server.shell, WorkPoolCreate(name="p"), ORIGIN)
    daily = ScheduleCreate(schedule=Schedule(cron="0 9 * * *"))
    id_ = await deployed(server, work_pool_name="p", schedules=(daily,))
    now = server.now()
    await scheduled_runs.make_of(
        server.shell, id_, now, now + timedelta(days=2), Horizon(), now, ORIGIN
    )
    waiting = await rows.waiting(server.database, id_, 1, 0)
    assert waiting
    run = await shown(server, waiting[0][0])
    assert (run.work_pool_id, run.work_pool_name) == (pool.id, "p")


async def test_a_deleted_pool_leaves_deployments_and_runs_in_no_queue(server: Server) -> None:
    pool, _ = await work_pools.create(server.shell, WorkPoolCreate(name="p"), ORIGIN)
    other, _ = await work_pools.create(server.shell, WorkPoolCreate(name="o"), ORIGIN)
    id_ = await deployed(server, work_pool_name="p")
    elsewhere = await deployed(server, work_pool_name="o")
    states = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING", "COMPLETED")
    runs = {state: await run_of(server, id_) for state in states}
    for state in states[1:]:
        if state == "CANCELLING":
            await set_state(server, runs[state], "RUNNING")
        await set_state(server, runs[state], state)  # type: ignore[arg-type]
    waits = await run_of(server, elsewhere)
    await work_pools.delete(server.shell, server.pulses, "p", ORIGIN)
    deployment = await rows.entity(server.database, id_)
    assert deployment is not None
    assert (deployment.work_queue_id, deployment.work_pool_name) == (None, None)
    assert deployment.work_queue_name == "default"
    for state in states[:-1]:
        assert place(await shown(server, runs[state])) == (None, "default", None, None), state
    ended = await shown(server, runs["COMPLETED"])
    assert place(ended) == (pool.default_queue_id, "default", pool.id, "p"), "it ran there"
    assert (await shown(server, waits)).work_pool_name == "o"
    kept = await rows.entity(server.database, elsewhere)
    assert kept is not None and kept.work_pool_name == other.name


async def test_a_deleted_queue_leaves_them_as_well_and_a_default_queue_stays_with_all(
    server: Server,
) -> None:
    pool, _ = await work_pools.create(server.shell, WorkPoolCreate(name="p"), ORIGIN)
    queue, _ = await work_pools.create_queue(server.shell, "p", WorkQueueCreate(name="q"), ORIGIN)
    id_ = await deployed(server, work_pool_name="p", work_queue_name="q")
    beside = await deployed(server, work_pool_name="p")
    run = await run_of(server, id_)
    await work_pools.delete_queue(server.shell, server.pulses, queue, ORIGIN)
    deployment = await rows.entity(server.database, id_)
    assert deployment is not None and deployment.work_queue_id is None
    assert place(await shown(server, run)) == (None, "q", None, None)
    default = await work_queues.by_id(server.database, pool.default_queue_id)
    assert default is not None
    with pytest.raises(Conflict):
        await work_pools.delete_queue(server.shell, server.pulses, default, ORIGIN)
    kept = await rows.entity(server.database, beside)
    assert kept is not None and kept.work_queue_id == pool.default_queue_id


async def test_a_deleted_deployment_leaves_runs_that_began_and_a_deleted_flow_none(
    server: Server,
) -> None:
    id_ = await deployed(server)
    waits, began = await run_of(server, id_), await run_of(server, id_)
    await set_state(server, began, "RUNNING")
    flow_id = (await shown(server, began)).flow_id
    await deployments.delete(server.shell, id_, ORIGIN)
    assert (await shown(server, began)).deployment_id == id_
    with pytest.raises(AssertionError):
        await shown(server, waits)
    await flows.delete(server.shell, flow_id, ORIGIN)
    with pytest.raises(AssertionError):
        await shown(server, began)


async def test_many_waiting_runs_leave_in_batches(server: Server) -> None:
    await work_pools.create(server.shell, WorkPoolCreate(name="p"), ORIGIN)
    id_ = await deployed(server, work_pool_name="p")
    runs = await asyncio.gather(*(run_of(server, id_) for _ in range(230)))
    await work_pools.delete(server.shell, server.pulses, "p", ORIGIN)
    assert {place(await shown(server, run))[0] for run in runs} == {None}


async def test_each_state_of_a_run_is_told_with_where_the_run_belongs(server: Server) -> None:
    pool, _ = await work_pools.create(
        server.shell, WorkPoolCreate(name="p", type="process"), ORIGIN
    )
    id_ = await deployed(server, work_pool_name="p", tags=("nightly",))
    run = await run_of(server, id_)
    await set_state(server, run, "RUNNING")
    await work_pools.delete(server.shell, server.pulses, "p", ORIGIN)
    await set_state(server, run, "COMPLETED")
    database = server.database
    facts = await log.read_stream(database, database.dialect, server.store.codec, f"flow-run:{run}")
    around = [fact.event.around for fact in facts if isinstance(fact.event, FlowRunStateSet)]
    for scheduled_or_running in around[:2]:
        assert scheduled_or_running.work_pool == Neighbour(pool.id, "p", type="process")
        assert scheduled_or_running.work_queue == Neighbour(pool.default_queue_id, "default")
    assert {one.deployment.tags for one in around if one.deployment} == {("nightly",)}
    assert len(around) == 3
    assert (around[2].work_pool, around[2].work_queue) == (None, None)
