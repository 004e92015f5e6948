"""Cancellation: what belongs to a cancelled run ends with it, and no run is cancelled for ever."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest

from api.server import Server
from api.settings import Settings
from eventstore.migrate import Target
from projections import waiting_runs
from services import flow_runs, run_timers
from tests.services.conftest import Clock
from tests.services.runs_here import (
    ORIGIN,
    becomes,
    flow_states,
    message_of,
    new_flow,
    new_run,
    new_task,
    set_state,
    task_states,
)
from tests.services.serving_here import serving
from tests.serving import verify_digests

AFTER = timedelta(seconds=0.3)
TIMEOUT = timedelta(seconds=0.5)
SETTINGS = Settings(services_cancellation_cleanup_after=AFTER, services_cancelling_timeout=TIMEOUT)
IDLE = Settings(services_enabled=False)


@pytest.fixture
async def server(target: Target, clock: Clock) -> AsyncIterator[Server]:
    async with serving(target, SETTINGS) as server:
        yield server
    verify_digests(target)


async def test_what_belongs_to_a_cancelled_run_is_cancelled_with_it(server: Server) -> None:
    flow_id = await new_flow(server)
    outer = await new_run(server, "RUNNING", flow_id)
    running = await new_task(server, outer, "RUNNING")
    pending = await new_task(server, outer, "PENDING")
    done = await new_task(server, outer, "COMPLETED")
    stand_in = await new_task(server, outer, "RUNNING")
    inner = await new_run(server, "RUNNING", flow_id, parent_task_run_id=stand_in)
    deep = await new_task(server, inner, "RUNNING")
    other = await new_task(server, await new_run(server, "RUNNING", flow_id), "RUNNING")
    await set_state(server, outer, "CANCELLED")
    at = await becomes(server, outer, "Cancelled")
    for id_ in (running, pending, stand_in, inner, deep):
        assert await becomes(server, id_, "Cancelled") >= at + AFTER
        assert "was cancelled" in (await message_of(server, id_) or "")
    assert await task_states(server, done) == ["Completed"]
    assert await task_states(server, other) == ["Running"]
    assert (await task_states(server, stand_in))[-2:] == ["Running", "Cancelled"]


async def test_what_a_cancelled_run_makes_after_all_is_cancelled_as_well(server: Server) -> None:
    """Its process may not have heard, or nobody could end it."""
    flow_id = await new_flow(server)
    outer = await new_run(server, "RUNNING", flow_id)
    first = await new_task(server, outer, "RUNNING")
    await set_state(server, outer, "CANCELLED")
    await becomes(server, first, "Cancelled")
    stand_in = await new_task(server, outer, "RUNNING")
    inner = await new_run(server, "RUNNING", flow_id, parent_task_run_id=stand_in)
    for id_ in (inner, stand_in):
        await becomes(server, id_, "Cancelled")


async def test_the_run_of_a_deployment_is_given_the_time_to_end(server: Server) -> None:
    """Something runs for it elsewhere, which whoever runs it has to end."""
    flow_id = await new_flow(server)
    outer = await new_run(server, "RUNNING", flow_id)
    stand_in = await new_task(server, outer, "RUNNING")
    inner = await new_run(
        server, "RUNNING", flow_id, parent_task_run_id=stand_in, deployment_id=str(uuid4())
    )
    await set_state(server, outer, "CANCELLED")
    began = await becomes(server, inner, "Cancelling")
    assert await becomes(server, inner, "Cancelled") >= began + TIMEOUT


async def test_a_paused_run_of_a_deployment_is_cancelled_with_the_run_around_it(
    server: Server,
) -> None:
    flow_id = await new_flow(server)
    outer = await new_run(server, "RUNNING", flow_id)
    stand_in = await new_task(server, outer, "RUNNING")
    inner = await new_run(
        server, "PAUSED", flow_id, parent_task_run_id=stand_in, deployment_id=str(uuid4())
    )
    await set_state(server, outer, "CANCELLED")
    await becomes(server, inner, "Cancelled")
    assert await flow_states(server, inner) == ["Paused", "Cancelling", "Cancelled"]


async def test_a_run_that_is_cancelled_for_too_long_is_cancelled(
    server: Server, clock: Clock
) -> None:
    flow_id = await new_flow(server)
    stuck = await new_run(server, "RUNNING", flow_id)
    ended = await new_run(server, "RUNNING", flow_id)
    deleted = await new_run(server, "RUNNING", flow_id)
    with clock.standing():
        for id_ in (stuck, ended, deleted):
            await set_state(server, id_, "CANCELLING")
        await set_state(server, ended, "CANCELLED", force=False)
        await flow_runs.delete(server.shell, deleted, ORIGIN)
    began = await becomes(server, stuck, "Cancelling")
    assert await becomes(server, stuck, "Cancelled") >= began + TIMEOUT
    assert "too long" in (await message_of(server, stuck) or "")
    assert await flow_states(server, ended) == ["Running", "Cancelling", "Cancelled"]


async def test_what_nobody_saw_to_is_seen_to_by_the_next_and_more_than_fits_into_memory(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_timers, "TIMERS_MAX", 3)
    monkeypatch.setattr(waiting_runs, "PAGE", 2)
    async with serving(target, IDLE) as idle:
        flow_id = await new_flow(idle)
        tasks: list[str] = []
        stuck: list[str] = []
        for _ in range(7):
            run = await new_run(idle, "RUNNING", flow_id)
            tasks += [await new_task(idle, run, "RUNNING") for _ in range(3)]
            await set_state(idle, run, "CANCELLED")
            stuck.append(await new_run(idle, "CANCELLING", flow_id))
    async with serving(target, SETTINGS) as server:
        for id_ in tasks:
            await becomes(server, id_, "Cancelled")
            assert await task_states(server, id_) == ["Running", "Cancelled"]
        for id_ in stuck:
            await becomes(server, id_, "Cancelled")
            assert await flow_states(server, id_) == ["Cancelling", "Cancelled"]
    verify_digests(target)
