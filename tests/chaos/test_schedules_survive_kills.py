"""kill -9 of the server while schedules bring about runs, a worker and a served flow run them, and
background tasks wait: every slot has run exactly once, nothing is missing and nothing is stuck.

The server is seen through nginx, which answers 502 while it is away: a new process of Prefect's
client asks again then, while it gives up when its first connection is refused. A task worker does
it the other way round, so it is told where the server itself is.
"""

import fcntl
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from eventstore.migrate import Target
from tests import nginx_serving, serving
from tests.conftest import fresh_database
from tests.e2e import prefect_client
from tests.e2e.answers import Api
from tests.e2e.deployed import (
    POOL,
    end,
    journal,
    once_each,
    project,
    start_worker,
    stop,
    until,
)
from tests.e2e.prefect_client import FLOWS, PrefectClient
from tests.serving import RunningServer

SHAPES = (("sqlite", 1), ("postgres", 4))
TASKS = 6
AT_ONCE = 3
"""Runs of the worker at the same time: a busy machine does not get slower by being late."""
ENDED_SECONDS_MAX = 480.0
"""How long after the last slot its run may take; the client's pauses are among it."""
UNDER_WAY = ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING", "PAUSED"]


@dataclass(frozen=True)
class Load:
    """How hard and how long."""

    kills: int
    seconds: float
    every: int
    """Seconds between two slots of a schedule."""


SHORT = Load(kills=3, seconds=40.0, every=20)
LONG = Load(kills=10, seconds=300.0, every=30)


class Mortal:
    """A server with some workers that is killed and started again at the same address."""

    def __init__(self, target: Target, home: Path, workers: int) -> None:
        self._target = target
        self._home = home
        self._workers = workers
        self.port = serving.free_port()
        self.server = self._start()

    def _start(self) -> RunningServer:
        return serving.start(self._target, self._home, workers=self._workers, port=self.port)

    def kill(self) -> None:
        """kill -9 of all its processes; then it is there again."""
        assert self.server.process.poll() is None, self.server.output()
        workers = psutil.Process(self.server.process.pid).children(recursive=True)
        for process in (self.server.process, *workers):
            process.kill()
        self.server.process.wait()
        psutil.wait_procs(workers)
        self.server = self._start()


@pytest.fixture(params=SHAPES, ids=lambda shape: f"{shape[0]}-{shape[1]}")
def shape(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Target, int]]:
    """A database, and how many workers the server has."""
    engine, workers = request.param
    with fresh_database(engine, request, tmp_path) as target:
        yield target, workers


@contextmanager
def mortal(target: Target, folder: Path, workers: int) -> Iterator[Mortal]:
    """The server of a test; at the end its log and its read models are looked through."""
    one = Mortal(target, folder / "home", workers)
    try:
        yield one
    finally:
        code = one.server.stop()
    assert code == 0, f"exit code {code}:\n{one.server.output()}"
    done = serving.run_cli(target, folder / "home", "log", "verify")
    assert done.returncode == 0, done.stdout + done.stderr
    serving.verify_digests(target)


def survive(target: Target, folder: Path, workers: int, load: Load) -> None:
    """The whole test, in any length."""
    environment = prefect_client.environment()
    with mortal(target, folder, workers) as one, ExitStack() as cleanup:
        enter = cleanup.enter_context
        url = enter(nginx_serving.in_front_of(folder / "nginx", [one.port, one.port]))
        client, _ = enter(project(environment, folder / "client", f"{url}/api"))
        commands, api = enter(client.commands()), enter(Api(f"{url}/api"))
        made = commands.prefect("work-pool", "create", POOL, "--type", "process")
        assert made.code == 0, made.errors
        worker = start_worker(client, AT_ONCE)
        cleanup.callback(end, worker)
        deployed = commands.prefect(
            *("deploy", "work.py:tick", "--name", "worked", "--pool", POOL),
            *("--cron", f"* * * * * */{load.every}"),
        )
        assert deployed.code == 0, deployed.output + deployed.errors
        served = client.start_flow("serving.py", str(load.every))
        cleanup.callback(end, served)
        until(lambda: _deployments(api).keys() == {"worked", "served"}, "both deployments")
        waiting = client.flow("background.py", "leave", str(TASKS)).said
        _kill_again_and_again(one, load)
        direct = PrefectClient(environment, client.home, one.server.url, client.settings)
        tasks = direct.start_prefect("task", "serve", f"{FLOWS / 'background.py'}:add")
        cleanup.callback(end, tasks)
        one.kill()
        # For some seconds the proxy does not believe that it is there again.
        until(lambda: api.get("/health").is_success, "the server behind its proxy")
        ended = _rest(api)
        until(lambda: _all_ended(api), "the end of all runs", ENDED_SECONDS_MAX)
        _check_slots(api, client, load, ended)
        _check_tasks(api, waiting)
        assert stop(worker).code == 0
        assert stop(served).code == 0


def _kill_again_and_again(one: Mortal, load: Load) -> None:
    """All but the last kill, at random moments of equal parts of the time."""
    draw = random.Random()
    part = load.seconds / load.kills
    for _ in range(load.kills - 1):
        before = draw.uniform(0.1, 0.9) * part
        time.sleep(before)
        one.kill()
        time.sleep(part - before)
    time.sleep(part)


def _deployments(api: Api) -> dict[str, Any]:
    return {one["name"]: one for one in api.find("/deployments/filter")}


def _rest(api: Api) -> datetime:
    """Let all schedules rest; a moment before which every slot is to have run."""
    now = datetime.now(UTC)
    for deployment in _deployments(api).values():
        for schedule in deployment["schedules"]:
            _let_rest(api, f"/deployments/{deployment['id']}/schedules/{schedule['id']}")
    return now


def _let_rest(api: Api, path: str) -> None:
    # A server that is very busy may say 503: then once more, as any client does.
    until(lambda: api.patch(path, json={"active": False}).is_success, path)


def _all_ended(api: Api) -> bool:
    asked = {"flow_runs": {"state": {"type": {"any_": UNDER_WAY}}}}
    answer = api.post("/flow_runs/count", json=asked)
    return answer.is_success and answer.json() == 0


def _check_slots(api: Api, client: PrefectClient, load: Load, ended: datetime) -> None:
    """From the first slot of each schedule to its last there are all, and each has run once."""
    by_schedule: dict[tuple[str, str], list[Any]] = {}
    for name, deployment in _deployments(api).items():
        among = {"id": {"any_": [deployment["id"]]}}
        for run in api.find("/flow_runs/filter", deployments=among):
            by_schedule.setdefault((name, run["created_by"]["display_value"]), []).append(run)
    assert len(by_schedule) == 4
    ran = [line["run"] for line in journal(client)]
    assert once_each(ran)
    step = timedelta(seconds=load.every)
    for schedule, runs in by_schedule.items():
        bad = {run["id"]: run["state_name"] for run in runs if run["state_name"] != "Completed"}
        assert bad == {}, schedule
        slots = sorted(datetime.fromisoformat(run["expected_start_time"]) for run in runs)
        assert slots == [slots[0] + number * step for number in range(len(slots))], schedule
        assert len(slots) >= load.seconds / load.every - 1, schedule
        assert ended - step < slots[-1], schedule
        assert {run["id"] for run in runs} <= set(ran), schedule
    assert len(ran) == sum(map(len, by_schedule.values()))


def _check_tasks(api: Api, ids: list[str]) -> None:
    def completed() -> bool:
        runs = api.find("/task_runs/filter", task_runs={"id": {"any_": ids}})
        return {run["id"] for run in runs if run["state_type"] == "COMPLETED"} == set(ids)

    until(completed, "the end of the background tasks", ENDED_SECONDS_MAX)
    assert {api.read(f"/task_runs/{id_}")["run_count"] for id_ in ids} == {1}


def test_every_slot_runs_once_while_the_server_is_killed(
    shape: tuple[Target, int], tmp_path: Path
) -> None:
    survive(shape[0], tmp_path, shape[1], SHORT)


@pytest.mark.long
def test_every_slot_of_five_minutes_runs_once_while_the_server_is_killed_ten_times(
    shape: tuple[Target, int], tmp_path: Path
) -> None:
    survive(shape[0], tmp_path, shape[1], LONG)


def _begun(client: PrefectClient) -> list[int]:
    return [line["number"] for line in journal(client)]


def lose_a_task_worker(target: Target, folder: Path, tasks: int) -> None:
    """Kill a task worker that runs one task and was handed another; the others wait in the queue.

    What has begun ends with it. What it was handed and has not begun goes to the next worker when
    the first one has been away for long enough.
    """
    with (
        mortal(target, folder, 1) as one,
        project(prefect_client.environment(), folder / "client", one.server.url) as (client, gate),
        Api(one.server.url) as api,
        ExitStack() as cleanup,
    ):
        ids = client.flow("gated.py", "leave", str(tasks)).said
        serve = ("task", "serve", f"{FLOWS / 'gated.py'}:held")
        first = client.start_prefect(*serve, "--limit", "1")
        cleanup.callback(end, first)
        until(lambda: _begun(client), "a task that has begun")
        (lost,) = _begun(client)
        # Else it would go to the next worker as well: as far as the server knows it has not begun.
        path = f"/task_runs/{ids[lost]}"
        until(lambda: api.read(path)["state_type"] == "RUNNING", "that the server knows")
        end(first)
        fcntl.flock(gate, fcntl.LOCK_UN)
        second = client.start_prefect(*serve)
        cleanup.callback(end, second)

        def completed() -> set[str]:
            runs = api.find("/task_runs/filter", task_runs={"id": {"any_": ids}})
            return {run["id"] for run in runs if run["state_type"] == "COMPLETED"}

        until(lambda: completed() == set(ids) - {ids[lost]}, "the end of the other tasks")
        assert sorted(_begun(client)) == list(range(tasks))


@pytest.mark.parametrize("backend", ["sqlite"])  # A minute of waiting; engines do not differ here.
def test_what_waits_for_a_task_worker_that_is_killed_is_run_by_the_next(
    target: Target, tmp_path: Path
) -> None:
    lose_a_task_worker(target, tmp_path, TASKS)
