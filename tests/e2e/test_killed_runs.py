"""A process is killed while it runs a flow: the server finds out, and says so."""

from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.e2e.answers import Api
from tests.e2e.prefect_client import PrefectClient

AFTER_SECONDS = 5


@pytest.fixture
def client(start_server: StartServer, prefect_environment: Path, tmp_path: Path) -> PrefectClient:
    """A client whose heart beats, of a server that has little patience."""
    settings = {"PREFECT_SERVER_SERVICES_ZOMBIES_AFTER_SECONDS": str(AFTER_SECONDS)}
    server = start_server(settings=settings)
    beating = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    return PrefectClient(prefect_environment, tmp_path / "client", server.url, beating)


def test_a_run_whose_process_was_killed_is_crashed(client: PrefectClient) -> None:
    dying = client.start_flow("dying.py")
    try:
        with Api(client.api_url) as api:

            def runs(kind: str, state: str) -> list[str]:
                states = {"state": {"type": {"any_": [state]}}}
                return [run["id"] for run in api.ask(f"/{kind}/filter", **{kind: states})]

            dying.wait_for(lambda: len(runs("task_runs", "RUNNING")), 1)
            (id_,) = runs("flow_runs", "RUNNING")
            dying.process.kill()
            sentences = api.read(f"/flow_runs/{id_}/explain")["sentences"]
            assert any("was last heard of" in one["text"] for one in sentences)
            watched = client.prefect("flow-run", "watch", id_)
            assert "finished in state 'Crashed'" in watched.output + watched.errors
            states = api.read("/flow_run_states/", flow_run_id=id_)
            assert [state["name"] for state in states] == ["Pending", "Running", "Crashed"]
            assert "whatever ran it is gone" in states[-1]["message"]
            sentences = api.read(f"/flow_runs/{id_}/explain")["sentences"]
            assert "as zombies reported" in sentences[0]["text"]
    finally:
        dying.end()
