"""Pending claims: what a vanished worker had not begun goes to the next one, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from api.server import Server
from api.settings import Settings
from eventstore.migrate import Target
from orchestration.claims import WORKER_LABEL
from orchestration.flow_run_bodies import FlowRunUpdate
from orchestration.flow_runs import FlowRunStateSet
from orchestration.states import ProposedState, RecordedState
from orchestration.work_pools import WorkPool
from projections import run_explanation, waiting_runs, workers
from services import deployments, flow_runs, pending_claims, polling
from services import workers as people
from services.pending_claims import PendingClaims
from services.shell import Origin
from tests.services.conftest import Clock
from tests.services.in_pools import beat, label, new_pool, new_run_in
from tests.services.runs_here import ORIGIN, flow_states, new_run
from tests.services.serving_here import serving
from tests.serving import verify_digests

AFTER = timedelta(seconds=0.3)
SETTINGS = Settings(services_pending_claims_after=AFTER, services_foreman_enabled=False)
WAIT_SECONDS = 20.0


@pytest.fixture
async def server(target: Target, clock: Clock) -> AsyncIterator[Server]:
    async with serving(target, SETTINGS) as server:
        yield server
    verify_digests(target)


async def claim(server: Server, id_: str, name: str = "Pending") -> None:
    """A worker makes a run Pending, or goes on to a later kind of it."""
    wanted = ProposedState("PENDING", name=name)
    done = await flow_runs.set_state(
        server.shell, id_, wanted, force=False, now=server.now(), origin=ORIGIN
    )
    assert done.answer.status == "ACCEPT", done.answer


async def vanish(server: Server, pool: WorkPool, name: str) -> None:
    worker = await workers.by_name(server.database, pool.id, name)
    assert worker is not None
    await people.miss(server.shell, worker, Origin("foreman"))


async def taken_back(server: Server, id_: str) -> RecordedState:
    """Wait until the service has taken a run back; the state that it is in then."""
    async with asyncio.timeout(WAIT_SECONDS):
        async for page in server.store.follow(0):
            for entry in page:
                fact = entry.recorded
                mine = fact.actor == PendingClaims.name and fact.stream == f"flow-run:{id_}"
                if mine and isinstance(fact.event, FlowRunStateSet):
                    return fact.event.state
    raise AssertionError


async def why(server: Server, id_: str) -> str:
    """What there is to say about a run."""
    await server.pulses.flush()
    database, codec = server.database, server.store.codec
    told = await run_explanation.explanation(database, codec, id_, server.now(), untagged=False)
    assert told is not None
    return " ".join(sentence.text for sentence in told.sentences)


async def test_what_a_vanished_worker_had_not_begun_is_scheduled_again(server: Server) -> None:
    pool = await new_pool(server)
    await beat(server, pool, "w")
    run = await new_run_in(server, pool)
    claimed = server.now()
    await claim(server, run)
    await vanish(server, pool, "w")
    state = await taken_back(server, run)
    assert (state.type, state.name) == ("SCHEDULED", "Scheduled")
    assert "vanished" in (state.message or "")
    assert claimed + AFTER <= state.timestamp < claimed + AFTER + timedelta(seconds=5)
    await claim(server, run)  # The next one may have it.


async def test_a_worker_that_comes_back_keeps_what_it_has(server: Server, clock: Clock) -> None:
    pool, other = await new_pool(server), await new_pool(server)
    await beat(server, pool, "w")
    run, late = await new_run_in(server, pool), await new_run_in(server, other)
    await claim(server, run)
    with clock.standing():
        await vanish(server, pool, "w")
        await beat(server, pool, "w")
    await claim(server, late)
    await taken_back(server, late)
    assert await flow_states(server, run) == ["Scheduled", "Pending"]


async def test_a_worker_is_given_time_to_come_back_to_a_server_that_was_away(
    target: Target,
) -> None:
    async with serving(target, Settings(services_enabled=False)) as server:
        pool = await new_pool(server)
        await beat(server, pool, "w")
        run = await new_run_in(server, pool)
        await claim(server, run)
    patience = timedelta(seconds=2)
    settings = Settings(services_pending_claims_after=patience, services_foreman_enabled=False)
    async with serving(target, settings) as server:
        # The foreman finds that it was not heard of for too long, and is right.
        await vanish(server, pool, "w")
        gone = server.now()
        state = await taken_back(server, run)
        assert state.timestamp >= gone + patience - timedelta(seconds=0.5)
    verify_digests(target)


async def test_what_it_may_have_begun_has_crashed(server: Server, clock: Clock) -> None:
    pool = await new_pool(server)
    run = await new_run_in(server, pool)
    with clock.standing():
        await claim(server, run)
        await claim(server, run, "Submitting")
    state = await taken_back(server, run)
    assert state.type == "CRASHED"
    assert "Submitting" in (state.message or "")


async def test_a_claim_lasts_as_long_as_its_worker_is_there(server: Server) -> None:
    pool = await new_pool(server)
    await beat(server, pool, "mine")
    await beat(server, pool, "other")
    unknown, known, other = [await new_run_in(server, pool) for _ in range(3)]
    for run, name in ((unknown, None), (known, "mine"), (other, "other")):
        await claim(server, run)
        if name is not None:
            await label(server, run, {WORKER_LABEL: name})
    await vanish(server, pool, "other")
    assert (await taken_back(server, other)).type == "SCHEDULED"
    # Whose the unknown one is nobody can say; one worker is there, so it may be that one's.
    assert await flow_states(server, known) == ["Scheduled", "Pending"]
    assert await flow_states(server, unknown) == ["Scheduled", "Pending"]
    assert "Worker mine has it and is online." in await why(server, known)
    await vanish(server, pool, "mine")
    assert "Worker mine has it and is offline." in await why(server, known)
    assert (await taken_back(server, known)).type == "SCHEDULED"
    assert (await taken_back(server, unknown)).type == "SCHEDULED"


async def test_a_claim_that_nobody_puts_a_name_to_is_nobodys(
    server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_claims, "UNSIGNED", timedelta(seconds=0.5))
    pool = await new_pool(server)
    await beat(server, pool, "w")
    signed, submitting, unsigned = [await new_run_in(server, pool) for _ in range(3)]
    with clock.standing():
        for run in (signed, submitting, unsigned):
            await claim(server, run)
        await label(server, signed, {WORKER_LABEL: "w"})
        await claim(server, submitting, "Submitting")
    assert (await taken_back(server, unsigned)).type == "SCHEDULED"
    assert await flow_states(server, signed) == ["Scheduled", "Pending"]
    assert await flow_states(server, submitting) == ["Scheduled", "Pending", "Submitting"]


async def test_what_does_without_its_worker_is_left_alone(server: Server, clock: Clock) -> None:
    pool, pushed = await new_pool(server), await new_pool(server, "cloud-run:push")
    started, of_push = await new_run_in(server, pool), await new_run_in(server, pushed)
    served, by_hand = await new_run_in(server, None), await new_run(server, "PENDING")
    with clock.standing():
        for run in (started, of_push, served):
            await claim(server, run)
        of_it = FlowRunUpdate(infrastructure_pid="x")
        await flow_runs.update(server.shell, started, of_it, ORIGIN)
    late = await new_run_in(server, pool)
    await claim(server, late)
    await taken_back(server, late)  # Its turn comes after theirs.
    for run in (started, of_push, served):
        assert await flow_states(server, run) == ["Scheduled", "Pending"]
    assert await flow_states(server, by_hand) == ["Pending"]


async def served_run(server: Server) -> tuple[str, str]:
    """A run of a deployment that somebody serves, and the deployment."""
    run = await new_run_in(server, None)
    rows = await server.database.fetch("SELECT deployment_id FROM flow_runs WHERE id = $1", run)
    ids = [str(rows[0][0])]
    await polling.note_served(server.shell, server.pulses, ids, server.now(), ORIGIN)
    await server.pulses.flush()
    return run, ids[0]


async def test_what_whoever_served_it_had_not_begun_is_scheduled_again(server: Server) -> None:
    (gone, deployment), (there, _) = [await served_run(server) for _ in range(2)]
    submitting, other = await served_run(server)
    for run in (gone, there, submitting):
        await claim(server, run)
    await claim(server, submitting, "Submitting")
    for id_ in (deployment, other):
        await deployments.mark_not_ready(server.shell, id_, server.now(), Origin("foreman"))
    assert (await taken_back(server, gone)).type == "SCHEDULED"
    crashed = await taken_back(server, submitting)
    assert crashed.type == "CRASHED" and "Whatever served its deployment" in (crashed.message or "")
    assert await flow_states(server, there) == ["Scheduled", "Pending"]


async def test_a_claim_on_what_is_served_ends_when_nobody_can_be_at_it_any_more(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_claims, "UNSAID", timedelta(seconds=0.5))
    run, _ = await served_run(server)
    await claim(server, run)
    assert (await taken_back(server, run)).type == "SCHEDULED"


async def test_claims_that_wait_on_hide_none_of_those_behind_them(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.run_timers.TIMERS_MAX", 2)
    monkeypatch.setattr(waiting_runs, "PAGE", 2)
    async with serving(target, Settings(services_enabled=False)) as server:
        kept, lost = await new_pool(server), await new_pool(server)
        await beat(server, kept, "w")
        waiting = [await new_run_in(server, kept) for _ in range(9)]
        behind = [await new_run_in(server, lost) for _ in range(3)]
        for run in (*waiting, *behind):
            await claim(server, run)
    async with serving(target, SETTINGS) as server:
        for run in behind:
            assert (await taken_back(server, run)).type == "SCHEDULED"
        later = await new_run_in(server, lost)
        await claim(server, later)
        assert (await taken_back(server, later)).type == "SCHEDULED"
        for run in waiting:
            assert await flow_states(server, run) == ["Scheduled", "Pending"]
    verify_digests(target)


async def test_claims_of_before_the_service_ran_are_found(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.run_timers.TIMERS_MAX", 2)
    monkeypatch.setattr(waiting_runs, "PAGE", 2)
    async with serving(target, Settings(services_enabled=False)) as server:
        pool = await new_pool(server)
        runs = [await new_run_in(server, pool) for _ in range(5)]
        for run in runs:
            await claim(server, run)
    async with serving(target, SETTINGS) as server:
        for run in runs:
            assert (await taken_back(server, run)).type == "SCHEDULED"
    verify_digests(target)
