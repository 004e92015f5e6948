"""Taking a change of state back: only if nothing happened to the run since."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from api.server import Server
from eventstore.migrate import Target
from orchestration.states import ProposedState
from services import run_actions, task_run_actions, task_runs
from tests.services.runs_here import (
    CACHE_KEY_MAX,
    ORIGIN,
    flow_states,
    new_run,
    new_task,
    set_state,
    task_states,
)
from tests.services.serving_here import serving
from tests.serving import verify_digests

FAILED = ProposedState("FAILED")


@pytest.fixture
async def server(target: Target) -> AsyncIterator[Server]:
    async with serving(target) as server:
        yield server
    verify_digests(target)


async def test_a_flow_run_that_moves_on_meanwhile_is_left_alone(server: Server) -> None:
    for _ in range(10):
        id_ = await new_run(server, "RUNNING")
        changed = (
            await run_actions.set_states(server.shell, [id_], FAILED, server.now(), ORIGIN)
        ).changed
        await asyncio.gather(
            run_actions.restore(server.shell, changed, server.now(), ORIGIN),
            set_state(server, id_, "COMPLETED"),
        )
        assert await flow_states(server, id_) in (
            ["Running", "Failed", "Completed"],
            ["Running", "Failed", "Running", "Completed"],
        )


async def test_a_task_run_that_moves_on_meanwhile_is_left_alone(server: Server) -> None:
    flow_run = await new_run(server, "RUNNING")
    for _ in range(10):
        id_ = await new_task(server, flow_run, "RUNNING")
        changed = (
            await task_run_actions.set_states(
                server.shell, [id_], FAILED, server.now(), ORIGIN, cache_key_max=CACHE_KEY_MAX
            )
        ).changed
        await asyncio.gather(
            task_run_actions.restore(
                server.shell, changed, server.now(), ORIGIN, cache_key_max=CACHE_KEY_MAX
            ),
            task_runs.set_state(
                server.shell,
                id_,
                ProposedState("COMPLETED"),
                force=True,
                now=server.now(),
                origin=ORIGIN,
                cache_key_max=CACHE_KEY_MAX,
            ),
        )
        assert await task_states(server, id_) in (
            ["Running", "Failed", "Completed"],
            ["Running", "Failed", "Running", "Completed"],
        )
