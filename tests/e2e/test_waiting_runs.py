"""Runs that wait for somebody else: for input while they are paused, for a task worker."""

from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.e2e.answers import Api
from tests.e2e.prefect_client import PrefectClient

TASKS = 8


@pytest.fixture
def client(start_server: StartServer, prefect_environment: Path, tmp_path: Path) -> PrefectClient:
    """A client of a server with two workers."""
    server = start_server(workers=2)
    return PrefectClient(prefect_environment, tmp_path / "client", server.url)


def test_a_paused_flow_goes_on_with_the_input_that_it_asked_for(client: PrefectClient) -> None:
    asking = client.start_flow("asking.py", "ask")
    try:
        with Api(client.api_url) as api:

            def paused() -> list[str]:
                states = {"state": {"type": {"any_": ["PAUSED"]}}}
                return [run["id"] for run in api.ask("/flow_runs/filter", flow_runs=states)]

            asking.wait_for(lambda: len(paused()), 1)
            (id_,) = paused()
            refused = client.start_flow("asking.py", "answer", id_, '"old"').finish()
            assert refused.code != 0
            assert "age" in refused.errors
            assert paused() == [id_]
            client.flow("asking.py", "answer", id_, "36")
            finished = asking.finish()
            assert finished.code == 0, finished.errors
            assert finished.said == {"name": "Ada", "age": 36}
            states = api.read("/flow_run_states/", flow_run_id=id_)
            names = [state["name"] for state in states]
            assert names == ["Pending", "Running", "Paused", "Running", "Completed"]
    finally:
        asking.end()


def test_background_tasks_are_run_by_task_workers(client: PrefectClient) -> None:
    workers = [client.start_flow("background.py", "serve") for _ in range(2)]
    try:
        with Api(client.api_url) as api:
            workers[0].wait_for(lambda: len(api.ask("/task_workers/filter")), 2)
            said = client.flow("background.py", "delay", str(TASKS)).said
            assert said["results"] == [n + 1 for n in range(TASKS)]
            for id_ in said["ids"]:
                states = api.read("/task_run_states/", task_run_id=id_)
                names = [state["name"] for state in states]
                assert names == ["Scheduled", "Pending", "Running", "Completed"]
                assert api.read(f"/task_runs/{id_}")["run_count"] == 1
    finally:
        for one in workers:
            one.end()
