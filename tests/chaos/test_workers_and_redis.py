"""Four workers, a Redis that misbehaves, and everybody who looks or listens."""

import asyncio
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from msgspec import json
from websockets.exceptions import WebSocketException

from tests.api.talk import Json, expect, make_flow, make_flow_run, set_state, talk_to
from tests.api.test_events_sockets import follow, is_following, opened, send
from tests.api.test_logs import PROBE, line, listening
from tests.chaos.redis_proxy import Harm, RedisProxy
from tests.conftest import StartServer
from tests.emitting import emission
from tests.redis_serving import RunningRedis
from tests.serving import NO_CERTIFICATES, RunningServer

WORKERS = 4
SECONDS_MAX = 60.0
CONNECTIONS_MAX = 200
"""Connections opened in search of one to each worker."""
EVERYTHING = Harm(drop=0.2, repeat=0.2, delay=0.3, cut=0.02)


@pytest.fixture
def running_redis(tmp_path: Path) -> Iterator[RunningRedis]:
    server = RunningRedis(tmp_path)
    server.start()
    yield server
    server.kill()


def worker_of(server: RunningServer, client_port: int) -> int:
    """The process that has the other end of a connection of ours."""
    for worker in psutil.Process(server.process.pid).children():
        for connection in worker.net_connections("tcp"):
            if connection.raddr and connection.raddr.port == client_port:
                return int(worker.pid)
    raise AssertionError(f"no worker has the connection from port {client_port}")


async def one_client_per_worker(server: RunningServer) -> list[httpx.AsyncClient]:
    """Clients of one kept connection each, every one to another worker."""
    pinned: dict[int, httpx.AsyncClient] = {}
    for _ in range(CONNECTIONS_MAX):
        limits = httpx.Limits(max_connections=1, keepalive_expiry=None)
        client = httpx.AsyncClient(
            base_url=server.url, limits=limits, timeout=SECONDS_MAX, verify=NO_CERTIFICATES
        )
        async with client.stream("GET", "/health") as response:
            stream: Any = response.extensions["network_stream"]
            port = stream.get_extra_info("client_addr")[1]
            await response.aread()
        worker = worker_of(server, port)
        if worker in pinned:
            await client.aclose()
        pinned.setdefault(worker, client)
        if len(pinned) == WORKERS:
            return list(pinned.values())
    raise AssertionError(f"{len(pinned)} of {WORKERS} workers took connections")


async def test_what_one_worker_acknowledged_every_worker_shows(
    start_server: StartServer, running_redis: RunningRedis
) -> None:
    server = start_server(
        workers=WORKERS,
        settings={"PLUPERFECT_REDIS_URL": running_redis.url, "PREFECT_API_KEEPALIVE_TIMEOUT": "60"},
    )
    clients = await one_client_per_worker(server)
    flow_id = await make_flow(clients[0])
    for turn in range(12):
        writer = clients[turn % WORKERS]
        run = await make_flow_run(writer, flow_id)
        for kind in ("RUNNING", "COMPLETED"):
            answer = await set_state(writer, "flow_runs", run["id"], kind)
            assert answer.json()["status"] == "ACCEPT"
            for reader in clients:
                shown = await expect(reader, "GET", f"/flow_runs/{run['id']}", 200)
                assert shown["state_type"] == kind
            writer = clients[(turn + 1) % WORKERS]
    counted = [await expect(one, "POST", "/flow_runs/count", 200, {}) for one in clients]
    assert counted == [12] * WORKERS
    for client in clients:
        await client.aclose()


class Audience:
    """Followers of events and of log lines, who each note what they hear."""

    def __init__(self) -> None:
        self.heard: list[list[str]] = []
        self._listening: list[asyncio.Task[None]] = []
        self.ready = 0

    async def _events(self, url: str, name: str, last: str, mine: list[str]) -> None:
        async with opened(url, "/events/out") as socket:
            await follow(socket, backfill=False, event={"prefix": [name, "probe"]})
            await is_following(socket, url, "probe")
            self.ready += 1
            while not mine or mine[-1] != last:
                event = json.decode(await socket.recv())["event"]
                if event["event"] != "probe":
                    mine.append(event["event"])

    async def _lines(self, url: str, run_id: str, last: str, mine: list[str]) -> None:
        wanted = {"flow_run_id": {"any_": [run_id]}}
        async with listening(url, wanted, run=run_id) as socket:
            self.ready += 1
            while not mine or mine[-1] != last:
                message = json.decode(await socket.recv())["log"]["message"]
                if message != PROBE:
                    mine.append(message)

    def sit_down(self, url: str, number: int, run_id: str, last: str) -> None:
        """Half of them listen to events, half of them to lines; `last` ends both."""
        for n in range(number):
            mine: list[str] = []
            self.heard.append(mine)
            hearing = (
                self._events(url, "told.", f"told.{last}", mine)
                if n % 2
                else self._lines(url, run_id, last, mine)
            )
            self._listening.append(asyncio.create_task(hearing))

    async def seated(self) -> None:
        async with asyncio.timeout(SECONDS_MAX):
            while self.ready < len(self._listening):  # noqa: ASYNC110 - over the network, no signal
                await asyncio.sleep(0.02)

    async def end(self) -> None:
        async with asyncio.timeout(SECONDS_MAX):
            await asyncio.gather(*self._listening)


async def told(url: str, writers: int, each: int, run_id: str) -> tuple[set[str], set[str]]:
    """Emit events and write lines from several clients at once; what was acknowledged."""
    events: set[str] = set()
    lines: set[str] = set()

    async def tell(writer: int) -> None:
        async with talk_to(url) as client:
            for n in range(each):
                name = f"told.{writer}.{n}"
                answer = await client.post("/events", json=[emission(event=name)])
                assert answer.status_code == 204
                events.add(name)
                message = f"{writer}.{n}"
                stamped = line(message, run_id, timestamp=datetime.now(UTC).isoformat())
                await expect(client, "POST", "/logs/", 201, [stamped])
                lines.add(message)

    await asyncio.gather(*(tell(writer) for writer in range(writers)))
    return events, lines


async def everybody_hears(
    start_server: StartServer, running_redis: RunningRedis, audience_size: int, each: int
) -> None:
    proxy = RedisProxy(running_redis.port, EVERYTHING, seed=11)
    await proxy.start()
    server = start_server(workers=WORKERS, settings={"PLUPERFECT_REDIS_URL": proxy.url})
    async with talk_to(server.url) as client:
        flow_id = await make_flow(client)
        run: Json = await make_flow_run(client, flow_id)
        last = str(uuid.uuid4())
        audience = Audience()
        audience.sit_down(server.url, audience_size, run["id"], last)
        await audience.seated()
        telling = asyncio.create_task(told(server.url, 8, each, run["id"]))
        await asyncio.sleep(0.5)
        running_redis.kill()
        await asyncio.sleep(0.5)
        running_redis.start()
        events, lines = await telling
        await expect(client, "POST", "/logs/", 201, [line(last, run["id"])])
        await client.post("/events", json=[emission(event=f"told.{last}")])
        await audience.end()
    assert proxy.harmed, "the proxy did nothing"
    for kind, expected in ((1, events | {f"told.{last}"}), (0, lines | {last})):
        heard = audience.heard[kind::2]
        assert set(heard[0]) == expected
        assert len(heard[0]) == len(expected), "something came twice"
        # All of them in the one order of the log.
        assert all(other == heard[0] for other in heard)
    await proxy.close()


async def test_whatever_redis_does_every_listener_hears_everything_in_one_order(
    start_server: StartServer, running_redis: RunningRedis
) -> None:
    await everybody_hears(start_server, running_redis, audience_size=24, each=15)


@pytest.mark.long
async def test_whatever_redis_does_a_hundred_listeners_hear_everything_for_long(
    start_server: StartServer, running_redis: RunningRedis
) -> None:
    await everybody_hears(start_server, running_redis, audience_size=100, each=250)


async def test_a_follower_whose_worker_was_killed_goes_on_with_another(
    start_server: StartServer, running_redis: RunningRedis
) -> None:
    server = start_server(workers=WORKERS, settings={"PLUPERFECT_REDIS_URL": running_redis.url})
    heard: list[str] = []
    began = datetime.now(UTC).isoformat()

    async def listen() -> None:
        """As Prefect's subscriber does: connects again and asks for what it may have missed."""
        while "after" not in heard:
            try:
                async with opened(server.url, "/events/out") as socket:
                    await follow(socket, occurred={"since": began}, event={"prefix": ["seen."]})
                    while "after" not in heard:
                        name = json.decode(await socket.recv())["event"]["event"]
                        if name.removeprefix("seen.") not in heard:
                            heard.append(name.removeprefix("seen."))
            except (OSError, WebSocketException):
                continue

    listening_task = asyncio.create_task(listen())
    async with opened(server.url, "/events/in") as inlet:
        await send(inlet, emission(event="seen.before"))
    async with asyncio.timeout(SECONDS_MAX):
        while "before" not in heard:  # noqa: ASYNC110 - over the network, no signal
            await asyncio.sleep(0.02)
        workers = psutil.Process(server.process.pid).children()
        for worker in workers:
            worker.kill()
            worker.wait(SECONDS_MAX)
        # Replaced by the supervisor.
        async with httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(retries=20), verify=NO_CERTIFICATES
        ) as client:
            answer = await client.post(
                f"{server.url}/events", json=[emission(event="seen.after")], timeout=SECONDS_MAX
            )
            assert answer.status_code == 204
        await listening_task
    assert heard == ["before", "after"]
