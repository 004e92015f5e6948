"""Slots of tags: a task run has them from when it is running until it is not any more."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest
from msgspec import json

from api.server import Server
from api.settings import Settings
from eventstore.migrate import Target
from orchestration.concurrency_leases import Holder
from orchestration.states import ProposedState, StateType
from orchestration.task_run_bodies import TaskRunCreate
from orchestration.transition import OrchestrationResult
from projections import concurrency_limits as read
from services import flow_runs, tag_limits, task_runs
from tests.services.runs_here import CACHE_KEY_MAX, ORIGIN, becomes, new_run, set_state
from tests.services.serving_here import serving
from tests.serving import verify_digests


@pytest.fixture
async def server(target: Target) -> AsyncIterator[Server]:
    at_once = Settings(services_cancellation_cleanup_after=timedelta(0))
    async with serving(target, at_once) as server:
        yield server
    verify_digests(target)


async def new_task(server: Server, *tags: str, flow_run_id: str | None = None) -> str:
    body = TaskRunCreate(
        flow_run_id=flow_run_id,
        task_key="t",
        dynamic_key=str(uuid4()),
        tags=tags,
        state=ProposedState("PENDING"),
    )
    run, _, _ = await task_runs.create(
        server.shell, body, server.now, ORIGIN, cache_key_max=CACHE_KEY_MAX
    )
    return str(json.decode(run)["id"])


async def propose(server: Server, id_: str, kind: StateType) -> OrchestrationResult:
    done = await task_runs.set_state(
        server.shell,
        id_,
        ProposedState(kind),
        force=False,
        now=server.now(),
        origin=ORIGIN,
        cache_key_max=CACHE_KEY_MAX,
    )
    return done.answer


async def limit(server: Server, tag: str, slots: int) -> str:
    seen, _, _ = await tag_limits.put(server.shell, tag, slots, server.now, ORIGIN)
    return seen.limit.id


async def holders(server: Server, limit_id: str) -> set[str]:
    database = server.database
    found = await read.holders(database, database.dialect, [limit_id], 100)
    return {holder.id for holder in found.get(limit_id, ())}


async def test_of_many_tasks_as_many_run_as_there_are_slots(server: Server) -> None:
    limit_id = await limit(server, "db", 3)
    ids = [await new_task(server, "db", "free") for _ in range(10)]
    answers = await asyncio.gather(*(propose(server, id_, "RUNNING") for id_ in ids))
    running = {id_ for id_, one in zip(ids, answers, strict=True) if one.status == "ACCEPT"}
    assert len(running) == 3
    assert {one.status for one in answers} == {"ACCEPT", "WAIT"}
    assert await holders(server, limit_id) == running
    ended = running.pop()
    assert (await propose(server, ended, "COMPLETED")).status == "ACCEPT"
    assert await holders(server, limit_id) == running


async def test_all_limits_have_to_have_a_slot(server: Server) -> None:
    wide, narrow = await limit(server, "wide", 5), await limit(server, "narrow", 1)
    first, second = [await new_task(server, "wide", "narrow") for _ in range(2)]
    assert (await propose(server, first, "RUNNING")).status == "ACCEPT"
    assert (await propose(server, second, "RUNNING")).status == "WAIT"
    assert await holders(server, wide) == await holders(server, narrow) == {first}
    # A run that is running already has what it needs.
    assert (await propose(server, first, "RUNNING")).status == "ACCEPT"
    assert await holders(server, wide) == {first}


@pytest.mark.parametrize("kind", ["COMPLETED", "FAILED", "CRASHED", "CANCELLED", "SCHEDULED"])
async def test_every_way_out_frees_the_slot(server: Server, kind: StateType) -> None:
    limit_id = await limit(server, "db", 1)
    id_ = await new_task(server, "db")
    await propose(server, id_, "RUNNING")
    await propose(server, id_, "CANCELLING")
    assert await holders(server, limit_id) == {id_}
    await propose(server, id_, kind)
    assert await holders(server, limit_id) == set()


async def test_what_is_deleted_or_cancelled_with_its_flow_run_frees_the_slot(
    server: Server,
) -> None:
    limit_id = await limit(server, "db", 3)
    flow_run_id = await new_run(server, "RUNNING")
    gone, deleted = [await new_task(server, "db", flow_run_id=flow_run_id) for _ in range(2)]
    for id_ in (gone, deleted):
        assert (await propose(server, id_, "RUNNING")).status == "ACCEPT"
    await task_runs.delete(server.shell, deleted, ORIGIN)
    assert await holders(server, limit_id) == {gone}
    await flow_runs.delete(server.shell, flow_run_id, ORIGIN)
    assert await holders(server, limit_id) == set()

    crashed = await new_run(server, "RUNNING")
    id_ = await new_task(server, "db", flow_run_id=crashed)
    assert (await propose(server, id_, "RUNNING")).status == "ACCEPT"
    await set_state(server, crashed, "CRASHED")
    assert await holders(server, limit_id) == set()

    other = await new_run(server, "RUNNING")
    id_ = await new_task(server, "db", flow_run_id=other)
    assert (await propose(server, id_, "RUNNING")).status == "ACCEPT"
    await set_state(server, other, "CANCELLED")
    await becomes(server, id_, "Cancelled")
    assert await holders(server, limit_id) == set()


async def test_a_reset_frees_all_slots_but_those_that_it_names(server: Server) -> None:
    limit_id = await limit(server, "db", 2)
    for _ in range(2):
        assert (await propose(server, await new_task(server, "db"), "RUNNING")).status == "ACCEPT"
    named = str(uuid4())
    await tag_limits.reset(server.shell, limit_id, [named], server.now, ORIGIN)
    assert await holders(server, limit_id) == {named}
    (lease,) = await read.leases_of_limit(server.database, limit_id, 9)
    assert lease.holder == Holder("task_run", named)
    assert lease.until is None
