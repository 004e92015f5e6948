"""The real client, and servers of every shape for it to talk to."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from eventstore.migrate import Target
from tests import serving
from tests.conftest import fresh_database
from tests.e2e.answers import Api
from tests.e2e.prefect_client import PrefectClient
from tests.pair_serving import running_pair

MAPPED_TASKS = 200
OTHER_TASKS_MIN = 5
"""So many more task runs there are in the flow at least."""
NGINX = "nginx"
"""A shape of two servers with so many workers each, on Postgres and Redis, behind nginx."""
SHAPES: tuple[tuple[str, int], ...] = (
    *(("sqlite", 1), ("sqlite", 4), ("postgres", 1), ("postgres", 4)),
    *((NGINX, 2), (NGINX, 4)),
)
"""Engine and number of workers."""
LONG = ((NGINX, 4),)
"""The shapes that are left to the long form."""


@dataclass(frozen=True)
class Lived:
    """A server on which the real client has run the flow with everything in it."""

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


@pytest.fixture(
    scope="session",
    params=[pytest.param(s, marks=pytest.mark.long) if s in LONG else s for s in SHAPES],
    ids=lambda shape: f"{shape[0]}-{shape[1]}",
)
def lived(
    request: pytest.FixtureRequest,
    prefect_environment: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Lived]:
    """A server of some shape with a real history; the tests that look at it do not change it."""
    kind, workers = request.param
    folder = tmp_path_factory.mktemp(f"{kind}-{workers}")
    live = _behind_nginx if kind == NGINX else _alone
    with (
        fresh_database("postgres" if kind == NGINX else kind, request, folder) as target,
        live(target, folder, workers, prefect_environment) as (client, said),
        Api(client.api_url) as api,
    ):
        api.wait_for_task_runs(said["task_runs"])
        yield Lived(client, api, said)


@contextmanager
def _alone(
    target: Target, folder: Path, workers: int, environment: Path
) -> Iterator[tuple[PrefectClient, Any]]:
    server = serving.start(target, folder / "home", workers=workers)
    try:
        client = PrefectClient(environment, folder / "client", server.url)
        yield client, client.flow("everything.py", str(MAPPED_TASKS)).said
    finally:
        code = server.stop()
    assert code == 0, f"exit code {code}:\n{server.output()}"
    serving.verify_digests(target)


@contextmanager
def _behind_nginx(
    target: Target, folder: Path, workers: int, environment: Path
) -> Iterator[tuple[PrefectClient, Any]]:
    """Two servers. While the flow runs Redis is emptied, and one of them killed; it comes back."""
    with running_pair(target, folder, workers) as pair, pair.in_front() as api_url:
        client = PrefectClient(environment, folder / "client", api_url)
        flow = client.start_flow("everything.py", str(MAPPED_TASKS))
        try:
            with Api(api_url) as api:
                # Not before lines of the log came: until then a part of the client gives up at
                # the first failure. And right after them: a line whose answer is lost is sent
                # again, and would be there twice.
                flow.wait_for(lambda: len(api.ask("/logs/filter")), 1)
                begun = api.ask("/task_runs/count")
                pair.empty_redis()
                pair.kill_and_restart(0)
                assert begun < MAPPED_TASKS + OTHER_TASKS_MIN, "the flow was over too soon"
            finished = flow.finish()
        finally:
            flow.end()
        assert finished.code == 0, finished.errors
        yield client, finished.said
