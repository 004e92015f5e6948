"""Zombies: a run that fell silent is given up if its tags say so; no other one ever is."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from msgspec import json

from api.server import Server
from api.settings import Settings
from eventstore import log
from eventstore.clock import machine_time
from eventstore.migrate import Target
from orchestration.deployment_bodies import DeploymentCreate, DeploymentFlowRunCreate
from orchestration.run_policies import FlowRunPolicy
from orchestration.states import ProposedState
from orchestration.zombies import HEARTBEAT
from projections import deployments as deployment_rows
from projections import waiting_runs
from projections.flow_runs import FLOW_RUNS
from services import deployment_runs, deployments, flow_runs, zombies
from services.shell import Origin
from tests.emitting import emission, wire
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
from tests.services.test_task_slots import holders, limit, propose
from tests.services.test_task_slots import new_task as tagged_task
from tests.serving import verify_digests

AFTER = timedelta(seconds=0.5)
SETTINGS = Settings(services_zombies_after=AFTER, services_zombies_retries=1)
IDLE = Settings(services_enabled=False)
CRASH, RETRY = ("zombies:crash",), ("zombies:retry",)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats are not on their way here for long."""
    monkeypatch.setattr(zombies, "ON_THE_WAY", timedelta(0))


@pytest.fixture
async def server(target: Target, clock: Clock) -> AsyncIterator[Server]:
    async with serving(target, SETTINGS) as server:
        yield server
    verify_digests(target)


async def beat(server: Server, id_: str) -> None:
    resource = {"prefect.resource.id": f"prefect.flow-run.{id_}"}
    sent = wire(emission(event=HEARTBEAT, resource=resource))
    assert (await server.intake.take([sent], ORIGIN)).refused == [None]
    await server.pulses.flush()


async def deployed_run(server: Server, **fields: Any) -> str:
    """A run of a deployment with these tags, which is running."""
    body = DeploymentCreate(name=str(uuid4()), flow_id=await new_flow(server), **fields)
    made, _, _ = await deployments.put(server.shell, body, server.now, ORIGIN)
    deployment = await deployment_rows.entity(server.database, json.decode(made)["id"])
    assert deployment is not None
    run, _, _ = await deployment_runs.create(
        server.shell, deployment, DeploymentFlowRunCreate(), server.now, ORIGIN
    )
    id_ = str(json.decode(run)["id"])
    await set_state(server, id_, "RUNNING")
    return id_


async def fail(server: Server, id_: str) -> None:
    """A flow run fails, and its process keeps it for a retry."""
    done = await flow_runs.set_state(
        server.shell, id_, ProposedState("FAILED"), force=False, now=server.now(), origin=ORIGIN
    )
    assert done.answer.status == "REJECT"


async def test_a_run_that_fell_silent_is_crashed(server: Server) -> None:
    id_ = await deployed_run(server, tags=CRASH)
    before = server.now()
    await beat(server, id_)
    assert await becomes(server, id_, "Crashed") - before >= AFTER
    assert await flow_states(server, id_) == ["Scheduled", "Running", "Crashed"]
    assert "last heard of" in (await message_of(server, id_) or "")


async def test_who_did_not_ask_for_it_or_sends_no_heartbeats_is_left_alone(server: Server) -> None:
    flow_id = await new_flow(server)
    unasked = await new_run(server, "RUNNING", flow_id)
    await beat(server, unasked)
    unheard = await new_run(server, "RUNNING", flow_id, tags=CRASH)
    for _ in range(3):  # Three times the patience, each told by a run that is given up.
        silent = await new_run(server, "RUNNING", flow_id, tags=CRASH)
        await beat(server, silent)
        await becomes(server, silent, "Crashed")
    assert await flow_states(server, unasked) == ["Running"]
    assert await flow_states(server, unheard) == ["Running"]


async def test_where_it_is_asked_for_runs_without_a_tag_are_crashed_as_well(target: Target) -> None:
    settings = Settings(services_zombies_after=AFTER, services_zombies_untagged=True)
    async with serving(target, settings) as server:
        flow_id = await new_flow(server)
        left = await new_run(server, "RUNNING", flow_id, tags=("zombies:leave",))
        unheard = await new_run(server, "RUNNING", flow_id)
        await beat(server, left)
        for _ in range(3):  # Three times the patience, each told by a run that is given up.
            silent = await new_run(server, "RUNNING", flow_id)
            await beat(server, silent)
            await becomes(server, silent, "Crashed")
        assert await flow_states(server, left) == ["Running"]
        assert await flow_states(server, unheard) == ["Running"]
    verify_digests(target)


async def test_those_that_are_alive_hide_none_of_those_behind_them(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.run_timers.TIMERS_MAX", 2)
    monkeypatch.setattr(waiting_runs, "PAGE", 2)
    async with serving(target, IDLE) as server:
        flow_id = await new_flow(server)
        # Nobody ever heard of them, so they are looked at again and again.
        unheard = [await new_run(server, "RUNNING", flow_id, tags=CRASH) for _ in range(9)]
        silent = [await new_run(server, "RUNNING", flow_id, tags=CRASH) for _ in range(3)]
        for id_ in silent:
            await beat(server, id_)
    async with serving(target, SETTINGS) as server:
        for id_ in silent:
            await becomes(server, id_, "Crashed")
        for id_ in unheard:
            assert await flow_states(server, id_) == ["Running"]
    verify_digests(target)


async def test_what_a_killed_service_left_open_is_crashed_by_the_next(target: Target) -> None:
    async with serving(target, IDLE) as server:
        flow_id = await new_flow(server)
        given_up = await new_run(server, "RUNNING", flow_id, tags=CRASH)
        task, parent = [await new_task(server, given_up, "RUNNING") for _ in range(2)]
        child = await new_run(server, "RUNNING", flow_id, parent_task_run_id=parent)
        inner = await new_task(server, child, "RUNNING")
        crashed = await new_run(server, "RUNNING", flow_id, tags=CRASH)
        own = await new_task(server, crashed, "RUNNING")
        await set_state(server, crashed, "CRASHED")
        await beat(server, given_up)
        # As far as it came before it was killed.
        service = zombies.Zombies(server.shell, server.now, timedelta(0), 0)
        now = server.now() + AFTER
        await service._give_up(given_up, server.now(), now, Origin(zombies.Zombies.name))
    async with serving(target, SETTINGS) as server:
        for id_ in (task, parent, inner):
            await becomes(server, id_, "Crashed")
        assert await flow_states(server, child) == ["Running", "Crashed"]
        # Who said itself that it crashed says so of its task runs as well.
        assert await task_states(server, own) == ["Running"]
    verify_digests(target)


async def test_a_run_that_ended_is_not_crashed_whenever_its_timer_goes_off(server: Server) -> None:
    flow_id = await new_flow(server)
    ended = [await new_run(server, "RUNNING", flow_id, tags=CRASH) for _ in range(3)]
    for id_ in ended:
        await beat(server, id_)
    for id_, state in zip(ended, ("COMPLETED", "FAILED", "CANCELLED"), strict=True):
        await set_state(server, id_, state)  # type: ignore[arg-type]
        await beat(server, id_)  # Late, as what is still on its way.
    silent = await new_run(server, "RUNNING", flow_id, tags=CRASH)
    await beat(server, silent)
    await becomes(server, silent, "Crashed")
    # Even if a timer were left: it is decided upon against what the log says then.
    service = server.services._services["zombies"]
    assert isinstance(service, zombies.Zombies)
    for id_ in ended:
        await service.see_to(id_, server.now() + timedelta(hours=1), ORIGIN)
    names = [(await flow_states(server, id_))[-1] for id_ in ended]
    assert names == ["Completed", "Failed", "Cancelled"]


async def test_a_run_that_is_heard_of_again_and_again_goes_on(server: Server, clock: Clock) -> None:
    flow_id = await new_flow(server)
    alive = await new_run(server, "RUNNING", flow_id, tags=CRASH)
    with clock.standing():
        for _ in range(3):
            await beat(server, alive)
            silent = await new_run(server, "RUNNING", flow_id, tags=CRASH)
            await beat(server, silent)
            # It is due after the one that is alive would have been, without its next heartbeat.
            while (await flow_states(server, silent))[-1] != "Crashed":
                await beat(server, alive)
                clock.put_forward(AFTER / 10)
    assert await flow_states(server, alive) == ["Running"]


async def test_a_run_of_a_deployment_is_started_again_so_often(server: Server) -> None:
    id_ = await deployed_run(server, tags=RETRY)
    await beat(server, id_)
    await becomes(server, id_, "AwaitingRetry")
    _, run = await server.shell.load(FLOW_RUNS, f"flow-run:{id_}", id_, fresh=True)
    assert run.empirical_policy.retry_type == "reschedule", "for a worker to start, not itself"
    await set_state(server, id_, "PENDING", force=False)
    await set_state(server, id_, "RUNNING", force=False)
    await becomes(server, id_, "Crashed")
    assert await flow_states(server, id_) == [
        "Scheduled",
        "Running",
        "AwaitingRetry",
        "Pending",
        "Running",
        "Crashed",
    ]


async def test_whoever_starts_it_again_finds_the_slots_of_its_tasks_free(server: Server) -> None:
    limit_id = await limit(server, "db", 1)
    id_ = await deployed_run(server, tags=RETRY)
    task = await tagged_task(server, "db", flow_run_id=id_)
    assert (await propose(server, task, "RUNNING")).status == "ACCEPT"
    assert await holders(server, limit_id) == {task}
    await beat(server, id_)
    await becomes(server, id_, "AwaitingRetry")
    await becomes(server, task, "Crashed")
    assert await holders(server, limit_id) == set()


async def test_a_run_that_nobody_could_start_again_is_crashed(server: Server) -> None:
    id_ = await new_run(server, "RUNNING", tags=RETRY)
    await beat(server, id_)
    await becomes(server, id_, "Crashed")


async def test_a_run_whose_process_dies_before_it_tries_again_is_given_up(
    server: Server, clock: Clock
) -> None:
    flow_id, policy = await new_flow(server), FlowRunPolicy(retries=3)
    with clock.standing():
        id_ = await new_run(server, "RUNNING", flow_id, tags=CRASH, empirical_policy=policy)
        await beat(server, id_)
        await fail(server, id_)
    assert await flow_states(server, id_) == ["Running", "AwaitingRetry"]
    await becomes(server, id_, "Crashed")
    later = FlowRunPolicy(retries=3, retry_delay=3_600)
    with clock.standing():
        waits = await new_run(server, "RUNNING", flow_id, tags=CRASH, empirical_policy=later)
        await beat(server, waits)
        await fail(server, waits)
    silent = await new_run(server, "RUNNING", flow_id, tags=CRASH)
    await beat(server, silent)
    await becomes(server, silent, "Crashed")
    assert await flow_states(server, waits) == ["Running", "AwaitingRetry"], "its time has not come"


async def test_what_ran_in_the_same_process_crashes_with_it(server: Server) -> None:
    id_ = await new_run(server, "RUNNING", tags=CRASH)
    task = await new_task(server, id_, "RUNNING")
    done = await new_task(server, id_, "COMPLETED")
    parent = await new_task(server, id_, "RUNNING")
    child = await new_run(server, "RUNNING", parent_task_run_id=parent)
    grandchild = await new_task(server, child, "RUNNING")
    await beat(server, id_)
    await becomes(server, id_, "Crashed")
    for one in (child, grandchild, task, parent):
        await becomes(server, one, "Crashed")
    assert await task_states(server, done) == ["Completed"]


async def test_the_next_term_begins_with_patience_for_everybody(target: Target) -> None:
    async with serving(target, IDLE) as idle:
        flow_id = await new_flow(idle)
        alive = await new_run(idle, "RUNNING", flow_id, tags=CRASH)
        silent = await new_run(idle, "RUNNING", flow_id, tags=CRASH)
        for id_ in (alive, silent):
            await beat(idle, id_)
    began = machine_time()
    async with serving(target, SETTINGS) as server:
        await beat(server, alive)
        for id_ in (silent, alive):
            crashed = await becomes(server, id_, "Crashed")
            assert crashed - began >= AFTER, "however long it was silent while nobody listened"
    verify_digests(target)


async def test_heartbeats_are_pulses_and_no_events(server: Server) -> None:
    id_ = await new_run(server, "RUNNING")
    before = (await log.head(server.database)).position
    for _ in range(3):
        await beat(server, id_)
    assert (await log.head(server.database)).position == before
    assert await server.pulses.last(f"flow-run:{id_}") is not None


async def test_it_can_be_switched_off(target: Target) -> None:
    async with serving(target, Settings(services_zombies_enabled=False)) as server:
        assert "zombies" not in server.services._services
