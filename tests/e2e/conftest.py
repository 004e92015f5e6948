"""The real client, and servers of every shape for it to talk to."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import serving
from tests.conftest import fresh_database
from tests.e2e import prefect_client
from tests.e2e.answers import Api
from tests.e2e.prefect_client import PrefectClient
from tests.serving import RunningServer

MAPPED_TASKS = 200
SHAPES = (("sqlite", 1), ("sqlite", 4), ("postgres", 1), ("postgres", 4))
"""Engine and number of workers."""


@dataclass(frozen=True)
class Lived:
    """A server on which the real client has run the flow with everything in it."""

    server: RunningServer
    client: PrefectClient
    api: Api
    said: dict[str, Any]
    """What the client saw of its runs."""

    @property
    def flow_run_id(self) -> str:
        """The outermost flow run."""
        return str(self.said["flow_run_id"])

    def flow_run_ids(self, flow: str) -> list[str]:
        """The runs of one flow."""
        return [id for id, run in self.said["flow_runs"].items() if run["flow"] == flow]

    def task_run_ids(self, task: str) -> list[str]:
        """The runs of one task, in the order in which they ended."""
        runs = self.said["task_runs"].items()
        return [id for id, run in runs if run["name"].rpartition("-")[0] == task]


@pytest.fixture(scope="session")
def prefect_environment() -> Path:
    """The virtual environment with the real client."""
    return prefect_client.environment()


@pytest.fixture(scope="session", params=SHAPES, ids=lambda shape: f"{shape[0]}-{shape[1]}")
def lived(
    request: pytest.FixtureRequest,
    prefect_environment: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Lived]:
    """A server of some shape with a real history; the tests that look at it do not change it.

    What the client saw is what the server shows from the moment on that the client has ended.
    """
    backend, workers = request.param
    folder = tmp_path_factory.mktemp(f"{backend}-{workers}")
    with fresh_database(backend, request, folder) as target:
        server = serving.start(target, folder / "home", workers=workers)
        try:
            client = PrefectClient(prefect_environment, folder / "client", server.url)
            said = client.flow("everything.py", str(MAPPED_TASKS)).said
            with Api(server.url) as api:
                # First of all, and without waiting: task runs come over a websocket, and
                # a client that has gone cannot send them again.
                shown = api.find("/task_runs/filter", sort="ID_DESC")
                reported = {run["id"] for run in shown if run["id"] in said["task_runs"]}
                assert reported == said["task_runs"].keys()
                yield Lived(server, client, api, said)
        finally:
            code = server.stop()
        assert code == 0, f"exit code {code}:\n{server.output()}"
        serving.verify_digests(target)
