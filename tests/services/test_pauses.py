"""Pause timeouts: each run that nobody resumed in time has failed, once; no other has."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from api.server import Server
from api.settings import Settings
from eventstore.migrate import Target
from projections import waiting_runs
from services import flow_runs, run_inputs, run_timers
from tests.services.conftest import Clock
from tests.services.runs_here import (
    ORIGIN,
    becomes,
    flow_states,
    message_of,
    new_flow,
    new_run,
    set_state,
)
from tests.services.serving_here import serving
from tests.serving import verify_digests

SOON = timedelta(seconds=0.2)
FAR_AWAY = timedelta(hours=1)
PROMPTLY = timedelta(seconds=30)
"""Without its service a pause would never end."""
IDLE = Settings(services_enabled=False)


@pytest.fixture
async def server(target: Target, clock: Clock) -> AsyncIterator[Server]:
    async with serving(target) as server:
        yield server
    verify_digests(target)


async def paused(server: Server, flow_id: str, until: datetime | None, **details: Any) -> str:
    id_ = await new_run(server, "RUNNING", flow_id)
    await set_state(server, id_, "PAUSED", pause_timeout=until, **details)
    return id_


async def test_a_run_that_nobody_resumed_in_time_has_failed(server: Server) -> None:
    until = server.now() + SOON
    id_ = await paused(server, await new_flow(server), until)
    assert until <= await becomes(server, id_, "Failed") < until + PROMPTLY
    assert await flow_states(server, id_) == ["Running", "Paused", "Failed"]
    assert "nobody resumed it" in (await message_of(server, id_) or "")


async def test_a_run_that_was_resumed_goes_on(server: Server, clock: Clock) -> None:
    flow_id = await new_flow(server)
    with clock.standing():
        resumed = await paused(server, flow_id, server.now() + SOON)
        await run_inputs.resume(server.shell, resumed, None, server.now(), ORIGIN)
    waits = await paused(server, flow_id, server.now() + 2 * SOON)
    await becomes(server, waits, "Failed")
    assert await flow_states(server, resumed) == ["Running", "Paused", "Running"]


async def test_a_pause_that_begins_anew_has_its_own_time(server: Server, clock: Clock) -> None:
    flow_id = await new_flow(server)
    with clock.standing():
        again = await paused(server, flow_id, server.now() + SOON)
        await run_inputs.resume(server.shell, again, None, server.now(), ORIGIN)
        await set_state(server, again, "PAUSED", pause_timeout=server.now() + FAR_AWAY)
    for_ever = await paused(server, flow_id, None)
    deleted = await paused(server, flow_id, server.now() + SOON)
    await flow_runs.delete(server.shell, deleted, ORIGIN)
    waits = await paused(server, flow_id, server.now() + 2 * SOON)
    await becomes(server, waits, "Failed")
    assert await flow_states(server, again) == ["Running", "Paused", "Running", "Paused"]
    assert await flow_states(server, for_ever) == ["Running", "Paused"]


async def test_pauses_that_ended_while_nobody_ran_are_seen_to_by_the_next(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_timers, "TIMERS_MAX", 4)
    monkeypatch.setattr(waiting_runs, "PAGE", 3)
    async with serving(target, IDLE) as idle:
        flow_id = await new_flow(idle)
        past = idle.now() - FAR_AWAY
        ids = [await paused(idle, flow_id, past + timedelta(seconds=n)) for n in range(10)]
        later = await paused(idle, flow_id, idle.now() + FAR_AWAY)
    async with serving(target) as server:
        for id_ in ids:
            await becomes(server, id_, "Failed")
            assert await flow_states(server, id_) == ["Running", "Paused", "Failed"]
        assert await flow_states(server, later) == ["Running", "Paused"]
    verify_digests(target)


async def test_it_can_be_switched_off(target: Target) -> None:
    settings = Settings(services_pause_expirations_enabled=False)
    async with serving(target, settings) as server:
        names = server.services._services.keys()
        assert "pause-timeouts" not in names
        assert "cancelled-runs" in names
