"""Concurrency limits as the real client uses them, in flows and on the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.e2e.answers import Api
from tests.e2e.prefect_client import Commands, PrefectClient

TASKS = 4


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """One engine: what differs between the engines is tested without a client."""
    return str(request.param)


@pytest.fixture
def client(start_server: StartServer, prefect_environment: Path, tmp_path: Path) -> PrefectClient:
    """A client of a server with two workers."""
    server = start_server(workers=2)
    return PrefectClient(prefect_environment, tmp_path / "client", server.url)


def test_a_flow_keeps_within_its_limits(client: PrefectClient) -> None:
    with Api(client.api_url) as api:
        for path, body in (
            ("/v2/concurrency_limits/", {"name": "database", "limit": 2}),
            ("/v2/concurrency_limits/", {"name": "tag:gpu", "limit": 1}),
            (
                "/v2/concurrency_limits/",
                {"name": "requests", "limit": 1, "slot_decay_per_second": 2.0},
            ),
        ):
            api.post(path, json=body).raise_for_status()
        said = client.flow("limited.py", str(TASKS)).said
        assert said["database"] in (1, 2)
        assert said["gpu"] == 1
        assert said["waited"] > 0.9
        assert said["missing"] == "ConcurrencySlotAcquisitionError"
        for limit in api.ask("/v2/concurrency_limits/filter"):
            if limit["name"] != "requests":
                assert limit["active_slots"] == 0
        acquired = api.post(
            "/events/filter", json={"filter": {"event": {"prefix": ["prefect.concurrency-limit"]}}}
        )
        assert acquired.raise_for_status().json()["total"] >= 2 * TASKS


def test_runs_of_a_deployment_keep_within_its_limit_and_wake_each_other(
    start_server: StartServer, prefect_environment: Path, tmp_path: Path
) -> None:
    often = {"PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    server = start_server()
    client = PrefectClient(prefect_environment, tmp_path / "client", server.url, often)
    serving = client.start_flow("limited_deployment.py")
    try:
        with Api(client.api_url) as api:
            serving.wait_for(lambda: len(api.ask("/deployments/filter")), 1)
            (deployment,) = api.ask("/deployments/filter")
            assert deployment["global_concurrency_limit"]["limit"] == 1
            ids = [api.ask(f"/deployments/{deployment['id']}/create_flow_run")["id"]]
            ids.append(api.ask(f"/deployments/{deployment['id']}/create_flow_run")["id"])
            ended = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
            serving.wait_for(lambda: api.ask("/flow_runs/count", **ended), len(ids))
            states = {id_: api.read("/flow_run_states/", flow_run_id=id_) for id_ in ids}
            spans = sorted(_span(of_run) for of_run in states.values())
            assert spans[0][1] <= spans[1][0]
            waited = [
                state
                for of_run in states.values()
                for state in of_run
                if state["name"] == "AwaitingConcurrencySlot"
            ]
            # Put off for half a minute, and due as soon as the other one had ended.
            assert waited[-1]["state_details"]["scheduled_time"] <= waited[-1]["timestamp"]
            (limit,) = api.ask("/v2/concurrency_limits/filter")
            assert limit["active_slots"] == 0
    finally:
        serving.end()


def _span(states: list[dict[str, Any]]) -> tuple[str, str]:
    """When a run began and when it had ended."""
    at = {state["type"]: state["timestamp"] for state in states}
    return at["RUNNING"], at["COMPLETED"]


def _done(commands: Commands, *arguments: str) -> str:
    done = commands.prefect(*arguments)
    assert done.code == 0, done.output + done.errors
    return done.output


def test_limits_are_made_changed_and_deleted_on_the_command_line(client: PrefectClient) -> None:
    with client.commands() as commands:
        _done(commands, "gcl", "create", "database", "--limit", "3")
        _done(commands, "gcl", "update", "database", "--limit", "5", "--slot-decay-per-second", "1")
        _done(commands, "gcl", "disable", "database")
        shown = json.loads(_done(commands, "gcl", "inspect", "database", "--output", "json"))
        assert (shown["limit"], shown["active"], shown["slot_decay_per_second"]) == (5, False, 1.0)
        _done(commands, "gcl", "enable", "database")
        assert "database" in _done(commands, "gcl", "ls")
        _done(commands, "gcl", "delete", "database")
        assert commands.prefect("gcl", "inspect", "database").code == 1

        _done(commands, "concurrency-limit", "create", "gpu", "2")
        assert "gpu" in _done(commands, "concurrency-limit", "ls")
        assert "gpu" in _done(commands, "concurrency-limit", "inspect", "gpu")
        _done(commands, "concurrency-limit", "reset", "gpu")
        _done(commands, "concurrency-limit", "delete", "gpu")
        assert commands.prefect("concurrency-limit", "inspect", "gpu").code == 1
