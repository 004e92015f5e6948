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
from tests.serving import REPOSITORY, free_port

Engine = Literal["sqlite", "postgres"]

READY_SECONDS_MAX = 180.0
"""How long a server may take until it answers. Prefect migrates for half a minute."""
STOP_SECONDS_MAX = 20.0
REST_SECONDS_MAX = 15.0
"""How long to wait until a server has nothing to do."""
REST_LOOK_SECONDS = 0.25
REST_SHARE = 0.12
"""A server that uses less of one processor than this is at rest; Prefect's never uses none."""


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


def prefect(venv: Path, engine: Engine) -> Contender:
    """A Prefect server from a virtual environment, with all its services, in one process."""

    def environment(home: Path, url: str, port: int) -> Mapping[str, str]:
        variables = {
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        if url:
            variables["PREFECT_API_DATABASE_CONNECTION_URL"] = url.replace(
                "postgresql://", "postgresql+asyncpg://"
            )
        return variables

    async def store(home: Path, url: str, runs: Sequence[StoredRun], now: datetime) -> Stored:
        return stored.store_in_prefect(url or home / "prefect.db", runs, now)

    return Contender(
        "Prefect",
        engine,
        # From two writers on SQLite it answers 503 and freezes for up to a minute.
        1 if engine == "sqlite" else sys.maxsize,
        lambda port: (str(venv / "bin" / "prefect"), "server", "start", "--port", str(port)),
        environment,
        store,
    )


def pluperfect(engine: Engine) -> Contender:
    """This checkout's server, one worker."""

    def environment(home: Path, url: str, port: int) -> Mapping[str, str]:
        return {
            "PLUPERFECT_HOME": str(home),
            "PLUPERFECT_API_PORT": str(port),
            "PLUPERFECT_DATABASE_URL": url or f"sqlite:///{home / 'pluperfect.db'}",
            "PYTHONPATH": str(REPOSITORY) + os.environ.get("XPATH", ""),
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


class Running:
    """A contender that has been started."""

    def __init__(self, contender: Contender, folder: Path, postgres: Any | None) -> None:
        self.contender = contender
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = 0
        self._postgres = postgres
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def database_url(self) -> str:
        """URL of its Postgres database; empty on SQLite."""
        return "" if self._postgres is None else str(self._postgres.get_uri())

    def start(self) -> float:
        """Start it; seconds until /api/health answered. Raises TimeoutError."""
        self.port = free_port()
        own = {k: v for k, v in os.environ.items() if not k.startswith(("PLUPERFECT_", "PREFECT_"))}
        own |= self.contender.environment(self.folder, self.database_url, self.port)
        log = self.folder / "server.out"
        began = time.perf_counter()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self.contender.command(self.port),
                cwd=self.folder,
                env=own,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        with httpx.Client(timeout=5.0) as client:
            while time.perf_counter() - began < READY_SECONDS_MAX:
                try:
                    if client.get(f"http://127.0.0.1:{self.port}/api/health").status_code == 200:
                        return time.perf_counter() - began
                except httpx.TransportError:
                    if self._process.poll() is not None:
                        break
                    time.sleep(0.005)
        self.stop()
        raise TimeoutError(f"{self.contender.name} does not answer:\n{log.read_text()[-2000:]}")

    def stop(self) -> None:
        """End it."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def cpu_seconds(self) -> float:
        """Processor time so far of its processes, those of its Postgres included."""
        return sum(map(_cpu_seconds, self._trees()))

    def memory_bytes(self) -> int:
        """Memory of its own processes, shared pages divided among those that share them."""
        assert self._process is not None
        total = 0
        for process in _tree(self._process.pid):
            total += process.memory_full_info().pss
        return total

    def _trees(self) -> list[psutil.Process]:
        assert self._process is not None
        processes = _tree(self._process.pid)
        if self._postgres is not None:
            processes += _tree(self._postgres.get_pid())
        return processes

    async def rest(self) -> float:
        """Wait until it has nothing to do any more; seconds waited."""
        began = time.perf_counter()
        while time.perf_counter() - began < REST_SECONDS_MAX:
            before, at = self.cpu_seconds(), time.perf_counter()
            await asyncio.sleep(REST_LOOK_SECONDS)
            if self.cpu_seconds() - before < REST_SHARE * (time.perf_counter() - at):
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
