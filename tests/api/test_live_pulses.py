"""What shows when somebody was last heard of changes on an open page, though no event says so."""

import asyncio
import json
from contextlib import aclosing

import pytest

from api.ui import live, variables, work_pool
from api.ui.page import Visit
from api.ui.query import Query
from eventstore.migrate import Target
from orchestration.work_pools import WorkPoolCreate
from services import work_pools, workers
from services.shell import Origin
from tests.services.serving_here import serving

ORIGIN = Origin("anonymous")


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """Pages do not depend on the engine."""
    return str(request.param)


async def test_a_heartbeat_is_shown_without_an_event(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "KEEP_ALIVE_SECONDS", 0.02)
    monkeypatch.setattr(live, "PULSES_SECONDS", 0.0)
    async with serving(target) as server:
        pool, _ = await work_pools.create(
            server.shell, WorkPoolCreate(name="main", type="process"), ORIGIN
        )
        await workers.heartbeat(
            server.shell, server.pulses, pool, "worker-1", 30, server.now(), ORIGIN
        )
        path, query = "/work-pools/work-pool/main", Query([("tab", "workers")])
        visit = Visit(server, path, {"name": "main"}, query, server.now(), "")
        mark = live.now(server, work_pool.page)
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        messages = live.changes(work_pool.page, visit, mark, lambda: over)

        async def patched() -> str:
            async for message in messages:
                if b"event: patch" in message:
                    data = message.split(b"data: ", 1)[1]
                    shown = json.loads(data)
                    if "tab" in shown:
                        return str(shown["tab"])
            raise AssertionError("the stream has ended")

        async with aclosing(messages):
            before = await patched()
            heard = server.now()
            server.pulses.note(f"worker:{_id(before)}", heard, 30)
            after = await patched()
            over.set_result(None)
        assert f"{heard:%Y-%m-%dT%H:%M:%S}" in after
        assert after != before
        assert server.store.ring.head == mark.position


async def test_a_quiet_stream_tells_the_browser_that_somebody_is_there(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "KEEP_ALIVE_SECONDS", 0.02)
    async with serving(target) as server:
        visit = Visit(server, "/variables", {}, Query([]), server.now(), "")
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        messages = live.changes(
            variables.page, visit, live.now(server, variables.page), lambda: over
        )
        async with aclosing(messages):
            assert b"event: hello" in await anext(messages)
            # Not as a comment, which no script of a page ever sees.
            assert await anext(messages) == b"event: here\ndata: \n\n"
            over.set_result(None)


def _id(html: str) -> str:
    return html.split('id="worker-')[1][:36]
