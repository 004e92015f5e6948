"""kill -9 of the server while a real client runs a flow: the client goes on, nothing is missing.

What a client of Prefect 3 does about a server that is gone: a request is repeated with growing
pauses, unless that client object never reached the server. Emissions (so also the states of task
runs) are kept until a pong confirms them, and all that were not confirmed are sent again over the
next connection. A client that ends does not wait for a last pong, so this test lets the server live
through the end of the flow: its last leg begins when nothing will be killed any more.
"""

import fcntl
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventstore.migrate import Target
from projections import catalogue
from projections.digests import table_digest
from tests import serving
from tests.conftest import open_database
from tests.e2e import prefect_client
from tests.e2e.answers import Api
from tests.e2e.prefect_client import PrefectClient, Running
from tests.serving import RunningServer

LEGS = 6
TASKS_IN_A_LEG = 21
LEGS_LONG = 60
KILLS_SHORT = 2
KILLS_LONG = 20
FLOW_SECONDS_MAX = 900.0
LATER_SECONDS = 0.3
"""A kill comes up to this much later than the progress that it waits for, so at any point."""


class Mortal:
    """A server that is killed and started again, at the same address and on the same database."""

    def __init__(self, target: Target, home: Path) -> None:
        self._target = target
        self._home = home
        self._port = serving.free_port()
        self.server = self._start()

    def _start(self) -> RunningServer:
        return serving.start(self._target, self._home, port=self._port)

    def kill(self) -> None:
        """kill -9, and start it again."""
        assert self.server.process.poll() is None, self.server.output()
        self.server.process.kill()
        self.server.process.wait()
        self.server = self._start()


@pytest.fixture
def mortal(target: Target, tmp_path: Path) -> Iterator[Mortal]:
    """The server of this test."""
    mortal = Mortal(target, tmp_path / "home")
    yield mortal
    mortal.server.stop()


@contextmanager
def long_haul(client: PrefectClient, legs: int) -> Iterator[tuple[Running, Callable[[], None]]]:
    """The flow under way, and what lets it begin its last leg."""
    client.home.mkdir(parents=True, exist_ok=True)
    gate = client.home / "gate"
    with gate.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        flow = client.start_flow("long_haul.py", str(legs), str(gate))
        try:
            yield flow, lambda: fcntl.flock(lock, fcntl.LOCK_UN)
        finally:
            flow.end()


def survive(mortal: Mortal, client: PrefectClient, legs: int, kills: int) -> dict[str, Any]:
    """Run the flow and kill its server again and again; what the client saw."""
    draw = random.Random()
    # Not in the last leg: after it the client sends nothing again.
    moments = sorted(draw.sample(range(1, (legs - 1) * TASKS_IN_A_LEG), kills))
    with long_haul(client, legs) as (flow, let_it_end), Api(mortal.server.url) as api:
        # A client object that never reached the server gives up at once; here that is the one
        # which sends log lines, at first after two seconds.
        flow.wait_for(lambda: len(api.ask("/logs/filter")), 1)
        for moment in moments:
            flow.wait_for(lambda: api.ask("/task_runs/count"), moment)
            time.sleep(draw.uniform(0.0, LATER_SECONDS))
            mortal.kill()
        let_it_end()
        done = flow.finish(FLOW_SECONDS_MAX)
        assert done.code == 0, done.errors
    said: dict[str, Any] = done.said
    assert len(said["task_runs"]) == legs * TASKS_IN_A_LEG
    return said


def check_nothing_is_missing(api: Api, said: dict[str, Any], legs: int) -> None:
    """Everything that the client saw is shown, and hardly anything else."""
    api.wait_for_task_runs(said["task_runs"])
    task_runs = {run["id"]: run for run in api.find("/task_runs/filter", sort="ID_DESC")}
    for id, seen in said["task_runs"].items():
        assert {key: task_runs[id][key] for key in seen} == seen
    flow_runs = {run["id"]: run for run in api.find("/flow_runs/filter")}
    for id, seen in said["flow_runs"].items():
        assert {key: flow_runs[id][key] for key in seen} == seen
    for id in flow_runs.keys() - said["flow_runs"].keys():
        # Recorded, but killed before the answer: the client asked again, for another one.
        assert flow_runs[id]["state_name"] == "Pending"
    for id in said["task_runs"]:
        names = [state["name"] for state in api.read("/task_run_states/", task_run_id=id)]
        assert names in (
            ["Pending", "Running", "Completed"],
            ["Pending", "Running", "AwaitingRetry", "Retrying", "Completed"],
        )
    check_lines_and_artifacts(api, said, legs)


def check_lines_and_artifacts(api: Api, said: dict[str, Any], legs: int) -> None:
    """All are there and in order; one whose acknowledgement got lost may be there twice."""
    lines = api.find(
        "/logs/filter",
        logs={
            "flow_run_id": {"any_": [said["flow_run_id"]]},
            "task_run_id": {"is_null_": True},
        },
        sort="TIMESTAMP_ASC",
    )
    messages = [line["message"] for line in lines if line["message"].startswith("leg ")]
    assert list(dict.fromkeys(messages)) == [f"leg {number}" for number in range(legs)]
    artifacts = api.find("/artifacts/filter", artifacts={"key": {"like_": "leg-"}})
    keys = Counter(artifact["key"] for artifact in artifacts)
    assert keys.keys() == {f"leg-{number}" for number in range(legs)}


def _pluperfect(target: Target, home: Path, *arguments: str) -> None:
    done = serving.run_cli(target, home, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


async def _digests(target: Target) -> dict[str, str]:
    database = open_database(target)
    try:
        return {
            model.table.name: await table_digest(database, model.table)
            for projection in catalogue.ALL
            for model in projection.models
        }
    finally:
        await database.close()


async def survive_and_check(
    mortal: Mortal, target: Target, tmp_path: Path, legs: int, kills: int
) -> None:
    """The whole test, in any length."""
    client = PrefectClient(prefect_client.environment(), tmp_path / "client", mortal.server.url)
    said = survive(mortal, client, legs, kills)
    with Api(mortal.server.url) as api:
        check_nothing_is_missing(api, said, legs)
    home = tmp_path / "home"
    _pluperfect(target, home, "projections", "verify")
    _pluperfect(target, home, "log", "verify")
    assert mortal.server.stop() == 0
    before = await _digests(target)
    _pluperfect(target, home, "server", "database", "reset", "-y")
    assert await _digests(target) == before


async def test_a_flow_goes_on_when_its_server_is_killed(
    mortal: Mortal, target: Target, tmp_path: Path
) -> None:
    await survive_and_check(mortal, target, tmp_path, LEGS, KILLS_SHORT)


@pytest.mark.long
async def test_a_long_flow_goes_on_when_its_server_is_killed_many_times(
    mortal: Mortal, target: Target, tmp_path: Path
) -> None:
    await survive_and_check(mortal, target, tmp_path, LEGS_LONG, KILLS_LONG)
