"""The queue of background tasks: each goes to one worker, and none is lost on the way."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest
from msgspec import json

from api.server import Server
from api.settings import Settings
from eventstore.migrate import Target
from orchestration.states import ProposedDetails, ProposedState, StateType
from orchestration.task_run_bodies import TaskRunCreate
from projections.task_queue import TABLE
from services import flow_runs, task_queue, task_runs
from tests.services.clocks import set_back
from tests.services.runs_here import CACHE_KEY_MAX, ORIGIN, WAIT_SECONDS, new_run
from tests.services.serving_here import serving
from tests.serving import verify_digests

KEY = "add-1"
IDLE = Settings(services_enabled=False)
AT_ONCE = timedelta()
ONE, OTHER = "worker-1", "worker-2"


@pytest.fixture
async def server(target: Target) -> AsyncIterator[Server]:
    async with serving(target, IDLE) as server:
        yield server
    verify_digests(target)


async def delayed(server: Server, key: str = KEY, flow_run_id: str | None = None) -> str:
    state = ProposedState("SCHEDULED", state_details=ProposedDetails(deferred=True))
    body = TaskRunCreate(
        flow_run_id=flow_run_id, task_key=key, dynamic_key=str(uuid4()), state=state
    )
    run, _, _ = await task_runs.create(
        server.shell, body, server.now, ORIGIN, cache_key_max=CACHE_KEY_MAX
    )
    return str(json.decode(run)["id"])


async def becomes(server: Server, id_: str, state: StateType, *, deferred: bool = True) -> None:
    wanted = ProposedState(state, state_details=ProposedDetails(deferred=deferred))
    await task_runs.set_state(
        server.shell,
        id_,
        wanted,
        force=True,
        now=server.now(),
        origin=ORIGIN,
        cache_key_max=CACHE_KEY_MAX,
    )


async def claim(server: Server, worker: str = ONE, *keys: str) -> str | None:
    return await task_queue.claim(server.shell, keys or (KEY,), worker, server.now, ORIGIN)


async def hand_over(server: Server, id_: str, worker: str = ONE) -> None:
    await task_queue.hand_over(server.shell, id_, worker, ORIGIN)


async def in_queue(server: Server) -> int:
    return len(await server.database.fetch(f"SELECT id FROM {TABLE.name}"))


async def test_the_oldest_task_of_a_workers_keys_comes_first(server: Server) -> None:
    first, other, second = [await delayed(server, key) for key in (KEY, "other-1", KEY)]
    assert [await claim(server) for _ in range(3)] == [first, second, None]
    assert await claim(server, ONE, "third-1", "other-1") == other


async def test_a_task_waits_for_no_clock_that_was_set_back(server: Server) -> None:
    await delayed(server, "other-1")  # So that the log has a time.
    await set_back(server.database)
    id_ = await delayed(server)
    assert await claim(server) == id_
    assert await claim(server, OTHER) is None, "it is with somebody"
    await task_queue.give_back(server.shell, id_, ONE, ORIGIN)
    assert await claim(server, OTHER) == id_


async def test_the_backlog_of_one_key_is_in_nobodys_way(server: Server) -> None:
    first, other, second = [await delayed(server, key) for key in (KEY, "other-1", KEY)]
    keys = KEY, "other-1"
    assert [await claim(server, ONE, *keys) for _ in range(3)] == [first, other, second]


async def test_a_worker_gets_the_tasks_of_a_long_key_and_no_others(server: Server) -> None:
    long = "outer.<locals>." * 100
    first, other, second = [await delayed(server, long + end) for end in ("1", "2", "1")]
    assert await claim(server, ONE, long) is None
    assert await claim(server, ONE, long + "1") == first
    await hand_over(server, first)
    await becomes(server, first, "RUNNING", deferred=False)
    assert await claim(server, ONE, long + "1") == second
    await hand_over(server, second)
    assert await in_queue(server) == 2, "what has begun leaves"
    assert await claim(server, ONE, long + "1") is None
    assert await claim(server, ONE, long + "2") == other


async def test_a_task_run_that_is_not_deferred_is_in_no_queue(server: Server) -> None:
    body = TaskRunCreate(
        flow_run_id=None, task_key=KEY, dynamic_key="1", state=ProposedState("SCHEDULED")
    )
    await task_runs.create(server.shell, body, server.now, ORIGIN, cache_key_max=CACHE_KEY_MAX)
    assert await in_queue(server) == 0


async def test_of_many_workers_who_ask_at_once_each_gets_another_task(server: Server) -> None:
    ids = {await delayed(server) for _ in range(10)}
    claimed = await asyncio.gather(*(claim(server, f"worker-{n}") for n in range(15)))
    assert {id_ for id_ in claimed if id_} == ids
    assert claimed.count(None) == 5


async def test_what_is_not_acknowledged_goes_to_the_next_worker(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = await delayed(server)
    monkeypatch.setattr(task_queue, "ACKNOWLEDGE", AT_ONCE)
    assert await claim(server) == id_
    monkeypatch.undo()
    assert await claim(server, OTHER) == id_
    # Who was too slow does not take it from the other, by neither answer.
    await hand_over(server, id_, ONE)
    await task_queue.give_back(server.shell, id_, ONE, ORIGIN)
    assert await claim(server, "worker-3") is None
    await task_queue.give_back(server.shell, id_, OTHER, ORIGIN)
    assert await claim(server, "worker-3") == id_


async def test_what_a_worker_was_handed_and_did_not_begin_goes_on_when_it_is_gone(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await task_queue.see(server.shell, ONE, (KEY,), server.now())
    lost, begun = await delayed(server), await delayed(server)
    for id_ in (lost, begun):
        assert await claim(server) == id_
        await hand_over(server, id_)
    await becomes(server, begun, "RUNNING", deferred=False)
    assert await claim(server, OTHER) is None
    # It is only disconnected yet, and may come back.
    await task_queue.forget(server.shell, ONE, server.now())
    assert await claim(server, OTHER) is None
    monkeypatch.setattr(task_queue, "GONE_AFTER", AT_ONCE)
    assert await claim(server, OTHER) == lost
    assert await claim(server, OTHER) is None


async def test_what_has_begun_leaves_the_queue(server: Server) -> None:
    first, second = await delayed(server), await delayed(server)
    assert (await claim(server), await claim(server)) == (first, second)
    await hand_over(server, first)
    assert await in_queue(server) == 2
    await becomes(server, first, "RUNNING", deferred=False)
    await hand_over(server, second)
    assert await in_queue(server) == 1


@pytest.mark.parametrize("end", ["cancelled", "deleted", "its flow run deleted"])
async def test_what_is_over_before_anybody_took_it_is_not_handed_out(
    server: Server, end: str
) -> None:
    flow_run = await new_run(server, "RUNNING")
    id_ = await delayed(server, flow_run_id=flow_run)
    match end:
        case "cancelled":
            await becomes(server, id_, "CANCELLED")
        case "deleted":
            await task_runs.delete(server.shell, id_, ORIGIN)
        case _:
            await flow_runs.delete(server.shell, flow_run, ORIGIN)
    assert await claim(server) is None
    assert await in_queue(server) == 0


async def test_a_task_that_is_scheduled_again_is_handed_out_again(server: Server) -> None:
    id_ = await delayed(server)
    assert await claim(server) == id_
    await hand_over(server, id_)
    await becomes(server, id_, "FAILED")
    await becomes(server, id_, "SCHEDULED")
    assert await claim(server, OTHER) == id_


async def test_a_restarted_server_knows_what_waits(target: Target) -> None:
    async with serving(target, IDLE) as before:
        id_ = await delayed(before)
    async with serving(target, IDLE) as after:
        assert await claim(after) == id_
    verify_digests(target)


async def test_a_worker_that_waits_is_woken_by_a_task(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_queue, "LOOK_SECONDS", 2 * WAIT_SECONDS)
    head = server.store.ring.head
    waiting = asyncio.ensure_future(task_queue.wait(server.shell, (KEY,), head))
    await delayed(server, "other-1")
    id_ = await delayed(server)
    await asyncio.wait_for(waiting, WAIT_SECONDS)
    assert await claim(server) == id_


async def test_connected_workers_are_listed_by_their_keys(server: Server) -> None:
    now = server.now()
    await task_queue.see(server.shell, ONE, (KEY, "b"), now)
    await task_queue.see(server.shell, OTHER, ("c",), now)

    async def named(*keys: str) -> list[str]:
        found = await task_queue.connected(server.shell, now, keys)
        return [worker.identifier for worker in found]

    assert await named() == [ONE, OTHER]
    assert await named("b", "x") == [ONE]
    await task_queue.forget(server.shell, ONE, now)
    assert await named() == [OTHER]
    later = now + 4 * task_queue.PULSE
    assert await task_queue.connected(server.shell, later) == []
