"""The `prefect` command, as it is, against our server."""

import json
import signal
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.e2e.conftest import NGINX, SHAPES, Lived
from tests.e2e.prefect_client import Commands, Finished, Running

POLL_SECONDS = 0.05
STREAMED_SECONDS_MAX = 60.0
"""How long it may take until the stream has started and shows what happened."""

COMMANDED = (SHAPES[0], (NGINX, 2))
"""One command costs seconds; what differs between the other shapes is seen by the flow's tests."""

pytestmark = pytest.mark.parametrize(
    "lived",
    [s if s in COMMANDED else pytest.param(s, marks=pytest.mark.long) for s in SHAPES],
    ids=lambda shape: f"{shape[0]}-{shape[1]}",
    indirect=True,
    scope="session",
)


@pytest.fixture(scope="session")
def commands(lived: Lived) -> Iterator[Commands]:
    """The command line of a client of that server."""
    with lived.client.commands() as commands:
        yield commands


def _done(commands: Commands, *arguments: str) -> Finished:
    done = commands.prefect(*arguments)
    assert done.code == 0, done.output + done.errors
    return done


def _shown(commands: Commands, *arguments: str) -> Any:
    return json.loads(_done(commands, *arguments, "--output", "json").output)


def test_flow_run_ls_lists_the_runs_with_flow_and_state(lived: Lived, commands: Commands) -> None:
    output = _done(commands, "flow-run", "ls").output
    for id, seen in lived.said["flow_runs"].items():
        (line,) = (line for line in output.splitlines() if id in line)
        assert seen["flow"] in line
        assert seen["name"] in line
        assert seen["state_type"] in line


def test_flow_run_ls_finds_the_runs_in_a_state(lived: Lived, commands: Commands) -> None:
    found = _shown(commands, "flow-run", "ls", "--state-type", "FAILED")
    assert [run["id"] for run in found] == lived.flow_run_ids("doomed")


def test_flow_run_inspect_shows_what_the_run_was_given(lived: Lived, commands: Commands) -> None:
    run = _shown(commands, "flow-run", "inspect", lived.flow_run_id)
    assert run["id"] == lived.flow_run_id
    assert run["state"]["type"] == "COMPLETED"
    assert run["parameters"]["greeting"] == "hello"


def test_flow_run_inspect_of_an_unknown_run_fails_in_words(commands: Commands) -> None:
    done = commands.prefect("flow-run", "inspect", str(uuid.uuid4()))
    assert done.code == 1
    assert "not found" in done.output + done.errors


def test_flow_run_logs_prints_the_first_lines(lived: Lived, commands: Commands) -> None:
    lines = _done(commands, "flow-run", "logs", lived.flow_run_id, "--head", "-n", "15").output
    counted = [line.rpartition(" - ")[2] for line in lines.splitlines() if " - line " in line]
    assert counted == [f"line {number}" for number in range(len(counted))]
    assert len(counted) > 10


def test_flow_run_delete_deletes(lived: Lived, commands: Commands) -> None:
    flow_id = lived.api.read(f"/flow_runs/{lived.flow_run_id}")["flow_id"]
    id = lived.api.post("/flow_runs/", json={"flow_id": flow_id}).raise_for_status().json()["id"]
    _done(commands, "flow-run", "delete", id)
    assert lived.api.get(f"/flow_runs/{id}").status_code == 404


def test_task_run_ls_lists_the_runs_with_their_states(lived: Lived, commands: Commands) -> None:
    output = _done(commands, "task-run", "ls", "--limit", "200", "--state", "Failed").output
    for id in lived.task_run_ids("fail"):
        assert any(id in line and "FAILED" in line for line in output.splitlines())


def test_task_run_inspect_shows_the_attempts(lived: Lived, commands: Commands) -> None:
    (id,) = lived.task_run_ids("third_time_lucky")
    run = _shown(commands, "task-run", "inspect", id)
    assert (run["id"], run["run_count"], run["state"]["name"]) == (id, 3, "Completed")


def test_task_run_logs_prints_the_lines_of_that_task(lived: Lived, commands: Commands) -> None:
    (id,) = lived.task_run_ids("labelled")
    assert "from a task" in _done(commands, "task-run", "logs", id).output


def test_variables_are_set_shown_listed_and_unset(lived: Lived, commands: Commands) -> None:
    name = "e2e-variable"
    _done(commands, "variable", "set", name, '{"a": [1, null]}', "--tag", "t")
    assert _shown(commands, "variable", "inspect", name)["value"] == {"a": [1, None]}
    _done(commands, "variable", "set", name, "7", "--overwrite")
    assert _done(commands, "variable", "get", name).output.strip() == "7"
    assert [one["name"] for one in _shown(commands, "variable", "ls")] == [name]
    _done(commands, "variable", "unset", name)
    assert commands.prefect("variable", "get", name).code == 1
    asked = {"filter": {"event": {"prefix": ["prefect.variable"]}, "order": "ASC"}}
    told = lived.api.post("/events/filter", json=asked).raise_for_status().json()["events"]
    assert [event["event"].rpartition(".")[2] for event in told] == [
        "created",
        "updated",
        "deleted",
    ]
    assert [event["payload"]["value"] for event in told] == [{"a": [1, None]}, 7, 7]


def test_artifact_ls_lists_the_latest_of_each_key(commands: Commands) -> None:
    output = _done(commands, "artifact", "ls").output
    keys = ("cities", "docs", "picture", "progress", "report")
    assert all(len([line for line in output.splitlines() if key in line]) == 1 for key in keys)


def test_artifact_inspect_shows_all_of_a_key(commands: Commands) -> None:
    found = _shown(commands, "artifact", "inspect", "report")
    assert {artifact["data"] for artifact in found} == {"# first", "# second"}


def test_flow_ls_lists_the_flows(commands: Commands) -> None:
    output = _done(commands, "flow", "ls").output
    assert all(name in output for name in ("everything", "grandchild", "flow-third-time-lucky"))


def test_api_asks_the_server(commands: Commands) -> None:
    assert _done(commands, "api", "GET", "/health").output.strip() == "true"


def test_version_names_the_server(lived: Lived) -> None:
    done = lived.client.prefect("version")
    assert done.code == 0, done.errors
    assert "3.8.4" in done.output
    assert "server" in done.output


@pytest.fixture
def stream(lived: Lived) -> Iterator[Running]:
    """A running `prefect events stream`, connected."""
    running = lived.client.start_prefect("events", "stream")
    try:
        _wait_until_connected(lived, running)
        yield running
    finally:
        running.end()


def test_events_stream_shows_a_run_as_it_happens(lived: Lived, stream: Running) -> None:
    ids = lived.client.flow("small.py").said
    states = ("Pending", "Running", "Completed")
    of_flow = [f"prefect.flow-run.{state}" for state in states]
    of_task = [f"prefect.task-run.{state}" for state in states]
    # Of the task the client tells beside its requests: that may come after the end of the flow.
    flow_run = f"prefect.flow-run.{ids['flow_run_id']}"
    wanted = {(event, flow_run) for event in of_flow}
    wanted |= {(event, f"prefect.task-run.{ids['task_run_id']}") for event in of_task}
    deadline = time.monotonic() + STREAMED_SECONDS_MAX
    seen: list[tuple[str, str]] = []
    while missing := wanted.difference(seen):
        assert time.monotonic() < deadline, f"not streamed: {missing}"
        time.sleep(POLL_SECONDS)
        seen = [(e["event"], e["resource"]["prefect.resource.id"]) for e in _streamed(stream)]
    about_task = [event for event, resource in seen if ids["task_run_id"] in resource]
    assert sorted(about_task) == sorted(of_task)
    about_flow = [event for event, resource in seen if resource == flow_run]
    assert [event for event in about_flow if not event.endswith("heartbeat")] == of_flow
    stream.process.send_signal(signal.SIGINT)
    assert "Traceback" not in stream.finish().errors


def _wait_until_connected(lived: Lived, stream: Running) -> None:
    """Emit something until the stream shows it."""
    deadline = time.monotonic() + STREAMED_SECONDS_MAX
    while not any(event["event"] == "test.knock" for event in _streamed(stream)):
        assert time.monotonic() < deadline, stream.errors.read_text()
        assert stream.process.poll() is None, stream.errors.read_text()
        knock = {
            "id": str(uuid.uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "event": "test.knock",
            "resource": {"prefect.resource.id": "test"},
        }
        lived.api.post("/events", json=[knock]).raise_for_status()
        time.sleep(POLL_SECONDS)


def _streamed(stream: Running) -> list[dict[str, Any]]:
    lines = stream.output.read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines if line.startswith("{")]
