"""Background tasks over websockets, as Prefect's task workers get them."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from msgspec import json
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.api.talk import Json, expect, talk_to
from tests.api.test_events_sockets import opened, send
from tests.conftest import StartServer

PATH = "/task_runs/subscriptions/scheduled"
SOON = 40.0
"""Seconds: longer than a claim of a server that was killed."""
QUIET = 0.3


@asynccontextmanager
async def worker(url: str, *keys: str, name: str = "worker-1") -> AsyncIterator[ClientConnection]:
    """A task worker that has subscribed."""
    async with opened(url, PATH) as socket:
        await send(socket, {"type": "subscribe", "keys": keys, "client_id": name})
        yield socket


async def delayed(client: httpx.AsyncClient, key: str = "add-1") -> str:
    state = {"type": "SCHEDULED", "state_details": {"deferred": True}}
    body = {"task_key": key, "dynamic_key": str(uuid.uuid4()), "state": state}
    return str((await expect(client, "POST", "/task_runs/", 201, body))["id"])


async def received(socket: ClientConnection) -> Json:
    async with asyncio.timeout(SOON):
        run: Json = json.decode(await socket.recv())
        return run


async def is_quiet(socket: ClientConnection) -> bool:
    try:
        async with asyncio.timeout(QUIET):
            await socket.recv()
    except TimeoutError:
        return True
    return False


async def test_a_worker_gets_one_task_after_the_other(server_url: str) -> None:
    async with talk_to(server_url) as client, worker(server_url, "add-1", "b-1") as socket:
        ids = [await delayed(client, key) for key in ("add-1", "b-1", "other-1", "add-1")]
        first = await received(socket)
        shown = await expect(client, "GET", f"/task_runs/{first['id']}", 200)
        estimates = {"estimated_start_time_delta": 0, "estimated_run_time": 0}
        assert first | estimates == shown | estimates
        assert await is_quiet(socket)
        await send(socket, {"type": "ack"})
        second = await received(socket)
        await send(socket, {"type": "ack"})
        third = await received(socket)
        await send(socket, {"type": "ack"})
        assert {first["id"], second["id"], third["id"]} == {ids[0], ids[1], ids[3]}
        assert await is_quiet(socket)


async def test_tasks_are_shared_among_the_workers_of_two_servers(
    start_server: StartServer,
) -> None:
    urls = [start_server().url, start_server(workers=2).url]
    got: list[str] = []

    async def work(number: int) -> None:
        async with worker(urls[number % 2], "add-1", name=f"worker-{number}") as socket:
            while len(got) < len(ids):
                try:
                    async with asyncio.timeout(QUIET):
                        run = json.decode(await socket.recv())
                except TimeoutError:
                    continue
                got.append(run["id"])
                await send(socket, {"type": "ack"})

    async with talk_to(urls[0]) as client:
        ids = [await delayed(client) for _ in range(40)]
        async with asyncio.timeout(SOON), asyncio.TaskGroup() as workers:
            for number in range(6):
                workers.create_task(work(number))
    assert sorted(got) == sorted(ids)


@pytest.mark.parametrize("end", ["quit", "gone", "nonsense"])
async def test_what_is_not_acknowledged_goes_to_the_next_worker(server_url: str, end: str) -> None:
    async with talk_to(server_url) as client:
        id_ = await delayed(client)
        async with worker(server_url, "add-1") as socket:
            assert (await received(socket))["id"] == id_
            if end != "gone":
                await send(socket, {"type": end})
                with pytest.raises(ConnectionClosed) as closed:
                    await received(socket)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == (1000 if end == "quit" else 4001)
        async with worker(server_url, "add-1", name="worker-2") as socket:
            assert (await received(socket))["id"] == id_
            await send(socket, {"type": "ack"})


@pytest.mark.heavy
async def test_a_task_survives_the_server_that_is_about_to_hand_it_out(
    start_server: StartServer,
) -> None:
    before = start_server()
    async with talk_to(before.url) as client:
        ids = {await delayed(client), await delayed(client)}
    async with worker(before.url, "add-1") as socket:
        await received(socket)
        before.process.kill()
        before.process.wait()
    after = start_server()
    got = set()
    async with worker(after.url, "add-1", name="worker-2") as socket:
        for _ in ids:
            got.add((await received(socket))["id"])
            await send(socket, {"type": "ack"})
    assert got == ids


@pytest.mark.parametrize(
    "said",
    [
        {"type": "hello"},
        {"type": "subscribe", "client_id": "w"},
        {"type": "subscribe", "keys": [], "client_id": "w"},
        {"type": "subscribe", "keys": [1], "client_id": "w"},
        {"type": "subscribe", "keys": ["a"]},
        {"type": "subscribe", "keys": ["a"], "client_id": "x" * 5000},
        {"type": "subscribe", "keys": ["a"] * 1001, "client_id": "w"},
    ],
)
async def test_who_does_not_keep_to_the_protocol_is_told_so(server_url: str, said: Any) -> None:
    async with opened(server_url, PATH) as socket:
        await send(socket, said)
        with pytest.raises(ConnectionClosed) as closed:
            await received(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4001
        assert closed.value.rcvd.reason.startswith("Protocol violation")


async def test_connected_workers_are_shown_by_every_process(start_server: StartServer) -> None:
    first, second = start_server().url, start_server().url
    async with talk_to(second) as client:

        async def named(**asked: Any) -> list[str]:
            body = {"task_worker_filter": asked} if asked else None
            found = await expect(client, "POST", "/task_workers/filter", 200, body)
            return [one["identifier"] for one in found]

        async def become(wanted: list[str]) -> None:
            async with asyncio.timeout(SOON):
                while await named() != wanted:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

        async with worker(first, "add-1", name="a"):
            async with worker(second, "b-1", name="b"):
                await become(["a", "b"])
                assert await named(task_keys=["b-1"]) == ["b"]
            await become(["a"])
        await become([])
