"""Two servers on one Postgres and one Redis behind a real nginx, of which one can be killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import redis

from eventstore.migrate import Target
from tests import nginx_serving, serving
from tests.redis_serving import RunningRedis
from tests.serving import RunningServer

PATH = "/pluperfect"
"""Where they are seen through the proxy."""
LOCATION = f"location {PATH}/ {{ proxy_pass http://pluperfect;"


class Pair:
    """Two servers on one Postgres and one Redis, behind an nginx."""

    def __init__(
        self, target: Target, folder: Path, redis_server: RunningRedis, workers: int
    ) -> None:
        self._target = target
        self._folder = folder
        self._redis = redis_server
        self.workers = workers
        self.servers: list[RunningServer] = []

    @contextmanager
    def in_front(self) -> Iterator[str]:
        """Start both; the URL of their API through nginx, as long as it is wanted."""
        self.servers = [self.start(number) for number in range(2)]
        ports = [server.port for server in self.servers]
        with nginx_serving.in_front_of(self._folder / "nginx", ports, LOCATION) as url:
            yield f"{url}{PATH}/api"

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


@contextmanager
def running_pair(target: Target, folder: Path, workers: int) -> Iterator[Pair]:
    """A pair with a Redis of its own. At the end what was started must end in order, and leave read
    models that are what the log says."""
    redis_server = RunningRedis(folder)
    redis_server.start()
    pair = Pair(target, folder, redis_server, workers)
    try:
        yield pair
        for server in pair.servers:
            assert server.stop() == 0, server.output()
    finally:
        for server in pair.servers:
            server.process.kill()
            server.process.wait()
        redis_server.kill()
    serving.verify_digests(target)
