"""Explanations of flow runs, over HTTP and on the command line."""

import uuid
from pathlib import Path

from msgspec import json

from eventstore.migrate import Target
from tests.api.talk import expect, make_flow, make_flow_run, set_state, talk_to
from tests.conftest import StartServer
from tests.serving import run_cli


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


def test_what_is_not_there_cannot_be_explained(
    start_server: StartServer, target: Target, tmp_path: Path
) -> None:
    start_server()
    none = run_cli(target, tmp_path, "explain", str(uuid.uuid4()))
    assert none.returncode == 1
    assert "there is no flow run" in none.stderr
    nonsense = run_cli(target, tmp_path, "explain", "nonsense")
    assert nonsense.returncode == 1
    assert "'nonsense' is no id of a flow run" in nonsense.stderr
