"""Services in real processes: alone, beside servers, killed, put to sleep, moved to another."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest

from api import pid_file
from api.background import SERVICES
from eventstore import leases
from eventstore.migrate import Target
from projections import trigger_state
from services.late_runs import LateRuns
from tests import serving
from tests.api.test_server_process import NO_SERVICES, log_locked
from tests.conftest import StartServer, open_database
from tests.serving import COMMAND, NO_CERTIFICATES

HEADLINE = "Pluperfect's services are running"
SHUTDOWN_SECONDS = 3.0
TAKE_OVER_SECONDS_MAX = 10.0
SETTLE_SECONDS_MAX = 20.0
QUICK = {"PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "0.2"}
LONG_AGO = timedelta(hours=-1)


class Services:
    """One `pluperfect server services start`."""

    def __init__(self, target: Target, home: Path, settings: Mapping[str, str]) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.log = home / "services.out"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*COMMAND, "server", "services", "start"],
                cwd=home,
                env=serving.environment(target, home, settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        eventually(lambda: HEADLINE in self.output() or self.process.poll() is not None)
        assert self.process.poll() is None, self.output()

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            return self.process.wait(SETTLE_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not stop:\n{self.output()}") from None


StartServices = Callable[[], Services]


@pytest.fixture
def forked() -> bool:
    """Servers are started here as operators start them."""
    return False


@pytest.fixture
def start_services(target: Target, tmp_path: Path) -> Iterator[StartServices]:
    """Starts one more process with services; afterwards each still there has to end in order."""
    started: list[Services] = []

    def start() -> Services:
        services = Services(target, tmp_path / f"services-{len(started)}", QUICK)
        started.append(services)
        return services

    yield start
    for services in started:
        killed = services.process.poll() is not None
        assert services.stop() in ({0, -signal.SIGKILL} if killed else {0}), services.output()


def eventually(holds: Callable[[], bool], seconds: float = SETTLE_SECONDS_MAX) -> float:
    """Wait for something in another process; how many seconds it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - began


def listed(target: Target, home: Path, *options: str) -> list[dict[str, Any]]:
    done = serving.run_cli(target, home, "server", "services", "ls", "--json", *options)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def triggers_have_begun(target: Target) -> bool:
    """Whether the service has written down where it begins, the one write at a first start."""

    async def looked() -> bool:
        database = open_database(target)
        try:
            return await trigger_state.load_progress(database) is not None
        finally:
            await database.close()

    return asyncio.run(looked())


def holder(target: Target) -> tuple[int | None, int | None]:
    """Process and term of who runs the late runs now."""

    async def looked() -> list[leases.Lease]:
        database = open_database(target)
        try:
            return await leases.load_all(database, database.dialect)
        finally:
            await database.close()

    for lease in asyncio.run(looked()):
        if lease.name == LateRuns.name:
            return (lease.pid if lease.left_seconds > 0 else None), lease.term
    return None, None


class Client:
    """Somebody who schedules runs."""

    def __init__(self, url: str) -> None:
        # A connection each: one that is kept belongs to a worker, and workers are killed here.
        once = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(base_url=url, verify=NO_CERTIFICATES, timeout=20.0, limits=once)
        self._flow_id = self._post("/flows/", {"name": str(uuid4())})["id"]

    def _post(self, path: str, body: Any) -> Any:
        answer = self._http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def schedule(self, due_in: timedelta = LONG_AGO) -> str:
        due = (datetime.now(UTC) + due_in).isoformat()
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": due}}
        run = self._post("/flow_runs/", {"flow_id": self._flow_id, "state": state})
        assert run["state_name"] == "Scheduled"
        return str(run["id"])

    def states(self, run_id: str) -> list[str]:
        answer = self._http.get("/flow_run_states/", params={"flow_run_id": run_id})
        return [state["name"] for state in answer.json()]

    def is_late(self, run_id: str) -> bool:
        return self.states(run_id)[-1] == "Late"

    def lateness_told(self, run_ids: set[str]) -> list[str]:
        """The runs about which an emission says that they are late, each as often as one does."""
        body = {"filter": {"event": {"name": ["prefect.flow-run.Late"]}}, "limit": 50}
        found = self._post("/events/filter", body)["events"]
        told = [one["resource"]["prefect.resource.id"].rpartition(".")[2] for one in found]
        return sorted(id_ for id_ in told if id_ in run_ids)


@pytest.fixture
def client(start_server: StartServer) -> Client:
    """A client of a server that runs no services."""
    return Client(start_server(settings=NO_SERVICES).url)


def test_services_run_in_a_process_of_their_own_for_a_server_without(
    client: Client, start_services: StartServices, target: Target, tmp_path: Path
) -> None:
    run_id = client.schedule()
    assert holder(target) == (None, None)
    services = start_services()
    eventually(lambda: client.is_late(run_id))
    shown = listed(target, tmp_path)
    assert [one["name"] for one in shown] == [service.name for service in SERVICES]
    one = next(one for one in shown if one["name"] == "late-runs")
    since = datetime.fromisoformat(one["since"])
    assert (one["pid"], one["term"], one["running"]) == (services.pid, 1, True)
    assert timedelta() < datetime.now(UTC) - since < timedelta(minutes=2)
    assert (one["lag_seconds"], one["last_error"]) == (0, None)
    # What follows the log runs there as well.
    eventually(lambda: client.lateness_told({run_id}) == [run_id])


def test_services_end_in_time_and_another_process_goes_on_at_once(
    client: Client, start_services: StartServices, target: Target, tmp_path: Path
) -> None:
    first, second = start_services(), start_services()
    eventually(lambda: holder(target)[0] is not None)
    ending, staying = (first, second) if holder(target)[0] == first.pid else (second, first)
    began = time.monotonic()
    assert ending.stop() == 0
    assert time.monotonic() - began < SHUTDOWN_SECONDS
    run_id = client.schedule()
    # Less than a lease lasts: it was given back.
    eventually(lambda: client.is_late(run_id), 4.0)
    assert holder(target) == (staying.pid, 2)


def next_holder(target: Target, after: int) -> tuple[int, int]:
    """Process and term of who runs the late runs in a later term than `after`. On a slow machine a
    process may lose its lease by itself, so that is not always the next one."""
    found: list[tuple[int, int]] = []

    def follows() -> bool:
        pid, term = holder(target)
        if pid is not None and term is not None and term > after:
            found.append((pid, term))
        return bool(found)

    eventually(follows)
    return found[0]


def test_a_killed_process_is_followed_by_another_and_each_late_run_is_marked_once(
    client: Client, start_services: StartServices, target: Target, tmp_path: Path
) -> None:
    services = [start_services() for _ in range(3)]
    run_ids = []
    term = 0
    for _ in range(2):
        pid, term = next_holder(target, term)
        run_ids += [client.schedule(), client.schedule(timedelta(seconds=0.3))]
        (victim,) = [one for one in services if one.pid == pid]
        victim.kill()
        run_ids.append(client.schedule())
        for run_id in run_ids:
            eventually(lambda run_id=run_id: client.is_late(run_id), TAKE_OVER_SECONDS_MAX)  # type: ignore[misc]
    for run_id in run_ids:
        assert client.states(run_id) == ["Scheduled", "Late"]
    eventually(lambda: client.lateness_told(set(run_ids)) == sorted(run_ids))


def test_a_process_that_slept_through_its_term_writes_nothing_when_it_wakes(
    client: Client, start_services: StartServices, target: Target, tmp_path: Path
) -> None:
    sleeper = start_services()
    eventually(lambda: holder(target) == (sleeper.pid, 1))
    eventually(lambda: triggers_have_begun(target))  # It sleeps without the lock of the log.
    ahead = client.schedule(timedelta(seconds=0.5))
    os.kill(sleeper.pid, signal.SIGSTOP)
    other = start_services()
    due = client.schedule()
    eventually(lambda: holder(target) == (other.pid, 2), TAKE_OVER_SECONDS_MAX)
    eventually(lambda: client.is_late(due) and client.is_late(ahead))
    os.kill(sleeper.pid, signal.SIGCONT)
    eventually(lambda: "service late-runs stops" in sleeper.output())
    last = client.schedule()
    eventually(lambda: client.is_late(last))
    assert holder(target) == (other.pid, 2)
    for run_id in (ahead, due, last):
        assert client.states(run_id) == ["Scheduled", "Late"]


def test_a_process_that_cannot_renew_stops_its_services_and_ends_in_time_all_the_same(
    start_services: StartServices, target: Target, tmp_path: Path
) -> None:
    services = start_services()
    eventually(lambda: holder(target)[0] == services.pid)
    eventually(lambda: triggers_have_begun(target))  # Nothing is being written any more.
    with log_locked(target):
        eventually(lambda: "its lease could not be renewed in time" in services.output())
        began = time.monotonic()
        assert services.stop() == 0, services.output()
        assert time.monotonic() - began < SHUTDOWN_SECONDS


def test_what_became_due_while_the_server_was_down_is_marked_after_its_start(
    start_server: StartServer,
) -> None:
    first = start_server(settings=NO_SERVICES)
    client = Client(first.url)
    run_id = client.schedule(timedelta(seconds=0.2))
    first.process.kill()
    first.process.wait()
    start_server(port=first.port, settings=QUICK)
    eventually(lambda: client.is_late(run_id), TAKE_OVER_SECONDS_MAX)
    assert client.states(run_id) == ["Scheduled", "Late"]


def test_of_four_workers_one_runs_the_services_and_when_it_is_killed_another_does(
    start_server: StartServer, target: Target, tmp_path: Path
) -> None:
    server = start_server(workers=4, settings=QUICK)
    client = Client(server.url)
    workers = {child.pid for child in psutil.Process(server.process.pid).children()}
    eventually(lambda: holder(target)[0] in workers)
    pid, term = holder(target)
    assert pid is not None and term == 1
    os.kill(pid, signal.SIGKILL)
    run_id = client.schedule()
    eventually(lambda: client.is_late(run_id), TAKE_OVER_SECONDS_MAX)
    assert client.states(run_id) == ["Scheduled", "Late"]
    assert holder(target)[1] == 2


@pytest.mark.parametrize("backend", ["sqlite"])
def test_services_in_the_background_are_started_once_and_stopped(
    target: Target, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    started = serving.run_cli(target, home, "server", "services", "start", "--background")
    try:
        assert started.returncode == 0, started.stderr
        known = pid_file.running(home, pid_file.SERVICES_FILE_NAME)
        assert known is not None and str(known.pid) in started.stdout
        # A server of the same home is another matter.
        assert serving.run_cli(target, home, "server", "status").returncode == 1
        again = serving.run_cli(target, home, "server", "services", "start", "--background")
        assert again.returncode == 1 and "pluperfect server services stop" in again.stderr
        eventually(lambda: holder(target)[0] == known.pid)
    finally:
        stopped = serving.run_cli(target, home, "server", "services", "stop")
    assert stopped.returncode == 0 and str(known.pid) in stopped.stdout
    assert holder(target) == (None, 1)
    assert not list(home.glob("*.pid"))
    nothing = serving.run_cli(target, home, "server", "services", "stop")
    assert nothing.returncode == 1
    assert nothing.stderr.startswith("Error: No process with services runs")


@pytest.mark.parametrize("backend", ["sqlite"])
def test_services_that_cannot_start_say_why_in_a_sentence(target: Target, tmp_path: Path) -> None:
    for settings, why in (
        ({"PLUPERFECT_DATABASE_READ_ONLY": "true"}, "forbid to write"),
        ({"PLUPERFECT_DATABASE_URL": "postgresql://x@127.0.0.1:1/y"}, "annot reach Postgres"),
    ):
        done = serving.run_cli(target, tmp_path, "server", "services", "start", settings=settings)
        assert done.returncode == 1
        assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
        assert why in done.stderr


@pytest.mark.parametrize("backend", ["sqlite"])
def test_the_list_names_what_is_off_and_who_was_last(target: Target, tmp_path: Path) -> None:
    off = {"PREFECT_API_SERVICES_LATE_RUNS_ENABLED": "false"}
    done = serving.run_cli(target, tmp_path, "server", "services", "ls", settings=off)
    assert done.returncode == 0
    assert done.stdout.startswith("late-runs")
    assert "never ran" in done.stdout and "off in these settings" in done.stdout
    services = Services(target, tmp_path / "one", {})
    eventually(lambda: holder(target)[0] == services.pid)
    text = serving.run_cli(target, tmp_path, "server", "services", "ls").stdout
    assert f"process {services.pid} on " in text and "up to date" in text
    services.kill()
    eventually(
        lambda: (
            "runs nowhere" in serving.run_cli(target, tmp_path, "server", "services", "ls").stdout
        )
    )
