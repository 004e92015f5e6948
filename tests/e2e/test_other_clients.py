"""Clients of other releases than the one whose contract we keep: the oldest of Prefect 3, one in
between, and the newest there is. Each lives in an environment of its own."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import serving
from tests.conftest import fresh_database
from tests.e2e import prefect_client
from tests.e2e.answers import Api
from tests.e2e.deployed import end, until
from tests.e2e.prefect_client import OTHER_CLIENTS, PrefectClient

pytestmark = pytest.mark.heavy

MAPPED_TASKS = 20
POOL = "elsewhere"
LIMIT = "around"


@dataclass(frozen=True)
class Elsewhere:
    """A server, and a client of another release that has run the flow with everything in it."""

    client: PrefectClient
    api: Api
    said: dict[str, Any]
    """What the client saw of its runs."""

    def done(self, *arguments: str) -> str:
        """What a command that works prints."""
        done = self.client.prefect(*arguments)
        assert done.code == 0, done.output + done.errors
        return done.output


@pytest.fixture(scope="module", params=OTHER_CLIENTS)
def prefect_environment(request: pytest.FixtureRequest) -> Path:
    """The virtual environment with another client."""
    return prefect_client.environment(OTHER_CLIENTS[request.param])


@pytest.fixture(scope="module")
def elsewhere(
    request: pytest.FixtureRequest,
    prefect_environment: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Elsewhere]:
    """See `Elsewhere`."""
    environment = prefect_environment
    folder = tmp_path_factory.mktemp("client")
    settings = {
        # As in an environment that was activated: a job's command begins with `python`.
        "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    with fresh_database("sqlite", request, folder) as target:
        server = serving.start(target, folder / "home")
        try:
            client = PrefectClient(environment, folder / "client", server.url, settings)
            said = client.flow("everything.py", str(MAPPED_TASKS)).said
            with Api(server.url) as api:
                api.wait_for_task_runs(said["task_runs"])
                yield Elsewhere(client, api, said)
        finally:
            code = server.stop()
        assert code == 0, f"exit code {code}:\n{server.output()}"
        serving.verify_digests(target)


def test_flow_runs_end_as_the_client_saw_it(elsewhere: Elsewhere) -> None:
    names = sorted({seen["flow"] for seen in elsewhere.said["flow_runs"].values()})
    found = elsewhere.api.find("/flow_runs/filter", flows={"name": {"any_": names}})
    shown = {run["id"]: run for run in found}
    assert shown.keys() == elsewhere.said["flow_runs"].keys()
    for id_, seen in elsewhere.said["flow_runs"].items():
        compared = ("name", "state_type", "state_name", "run_count", "parameters")
        assert {key: shown[id_][key] for key in compared} == {key: seen[key] for key in compared}


def test_task_runs_end_as_the_client_saw_it(elsewhere: Elsewhere) -> None:
    shown = {run["id"]: run for run in elsewhere.api.find("/task_runs/filter", sort="ID_DESC")}
    for id_, seen in elsewhere.said["task_runs"].items():
        compared = ("name", "flow_run_id", "state_type", "state_name", "run_count")
        assert {key: shown[id_][key] for key in compared} == {key: seen[key] for key in compared}
    ended = Counter(run["state_type"] for run in shown.values())
    assert ended.keys() == {"COMPLETED", "FAILED"}


def test_lines_and_artifacts_arrive(elsewhere: Elsewhere) -> None:
    run = {"flow_run_id": {"any_": [elsewhere.said["flow_run_id"]]}}
    lines = [line["message"] for line in elsewhere.api.find("/logs/filter", logs=run)]
    wanted = {f"line {number}" for number in range(elsewhere.said["lines"])}
    assert wanted <= set(lines)
    for id_ in elsewhere.said["artifacts"].values():
        assert elsewhere.api.read(f"/artifacts/{id_}")["key"]


def test_variables_blocks_limits_artifacts_and_events_work(elsewhere: Elsewhere) -> None:
    elsewhere.done("gcl", "create", LIMIT, "--limit", "1")
    said = elsewhere.client.flow("around.py", LIMIT).said
    assert (said["variable"], said["held"]) == ("here", LIMIT)
    assert elsewhere.api.read("/variables/name/where")["value"] == "here"
    assert said["block"] == ["Bern", "k3y"]
    block = elsewhere.api.read("/block_types/slug/depot/block_documents/name/main")
    assert block["data"] == {"place": "Bern", "key": "********"}
    assert elsewhere.api.read(f"/v2/concurrency_limits/{LIMIT}")["active_slots"] == 0
    assert elsewhere.api.read("/artifacts/found/latest")["data"] == "# found"
    asked = {"filter": {"event": {"name": ["around.seen"]}}}
    until(lambda: elsewhere.api.ask("/events/filter", **asked)["events"], "the event is shown")


def test_a_worker_runs_what_was_deployed(elsewhere: Elsewhere) -> None:
    elsewhere.done("work-pool", "create", POOL, "--type", "process")
    deployed = elsewhere.client.start_flow("deployed.py", POOL).finish()
    assert deployed.code == 0, deployed.output + deployed.errors
    worker = elsewhere.client.start_prefect("worker", "start", "--pool", POOL, "--name", "w")
    try:
        (deployment,) = elsewhere.api.ask("/deployments/filter")
        made = elsewhere.api.ask(
            f"/deployments/{deployment['id']}/create_flow_run", parameters={"number": 4}
        )
        elsewhere.done("deployment", "run", "doubled/here", "--param", "number=21")

        def completed() -> bool:
            found = elsewhere.api.ask(
                "/flow_runs/filter", deployments={"id": {"any_": [deployment["id"]]}}
            )
            assert not [run for run in found if run["state_type"] in ("FAILED", "CRASHED")], found
            return [run["state_type"] for run in found] == ["COMPLETED"] * 2

        until(completed, "both runs are done")
        assert elsewhere.api.read(f"/flow_runs/{made['id']}")["parameters"] == {"number": 4}
        (seen,) = elsewhere.api.ask(f"/work_pools/{POOL}/workers/filter")
        assert (seen["name"], seen["status"]) == ("w", "ONLINE")
    finally:
        end(worker)


@pytest.mark.parametrize(
    "command",
    ["flow ls", "flow-run ls", "deployment ls", "work-pool ls", "variable ls", "gcl ls", "version"],
)
def test_commands_show_what_there_is(elsewhere: Elsewhere, command: str) -> None:
    assert elsewhere.done(*command.split()).strip() != ""
