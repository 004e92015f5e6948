"""Real servers for tests: a process of their own on a database of the test's own."""

import asyncio
import itertools
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import httpx

from eventstore.database import Database
from eventstore.migrate import Target
from eventstore.postgres import PostgresDatabase, PostgresOptions
from eventstore.sqlite import SqliteDatabase
from projections import catalogue, rebuild, verification
from tests.forking import Forked, Forking

READY_SECONDS_MAX = 60.0
"""How long a server may take until it answers; a busy machine is slow."""
STOP_SECONDS_MAX = 30.0
POLL_SECONDS = 0.01
REPOSITORY = Path(__file__).parent.parent
NO_CERTIFICATES = False
"""`verify` for clients of our servers: nearly all speak plain http, and to load the certificates
that would not be looked at takes a client 20 ms."""
HEADLINE = "Pluperfect is running"
"""A server prints this as soon as it answers."""
COMMAND = (sys.executable, "-m", "api.cli")
"""The command line, from this checkout."""
SERVER_MODULES = (
    *("api.cli.server", "api.running", "api.supervisor", "api.worker", "api.ui.site"),
    *(f"api.routes.{path.stem}" for path in (REPOSITORY / "api" / "routes").glob("[!_]*.py")),
    *("anyio._backends._asyncio", "asyncpg", "pydantic.type_adapter", "typer._adapters"),
    "litestar.middleware._internal.exceptions.middleware",
)
"""What a server imports, at once or when it makes its application. Without one of them in this list
a start takes longer, and no more."""


PORTS = range(10_100, 30_000)
"""Where servers of tests listen: above 10080, which browsers refuse to visit, and below what
systems hand out to outgoing connections, which could take a port between the moment that it is
found free and the one that its server listens."""
PORTS_PER_PROCESS = 2_000
"""Each test process of a session has ports of its own, so that no two find the same one free."""


def _own_ports() -> Iterator[int]:
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = PORTS.start + number * PORTS_PER_PROCESS % len(PORTS)
    # Not from the first one on: another session may be under way.
    start = random.SystemRandom().randrange(PORTS_PER_PROCESS)
    for port in itertools.count(start):
        yield first + port % PORTS_PER_PROCESS


_ports = _own_ports()


def free_port() -> int:
    """A port that nobody listens at right now, and that no other test is given."""
    for port in itertools.islice(_ports, PORTS_PER_PROCESS):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"none of {PORTS_PER_PROCESS} ports is free")


@dataclass
class RunningServer:
    """A server process and where it answers."""

    process: subprocess.Popen[bytes] | Forked
    port: int
    log: Path
    target: Target
    scheme: str = "http"

    @property
    def url(self) -> str:
        """Base URL of the API, without a slash at the end."""
        return f"{self.scheme}://127.0.0.1:{self.port}/api"

    def output(self) -> str:
        """What the server printed so far."""
        return self.log.read_text(errors="replace")

    def wait_until_ready(self) -> None:
        """Return when the server answers; fail with its output if it does not."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        # Not by asking until somebody answers: where a server was killed, that may be one of its
        # workers which is about to follow it.
        while HEADLINE not in self.output():
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended by itself:\n{self.output()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not ready in {READY_SECONDS_MAX} s:\n{self.output()}")
            time.sleep(POLL_SECONDS)
        health = httpx.get(f"{self.url}/health", timeout=READY_SECONDS_MAX, verify=NO_CERTIFICATES)
        assert health.status_code == 200, f"{health.text}\n{self.output()}"

    def wait_until_folded(self) -> None:
        """Return when its read models are what the log folds into. Where they have to be folded
        anew it answers before, unless that is done in a moment."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while (said := httpx.get(f"{self.url}/ready", verify=NO_CERTIFICATES)).status_code != 200:
            assert time.monotonic() < deadline, f"{said.text}\n{self.output()}"
            time.sleep(POLL_SECONDS)

    def stop(self) -> int:
        """Ask the server to end; its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not stop:\n{self.output()}") from None


def inherited_environment() -> dict[str, str]:
    """What programs that tests start find in their environment whatever else they are told."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PLUPERFECT_", "PREFECT_"))}
    # What pytest-xdist adds for its own processes.
    own.pop("PYTHONPATH", None)
    # Started hundreds of times: compiling what they import each time would take them half of it.
    own.pop("PYTHONDONTWRITEBYTECODE", None)
    return own


def environment(target: Target, home: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """What a server on `target` finds in its environment: nothing of the machine's own settings."""
    own = inherited_environment()
    # Tests count events and look at positions; those of known blocks would be in every log.
    own["PREFECT_SERVER_REGISTER_BLOCKS_ON_START"] = "false"
    own["PYTHONPATH"] = str(REPOSITORY)
    if target.path is not None:
        url = f"sqlite:///{target.path}"
    else:
        url = target.url
        own["PLUPERFECT_DATABASE_SCHEMA_NAME"] = target.schema
    return own | {"PLUPERFECT_HOME": str(home), "PLUPERFECT_DATABASE_URL": url} | dict(settings)


def run_cli(
    target: Target, home: Path, *arguments: str, settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`pluperfect ARGUMENTS` on `target`, to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=home if home.is_dir() else REPOSITORY,
        env=environment(target, home, settings or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=READY_SECONDS_MAX * 2,
    )


@contextmanager
def tail_that_follows(target: Target, home: Path) -> Iterator[subprocess.Popen[str]]:
    """`pluperfect log tail --follow` on `target`; killed afterwards if it has not ended."""
    with subprocess.Popen(
        [*COMMAND, "log", "tail", "--follow"],
        env=environment(target, home, {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tail:
        try:
            yield tail
        finally:
            tail.kill()


@cache
def _forking() -> Forking:
    """What servers are forked from: of what a start costs three quarters are imports."""
    variables = inherited_environment() | {"PYTHONPATH": str(REPOSITORY)}
    return Forking(Path(sys.executable), SERVER_MODULES, variables)


def start(
    target: Target,
    home: Path,
    *,
    workers: int = 1,
    port: int | None = None,
    settings: Mapping[str, str] | None = None,
    forked: bool = True,
) -> RunningServer:
    """A server process on `target`, answering. `settings` are environment variables.

    One that is not `forked` is started as operators do, by a new Python; so is one of another
    release, which must not find the code of this one imported.
    """
    port = port or free_port()
    log = home / f"server-{port}.out"
    home.mkdir(parents=True, exist_ok=True)
    variables = {"PLUPERFECT_API_PORT": str(port), "PLUPERFECT_API_WORKERS": str(workers)}
    variables = environment(target, home, variables | dict(settings or {}))
    process: subprocess.Popen[bytes] | Forked
    with log.open("wb") as output:
        if forked and variables["PYTHONPATH"] == str(REPOSITORY):
            command = (f"-m {COMMAND[-1]}", "server", "start")
            process = _forking().start(
                *command, folder=home, environment=variables, output=output, errors=output
            )
        else:
            process = subprocess.Popen(
                [*COMMAND, "server", "start"],
                cwd=home,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
    scheme = "https" if "PLUPERFECT_API_SSL_CERTFILE" in (settings or {}) else "http"
    server = RunningServer(process, port, log, target, scheme)
    try:
        server.wait_until_ready()
    except AssertionError:
        process.kill()
        process.wait()
        raise
    return server


def verify_digests(target: Target) -> None:
    """Fail unless the read models equal what the log folds into. Runs after every server test."""

    async def compare() -> list[verification.Difference]:
        timeout = rebuild.TIMEOUT_SECONDS
        database: Database = (
            SqliteDatabase(target.path, timeout)
            if target.path is not None
            else PostgresDatabase(
                PostgresOptions(dsn=target.url, schema=target.schema, timeout_seconds=timeout)
            )
        )
        try:
            return await verification.verify(database, catalogue.CODEC, catalogue.ALL)
        finally:
            await database.close()

    # In a thread: the caller may have an event loop running, as browser tests do.
    with ThreadPoolExecutor(1) as thread:
        differences = thread.submit(lambda: asyncio.run(compare())).result()
    assert differences == [], f"live and rebuilt read models differ: {differences}"
