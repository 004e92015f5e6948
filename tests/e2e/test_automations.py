"""The `prefect automation` command and the triggers of a deployment, as they are."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.e2e.prefect_client import Commands, Finished, PrefectClient, environment

DEPLOYED = """
name: here
deployments:
- name: triggered
  entrypoint: hello.py:hello
  work_pool: {name: hands}
  triggers:
  - name: follows
    expect: [order.received]
    match: {prefect.resource.id: "order.*"}
    parameters: {name: "{{ event.resource.id }}"}
"""
SCRIPT = """
from prefect import flow

@flow
def hello(name: str = "you"):
    print(name)
"""


@pytest.fixture
def client(start_server: StartServer, tmp_path: Path) -> PrefectClient:
    return PrefectClient(environment(), tmp_path / "prefect", start_server().url)


@pytest.fixture
def commands(client: PrefectClient) -> Iterator[Commands]:
    with client.commands() as commands:
        yield commands


def _done(commands: Commands, *arguments: str) -> Finished:
    done = commands.prefect(*arguments)
    assert done.code == 0, done.output + done.errors
    return done


def _inspected(commands: Commands, name: str) -> Any:
    (found,) = json.loads(_done(commands, "automation", "inspect", name, "--output", "json").output)
    return found


def test_an_automation_lives_by_the_command_line(commands: Commands) -> None:
    body = {
        "name": "mine",
        "trigger": {"type": "event", "posture": "Reactive", "expect": ["a.b"], "threshold": 2},
        "actions": [{"type": "do-nothing"}],
    }
    _done(commands, "automation", "create", "--from-json", json.dumps(body))
    assert "mine" in _done(commands, "automation", "ls").output
    made = _inspected(commands, "mine")
    assert made["trigger"]["expect"] == ["a.b"]
    _done(commands, "automation", "pause", "mine")
    assert _inspected(commands, "mine")["enabled"] is False
    _done(commands, "automation", "resume", "mine")
    assert _inspected(commands, "mine")["enabled"] is True
    changed = {**body, "name": "mine", "description": "changed"}
    _done(commands, "automation", "update", "--id", made["id"], "--from-json", json.dumps(changed))
    assert _inspected(commands, "mine")["description"] == "changed"
    _done(commands, "--no-prompt", "automation", "delete", "mine")
    assert "mine" not in _done(commands, "automation", "ls").output


def test_the_triggers_of_a_deployment_are_automations_that_belong_to_it(
    client: PrefectClient, commands: Commands
) -> None:
    client.home.mkdir(parents=True, exist_ok=True)
    (client.home / "hello.py").write_text(SCRIPT)
    (client.home / "prefect.yaml").write_text(DEPLOYED)
    _done(commands, "work-pool", "create", "hands", "--type", "process")
    for _ in range(2):  # Deployed again, it has no more of them than before.
        _done(commands, "--no-prompt", "deploy", "--all")
        shown = _done(commands, "automation", "inspect", "follows", "--output", "json")
        (automation,) = json.loads(shown.output)  # All that have this name.
        assert automation["name"] == "follows"
        assert automation["trigger"]["expect"] == ["order.received"]
        (action,) = automation["actions"]
        assert action["type"] == "run-deployment"
        assert action["parameters"] == {"name": "{{ event.resource.id }}"}
