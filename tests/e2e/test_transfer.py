"""`prefect transfer`, as it is in the client: from a real Prefect server to ours, and back."""

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import serving
from tests.conftest import fresh_database
from tests.e2e.answers import Api
from tests.e2e.holdings import Holdings
from tests.e2e.prefect_client import PROGRAM_SECONDS_MAX
from tests.e2e.real_server import real_server

pytestmark = pytest.mark.heavy

REAL, OURS = "real", "ours"
OF_A_DEPLOYMENT = (
    *("name", "description", "tags", "parameters", "parameter_openapi_schema", "entrypoint"),
    *("path", "enforce_parameter_schema", "job_variables", "paused", "pull_steps", "version"),
    *("work_pool_name", "work_queue_name"),
)
OF_A_SCHEDULE = ("schedule", "active", "parameters", "slug", "max_scheduled_runs")
OF_A_POOL = ("name", "type", "base_job_template", "concurrency_limit", "is_paused")
OF_A_QUEUE = ("name", "description", "priority", "concurrency_limit", "is_paused")
OF_A_VARIABLE = ("name", "value", "tags")
OF_A_LIMIT = ("name", "limit", "active")
OF_AN_AUTOMATION = ("name", "description", "enabled")
"""What the client takes over. It leaves behind the description of a pool, the decay of a limit's
slots and the limit of a deployment, whatever the servers are."""


@dataclass(frozen=True)
class Move:
    """A real server, ours, and a client with a profile for each."""

    real: Api
    ours: Api
    environment: Path
    home: Path

    def transfer(self, source: str, goal: str) -> dict[str, str]:
        """What the client says of each thing: `Success`, or why it was skipped. None may fail."""
        # PREFECT_API_URL would come before what a profile says.
        variables = serving.inherited_environment() | {
            "HOME": str(self.home),
            "PREFECT_HOME": str(self.home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_CLI_COLORS": "false",
            "PREFECT_CLI_PROMPT": "false",
            "COLUMNS": "400",
        }
        done = subprocess.run(
            [self.environment / "bin" / "prefect", "transfer", "--from", source, "--to", goal],
            env=variables,
            capture_output=True,
            text=True,
            timeout=PROGRAM_SECONDS_MAX,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        lines = re.findall(r"^│ ([\w-]+/\S+)\s+│ \S+ (\w+)\s+│\s*(.*?)\s*│$", done.stdout, re.M)
        assert lines, done.stdout
        return {name: detail or status for name, status, detail in lines}


def test_profiles_for_a_transfer_are_made_as_the_page_says(
    prefect_environment: Path, tmp_path: Path
) -> None:
    page = (serving.REPOSITORY / "docs" / "moving.md").read_text(encoding="utf-8")
    *making, transfer = page.split("```sh\n")[1].split("```")[0].splitlines()
    variables = serving.inherited_environment() | {
        "HOME": str(tmp_path),
        "PREFECT_HOME": str(tmp_path),
        "PATH": f"{prefect_environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    for line in making:
        subprocess.run(line, shell=True, env=variables, check=True, timeout=PROGRAM_SECONDS_MAX)

    profiles = tomllib.loads((tmp_path / "profiles.toml").read_text())["profiles"]
    source, goal = re.findall(r"--(?:from|to) (\w+)", transfer)
    assert profiles[source] == {"PREFECT_API_URL": "http://old:4200/api"}
    assert profiles[goal] == {"PREFECT_API_URL": "http://new:4200/api"}


@pytest.fixture(scope="module")
def move(
    request: pytest.FixtureRequest,
    prefect_environment: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Move]:
    """See `Move`. The tests of this module run in the order in which they are written."""
    folder = tmp_path_factory.mktemp("transfer")
    environment = prefect_environment
    with (
        fresh_database("sqlite", request, folder) as target,
        real_server(environment, folder / "real") as real_url,
    ):
        server = serving.start(target, folder / "ours")
        try:
            home = folder / "client"
            home.mkdir()
            (home / "profiles.toml").write_text(
                f'active = "{REAL}"\n'
                f'[profiles.{REAL}]\nPREFECT_API_URL = "{real_url}"\n'
                f'[profiles.{OURS}]\nPREFECT_API_URL = "{server.url}"\n'
            )
            with Api(real_url) as real, Api(server.url) as ours:
                yield Move(real, ours, environment, home)
        finally:
            code = server.stop()
        assert code == 0, f"exit code {code}:\n{server.output()}"
        serving.verify_digests(target)


def _only(fields: tuple[str, ...], one: dict[str, Any]) -> dict[str, Any]:
    return {field: one[field] for field in fields}


def held(api: Api) -> dict[str, Any]:
    """What a server has of `Holdings`, in its own words, without ids and times."""
    deployment = api.read(f"/deployments/name/{Holdings.flow}/{Holdings.deployment_name}")
    pool = f"/work_pools/{Holdings.pool}"
    blocks = f"/block_types/slug/{Holdings.block_type}/block_documents/name"
    block = api.read(f"{blocks}/{Holdings.block}", include_secrets="true")
    (automation,) = api.ask("/automations/filter")
    (action,) = automation["actions"]
    assert action.pop("deployment_id") == deployment["id"]
    return {
        "flow": _only(("name", "tags"), api.read(f"/flows/{deployment['flow_id']}")),
        "deployment": _only(OF_A_DEPLOYMENT, deployment),
        "schedules": [_only(OF_A_SCHEDULE, one) for one in deployment["schedules"]],
        "pool": _only(OF_A_POOL, api.read(pool)),
        "queue": _only(OF_A_QUEUE, api.read(f"{pool}/queues/{Holdings.queue}")),
        "variable": _only(OF_A_VARIABLE, api.read(f"/variables/name/{Holdings.variable}")),
        "limit": _only(OF_A_LIMIT, api.read(f"/v2/concurrency_limits/{Holdings.limit}")),
        "block": (block["data"], block["block_schema"]["checksum"]),
        "automation": _only(OF_AN_AUTOMATION, automation),
        "trigger": {key: value for key, value in automation["trigger"].items() if key != "id"},
        "action": action,
        "tag": _only(OF_A_LIMIT, api.read(f"/v2/concurrency_limits/tag:{Holdings.tag}")),
    }


def untouched(api: Api) -> list[Any]:
    """What may not change when a transfer finds everything there already, times included."""
    kinds = ("flows", "deployments", "variables", "work_pools", "v2/concurrency_limits")
    more = ("block_documents", "block_schemas", "block_types", "automations")
    found = [
        sorted(api.ask(f"/{kind}/filter"), key=lambda one: one["id"]) for kind in (*kinds, *more)
    ]
    return [*found, api.ask(f"/work_pools/{Holdings.pool}/queues/filter")]


def a_run(api: Api) -> dict[str, Any]:
    """A flow run of the server's own, which no transfer has to do with."""
    flow_id = api.ask("/flows/", name="own")["id"]
    run = api.ask("/flow_runs/", flow_id=flow_id, name="own", state={"type": "RUNNING"})
    return dict(api.read(f"/flow_runs/{run['id']}"))


def shown(api: Api, run: dict[str, Any]) -> dict[str, Any]:
    """The run as it is now; how long it has been running changes by itself."""
    moving = ("estimated_run_time", "estimated_start_time_delta", "total_run_time")
    now = api.read(f"/flow_runs/{run['id']}")
    return {**now, **{field: run[field] for field in moving}}


def test_everything_that_is_kept_on_a_real_server_arrives_here(move: Move) -> None:
    Holdings.made(move.real)
    runs = [(api, a_run(api)) for api in (move.real, move.ours)]
    before = held(move.real)
    said = move.transfer(REAL, OURS)
    assert said[f"deployment/{Holdings.deployment_name}"] == "Success"
    assert said[f"work-pool/{Holdings.pool}"] == "Success"
    assert held(move.ours) == before
    assert held(move.real) == before
    for api, run in runs:
        assert shown(api, run) == run


def test_a_second_transfer_changes_nothing(move: Move) -> None:
    before = untouched(move.ours)
    said = move.transfer(REAL, OURS)
    # The client asks for a flow by its name, which makes it where there is none.
    news = {name for name, detail in said.items() if detail == "Success"}
    assert news <= {f"flow/{Holdings.flow}"}
    assert said[f"work-pool/{Holdings.pool}"] == "Already exists"
    assert untouched(move.ours) == before


def test_everything_goes_back_to_a_real_server_that_has_lost_it(move: Move) -> None:
    before = held(move.ours)
    flow = move.real.read(f"/flows/name/{Holdings.flow}")
    (automation,) = move.real.ask("/automations/filter")
    type_ = move.real.read(f"/block_types/slug/{Holdings.block_type}")
    gone = (
        *(f"/flows/{flow['id']}", f"/work_pools/{Holdings.pool}"),
        f"/variables/name/{Holdings.variable}",
        *(f"/v2/concurrency_limits/{Holdings.limit}", f"/concurrency_limits/tag/{Holdings.tag}"),
        *(f"/automations/{automation['id']}", f"/block_types/{type_['id']}"),
    )
    for path in gone:
        move.real.delete(path).raise_for_status()
    move.transfer(OURS, REAL)
    assert held(move.real) == before
    assert held(move.ours) == before
