"""Fixtures shared by all tests. Here is the one list of backends."""

import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psutil
import psycopg
import pytest

from eventstore import migrate
from eventstore.database import Database
from eventstore.migrate import Target
from eventstore.postgres import PostgresDatabase, PostgresOptions
from eventstore.sqlite import SqliteDatabase
from tests import examples, postgres_serving, serving
from tests.e2e import prefect_client
from tests.e2e.prefect_client import OTHER_CLIENTS, THE_CLIENT, Release
from tests.scheduling import Scheduling, is_heavy, processes
from tests.serving import RunningServer

BACKENDS = ("sqlite", "postgres")

ENDED_BY_TESTS = {0, 1, -signal.SIGKILL, 128 + signal.SIGINT}
"""Exit codes of servers that a test has ended itself: in order, with a request that had to be given
up, by kill -9, by ctrl + c twice. Any other is that of a server that crashed."""

MEMORY = Path("/dev/shm")
"""A file system in memory, on Linux."""
FREE_MEMORY_BYTES_MIN = 6 * 1024**3
"""A run writes a quarter of it, most of which goes with each test."""

_numbers = itertools.count(1)


def pytest_xdist_auto_num_workers() -> int:
    """How many processes run the tests, unless a number is given."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return processes(cores or 1, psutil.virtual_memory().available)


def pytest_configure(config: pytest.Config) -> None:
    """Let ctrl + c reach what tests start: a shell lets a job in the background ignore it, and so
    would everything that this job starts. Who asks the tests to end otherwise, as `timeout` does,
    does not leave behind what they have started either."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _stay_in_memory()
    _compile_once()
    if not config.getoption("hypothesis_profile", None):
        examples.choose(heavy="not heavy" not in config.getoption("markexpr"))


def _stay_in_memory() -> None:
    """Keep what tests write in memory where there is plenty: no test cuts the power.

    A thousand databases are made and dropped; on a disk most of the time is spent waiting for it.
    `TMPDIR` has the last word, for everything that tests start as well.
    """
    if "TMPDIR" in os.environ or not MEMORY.is_dir():
        return
    free = min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available)
    if free >= FREE_MEMORY_BYTES_MIN and os.access(MEMORY, os.W_OK):
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def _compile_once() -> None:
    """Keep compiled modules beside the checkout where none may be written into it: to compile and
    to rewrite all tests takes every process of a run ten seconds."""
    if sys.dont_write_bytecode and sys.pycache_prefix is None:
        sys.dont_write_bytecode = False
        sys.pycache_prefix = str(Path(tempfile.gettempdir()) / f"pluperfect-compiled-{os.getuid()}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is heavy, before tests are deselected by their marks."""
    for item in items:
        if is_heavy(item.nodeid):
            item.add_marker(pytest.mark.heavy)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to install the clients that tests will want, while others run."""
    one_of_all = os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0"
    if one_of_all and not session.config.option.collectonly:
        prefect_client.begin(set(filter(None, map(_client_of, session.items))))


def _client_of(item: pytest.Item) -> Release | None:
    """Which client a test is about, if it is about one."""
    if "prefect_environment" not in getattr(item, "fixturenames", ()):
        return None
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    other = parameters.get("prefect_environment")
    return THE_CLIENT if other is None else OTHER_CLIENTS[other]


@pytest.fixture(scope="session")
def prefect_environment() -> Path:
    """The virtual environment with the real client."""
    return prefect_client.environment()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """See `Scheduling`; pytest-xdist asks once, before it hands out tests."""
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real Postgres for this session; every test gets a database of its own in it."""
    # Not one of pytest's folders: those are tidied up by the next session, while this one may run.
    folder = Path(tempfile.mkdtemp(prefix="pluperfect-pg-"))
    server = postgres_serving.running(folder)
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        # A database per test is two checkpoints per test. No test here cuts the power, and those
        # that crash the server, like the benchmarks, have one of their own.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated SQLite database to copy from."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    migrate.upgrade(Target(path=path))
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> str:
    """Name of an empty, migrated Postgres database to copy from."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE template_pluperfect")
    migrate.upgrade(Target(url=_database_url(postgres_url, "template_pluperfect")))
    return "template_pluperfect"


def _database_url(url: str, name: str) -> str:
    return url.replace("/postgres?", f"/{name}?")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Name of the engine; whoever uses it runs once per engine."""
    return str(request.param)


@contextmanager
def fresh_database(backend: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Target]:
    """An empty, migrated database of its own, copied from a template."""
    if backend == "sqlite":
        path = folder / "pluperfect.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield Target(path=path)
        return
    url = request.getfixturevalue("postgres_url")
    template = request.getfixturevalue("postgres_template")
    name = f"test_{next(_numbers)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        yield Target(url=_database_url(url, name))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def target(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    """An empty, migrated database of this test's own."""
    with fresh_database(backend, request, tmp_path) as target:
        yield target


def open_database(target: Target, timeout_seconds: float = 10.0, **options: Any) -> Database:
    """Another connection to the same database, as another process would have."""
    if target.path is not None:
        return SqliteDatabase(target.path, timeout_seconds, **options)
    return PostgresDatabase(
        PostgresOptions(
            dsn=target.url, schema=target.schema, timeout_seconds=timeout_seconds, **options
        )
    )


@pytest.fixture
async def database(target: Target) -> AsyncIterator[Database]:
    """The test's database, opened."""
    database = open_database(target)
    yield database
    await database.close()


class StartServer(Protocol):
    """Starts one more server on the test's database; the fixture stops whatever still runs."""

    def __call__(
        self,
        *,
        workers: int = 1,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> RunningServer: ...


@pytest.fixture
def forked() -> bool:
    """Whether servers are forked, see `serving.start`. A module that is about how they start, end
    or use memory has a fixture of its own that says no."""
    return True


@pytest.fixture
def start_server(target: Target, tmp_path: Path, forked: bool) -> Iterator[StartServer]:
    """A factory of real servers, each a process of its own, all on this test's database.

    Afterwards they must end in order and leave read models that the log folds into again.
    """
    started: list[RunningServer] = []

    def start(
        *,
        workers: int = 1,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> RunningServer:
        home = tmp_path / f"home-{len(started)}"
        server = serving.start(
            target, home, workers=workers, port=port, settings=settings, forked=forked
        )
        started.append(server)
        return server

    yield start
    for server in started:
        ended_before = server.process.poll() is not None
        code = server.stop()
        good = ENDED_BY_TESTS if ended_before else {0}
        assert code in good, f"exit code {code}:\n{server.output()}"
    serving.verify_digests(target)


@pytest.fixture
def server_url(start_server: StartServer) -> str:
    """Base URL of the API of a real server on a fresh database: `http://127.0.0.1:PORT/api`."""
    return start_server().url
