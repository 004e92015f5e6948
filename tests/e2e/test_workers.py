"""A real worker: it finds the runs that are due, runs them, and is seen to be there."""

from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.e2e.answers import Api
from tests.e2e.prefect_client import PrefectClient

RUNS = 3
POOL = "here"


@pytest.fixture
def client(start_server: StartServer, prefect_environment: Path, tmp_path: Path) -> PrefectClient:
    """A client of a server with two workers."""
    server = start_server(workers=2)
    return PrefectClient(prefect_environment, tmp_path / "client", server.url)


def test_a_worker_runs_what_is_due_in_its_pool(client: PrefectClient) -> None:
    made = client.prefect("work-pool", "create", POOL, "--type", "process")
    assert made.code == 0, made.errors
    client.flow("deployed.py", POOL)
    with Api(client.api_url) as api:
        deployment = api.read("/deployments/name/doubled/here")
        state = {"type": "SCHEDULED"}
        path = f"/deployments/{deployment['id']}/create_flow_run"
        ids = {api.ask(path, state=state)["id"] for _ in range(RUNS)}
        once = ("worker", "start", "--pool", POOL, "--name", "w", "--type", "process", "--run-once")
        worked = client.prefect(*once)
        assert worked.code == 0, worked.errors
        runs = api.ask("/flow_runs/filter", deployments={"id": {"any_": [deployment["id"]]}})
        assert {run["id"]: run["state_name"] for run in runs} == dict.fromkeys(ids, "Completed")
        assert api.read(f"/work_pools/{POOL}")["status"] == "READY"
        assert api.read(f"/work_pools/{POOL}/queues/default")["status"] == "READY"
        assert api.read(f"/deployments/{deployment['id']}")["status"] == "READY"
        (worker,) = api.ask(f"/work_pools/{POOL}/workers/filter")
        assert (worker["name"], worker["status"]) == ("w", "ONLINE")
