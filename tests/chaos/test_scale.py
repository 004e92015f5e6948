"""Four workers, Postgres, Redis, a crowd of subscribers and of clients that write: nobody misses
anything or is told anything twice, and the workers do not grow.

Afterwards the server's fixture compares the read models with what the log folds into, and here the
log's chain of hashes is checked by the command line.
"""

import asyncio
import itertools
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import uvloop
from msgspec import Struct

from eventstore.ids import new_id
from tests import serving
from tests.benchmarks.client import Client, Websocket
from tests.chaos.busy_clients import (
    BusyClient,
    Emitter,
    Logger,
    Orchestrator,
    Poster,
    line,
    work,
)
from tests.chaos.crowd import PROBE, Circle, Kind, connect
from tests.conftest import StartServer
from tests.emitting import emission
from tests.redis_serving import RunningRedis
from tests.serving import RunningServer

WORKERS = 4
GROUPS = 8
"""Groups of emissions, and runs with log lines; a subscriber wants those of one."""
READY_SECONDS_MAX = 60.0
HEARD_SECONDS_MAX = 60.0
"""How long after the last acknowledgement everybody must have heard everything."""
VERIFY_SECONDS_MAX = 900.0
POLL_SECONDS = 0.1
PROBE_SECONDS = 0.3
SLOW_EVERY = 8
"""One in so many subscribers is slow: now and then it reads nothing for a while."""
SLOW_SECONDS = 3.0
MEMORY_LOOK_SECONDS = 1.0
MIB = 1024 * 1024


class Size(Struct, frozen=True):
    """How much of everything."""

    seconds: float
    pause_seconds: float
    """Of each client, between two things that it writes."""
    subscribers: int
    """Of each of four kinds."""
    clients: int
    """Of each of four kinds."""
    growth_max: int
    """Bytes by which a worker may grow between the middle and the end."""


SHORT = Size(15.0, 1.0, 20, 6, 32 * MIB)
"""After a few seconds caches still fill."""
LONG = Size(600.0, 1.0, 50, 16, 12 * MIB)


@pytest.fixture
def forked() -> bool:
    """Servers are started here as operators start them."""
    return False


@pytest.fixture
def running_redis(tmp_path: Path) -> Iterator[RunningRedis]:
    server = RunningRedis(tmp_path)
    server.start()
    yield server
    server.kill()


class Memory:
    """The resident memory of each worker, looked at again and again."""

    def __init__(self, server: RunningServer) -> None:
        self.workers = psutil.Process(server.process.pid).children()
        assert len(self.workers) == WORKERS
        self._seen: list[list[int]] = [[] for _ in self.workers]

    async def watch(self) -> None:
        while True:
            for worker, seen in zip(self.workers, self._seen, strict=True):
                seen.append(worker.memory_info().rss)
            await asyncio.sleep(MEMORY_LOOK_SECONDS)

    def growth(self) -> list[tuple[int, int]]:
        """Of each worker the median around the middle and at the end."""
        found = []
        for seen in self._seen:
            tenth = max(1, len(seen) // 10)
            middle = seen[len(seen) // 2 - tenth : len(seen) // 2 + tenth]
            found.append((int(statistics.median(middle)), int(statistics.median(seen[-tenth:]))))
        return found


class Scene:
    """Everybody on a server."""

    def __init__(self, server: RunningServer, size: Size) -> None:
        self._port = server.port
        self._size = size
        self._schema = server.target.schema
        self._database = server.target.url
        self._runs = [new_id() for _ in range(GROUPS)]
        """Runs with log lines; lines may come before, or without, their run."""
        self.circles: list[tuple[Circle, str]] = []
        """With the SQL that says what each must have heard."""
        self.orchestrators: list[Orchestrator] = []
        self.loggers: list[Logger] = []
        self.posters: list[Poster] = []
        self.emitters: list[Emitter] = []

    @property
    def clients(self) -> Sequence[BusyClient]:
        return [*self.orchestrators, *self.loggers, *self.posters, *self.emitters]

    def _sit_down(self) -> None:
        """Who listens to what, and what each circle must have heard."""
        each = self._size.subscribers
        rest = max(1, each // 5)
        groups = _shares(each - rest, GROUPS)
        for n, size in enumerate(groups):
            group = f"scale.{n}"
            named = {"event": {"prefix": [f"{group}.", PROBE]}}
            feed = f"SELECT id FROM emissions WHERE event LIKE '{group}.%' ORDER BY position"
            self._seat(f"events of {group}", "events", named, size, feed)
            about = {"resource": [group]}
            log = f"""SELECT event_id FROM events WHERE data::text LIKE '%"{group}"%'
                ORDER BY position"""
            self._seat(f"subscriptions to {group}", "subscription", about, size, log)
            self._seat(f"streams of {group}", "stream", about, size, log)
        for n, (run_id, size) in enumerate(zip(self._runs, _shares(each, GROUPS), strict=True)):
            asked = {"flow_run_id": {"any_": [run_id]}}
            lines = f"""SELECT message FROM log_lines WHERE flow_run_id = '{run_id}'
                AND message <> '{PROBE}' ORDER BY line"""
            self._seat(f"lines of run {n}", "logs", asked, size, lines)
        runs = {"event": {"prefix": ["prefect.flow-run.", PROBE]}}
        feed = "SELECT id FROM emissions WHERE event LIKE 'prefect.flow-run.%' ORDER BY position"
        self._seat("events of runs", "events", runs, rest, feed)
        log = "SELECT event_id FROM events WHERE type LIKE 'flow-run.%' ORDER BY position"
        self._seat("subscriptions to runs", "subscription", {"type": ["flow-run.*"]}, rest, log)
        everything = "SELECT event_id FROM events ORDER BY position"
        self._seat("streams of everything", "stream", {}, rest, everything)

    def _seat(self, name: str, kind: Kind, asked: Mapping[str, Any], size: int, sql: str) -> None:
        self.circles.append((Circle(name, kind, asked, size), sql))

    async def set_up(self) -> None:
        """Connect everybody, and return when every subscription has begun."""
        port, each = self._port, self._size.clients
        client = Client(port)
        answer = await client.call("POST", "/flows/", {"name": "scale"}, expect=201)
        flow_id = str(answer.json()["id"])
        self.orchestrators = [Orchestrator(port, flow_id) for _ in range(each)]
        self.loggers = [Logger(port, n, self._runs[n % GROUPS]) for n in range(each)]
        self.posters = [Poster(port, f"scale.{n % GROUPS}") for n in range(each)]
        for n in range(each):
            inlet = await Websocket.open("/events/in", port)
            self.emitters.append(Emitter(inlet, f"scale.{n % GROUPS}"))
        self._sit_down()
        circles = [circle for circle, _ in self.circles]
        await connect(circles, port)
        subscribers = [one for circle in circles for one in circle.subscribers]
        async with asyncio.timeout(READY_SECONDS_MAX):
            while not all(one.listening for one in subscribers):
                await client.call("POST", "/events", [emission(event=PROBE)], expect=204)
                probes = [line(PROBE, run_id) for run_id in self._runs]
                await client.call("POST", "/logs/", probes, expect=201)
                await asyncio.sleep(PROBE_SECONDS)
        client.close()

    async def dawdle(self) -> None:
        """Let slow subscribers stop reading and go on, in turns, until cancelled."""
        everybody = [one for circle, _ in self.circles for one in circle.subscribers]
        slow = everybody[::SLOW_EVERY]
        for one in itertools.cycle(slow):
            one.read(False)
            await asyncio.sleep(SLOW_SECONDS / len(slow))
            asyncio.get_running_loop().call_later(SLOW_SECONDS, one.read, True)

    def recorded(self) -> list[list[str]]:
        """What each circle must have heard, from the database."""
        with self._connected() as postgres:
            return [[str(row[0]) for row in postgres.execute(sql)] for _, sql in self.circles]

    def _connected(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._database, options=f"-c search_path={self._schema}")

    async def everything_is_heard(self) -> list[list[str]]:
        """Wait until everybody has heard as much as is recorded; what that is, by circle."""
        recorded = self.recorded()
        async with asyncio.timeout(HEARD_SECONDS_MAX):
            while any(  # noqa: ASYNC110 - over the network, no signal
                one.place < len(expected)
                for (circle, _), expected in zip(self.circles, recorded, strict=True)
                for one in circle.subscribers
            ):
                await asyncio.sleep(POLL_SECONDS)
        return recorded

    def check(self, recorded: Sequence[list[str]]) -> None:
        """Every subscriber has heard exactly what is recorded, and all that was promised is."""
        for (circle, _), expected in zip(self.circles, recorded, strict=True):
            assert circle.heard == expected, f"{circle.name}: not what is recorded"
            for one in circle.subscribers:
                assert one.wrong is None
                assert one.place == len(expected), f"{circle.name}: something came again"
                assert not one.lost, f"{circle.name}: a connection was lost"
        by_name = {
            circle.name: set(expected)
            for (circle, _), expected in zip(self.circles, recorded, strict=True)
        }
        for n in range(GROUPS):
            sent: list[Poster | Emitter] = [*self.posters[n::GROUPS], *self.emitters[n::GROUPS]]
            assert {id for one in sent for id in one.ids} == by_name[f"events of scale.{n}"]
            written = {text for one in self.loggers[n::GROUPS] for text in one.messages}
            assert written == by_name[f"lines of run {n}"]
        promised = {id: n for one in self.orchestrators for id, n in one.versions.items()}
        assert promised
        assert promised == self._versions()
        for asking in (self.orchestrators, self.loggers, self.posters):
            assert not any(one.client.retries for one in asking), "a request was refused"

    def _versions(self) -> dict[str, int]:
        with self._connected() as postgres:
            found = postgres.execute(
                """SELECT split_part(stream, ':', 2), MAX(version) FROM events
                WHERE stream LIKE 'flow-run:%' GROUP BY stream"""
            )
            return {str(run_id): int(version) for run_id, version in found}

    async def close(self) -> None:
        for client in self.clients:
            await client.close()
        for circle, _ in self.circles:
            for one in circle.subscribers:
                one.close()


def _shares(total: int, parts: int) -> list[int]:
    """`total` in `parts`, as equal as can be."""
    return [total // parts + (n < total % parts) for n in range(parts)]


async def _act(server: RunningServer, size: Size) -> None:
    scene = Scene(server, size)
    await scene.set_up()
    memory = Memory(server)
    for worker in memory.workers:
        connections = [one for one in worker.net_connections("tcp") if one.raddr]
        assert any(one.laddr.port == server.port for one in connections), "a worker has nobody"
    beside = [asyncio.create_task(one) for one in (memory.watch(), scene.dawdle())]
    await work(scene.clients, size.seconds, size.pause_seconds)
    for task in beside:
        task.cancel()
    recorded = await scene.everything_is_heard()
    scene.check(recorded)
    await scene.close()
    growth = memory.growth()
    events = len(recorded[-1])
    told = sum(
        len(expected) * len(circle.subscribers)
        for (circle, _), expected in zip(scene.circles, recorded, strict=True)
    )
    said = ", ".join(f"{middle / MIB:.0f} → {end / MIB:.0f} MiB" for middle, end in growth)
    sys.stdout.write(f"{events} events, {told} times told in {size.seconds:g} s; {said}\n")
    for middle, end in growth:
        assert end - middle <= size.growth_max, f"a worker grows: {said}"


def _run(server: RunningServer, home: Path, size: Size) -> None:
    uvloop.run(_act(server, size))
    verified = subprocess.run(
        [*serving.COMMAND, "log", "verify"],
        cwd=home,
        env=serving.environment(server.target, home, {}),
        capture_output=True,
        text=True,
        timeout=VERIFY_SECONDS_MAX,
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.parametrize("backend", ["postgres"])
def test_a_crowd_hears_everything_once_and_in_order(
    start_server: StartServer, running_redis: RunningRedis, tmp_path: Path
) -> None:
    server = start_server(workers=WORKERS, settings={"PLUPERFECT_REDIS_URL": running_redis.url})
    _run(server, tmp_path, SHORT)


@pytest.mark.long
@pytest.mark.parametrize("backend", ["postgres"])
def test_a_large_crowd_hears_everything_once_and_in_order_for_long(
    start_server: StartServer, running_redis: RunningRedis, tmp_path: Path
) -> None:
    server = start_server(workers=WORKERS, settings={"PLUPERFECT_REDIS_URL": running_redis.url})
    _run(server, tmp_path, LONG)
