"""A server is a process that starts, refuses, drains, ends and leaves nothing behind."""

import asyncio
import fcntl
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from api import pid_file
from eventstore.migrate import Target
from tests import serving
from tests.conftest import StartServer, open_database
from tests.serving import NO_CERTIFICATES, RunningServer

SHUTDOWN_SECONDS = 3.0
SETTLE_SECONDS_MAX = 15.0
IDLE_MEMORY_BYTES_MAX = 120 * 1024 * 1024
NO_SERVICES = {"PLUPERFECT_SERVICES_ENABLED": "false"}
"""Where nobody is to append but who is asked to."""


@pytest.fixture
def forked() -> bool:
    """Servers are started here as operators start them."""
    return False


@contextmanager
def log_locked(target: Target) -> Iterator[None]:
    """Nobody can append for as long as this lasts."""
    if target.path is not None:
        with Path(f"{target.path}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        return
    with psycopg.connect(target.url) as connection:
        connection.execute(f"SELECT 1 FROM {target.schema}.log_head FOR UPDATE")
        yield


def _is_waited_for(target: Target) -> bool:
    """Whether somebody has begun to append while nobody can; on SQLite, Linux knows."""
    if target.path is not None:
        inode = Path(f"{target.path}.lock").stat().st_ino
        locks = Path("/proc/locks").read_text().splitlines()
        return any("->" in line and f":{inode} " in line for line in locks)
    with psycopg.connect(target.url) as connection:
        waiting = connection.execute(
            "SELECT 1 FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(waiting.fetchall())


def _lets_nobody_in(server: RunningServer) -> bool:
    """Whether it has heard that it is to end."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", server.port)) != 0


def _eventually(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while not holds():
        assert time.monotonic() < deadline, f"not within {SETTLE_SECONDS_MAX} s: {what}"
        time.sleep(0.02)


def _new_flow(url: str, name: str) -> httpx.Response:
    return httpx.post(f"{url}/flows/", json={"name": name}, timeout=10.0, verify=NO_CERTIFICATES)


def _flow_exists(url: str, name: str) -> bool:
    answer = httpx.get(f"{url}/flows/name/{name}", timeout=10.0, verify=NO_CERTIFICATES)
    return answer.status_code == 200


def _runs(pid: int) -> bool:
    """Whether the process does anything any more; its number may wait to be fetched by init."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _workers(server: RunningServer) -> list[psutil.Process]:
    children: list[psutil.Process] = psutil.Process(server.process.pid).children()
    return [child for child in children if child.status() != psutil.STATUS_ZOMBIE]


def test_a_started_server_answers_and_says_how_to_point_a_client_at_it(
    start_server: StartServer,
) -> None:
    server = start_server()

    assert httpx.get(f"{server.url}/health").json() is True
    assert f"prefect config set PREFECT_API_URL={server.url}" in server.output()


def test_no_password_is_printed(start_server: StartServer, target: Target) -> None:
    if target.path is not None:
        pytest.skip("SQLite has no passwords")
    url = target.url.replace("postgres:@", "postgres:sesame@")
    assert "sesame" in url

    server = start_server(settings={"PLUPERFECT_DATABASE_URL": url})

    assert "Database  Postgres" in server.output()
    assert "sesame" not in server.output()


def test_a_new_database_is_created_on_start(tmp_path: Path, start_server: StartServer) -> None:
    new = tmp_path / "deep" / "new.db"

    server = start_server(settings={"PLUPERFECT_DATABASE_URL": f"sqlite:///{new}"})

    assert _new_flow(server.url, "first").status_code == 201


@pytest.mark.parametrize("workers", [1, 2])
def test_a_taken_port_is_one_line(
    start_server: StartServer, target: Target, tmp_path: Path, workers: int
) -> None:
    server = start_server()

    refused = serving.run_cli(
        target,
        tmp_path / "other-home",
        *("server", "start", "--port", str(server.port), "--workers", str(workers)),
    )

    assert refused.returncode == 1
    assert refused.stderr == (
        f"Error: Port {server.port} at 127.0.0.1 is taken; choose another with --port.\n"
    )
    assert httpx.get(f"{server.url}/health").status_code == 200


def test_a_port_taken_by_our_own_server_is_named_with_its_process(
    start_server: StartServer, target: Target
) -> None:
    server = start_server()

    refused = serving.run_cli(
        target, server.log.parent, "server", "start", "--port", str(server.port)
    )

    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert f"process id {server.process.pid}" in refused.stderr


def _start_refused(target: Target, home: Path, *more: str, **settings: str) -> str:
    port = str(serving.free_port())
    refused = serving.run_cli(
        target, home, "server", "start", "--port", port, *more, settings=settings
    )
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert refused.stdout == ""
    assert refused.stderr.startswith("Error: ")
    assert refused.stderr.count("\n") == 1, refused.stderr
    return refused.stderr


@pytest.mark.parametrize("background", [(), ("--background",)], ids=["here", "background"])
def test_an_unreadable_database_is_one_line(tmp_path: Path, background: tuple[str, ...]) -> None:
    path = tmp_path / "broken.db"
    path.write_bytes(b"This is no database, although it is long enough to look like one." * 99)

    assert "file is not a database" in _start_refused(Target(path=path), tmp_path, *background)


def test_an_unreachable_postgres_is_one_line(tmp_path: Path) -> None:
    url = f"postgresql://me:sesame@127.0.0.1:{serving.free_port()}/none"

    said = _start_refused(Target(url=url), tmp_path)

    assert "Error: Cannot reach Postgres" in said
    assert "sesame" not in said


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    home = tmp_path / "file" / "home"

    assert str(home) in _start_refused(Target(path=home / "pluperfect.db"), home)


def test_the_database_of_a_prefect_server_is_refused(target: Target, tmp_path: Path) -> None:
    sql = "CREATE TABLE alembic_version (version_num TEXT)"
    if target.path is not None:
        foreign = Target(path=tmp_path / "prefect.db")
        assert foreign.path is not None
        with sqlite3.connect(foreign.path) as connection:
            connection.execute(sql)
    else:
        foreign = Target(url=target.url, schema="public")
        with psycopg.connect(target.url) as postgres:
            postgres.execute(sql)

    said = _start_refused(foreign, tmp_path)

    assert "belongs to a Prefect server" in said
    assert "PLUPERFECT_DATABASE" in said


def test_a_newer_schema_is_refused(target: Target, tmp_path: Path) -> None:
    sql = (
        "INSERT INTO {}_yoyo_migration (migration_hash, migration_id, applied_at_utc) "
        "VALUES ('x', '9999.from-the-future', NULL)"
    )
    if target.path is not None:
        with sqlite3.connect(target.path) as connection:
            connection.execute(sql.format(""))
    else:
        with psycopg.connect(target.url) as postgres:
            postgres.execute(sql.format(f"{target.schema}."))

    assert "9999.from-the-future" in _start_refused(target, tmp_path)


def test_without_leave_to_migrate_the_command_to_run_is_named(tmp_path: Path) -> None:
    path = tmp_path / "new.db"

    said = _start_refused(Target(path=path), tmp_path, PLUPERFECT_DATABASE_MIGRATE_ON_START="false")

    assert "pluperfect server database upgrade" in said
    assert not path.exists()


def test_the_past_is_not_looked_for_in_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "past.db"

    said = _start_refused(Target(path=path), tmp_path, PLUPERFECT_DATABASE_READ_ONLY="true")

    assert f"There is no database {path}" in said
    assert "upgrade" not in said


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_write_gives_up_in_time_while_another_program_holds_the_database(
    start_server: StartServer, target: Target
) -> None:
    server = start_server(settings={"PREFECT_API_DATABASE_TIMEOUT": "0.5"})
    assert target.path is not None
    with closing(sqlite3.connect(target.path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        refused = _new_flow(server.url, "late")
        took = time.monotonic() - began

    assert refused.status_code == 503
    assert "for 0.5 s" in refused.json()["exception_message"]
    assert took < 2
    assert _new_flow(server.url, "late").status_code == 201


def test_sigterm_lets_requests_in_progress_end(start_server: StartServer, target: Target) -> None:
    server = start_server(settings=NO_SERVICES)
    answers: list[httpx.Response] = []
    request = threading.Thread(target=lambda: answers.append(_new_flow(server.url, "late")))

    with log_locked(target):
        request.start()
        _eventually(lambda: _is_waited_for(target), "the request has come as far as the log")
        server.process.terminate()
        _eventually(lambda: _lets_nobody_in(server), "the server is about to end")
    code = server.process.wait(SETTLE_SECONDS_MAX)
    request.join()

    assert [answer.status_code for answer in answers] == [201]
    assert code == 0
    assert "given up" not in server.output(), "it was waited for until the end of the drain"
    assert _flow_exists(start_server().url, "late")


def test_sigterm_ends_within_three_seconds_whatever_is_in_the_way(
    start_server: StartServer, target: Target
) -> None:
    server = start_server(settings=NO_SERVICES)
    with log_locked(target), connect(server.url.replace("http", "ws") + "/events/in") as websocket:
        # A request that cannot end, one that never comes, and a websocket that is not listened to.
        half = socket.create_connection(("127.0.0.1", server.port))
        half.sendall(b"POST /api/flows/ HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{")
        silent = socket.create_connection(("127.0.0.1", server.port))
        silent.sendall(b"GET /api/")
        request = threading.Thread(target=lambda: _ended(server.url))
        request.start()
        _eventually(lambda: _is_waited_for(target), "the request has come as far as the log")
        began = time.monotonic()
        server.process.terminate()
        server.process.wait(10)
        took = time.monotonic() - began
        half.close()
        silent.close()
        del websocket
    request.join()

    assert took < SHUTDOWN_SECONDS + 0.5
    # What is given up is said in a line; it is not a fault that somebody has to look for.
    assert "are given up" in server.log.read_text()
    assert "Traceback" not in server.log.read_text()


def _ended(url: str) -> None:
    with suppress(httpx.TransportError):
        _new_flow(url, "never")


def test_a_second_signal_ends_at_once(start_server: StartServer, target: Target) -> None:
    server = start_server(settings=NO_SERVICES)
    with log_locked(target):
        request = threading.Thread(target=lambda: _ended(server.url))
        request.start()
        _eventually(lambda: _is_waited_for(target), "the request has come as far as the log")
        server.process.send_signal(signal.SIGINT)
        _eventually(lambda: _lets_nobody_in(server), "the server is about to end")
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGINT)
        code = server.process.wait(SETTLE_SECONDS_MAX)
    request.join()

    assert code == 128 + signal.SIGINT
    assert "given up" not in server.output(), "it was waited for until the end of the drain"


@pytest.mark.parametrize(
    ("path", "workers"),
    [("/events/in", 1), ("/events/in", 2), ("/events/out", 1), ("/logs/out", 1)],
)
def test_websockets_are_told_that_the_server_goes_away(
    start_server: StartServer, path: str, workers: int
) -> None:
    server = start_server(workers=workers)
    with connect(server.url.replace("http", "ws") + path) as websocket:
        server.process.terminate()
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(timeout=5)

    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
        1001,
        "the server is shutting down",
    )
    assert server.process.wait(5) == 0


@pytest.mark.parametrize("workers", [1, 4])
def test_an_open_front_page_does_not_hold_the_end_up(
    start_server: StartServer, workers: int
) -> None:
    server = start_server(workers=workers)
    live = server.url.removesuffix("api") + "live?page=/runs&position=0"
    with httpx.stream("GET", live, timeout=10.0) as following:
        lines = following.iter_lines()
        assert next(line for line in lines if line.startswith("id: "))
        server.process.send_signal(signal.SIGINT)
        for _ in lines:
            pass  # It ends in order, not in the middle of a chunk.
        assert server.process.wait(10) == 0

    assert "given up" not in server.output(), "it was waited for until the end of the drain"
    assert "Traceback" not in server.output()


@pytest.mark.parametrize("workers", [1, 2])
def test_after_kill_9_a_second_start_just_works(start_server: StartServer, workers: int) -> None:
    server = start_server(workers=workers)
    assert _new_flow(server.url, "kept").status_code == 201
    server.process.kill()
    server.process.wait()

    again = serving.start(
        server.target,
        server.log.parent,
        workers=workers,
        port=server.port,
    )
    try:
        assert _flow_exists(f"http://127.0.0.1:{server.port}/api", "kept")
    finally:
        assert again.stop() == 0


def test_a_start_waits_for_the_workers_of_a_server_that_was_killed(
    start_server: StartServer,
) -> None:
    """They hold the port until they have noticed, which takes a busy machine a while."""
    server = start_server(workers=2)
    workers = _workers(server)
    for worker in workers:
        worker.suspend()
    server.process.kill()
    server.process.wait()
    home, port = server.log.parent, {"PLUPERFECT_API_PORT": str(server.port)}
    with (home / "again.out").open("wb") as output:
        process = subprocess.Popen(
            [*serving.COMMAND, "server", "start"],
            cwd=home,
            env=serving.environment(server.target, home, port),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    again = RunningServer(process, server.port, home / "again.out", server.target)
    try:
        waits = f"id {server.process.pid} was killed; waiting until its workers have let go of port"
        _eventually(
            lambda: waits in again.output() or process.poll() is not None, "it comes to the port"
        )
        assert process.poll() is None, again.output()
        for worker in workers:
            worker.resume()
        again.wait_until_ready()
        assert _new_flow(again.url, "after").status_code == 201
    finally:
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.resume()
        assert again.stop() == 0


def test_every_worker_sees_what_another_was_told(start_server: StartServer) -> None:
    server = start_server(workers=2)
    assert len(_workers(server)) == 2

    for number in range(20):
        # Each request on a connection of its own, so perhaps with another worker.
        assert _new_flow(server.url, f"flow-{number}").status_code == 201
        assert _flow_exists(server.url, f"flow-{number}")


def test_an_idle_worker_fits_into_little_memory(start_server: StartServer) -> None:
    server = start_server(workers=2)

    for process in (psutil.Process(server.process.pid), *_workers(server)):
        assert process.memory_info().rss < IDLE_MEMORY_BYTES_MAX


def test_a_killed_worker_is_replaced(start_server: StartServer) -> None:
    server = start_server(workers=2)
    before = {worker.pid for worker in _workers(server)}

    os.kill(min(before), signal.SIGKILL)

    def replaced() -> bool:
        now = {worker.pid for worker in _workers(server)}
        return len(now) == 2 and min(before) not in now

    _eventually(replaced, "two workers again")
    for number in range(10):
        assert _new_flow(server.url, f"flow-{number}").status_code == 201


def _rename(target: Target, table: str, to: str) -> None:
    async def main() -> None:
        database = open_database(target)
        await database.transact(lambda tx: tx.execute(f"ALTER TABLE {table} RENAME TO {to}"))
        await database.close()

    asyncio.run(main())


def test_a_worker_that_cannot_begin_says_why(start_server: StartServer) -> None:
    server = start_server(workers=2)
    _rename(server.target, "log_head", "away")
    try:
        os.kill(_workers(server)[0].pid, signal.SIGKILL)
        _eventually(lambda: "with exit code 1" in server.output(), "a worker that could not begin")
    finally:
        _rename(server.target, "away", "log_head")
    assert re.search(
        r"^[-\d]+ [:\d]+\+\d+ ERROR +pluperfect: worker \d failed$", server.output(), re.M
    )
    _eventually(lambda: len(_workers(server)) == 2, "two workers again")
    assert _new_flow(server.url, "after").status_code == 201


def test_workers_end_with_their_parent(start_server: StartServer) -> None:
    server = start_server(workers=2)
    workers = _workers(server)

    server.process.kill()
    server.process.wait()

    _, alive = psutil.wait_procs(workers, timeout=SHUTDOWN_SECONDS + 1)
    assert alive == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_background_server_outlives_its_command_and_is_stopped_by_name(
    target: Target, tmp_path: Path, workers: str
) -> None:
    port = serving.free_port()
    url = f"http://127.0.0.1:{port}/api"
    options = ("--background", "--port", str(port), "--workers", workers)
    started = serving.run_cli(target, tmp_path, "server", "start", *options)
    assert started.returncode == 0, started.stderr
    running = pid_file.running(tmp_path)
    assert running is not None
    try:
        assert httpx.get(f"{url}/health").json() is True
        assert (running.host, running.port) == ("127.0.0.1", port)
        assert f"process {running.pid}" in started.stdout
        assert os.getpgid(running.pid) == running.pid

        # Found through the pid file: the settings say another port.
        status = serving.run_cli(target, tmp_path, "server", "status", "--json")
        assert status.returncode == 0
        found = json.loads(status.stdout)
        assert (found["status"], found["url"], found["pid"]) == ("available", url, running.pid)

        again = serving.run_cli(target, tmp_path, "server", "start", "-b", "--port", "0")
        assert again.returncode == 1
        assert "runs already" in again.stderr
    finally:
        stopped = serving.run_cli(target, tmp_path, "server", "stop")

    assert stopped.returncode == 0, stopped.stderr
    assert not _runs(running.pid)
    assert not (tmp_path / pid_file.FILE_NAME).exists()
    serving.verify_digests(target)


def test_a_background_server_uses_the_files_that_its_command_was_given_by_relative_names(
    tmp_path: Path,
) -> None:
    target = Target(path=tmp_path / "own.db")
    port = str(serving.free_port())
    started = serving.run_cli(
        target,
        tmp_path,
        *("server", "start", "--background", "--port", port),
        settings={"PLUPERFECT_DATABASE_URL": "own.db"},
    )
    try:
        assert started.returncode == 0, started.stderr
        assert _new_flow(f"http://127.0.0.1:{port}/api", "a").status_code == 201
    finally:
        serving.run_cli(target, tmp_path, "server", "stop")

    assert target.path is not None
    with closing(sqlite3.connect(target.path)) as database:
        assert database.execute("SELECT count(*) FROM flows").fetchall() == [(1,)]


def test_servers_of_one_home_are_known_by_their_ports(
    start_server: StartServer, target: Target
) -> None:
    first = start_server()
    home = first.log.parent
    second = start_server(settings={"PLUPERFECT_HOME": str(home)})

    def asked(*command: str) -> tuple[int, str]:
        done = serving.run_cli(target, home, "server", *command)
        return done.returncode, done.stdout + done.stderr

    code, said = asked("stop")
    assert code == 1
    assert str(first.port) in said and str(second.port) in said and "--port" in said
    code, said = asked("stop", "--port", str(serving.free_port()))
    assert (code, "No server" in said) == (1, True)
    code, said = asked("status", "--port", str(second.port), "--json")
    found = json.loads(said)
    assert (code, found["pid"], found["url"]) == (0, second.process.pid, second.url)

    assert asked("stop", "--port", str(first.port))[0] == 0
    first.process.wait()
    code, said = asked("database", "reset", "--erase-log", "-y")
    assert code == 1
    assert f"process id {second.process.pid}" in said
    code, said = asked("status", "--json")
    assert (code, json.loads(said)["url"]) == (0, second.url)
    assert asked("stop")[0] == 0
    second.process.wait()
    assert list(home.glob("server*.pid")) == []


def test_stop_cleans_up_after_a_server_that_was_killed(
    start_server: StartServer, target: Target
) -> None:
    server = start_server()
    server.process.kill()
    server.process.wait()
    left_behind = server.log.parent / pid_file.FILE_NAME
    assert left_behind.exists()

    stopped = serving.run_cli(target, server.log.parent, "server", "stop")

    assert stopped.returncode == 0
    assert not left_behind.exists()


def test_stop_without_a_server_says_so(tmp_path: Path) -> None:
    stopped = serving.run_cli(Target(path=tmp_path / "x.db"), tmp_path, "server", "stop")

    assert stopped.returncode == 1
    assert stopped.stderr.startswith("Error: No server runs")


def test_status_of_no_server_is_exit_code_1(tmp_path: Path) -> None:
    port = {"PLUPERFECT_API_PORT": str(serving.free_port())}
    target = Target(path=tmp_path / "x.db")

    now = serving.run_cli(target, tmp_path, "server", "status", "-o", "json", settings=port)
    waited = serving.run_cli(
        target, tmp_path, "server", "status", "--wait", "--timeout", "0.3", settings=port
    )

    assert (now.returncode, json.loads(now.stdout)["status"]) == (1, "unavailable")
    assert waited.returncode == 1
    assert "did not answer within 0.3 s" in waited.stdout


def test_status_waits_for_a_server_that_is_about_to_start(
    start_server: StartServer, target: Target, tmp_path: Path
) -> None:
    port = serving.free_port()
    there = {"PLUPERFECT_API_PORT": str(port)}
    waiting = subprocess.Popen(
        [*serving.COMMAND, "server", "status", "--wait", "--timeout", "20"],
        env=serving.environment(target, tmp_path / "home", there),
        stdout=subprocess.DEVNULL,
    )
    start_server(port=port)

    assert waiting.wait(20) == 0


def test_a_folder_called_api_in_the_working_directory_changes_nothing(
    target: Target, tmp_path: Path
) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "__init__.py").write_text("raise RuntimeError('not yours')")
    # As the installed command does, which puts its own folder on the path and not the current one.
    code = "import sys; sys.path.pop(0); from api.cli import main; main()"
    port = serving.free_port()
    with (tmp_path / "out").open("wb") as output:
        process = subprocess.Popen(
            [*serving.COMMAND[:1], "-c", code, "server", "start", "--workers", "2"],
            cwd=tmp_path,
            env=serving.environment(target, tmp_path, {"PLUPERFECT_API_PORT": str(port)}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = RunningServer(process, port, tmp_path / "out", target)
    try:
        server.wait_until_ready()
    finally:
        assert server.stop() == 0


def test_a_server_that_others_can_reach_says_how_and_that_it_asks_for_no_password(
    start_server: StartServer,
) -> None:
    says = ("Password  none; PLUPERFECT_API_AUTH_STRING sets one", "others name the machine")
    everywhere = {"PLUPERFECT_API_HOST": "0.0.0.0"}
    assert not any(text in start_server().output() for text in says)
    shown = start_server(settings=everywhere).output()
    assert all(text in shown for text in says)
    guarded = start_server(settings=everywhere | {"PLUPERFECT_API_AUTH_STRING": "a:b"}).output()
    assert [text in guarded for text in says] == [False, True]
