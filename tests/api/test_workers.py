"""Workers through the door: heartbeats, lists, and what they do to their pool."""

import asyncio
from datetime import datetime
from typing import Any

import httpx

from tests.api.talk import expect, talk_to
from tests.conftest import StartServer


async def beat(client: httpx.AsyncClient, pool: str, name: str, **fields: Any) -> None:
    path = f"/work_pools/{pool}/workers/heartbeat"
    await expect(client, "POST", path, 204, {"name": name} | fields)


async def workers_of(client: httpx.AsyncClient, pool: str, **asked: Any) -> list[Any]:
    body = {"workers": asked}
    found: list[Any] = await expect(client, "POST", f"/work_pools/{pool}/workers/filter", 200, body)
    return found


async def status_of(client: httpx.AsyncClient, pool: str) -> str:
    return str((await expect(client, "GET", f"/work_pools/{pool}", 200))["status"])


async def test_a_pool_is_ready_while_a_worker_is_online(server_url: str) -> None:
    async with talk_to(server_url) as client:
        await expect(client, "POST", "/work_pools/", 201, {"name": "p", "type": "process"})
        assert await status_of(client, "p") == "NOT_READY"
        await beat(client, "p", "one", heartbeat_interval_seconds=5)
        await beat(client, "p", "two")
        assert await status_of(client, "p") == "READY"
        two, one = await workers_of(client, "p")
        assert (one["name"], one["status"], one["heartbeat_interval_seconds"]) == (
            "one",
            "ONLINE",
            5,
        )
        assert (two["name"], two["heartbeat_interval_seconds"]) == ("two", None)
        await expect(client, "PATCH", "/work_pools/p", 204, {"is_paused": True})
        await beat(client, "p", "one")
        assert await status_of(client, "p") == "PAUSED"
        await expect(client, "PATCH", "/work_pools/p", 204, {"is_paused": False})
        assert await status_of(client, "p") == "READY"
        await expect(client, "DELETE", "/work_pools/p/workers/one", 204)
        assert await status_of(client, "p") == "READY"
        await expect(client, "DELETE", "/work_pools/p/workers/two", 204)
        assert await status_of(client, "p") == "NOT_READY"
        await expect(client, "DELETE", "/work_pools/p/workers/two", 404)


async def test_a_heartbeat_of_a_known_worker_writes_no_event(start_server: StartServer) -> None:
    url = start_server().url
    async with talk_to(url) as client:
        made = await client.post("/work_pools/", json={"name": "p", "type": "process"})
        await beat(client, "p", "w")
        before = await client.post("/flows/", json={"name": "before"})
        (first,) = await workers_of(client, "p")
        for _ in range(20):
            await beat(client, "p", "w")
        after = await client.post("/flows/", json={"name": "after"})
        positions = [int(answer.headers["x-log-position"]) for answer in (made, before, after)]
        assert positions[2] == positions[1] + 1
        (last,) = await workers_of(client, "p")
        assert last["id"] == first["id"]
        times = [datetime.fromisoformat(w["last_heartbeat_time"]) for w in (first, last)]
        assert times[0] < times[1]
        assert last["updated"] == first["updated"]


async def test_one_worker_is_seen_for_the_first_time_once(start_server: StartServer) -> None:
    one, two = start_server().url, start_server().url
    async with talk_to(one) as here, talk_to(two) as there:
        await expect(here, "POST", "/work_pools/", 201, {"name": "p", "type": "process"})
        await asyncio.gather(*(beat((here, there)[n % 2], "p", "w") for n in range(10)))
        (worker,) = await workers_of(there, "p")
        assert worker["status"] == "ONLINE"


async def test_workers_are_filtered(server_url: str) -> None:
    async with talk_to(server_url) as client:
        await expect(client, "POST", "/work_pools/", 201, {"name": "p", "type": "process"})
        await beat(client, "p", "a")
        await beat(client, "p", "b")
        b, a = await workers_of(client, "p")
        assert await workers_of(client, "p", status={"any_": ["OFFLINE"]}) == []
        assert await workers_of(client, "p", status={"not_any_": ["OFFLINE"]}) == [b, a]
        before = {"before_": a["last_heartbeat_time"]}
        assert await workers_of(client, "p", last_heartbeat_time=before) == [a]
        either = {"last_heartbeat_time": before, "status": {"any_": ["ONLINE"]}, "operator": "or_"}
        assert await workers_of(client, "p", **either) == [b, a]
        body = {"workers": {"status": {"any_": ["X"]}}}
        await expect(client, "POST", "/work_pools/p/workers/filter", 422, body)
        await expect(client, "POST", "/work_pools/none/workers/filter", 404)
        await expect(client, "POST", "/work_pools/none/workers/heartbeat", 404, {"name": "w"})
        await expect(client, "POST", "/work_pools/p/workers/heartbeat", 422, {})
