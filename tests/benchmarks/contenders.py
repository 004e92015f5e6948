"""The two servers that are compared: how each is started, watched and given its stored runs.

Each gets a folder of its own, a free port, and where Postgres is asked for, a Postgres server of
its own with the same settings, so that its work can be counted to it.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import httpx
import psutil
import psycopg
from msgspec import Struct

from api.settings import Settings
from tests.benchmarks import stored
from tests.benchmarks.stored import Stored, StoredRun
from tests.redis_serving import RunningRedis
from tests.serving import REPOSITORY, free_port

Engine = Literal["sqlite", "postgres"]

READY_SECONDS_MAX = 180.0
"""How long a server may take until it answers. Prefect migrates for half a minute."""
STOP_SECONDS_MAX = 20.0
REST_SECONDS_MAX = 15.0
"""How long to wait until a server has nothing to do."""
REST_LOOK_SECONDS = 0.25
PREFECT_ON_REDIS = {
    "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
    "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
}
"""What Prefect asks for where more than one worker is to run."""
REST_SHARE = 0.12
"""A server whose processes use less of a processor each is at rest; Prefect's never use none."""


class Contender(Struct, frozen=True):
    """One of the two servers, on one engine."""

    name: str
    engine: Engine
    writers_max: int
    """Concurrent clients that write and that it can serve."""
    command: Callable[[int], Sequence[str]]
    """The command that starts it, by port."""
    environment: Callable[[Path, str, int], Mapping[str, str]]
    """Variables for a home, a database URL (`""` on SQLite) and a port."""
    store: Callable[[Path, str, Sequence[StoredRun], datetime], Coroutine[Any, Any, Stored]]
    """Brings the runs into the database of a server that was started once and is stopped."""
    beside: Sequence[str] = ()
    """A second command that belongs to it, if any."""
    processes: int = 1
    """Its processes that have something to do now and then although nobody asks anything."""
    prepare: Sequence[str] = ()
    """The command that makes a new database ready for several workers, if it takes one."""


def prefect(
    venv: Path, engine: Engine, *, workers: int = 1, redis: RunningRedis | None = None
) -> Contender:
    """A Prefect server from a virtual environment, with all its services.

    One worker has them in its process. Several have none, so they run in a process beside.
    """
    program = str(venv / "bin" / "prefect")

    def environment(home: Path, url: str, port: int) -> Mapping[str, str]:
        variables = {
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            # Its pages ask port 4200 otherwise, whichever it listens on.
            "PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{port}/api",
            "DO_NOT_TRACK": "1",
        }
        if workers > 1:
            # They all register the block types at once; a new database tells all but one that they
            # are there already, and these end, and the server with them.
            variables["PREFECT_API_BLOCKS_REGISTER_ON_START"] = "false"
        if url:
            variables["PREFECT_API_DATABASE_CONNECTION_URL"] = url.replace(
                "postgresql://", "postgresql+asyncpg://"
            )
        if redis is not None:
            variables |= PREFECT_ON_REDIS | {
                "PREFECT_REDIS_MESSAGING_HOST": "127.0.0.1",
                "PREFECT_REDIS_MESSAGING_PORT": str(redis.port),
                "PREFECT_SERVER_DOCKET_URL": redis.url,
            }
        return variables

    async def store(home: Path, url: str, runs: Sequence[StoredRun], now: datetime) -> Stored:
        return stored.store_in_prefect(url or home / "prefect.db", runs, now)

    return Contender(
        "Prefect",
        engine,
        # From two writers on SQLite it answers 503 and freezes for up to a minute.
        1 if engine == "sqlite" else sys.maxsize,
        lambda port: (
            *(program, "server", "start"),
            *("--port", str(port)),
            *("--workers", str(workers)),
        ),
        environment,
        store,
        beside=(program, "server", "services", "start") if workers > 1 else (),
        processes=workers + 1 if workers > 1 else 1,
        # Its workers all migrate at once, and all but one fail.
        prepare=(program, "server", "database", "upgrade", "-y"),
    )


def pluperfect(engine: Engine, *, workers: int = 1, redis: RunningRedis | None = None) -> Contender:
    """This checkout's server, with all its services."""

    def environment(home: Path, url: str, port: int) -> Mapping[str, str]:
        on_redis = {} if redis is None else {"PLUPERFECT_REDIS_URL": redis.url}
        return on_redis | {
            "PLUPERFECT_HOME": str(home),
            "PLUPERFECT_API_PORT": str(port),
            "PLUPERFECT_API_WORKERS": str(workers),
            "PLUPERFECT_DATABASE_URL": url or f"sqlite:///{home / 'pluperfect.db'}",
            "PYTHONPATH": str(REPOSITORY),
        }

    async def store(home: Path, url: str, runs: Sequence[StoredRun], now: datetime) -> Stored:
        path = home / "pluperfect.db"
        settings = Settings(database_url=url or f"sqlite:///{path}")
        found = await stored.store_in_pluperfect(settings, runs, now)
        if url:
            with psycopg.connect(url, autocommit=True) as postgres:
                postgres.execute("VACUUM ANALYZE")
        return found

    return Contender(
        "Pluperfect",
        engine,
        sys.maxsize,
        lambda port: (sys.executable, "-m", "api.cli", "server", "start"),
        environment,
        store,
    )


def version(venv: Path) -> str:
    """Name and version of the Prefect in a virtual environment."""
    said = subprocess.run(
        [venv / "bin" / "python", "-c", "import prefect; print(prefect.__version__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return f"Prefect {said.stdout.strip()}"


class Running:
    """A contender that has been started."""

    def __init__(
        self,
        contender: Contender,
        folder: Path,
        postgres: Any | None,
        redis: RunningRedis | None = None,
    ) -> None:
        self.contender = contender
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = 0
        self._postgres = postgres
        self._redis = redis
        self._process: subprocess.Popen[bytes] | None = None
        self._beside: subprocess.Popen[bytes] | None = None

    @property
    def database_url(self) -> str:
        """URL of its Postgres database; empty on SQLite."""
        return "" if self._postgres is None else str(self._postgres.get_uri())

    def prepare(self) -> None:
        """Make its new database ready. Raises CalledProcessError."""
        if self.contender.prepare:
            subprocess.run(
                self.contender.prepare,
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                check=True,
            )

    def _environment(self) -> dict[str, str]:
        own = {k: v for k, v in os.environ.items() if not k.startswith(("PLUPERFECT_", "PREFECT_"))}
        return own | dict(self.contender.environment(self.folder, self.database_url, self.port))

    def start(self) -> float:
        """Start it; seconds until /api/health answered. Raises TimeoutError."""
        self.port = free_port()
        own = self._environment()
        log = self.folder / "server.out"
        began = time.perf_counter()
        self._process = self._started(self.contender.command(self.port), own, log)
        with httpx.Client(timeout=5.0) as client:
            while time.perf_counter() - began < READY_SECONDS_MAX:
                try:
                    if client.get(f"http://127.0.0.1:{self.port}/api/health").status_code == 200:
                        seconds = time.perf_counter() - began
                        if self.contender.beside:
                            beside = self.folder / "beside.out"
                            self._beside = self._started(self.contender.beside, own, beside)
                        return seconds
                except httpx.TransportError:
                    if self._process.poll() is not None:
                        break
                    time.sleep(0.005)
        self.stop()
        raise TimeoutError(f"{self.contender.name} does not answer:\n{log.read_text()[-2000:]}")

    def _started(
        self, command: Sequence[str], own: Mapping[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=own,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def stop(self) -> None:
        """End it."""
        for process in (self._beside, self._process):
            if process is None or process.poll() is not None:
                continue
            tree = _tree(process.pid)
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS_MAX)
            for left in tree:
                with suppress(psutil.NoSuchProcess):
                    left.kill()
            process.wait()
        self._process = self._beside = None

    def processes(self) -> list[psutil.Process]:
        """Its processes that may answer requests."""
        assert self._process is not None
        return _tree(self._process.pid)

    def cpu_seconds(self) -> float:
        """Processor time so far of its processes, those of its Postgres and Redis included."""
        return sum(map(_cpu_seconds, self._trees()))

    def memory_bytes(self) -> int:
        """Memory of its own processes, shared pages divided among those that share them.

        Not the pages of the database's files that are mapped: whoever reads them otherwise has them
        in the same cache of the system, which counts as nobody's.
        """
        assert self._process is not None
        return sum(
            mapped.pss
            for process in _tree(self._process.pid)
            for mapped in process.memory_maps()
            if not mapped.path.startswith(str(self.folder))
        )

    def _trees(self) -> list[psutil.Process]:
        assert self._process is not None
        processes = _tree(self._process.pid)
        if self._beside is not None:
            processes += _tree(self._beside.pid)
        if self._redis is not None:
            processes += _tree(self._redis.pid)
        if self._postgres is not None:
            processes += _tree(self._postgres.get_pid())
        return processes

    async def rest(self) -> float:
        """Wait until it has nothing to do any more; seconds waited."""
        began = time.perf_counter()
        while time.perf_counter() - began < REST_SECONDS_MAX:
            before, at = self.cpu_seconds(), time.perf_counter()
            await asyncio.sleep(REST_LOOK_SECONDS)
            share = REST_SHARE * self.contender.processes
            if self.cpu_seconds() - before < share * (time.perf_counter() - at):
                break
        return time.perf_counter() - began


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0  # It ended just now; its parent has its time.
    # With those of its children that have ended.
    return float(times.user + times.system + times.children_user + times.children_system)
