"""A real client runs its flow through nginx on two servers with several workers each, while one of
the servers is killed and Redis is emptied: the client goes on, nothing is missing on either."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis

from eventstore.migrate import Target
from tests import nginx_serving, serving
from tests.chaos.test_client_survives_kills import check_nothing_is_missing
from tests.e2e import prefect_client
from tests.e2e.answers import Api
from tests.e2e.prefect_client import PrefectClient, Running
from tests.redis_serving import RunningRedis
from tests.serving import RunningServer

PATH = "/pluperfect"
LOCATION = f"location {PATH}/ {{ proxy_pass http://pluperfect;"
WORKERS, WORKERS_LONG = 2, 4
LEGS, LEGS_LONG = 6, 40
TASKS_IN_A_LEG = 21
PROGRESS_SECONDS_MAX = 120.0
"""How long the flow may take to get that far; the client's pauses are among it."""
FLOW_SECONDS_MAX = 600.0
POLL_SECONDS = 0.05


class Pair:
    """Two servers on one Postgres and one Redis, behind an nginx."""

    def __init__(self, target: Target, folder: Path, redis_server: RunningRedis) -> None:
        self._target = target
        self._folder = folder
        self._redis = redis_server
        self.workers = WORKERS
        self.servers: list[RunningServer] = []

    def start(self, number: int, port: int | None = None) -> RunningServer:
        """One of the two."""
        return serving.start(
            self._target,
            self._folder / f"server-{number}",
            workers=self.workers,
            port=port,
            settings={"PLUPERFECT_BASE_PATH": PATH, "PLUPERFECT_REDIS_URL": self._redis.url},
        )

    def kill_and_restart(self, number: int) -> None:
        """kill -9 of a server and all its workers; then it is there again."""
        server = self.servers[number]
        workers = psutil.Process(server.process.pid).children()
        assert len(workers) == self.workers
        for process in (server.process, *workers):
            process.kill()
        server.process.wait()
        psutil.wait_procs(workers)
        self.servers[number] = self.start(number, server.port)

    def empty_redis(self) -> None:
        with redis.Redis.from_url(self._redis.url) as client:
            client.flushall()


@pytest.fixture
def pair(target: Target, tmp_path: Path) -> Iterator[Pair]:
    redis_server = RunningRedis(tmp_path)
    redis_server.start()
    pair = Pair(target, tmp_path, redis_server)
    try:
        yield pair
        for server in pair.servers:
            assert server.stop() == 0, server.output()
    finally:
        for server in pair.servers:
            server.process.kill()
        redis_server.kill()
    serving.verify_digests(target)


def _wait(flow: Running, count: Callable[[], int], least: int) -> None:
    deadline = time.monotonic() + PROGRESS_SECONDS_MAX
    while count() < least:
        assert flow.process.poll() is None, f"the flow has ended\n{flow.errors.read_text()}"
        assert time.monotonic() < deadline, f"no progress\n{flow.errors.read_text()}"
        time.sleep(POLL_SECONDS)


def _run_and_check(pair: Pair, folder: Path, legs: int) -> None:
    pair.servers = [pair.start(number) for number in range(2)]
    ports = [server.port for server in pair.servers]
    with nginx_serving.in_front_of(folder / "nginx", ports, LOCATION) as url:
        api_url = f"{url}{PATH}/api"
        client = PrefectClient(prefect_client.environment(), folder / "client", api_url)
        flow = client.start_flow("long_haul.py", str(legs))
        try:
            with Api(api_url) as api:
                # Until then a part of the client would give up at the first failure.
                _wait(flow, lambda: len(api.ask("/logs/filter")), 1)
                for number in range(2):
                    done = (1 + number * (legs - 3)) * TASKS_IN_A_LEG
                    _wait(flow, lambda: api.ask("/task_runs/count"), done)
                    pair.empty_redis()
                    pair.kill_and_restart(number)
            finished = flow.finish(FLOW_SECONDS_MAX)
        finally:
            flow.end()
        assert finished.code == 0, finished.errors
        said = finished.said
        assert len(said["task_runs"]) == legs * TASKS_IN_A_LEG
        for shown_by in (api_url, *(server.url for server in pair.servers)):
            with Api(shown_by) as api:
                check_nothing_is_missing(api, said, legs)


@pytest.mark.parametrize("backend", ["postgres"])
def test_a_flow_goes_on_behind_nginx_while_servers_are_killed_and_redis_is_emptied(
    pair: Pair, tmp_path: Path
) -> None:
    _run_and_check(pair, tmp_path, LEGS)


@pytest.mark.long
@pytest.mark.parametrize("backend", ["postgres"])
def test_a_long_flow_goes_on_behind_nginx_with_four_workers_each(
    pair: Pair, tmp_path: Path
) -> None:
    pair.workers = WORKERS_LONG
    _run_and_check(pair, tmp_path, LEGS_LONG)
