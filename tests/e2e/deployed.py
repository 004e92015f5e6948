"""A server on which deployments run: a project that was deployed, a worker, and a served flow.

Everything is set in motion at once, because each process of the real client takes seconds to start.
"""

import fcntl
import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from eventstore.migrate import Target
from tests import serving
from tests.e2e.answers import Api
from tests.e2e.prefect_client import FLOWS, Commands, Finished, PrefectClient, Running

PROJECT = FLOWS / "project"
POOL = "here"
WORKER = "w"
RUNS_MAX = 100
"""Of the worker, at the same time."""
SERVED_SECONDS = 30
"""Between two slots of each of the served flow's schedules."""
PROGRESS_SECONDS_MAX = 480.0
"""How long anything may take: dozens of processes start on few processors."""
POLL_SECONDS = 0.1


def until(holds: Callable[[], Any], what: str, seconds: float = PROGRESS_SECONDS_MAX) -> Any:
    """Wait for something that other processes bring about; what it is then."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(POLL_SECONDS)
    return found


@dataclass(frozen=True)
class Land:
    """The server, and whom it has to do with."""

    client: PrefectClient
    api: Api
    commands: Commands
    worker: Running
    gate: IO[str]
    """Flows that hold go on when this is unlocked."""

    def prefect(self, *arguments: str) -> Finished:
        """A command that works."""
        done = self.commands.prefect(*arguments)
        assert done.code == 0, done.output + done.errors
        return done

    def shown(self, *arguments: str) -> Any:
        """What a command shows as JSON."""
        return json.loads(self.prefect(*arguments, "--output", "json").output)

    def deployment(self, name: str) -> Any:
        """A deployment by flow and name."""
        return self.api.read(f"/deployments/name/{name}")

    def create(self, name: str, **body: Any) -> str:
        """Have a deployment run now; the run's id."""
        id_ = self.deployment(name)["id"]
        state = {"type": "SCHEDULED"}
        asked = self.api.ask(f"/deployments/{id_}/create_flow_run", state=state, **body)
        return str(asked["id"])

    def runs(self, name: str, *types: str) -> list[Any]:
        """The runs of a deployment, of some types of states if any are given."""
        criteria: dict[str, Any] = {"state": {"type": {"any_": types}}} if types else {}
        flow, _, deployment = name.partition("/")
        return self.api.find(
            "/flow_runs/filter",
            flows={"name": {"any_": [flow]}},
            deployments={"name": {"any_": [deployment]}},
            flow_runs=criteria,
        )

    def run(self, id_: str) -> Any:
        """A flow run."""
        return self.api.read(f"/flow_runs/{id_}")

    def states(self, id_: str) -> list[str]:
        """The names of a run's states so far, without Late: that depends on the machine."""
        states = self.api.read("/flow_run_states/", flow_run_id=id_)
        return [one["name"] for one in states if one["name"] != "Late"]

    def ended(self, id_: str) -> str:
        """The name of a run's state once it has ended."""

        def state() -> Any:
            found = self.run(id_)["state"]
            final = found["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
            return found["name"] if final else None

        return str(until(state, f"the end of {id_}"))

    def reaches(self, id_: str, name: str) -> None:
        """Return when a run is in a state of this name."""
        until(lambda: self.run(id_)["state_name"] == name, f"{id_} {name}")

    def noted(self, **sought: Any) -> list[Any]:
        """The lines of the journal with these fields."""
        return [line for line in journal(self.client) if sought.items() <= line.items()]

    def open_gate(self) -> None:
        """Let the flows that hold go on."""
        fcntl.flock(self.gate, fcntl.LOCK_UN)


def journal(client: PrefectClient) -> list[Any]:
    """What the flows of a project noted so far."""
    lines = Path(client.settings["JOURNAL"]).read_text().splitlines()
    return [json.loads(line) for line in lines]


def alive(pid: int) -> bool:
    """Whether a process runs, and not only has not been waited for."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def project(environment: Path, home: Path, api_url: str) -> Iterator[tuple[PrefectClient, IO[str]]]:
    """Somebody with a project, and the gate of its flows, closed."""
    shutil.copytree(PROJECT, home)
    journal, gate = home / "journal", home / "gate"
    journal.touch()
    settings = {
        # As in an environment that was activated: a job's command begins with `python`.
        "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PROJECT": str(home),
        "JOURNAL": str(journal),
        "GATE": str(gate),
        "REPAIRED": str(home / "repaired"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    }
    with gate.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield PrefectClient(environment, home, api_url, settings), lock


def start_worker(client: PrefectClient, limit: int) -> Running:
    """`prefect worker start` for the pool of the project; so many runs at the same time."""
    arguments = ("--pool", POOL, "--name", WORKER, "--type", "process", "--limit", str(limit))
    return client.start_prefect("worker", "start", *arguments)


def stop(running: Running, seconds: float = PROGRESS_SECONDS_MAX) -> Finished:
    """Interrupt a program and wait for its end."""
    running.process.send_signal(signal.SIGINT)
    return running.finish(seconds)


@contextmanager
def land(target: Target, folder: Path, workers: int, environment: Path) -> Iterator[Land]:
    """A server of so many workers with a project that was deployed and a worker of Prefect's."""
    server = serving.start(target, folder / "home", workers=workers)
    try:
        with ExitStack() as cleanup:
            enter = cleanup.enter_context
            client, gate = enter(project(environment, folder / "client", server.url))
            commands, api = enter(client.commands()), enter(Api(server.url))
            made = commands.prefect("work-pool", "create", POOL, "--type", "process")
            assert made.code == 0, made.output + made.errors
            worker = start_worker(client, RUNS_MAX)
            cleanup.callback(end, worker)
            deployed = commands.prefect("deploy", "--all")
            assert deployed.code == 0, deployed.output + deployed.errors
            yield Land(client, api, commands, worker, gate)
    finally:
        code = server.stop()
    assert code == 0, f"exit code {code}:\n{server.output()}"
    serving.verify_digests(target)


def end(running: Running) -> None:
    """Make sure that neither a program nor what it started runs any more."""
    if running.process.poll() is None:
        for child in psutil.Process(running.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    running.end()


def once_each(slots: list[str]) -> bool:
    """Whether none of them is there twice."""
    return all(number == 1 for number in Counter(slots).values())
