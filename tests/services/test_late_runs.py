"""Late runs: each that did not start in time is marked, once; no other is."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from msgspec import json

from api.server import Server
from api.settings import Settings
from eventstore import log
from eventstore.migrate import Target
from orchestration.flow_run_bodies import FlowRunCreate, FlowRunUpdate
from orchestration.flow_runs import FlowRunStateSet
from orchestration.flows import FlowCreate
from orchestration.states import LATE, ProposedDetails, ProposedState, StateType
from projections import flow_runs as rows
from services import flow_runs, flows, run_timers
from services.late_runs import LateRuns
from services.shell import Origin
from tests.services.conftest import Clock
from tests.services.serving_here import serving
from tests.serving import verify_digests

ORIGIN = Origin("tester")
AFTER = timedelta(seconds=0.4)
SETTINGS = Settings(services_late_runs_after=AFTER)
IDLE = Settings(services_late_runs_after=AFTER, services_enabled=False)
LONG_AGO = timedelta(hours=-1)
SOON = timedelta(seconds=0.2)
FAR_AWAY = timedelta(hours=1)
WAIT_SECONDS = 20.0


@pytest.fixture
async def server(target: Target, clock: Clock) -> AsyncIterator[Server]:
    async with serving(target, SETTINGS) as server:
        yield server
    verify_digests(target)


def scheduled(server: Server, due_in: timedelta, name: str | None = None) -> ProposedState:
    details = ProposedDetails(scheduled_time=server.now() + due_in)
    return ProposedState("SCHEDULED", name, state_details=details)


async def new_flow(server: Server) -> str:
    body = FlowCreate(name=str(uuid4()))
    flow, _, _ = await flows.create(server.shell, body, server.now(), ORIGIN)
    return str(json.decode(flow)["id"])


async def new_run(server: Server, state: ProposedState, flow_id: str | None = None) -> str:
    body = FlowRunCreate(flow_id=flow_id or await new_flow(server), state=state)
    run, _, _ = await flow_runs.create(server.shell, body, server.now, ORIGIN)
    return str(json.decode(run)["id"])


async def set_state(server: Server, id_: str, state: ProposedState) -> None:
    done = await flow_runs.set_state(
        server.shell, id_, state, force=True, now=server.now(), origin=ORIGIN
    )
    assert done.answer.status == "ACCEPT"


async def marked(server: Server, *ids: str) -> dict[str, Any]:
    """Wait until these runs are marked; the events, by the run's id."""
    found: dict[str, Any] = {}
    async with asyncio.timeout(WAIT_SECONDS):
        async for page in server.store.follow(0):
            for entry in page:
                event = entry.recorded.event
                id_ = entry.recorded.stream.partition(":")[2]
                if isinstance(event, FlowRunStateSet) and event.state.name == LATE:
                    assert id_ not in found, "marked twice"
                    found[id_] = entry.recorded
            if found.keys() >= set(ids):
                return found
    raise AssertionError


async def states(server: Server, id_: str) -> list[str]:
    database = server.database
    facts = await log.read_stream(database, database.dialect, server.store.codec, f"flow-run:{id_}")
    return [fact.event.state.name for fact in facts if isinstance(fact.event, FlowRunStateSet)]


async def test_a_run_that_should_have_started_is_late(server: Server) -> None:
    state = scheduled(server, LONG_AGO)
    id_ = await new_run(server, state)
    fact = (await marked(server, id_))[id_]
    assert fact.actor == "late-runs"
    assert fact.event.state.type == "SCHEDULED"
    due = state.state_details.scheduled_time
    assert fact.event.state.state_details.scheduled_time == due
    shown = json.decode(await rows.by_id(server.database, id_, server.now()) or b"")
    assert (shown["state_name"], shown["state_type"]) == (LATE, "SCHEDULED")
    assert datetime.fromisoformat(shown["next_scheduled_start_time"]) == due


async def test_a_run_is_late_when_its_time_and_the_patience_are_over(server: Server) -> None:
    flow_id = await new_flow(server)
    state = scheduled(server, SOON)
    id_ = await new_run(server, state, flow_id)
    due = state.state_details.scheduled_time
    assert due is not None
    fact = (await marked(server, id_))[id_]
    assert due + AFTER <= fact.event.state.timestamp < due + AFTER + timedelta(seconds=5)


@pytest.mark.parametrize("to", ["PENDING", "RUNNING", "COMPLETED", "CANCELLED"])
async def test_a_run_that_went_on_in_time_is_not_late(
    server: Server, clock: Clock, to: StateType
) -> None:
    flow_id = await new_flow(server)
    with clock.standing():
        went_on = await new_run(server, scheduled(server, SOON), flow_id)
        await set_state(server, went_on, ProposedState(to))
    waits = await new_run(server, scheduled(server, SOON), flow_id)
    assert went_on not in await marked(server, waits)


async def test_a_run_that_was_put_off_is_late_after_its_new_time_only(
    server: Server, clock: Clock
) -> None:
    flow_id = await new_flow(server)
    with clock.standing():
        put_off = await new_run(server, scheduled(server, SOON), flow_id)
        await set_state(server, put_off, scheduled(server, FAR_AWAY))
    brought_forward = await new_run(server, scheduled(server, FAR_AWAY), flow_id)
    await set_state(server, brought_forward, scheduled(server, SOON))
    waits = await new_run(server, scheduled(server, SOON), flow_id)
    assert put_off not in await marked(server, waits, brought_forward)


@pytest.mark.parametrize("name", ["AwaitingRetry", "Resuming", "AwaitingConcurrencySlot"])
async def test_a_run_that_waits_for_something_else_is_not_late(server: Server, name: str) -> None:
    flow_id = await new_flow(server)
    waits_for_more = await new_run(server, scheduled(server, LONG_AGO, name), flow_id)
    waits = await new_run(server, scheduled(server, LONG_AGO), flow_id)
    assert waits_for_more not in await marked(server, waits)


async def test_a_deleted_run_is_no_obstacle(server: Server, clock: Clock) -> None:
    flow_id = await new_flow(server)
    with clock.standing():
        deleted = await new_run(server, scheduled(server, SOON), flow_id)
        await flow_runs.delete(server.shell, deleted, ORIGIN)
    waits = await new_run(server, scheduled(server, SOON), flow_id)
    assert deleted not in await marked(server, waits)


async def test_a_change_that_is_no_state_does_not_disarm_it(server: Server) -> None:
    id_ = await new_run(server, scheduled(server, SOON))
    await flow_runs.update(server.shell, id_, FlowRunUpdate(name="renamed"), ORIGIN)
    await marked(server, id_)


async def test_what_became_due_while_nobody_ran_is_marked_by_the_next(target: Target) -> None:
    async with serving(target, IDLE) as idle:
        flow_id = await new_flow(idle)
        ids = [await new_run(idle, scheduled(idle, LONG_AGO), flow_id) for _ in range(3)]
        later = await new_run(idle, scheduled(idle, SOON), flow_id)
        assert idle.services.held == frozenset()
    async with serving(target, SETTINGS) as server:
        await marked(server, *ids, later)
        for id_ in (*ids, later):
            assert await states(server, id_) == ["Scheduled", LATE]
    verify_digests(target)


async def test_more_runs_than_fit_into_memory_are_all_marked_once(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_timers, "TIMERS_MAX", 20)
    monkeypatch.setattr(run_timers, "BATCH_RUNS_MAX", 7)
    async with serving(target, IDLE) as idle:
        flow_id = await new_flow(idle)
        ids = [
            await new_run(idle, scheduled(idle, timedelta(milliseconds=n - 300)), flow_id)
            for n in range(70)
        ]
        async with serving(target, SETTINGS) as server:
            ids += [await new_run(idle, scheduled(idle, SOON), flow_id) for _ in range(30)]
            await marked(server, *ids)
            for id_ in ids:
                assert await states(server, id_) == ["Scheduled", LATE]
    verify_digests(target)


async def test_of_two_who_mark_at_the_same_time_one_does(server: Server) -> None:
    """Even without leases a run would be late once: the log's versions see to it."""
    id_ = await new_run(server, scheduled(server, FAR_AWAY))
    later = server.now() + 2 * FAR_AWAY
    done = await asyncio.gather(
        *(flow_runs.mark_late(server.shell, id_, later, later, ORIGIN) for _ in range(5))
    )
    assert sorted(done) == [False, False, False, False, True]
    assert await states(server, id_) == ["Scheduled", LATE]


async def test_it_says_how_far_it_is_behind(server: Server) -> None:
    service = LateRuns(server.shell, server.now, AFTER)
    assert service.lag_seconds() == 0.0
    service._timers.set("x", round((server.now() + LONG_AGO).timestamp() * 1e6))
    assert 3_590 < service.lag_seconds() < 3_700
    service._timers.clear("x")
    service._timers.set("x", round((server.now() + FAR_AWAY).timestamp() * 1e6))
    assert service.lag_seconds() == 0.0


async def test_it_can_be_switched_off(target: Target) -> None:
    async with serving(target, Settings(services_late_runs_enabled=False)) as off:
        waits = await new_run(off, scheduled(off, LONG_AGO))
        assert await rows.scheduled_first(off.database, 9)
        assert LateRuns.name not in off.services._services
    async with serving(target, SETTINGS) as on:
        await marked(on, waits)
        assert await states(on, waits) == ["Scheduled", LATE]
