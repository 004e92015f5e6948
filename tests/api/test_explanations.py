"""Explanations of flow runs, over HTTP and on the command line."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from msgspec import json
from typer.testing import CliRunner

from api.cli import app
from eventstore.clock import DatabaseClock
from eventstore.migrate import Target
from tests.api.talk import expect, make_flow, make_flow_run, set_state, talk_to
from tests.conftest import StartServer
from tests.emitting import emission
from tests.serving import environment, run_cli

HEARD_SECONDS = 30.0
A_DAY = timedelta(days=1)


async def test_a_run_is_explained_alike_over_http_and_on_the_command_line(
    start_server: StartServer, target: Target, tmp_path: Path
) -> None:
    async with talk_to(start_server().url) as client:
        policy = {"retries": 1, "retry_delay": 3600}
        run = await make_flow_run(client, await make_flow(client), empirical_policy=policy)
        await set_state(client, "flow_runs", run["id"], "RUNNING")
        await set_state(client, "flow_runs", run["id"], "FAILED", message="boom")
        told = await expect(client, "GET", f"/flow_runs/{run['id']}/explain", 200)
        assert (told["name"], told["state_name"]) == (run["name"], "AwaitingRetry")
        first, second, third = [sentence["text"] for sentence in told["sentences"]]
        assert first == "Attempt 1 failed; it is retried, at most 1 times: boom"
        assert second.startswith("It waits for its time")
        assert "anonymous proposed FAILED; it became AwaitingRetry instead" in third
        await expect(client, "GET", f"/flow_runs/{uuid.uuid4()}/explain", 404)
    done = run_cli(target, tmp_path, "explain", run["id"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{run['name']} is AwaitingRetry.\n- {first}\n- It waits for")
    shown = run_cli(target, tmp_path, "explain", run["id"], "--json")
    assert json.decode(shown.stdout)["sentences"][0]["text"] == first


async def test_what_becomes_of_a_silent_run_without_a_tag_is_for_the_server_to_say(
    start_server: StartServer, target: Target, tmp_path: Path
) -> None:
    untagged = {"PLUPERFECT_SERVICES_ZOMBIES_UNTAGGED": "true"}
    ends = "If it stays silent, it is crashed."
    async with talk_to(start_server(settings=untagged).url) as client:
        run = await make_flow_run(client, await make_flow(client))
        await set_state(client, "flow_runs", run["id"], "RUNNING")
        beat = emission(
            event="prefect.flow-run.heartbeat",
            resource={"prefect.resource.id": f"prefect.flow-run.{run['id']}"},
        )
        await expect(client, "POST", "/events", 204, [beat])
        async with asyncio.timeout(HEARD_SECONDS):
            while True:  # It is in a table: there is no signal.
                told = await expect(client, "GET", f"/flow_runs/{run['id']}/explain", 200)
                if len(told["sentences"]) > 1:
                    break
                await asyncio.sleep(0.05)
        assert told["sentences"][1]["text"].endswith(ends)
    assert ends in run_cli(target, tmp_path, "explain", run["id"], settings=untagged).stdout
    assert ends not in run_cli(target, tmp_path, "explain", run["id"]).stdout


@pytest.mark.parametrize("backend", ["postgres"])
async def test_the_command_goes_by_the_databases_clock_whatever_the_machines_says(
    start_server: StartServer, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talk_to(start_server().url) as client:
        due = {"scheduled_time": (datetime.now(UTC) + A_DAY).isoformat()}
        run = await make_flow_run(client, await make_flow(client))
        await set_state(client, "flow_runs", run["id"], "SCHEDULED", state_details=due)
    ahead = partial(DatabaseClock, machine=lambda: datetime.now(UTC) + A_DAY * 2)
    monkeypatch.setattr("api.cli.explain.DatabaseClock", ahead)
    # In a thread: the command has an event loop of its own.
    done = await asyncio.to_thread(
        CliRunner().invoke, app, ["explain", run["id"]], env=environment(target, tmp_path, {})
    )
    assert "It waits for its time" in done.stdout


async def test_who_holds_a_limit_is_named(server_url: str) -> None:
    async with talk_to(server_url) as client:
        limited = {"name": "p", "type": "process", "concurrency_limit": 1}
        await expect(client, "POST", "/work_pools/", 201, limited)
        queue = {"name": "q", "concurrency_limit": 1}
        await expect(client, "POST", "/work_pools/p/queues", 201, queue)
        body = {"flow_id": await make_flow(client), "work_pool_name": "p", "work_queue_name": "q"}
        first = await expect(client, "POST", "/flow_runs/", 201, {**body, "name": "first"})
        due = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2026-01-01T00:00:00Z"}}
        deployment = {
            "name": "d",
            "flow_id": body["flow_id"],
            "work_pool_name": "p",
            "work_queue_name": "q",
        }
        made = await expect(client, "POST", "/deployments/", 201, deployment)
        at = f"/deployments/{made['id']}/create_flow_run"
        waits = await expect(client, "POST", at, 201, {"state": due})
        told = await expect(client, "GET", f"/flow_runs/{waits['id']}/explain", 200)
        texts = [sentence["text"] for sentence in told["sentences"]]
        assert "Its work pool p lets 1 run go on at the same time, and 1 does: first." in texts
        assert "Its work queue q lets 1 run go on at the same time, and 1 does: first." in texts
        paths = [link["path"] for sentence in told["sentences"] for link in sentence["links"]]
        assert paths.count(f"/flow_runs/{first['id']}") == 2


async def test_who_holds_the_slots_of_a_deployment_is_named(server_url: str) -> None:
    async with talk_to(server_url) as client:
        body = {"name": "d", "flow_id": await make_flow(client), "concurrency_limit": 1}
        made = await expect(client, "POST", "/deployments/", 201, body)
        at = f"/deployments/{made['id']}/create_flow_run"
        first, second = [await expect(client, "POST", at, 201, {"name": n}) for n in "ab"]
        for run in (first, second):
            await set_state(client, "flow_runs", run["id"], "PENDING")
        told = await expect(client, "GET", f"/flow_runs/{second['id']}/explain", 200)
        assert told["state_name"] == "AwaitingConcurrencySlot"
        waits, holds = told["sentences"][:2]
        assert waits["text"].startswith("It waits for a slot of its deployment's limit, and tries")
        assert holds["text"] == (
            "Its deployment d lets 1 run go on at the same time, and 1 does: a."
        )
        assert holds["links"][1]["path"] == f"/flow_runs/{first['id']}"


def test_what_is_not_there_cannot_be_explained(
    start_server: StartServer, target: Target, tmp_path: Path
) -> None:
    start_server()
    none = run_cli(target, tmp_path, "explain", str(uuid.uuid4()))
    assert none.returncode == 1
    assert "There is no flow run" in none.stderr
    nonsense = run_cli(target, tmp_path, "explain", "nonsense")
    assert nonsense.returncode == 1
    assert "'nonsense' is no id of a flow run" in nonsense.stderr
