"""Polls: what is due, in the order of queues, within limits, and every deployment in its turn."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from msgspec import json

from api.server import Server
from api.settings import Settings
from eventstore import log
from eventstore.database import Transaction
from eventstore.ids import new_id
from eventstore.log import Command, Decision
from eventstore.migrate import Target
from orchestration import flow_run_decisions as domain
from orchestration.flow_run_bodies import FlowRunCreate
from orchestration.flow_run_decisions import CreateFlowRun
from orchestration.flows import FlowCreate
from orchestration.run_policies import FlowRunPolicy
from orchestration.states import ProposedDetails, ProposedState, proposed
from orchestration.surroundings import Neighbour, Surroundings
from orchestration.work_pools import WorkPool, WorkPoolCreate, WorkPoolUpdate
from orchestration.work_queues import WorkQueue, WorkQueueCreate, WorkQueueUpdate
from projections import polls, work_queues
from projections.polls import Due
from services import flow_runs, flows, polling, work_pools
from services.shell import Origin, appended
from tests.services.in_pools import new_run_in
from tests.services.runs_here import WAIT_SECONDS, set_state
from tests.services.serving_here import serving
from tests.serving import verify_digests

ORIGIN = Origin("tester")
MANY = 30


@pytest.fixture
async def server(target: Target) -> AsyncIterator[Server]:
    async with serving(target, Settings(services_enabled=False)) as server:
        yield server
    verify_digests(target)


async def new_pool(server: Server, **fields: Any) -> WorkPool:
    body = WorkPoolCreate(name=str(uuid4()), type="process", **fields)
    pool, _ = await work_pools.create(server.shell, body, ORIGIN)
    return pool


async def queue_of(server: Server, pool: WorkPool, name: str, **fields: Any) -> WorkQueue:
    body = WorkQueueCreate(name=name, **fields)
    queue, _ = await work_pools.create_queue(server.shell, pool.name, body, ORIGIN)
    return queue


async def default_of(server: Server, pool: WorkPool) -> WorkQueue:
    queue = await work_queues.by_id(server.database, pool.default_queue_id)
    assert queue is not None
    return queue


async def runs_in(
    server: Server,
    queue: WorkQueue,
    minutes_ago: Sequence[int],
    deployment: str | None = None,
    state: str = "SCHEDULED",
) -> list[str]:
    """Ids of new runs, as a deployment makes them."""
    flow, _, _ = await flows.create(
        server.shell, FlowCreate(name=str(uuid4())), server.now(), ORIGIN
    )
    flow_id = str(json.decode(flow)["id"])
    ids = [new_id() for _ in minutes_ago]
    around = Surroundings(
        flow=Neighbour(flow_id, "f"),
        deployment=None if deployment is None else Neighbour(deployment, "d"),
        work_queue=Neighbour(queue.id, queue.name),
        work_pool=Neighbour(queue.work_pool_id, queue.work_pool_name),
    )

    async def decide(tx: Transaction) -> Decision:
        appends = []
        for id_, ago in zip(ids, minutes_ago, strict=True):
            details = ProposedDetails(scheduled_time=server.now() - timedelta(minutes=ago))
            wanted = ProposedState(state, state_details=details)  # type: ignore[arg-type]
            command = CreateFlowRun(
                id=id_,
                body=FlowRunCreate(flow_id=flow_id, deployment_id=deployment),
                state=proposed(wanted, new_id(), server.now()),
                name="run",
                around=around,
                flow_labels={},
            )
            events = domain.decide(command, None)
            appends.append(appended(flow_runs.CATEGORY, id_, events))
        return Decision(appends=tuple(appends))

    await server.shell.execute_serially(f"test:{new_id()}", decide, ORIGIN)
    return ids


async def poll(
    server: Server, pool: WorkPool, limit: int = 200, names: Sequence[str] | None = None
) -> list[str]:
    current = await work_pools.named(server.database, pool.name)
    when = polling.window(None, server.now() + timedelta(minutes=1))
    _, due = await polling.poll_pool(server.shell, current, names, when, limit)
    return ids_of(due)


def ids_of(due: Sequence[Due]) -> list[str]:
    return [str(one.row[-1]) for one in due]


async def test_runs_come_when_they_are_due_the_oldest_first(server: Server) -> None:
    pool = await new_pool(server)
    queue = await default_of(server, pool)
    assert await poll(server, pool) == []
    newer, older, _later = await runs_in(server, queue, [1, 5, -10])
    await runs_in(server, queue, [3], state="RUNNING")
    assert await poll(server, pool) == [older, newer]
    assert await poll(server, pool) == [older, newer], "a poll claims nothing"
    assert await poll(server, pool, limit=0) == []


async def test_the_queue_of_the_lowest_number_goes_first(server: Server) -> None:
    pool = await new_pool(server)
    slow = await default_of(server, pool)
    fast = await queue_of(server, pool, "fast", priority=1)
    old = await runs_in(server, slow, [50, 40])
    new = await runs_in(server, fast, [2, 1])
    assert await poll(server, pool) == [*new, *old]
    assert await poll(server, pool, limit=3) == [*new, old[0]]
    assert await poll(server, pool, names=["default"]) == old
    paused = WorkQueueUpdate(is_paused=True)
    await work_pools.update_queue(server.shell, server.pulses, fast, paused, server.now(), ORIGIN)
    assert await poll(server, pool) == old
    await work_pools.update(server.shell, pool.name, WorkPoolUpdate(is_paused=True), ORIGIN)
    assert await poll(server, pool) == []


async def test_no_more_come_than_the_limits_leave_room_for(server: Server) -> None:
    pool = await new_pool(server, concurrency_limit=5)
    narrow = await queue_of(server, pool, "narrow", priority=1, concurrency_limit=2)
    wide = await default_of(server, pool)
    await runs_in(server, narrow, [9], state="RUNNING")
    first = await runs_in(server, narrow, [8, 7, 6])
    second = await runs_in(server, wide, [60, 50, 40, 30])
    assert await poll(server, pool) == [first[0], *second[:3]]
    await runs_in(server, wide, [9, 9], state="PENDING")
    assert await poll(server, pool) == [first[0], second[0]]
    await work_pools.update(server.shell, pool.name, WorkPoolUpdate(concurrency_limit=3), ORIGIN)
    assert await poll(server, pool) == []


async def test_the_backlog_of_one_deployment_is_in_nobodys_way(server: Server) -> None:
    pool = await new_pool(server)
    queue = await default_of(server, pool)
    many, few, one = new_id(), new_id(), new_id()
    backlog = await runs_in(server, queue, range(300, 200, -1), deployment=many)
    others = await runs_in(server, queue, [20, 10], deployment=few)
    (last,) = await runs_in(server, queue, [5], deployment=one)
    (adhoc,) = await runs_in(server, queue, [1])
    assert set(await poll(server, pool, limit=4)) == {backlog[0], others[0], last, adhoc}
    taken = await poll(server, pool, limit=20)
    assert set(taken) == {*backlog[:16], *others, last, adhoc}
    assert taken[:4] == [backlog[0], others[0], last, adhoc]
    assert set(await poll(server, pool, limit=2)) == {backlog[0], others[0]}
    assert len(await poll(server, pool, limit=103)) == 103


async def test_what_its_own_process_tries_again_is_for_no_worker_and_in_nobodys_way(
    server: Server,
) -> None:
    pool = await new_pool(server, concurrency_limit=1)
    deployed = await new_run_in(server, pool, empirical_policy=FlowRunPolicy(retries=1))
    await set_state(server, deployed, "RUNNING")
    failed = ProposedState("FAILED")
    done = await flow_runs.set_state(
        server.shell, deployed, failed, force=False, now=server.now(), origin=ORIGIN
    )
    assert done.answer.state is not None and done.answer.state.name == "AwaitingRetry"
    assert await poll(server, pool) == []
    # Its process is gone, so it stays the first; the second one has the slot.
    (next_one,) = await runs_in(server, await default_of(server, pool), [0], deployment=new_id())
    assert await poll(server, pool) == [next_one]
    await flow_runs.delete(server.shell, next_one, ORIGIN)
    # Another state than a retry's is for a worker: it is resumed after it was suspended.
    await set_state(server, deployed, "RUNNING")
    await set_state(server, deployed, "PAUSED", pause_reschedule=True)
    await set_state(server, deployed, "SCHEDULED", force=False)
    assert await poll(server, pool) == [deployed]


async def test_a_poll_makes_a_queue_ready_once_and_then_writes_nothing(server: Server) -> None:
    pool = await new_pool(server)
    when = polling.window(None, server.now())
    queues, _ = await polling.poll_pool(server.shell, pool, None, when, 10)
    await polling.note(server.shell, server.pulses, queues, server.now(), ORIGIN)
    before = (await log.head(server.database)).position
    for _ in range(5):
        queues, _ = await polling.poll_pool(server.shell, pool, None, when, 10)
        await polling.note(server.shell, server.pulses, queues, server.now(), ORIGIN)
    assert (await log.head(server.database)).position == before
    await server.pulses.flush()
    queue = await default_of(server, pool)
    assert queue.status == "READY"
    assert queue.last_polled is not None


async def test_deployments_that_a_poll_makes_ready_share_transactions(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = await new_pool(server)
    for _ in range(MANY):
        await new_run_in(server, pool)
    transactions = submitted = 0
    transact, submit = server.database.transact, server.store.submit
    all_submitted = asyncio.Event()

    async def counted(work: Any) -> Any:
        nonlocal transactions
        transactions += 1
        if submitted:
            # As on a slow disk: the first one takes until the facts of all are there.
            await asyncio.wait_for(all_submitted.wait(), WAIT_SECONDS)
        return await transact(work)

    async def submitting(command: Command, size: int = 0) -> Any:
        nonlocal submitted
        streams = [new.stream for new in command.decision.appends]
        submitted += any(stream.startswith("deployment:") for stream in streams)
        if submitted == MANY:
            all_submitted.set()
        return await submit(command, size)

    monkeypatch.setattr(server.database, "transact", counted)
    monkeypatch.setattr(server.store, "submit", submitting)
    queues = [await default_of(server, pool)]
    await polling.note(server.shell, server.pulses, queues, server.now(), ORIGIN)
    assert transactions < MANY / 2, "not one for each deployment"
    rows = await server.database.fetch("SELECT status FROM deployments")
    assert [row[0] for row in rows] == ["READY"] * MANY


async def test_polls_are_answered_from_indexes(server: Server) -> None:
    if server.database.dialect.name != "sqlite":
        pytest.skip("SQLite plans without statistics, so an empty database tells")
    for sql, index in (
        (polls.QUEUES, "flow_runs_scheduled_by_queue"),
        (polls.due_sql(server.database.dialect), "flow_runs_scheduled_by_queue"),
        (polls.groups_sql(server.database.dialect), "flow_runs_scheduled_by_queue_and_deployment"),
    ):
        params: list[str | int] = ["q", 0, 1, 10] if "$4" in sql else ["q", 0, 1]
        plan = await server.database.fetch(f"EXPLAIN QUERY PLAN {sql}", *params)
        steps = [str(row[-1]) for row in plan if "flow_runs" in str(row[-1])]
        assert steps
        assert all(f"INDEX {index}" in step for step in steps), steps
