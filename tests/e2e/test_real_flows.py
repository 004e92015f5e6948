"""A real flow of a real client: what the server shows is what the client saw."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MAPPED_TASKS, Lived

THIRD_TIME = ["Pending", "Running", "AwaitingRetry", "Retrying", "AwaitingRetry", "Retrying"]
TASK_HISTORIES = {
    "double": ["Pending", "Running", "Completed"],
    "leaf": ["Pending", "Running", "Completed"],
    "labelled": ["Pending", "Running", "Completed"],
    "fail": ["Pending", "Running", "Failed"],
    "third_time_lucky": [*THIRD_TIME, "Completed"],
}
FLOW_HISTORIES = {
    "everything": ["Pending", "Running", "Completed"],
    "child": ["Pending", "Running", "Completed"],
    "grandchild": ["Pending", "Running", "Completed"],
    "doomed": ["Pending", "Running", "Failed"],
    # The server names a flow's second attempt no differently from its first.
    "flow-third-time-lucky": [
        *("Pending", "Running", "AwaitingRetry", "Running", "AwaitingRetry", "Running"),
        "Completed",
    ],
}


def test_all_task_runs_end_as_the_client_saw_it(lived: Lived) -> None:
    shown = {run["id"]: run for run in lived.api.find("/task_runs/filter", sort="ID_DESC")}
    for id, seen in lived.said["task_runs"].items():
        run = shown[id]
        assert {key: run[key] for key in seen if key != "tags"} | {
            "tags": sorted(run["tags"])
        } == seen
        assert run["state"]["name"] == run["state_name"]
        assert run["start_time"] <= run["end_time"]


def test_every_mapped_task_is_completed_once(lived: Lived) -> None:
    mapped = lived.api.find(
        "/task_runs/filter",
        flow_runs={"id": {"any_": [lived.flow_run_id]}},
        task_runs={"name": {"like_": "double-"}},
        sort="ID_DESC",
    )
    assert len(mapped) == MAPPED_TASKS
    assert Counter((run["state_type"], run["run_count"]) for run in mapped) == {
        ("COMPLETED", 1): MAPPED_TASKS
    }


def test_all_flow_runs_end_as_the_client_saw_it(lived: Lived) -> None:
    names = sorted({seen["flow"] for seen in lived.said["flow_runs"].values()})
    found = lived.api.find("/flow_runs/filter", flows={"name": {"any_": names}})
    shown = {run["id"]: run for run in found}
    assert shown.keys() == lived.said["flow_runs"].keys()
    for id, seen in lived.said["flow_runs"].items():
        run = shown[id]
        flow = lived.api.read(f"/flows/{run['flow_id']}")
        assert {key: run[key] for key in seen if key not in ("flow", "tags")} | {
            "flow": flow["name"],
            "tags": sorted(run["tags"]),
        } == seen


def test_what_succeeds_at_the_third_attempt_was_run_three_times(lived: Lived) -> None:
    (task_run,) = lived.task_run_ids("third_time_lucky")
    (flow_run,) = lived.flow_run_ids("flow-third-time-lucky")
    assert lived.api.read(f"/task_runs/{task_run}")["run_count"] == 3
    assert lived.api.read(f"/flow_runs/{flow_run}")["run_count"] == 3


def test_subflows_hang_under_a_task_run_that_mirrors_them(lived: Lived) -> None:
    expected = {
        "child": "everything",
        "grandchild": "child",
        "doomed": "everything",
        "flow-third-time-lucky": "everything",
    }
    for flow, parent_flow in expected.items():
        (id,) = lived.flow_run_ids(flow)
        (parent,) = lived.flow_run_ids(parent_flow)
        run = lived.api.read(f"/flow_runs/{id}")
        stand_in = lived.api.read(f"/task_runs/{run['parent_task_run_id']}")
        assert stand_in["flow_run_id"] == parent
        assert stand_in["state_name"] == run["state_name"]
        assert stand_in["run_count"] == run["run_count"]
        assert stand_in["state"]["state_details"]["child_flow_run_id"] == id


@pytest.mark.parametrize("task", TASK_HISTORIES)
def test_the_states_of_a_task_run_are_all_there_in_order(lived: Lived, task: str) -> None:
    for id in lived.task_run_ids(task)[:3]:
        states = lived.api.read("/task_run_states/", task_run_id=id)
        assert [state["name"] for state in states] == TASK_HISTORIES[task]
        assert len({state["id"] for state in states}) == len(states)


@pytest.mark.parametrize("flow", FLOW_HISTORIES)
def test_the_states_of_a_flow_run_are_all_there_in_order(lived: Lived, flow: str) -> None:
    (id,) = lived.flow_run_ids(flow)
    states = lived.api.read("/flow_run_states/", flow_run_id=id)
    assert [state["name"] for state in states] == FLOW_HISTORIES[flow]
    times = [state["timestamp"] for state in states]
    assert times == sorted(set(times))


def test_a_task_is_not_run_again_for_an_input_that_it_remembers(lived: Lived) -> None:
    first, second = lived.task_run_ids("remembered")
    states = [
        [state["name"] for state in lived.api.read("/task_run_states/", task_run_id=id)]
        for id in (first, second)
    ]
    assert states == [["Pending", "Running", "Completed"], ["Pending", "Running", "Cached"]]


def test_a_persisted_result_can_be_found_through_the_state(lived: Lived) -> None:
    run = lived.api.read(f"/flow_runs/{lived.flow_run_id}")
    place = Path(run["state"]["data"]["storage_key"])
    assert place.is_relative_to(lived.client.home)
    assert place.exists()


def test_all_lines_that_a_flow_logged_are_there_in_order(lived: Lived) -> None:
    lines = lived.api.find(
        "/logs/filter",
        logs={
            "flow_run_id": {"any_": [lived.flow_run_id]},
            "task_run_id": {"is_null_": True},
        },
        sort="TIMESTAMP_ASC",
    )
    messages = [line["message"] for line in lines]
    counted = [message for message in messages if message.startswith("line ")]
    assert counted == [f"line {number}" for number in range(lived.said["lines"])]
    assert messages.count("printed hello") == 1
    assert messages[-1].startswith("Finished in state")


def test_a_line_of_a_task_names_flow_run_and_task_run(lived: Lived) -> None:
    (id,) = lived.task_run_ids("labelled")
    lines = lived.api.find(
        "/logs/filter",
        logs={"task_run_id": {"any_": [id]}, "level": {"ge_": 30}},
        sort="TIMESTAMP_ASC",
    )
    assert [(line["message"], line["level"]) for line in lines] == [("from a task", 30)]
    assert lines[0]["flow_run_id"] == lived.flow_run_id


def test_every_task_run_says_in_the_log_how_it_ended(lived: Lived) -> None:
    lines = lived.api.find(
        "/logs/filter",
        logs={"flow_run_id": {"any_": list(lived.said["flow_runs"])}},
        sort="TIMESTAMP_ASC",
    )
    finished = [
        line["task_run_id"]
        for line in lines
        if line["task_run_id"] and line["message"].startswith("Finished in state")
    ]
    assert Counter(finished) == Counter(lived.said["task_runs"].keys())


def test_artifacts_are_kept_as_they_were_made(lived: Lived) -> None:
    kept = {
        name: lived.api.read(f"/artifacts/{id}") for name, id in lived.said["artifacts"].items()
    }
    assert {name: (a["type"], a["key"], a["flow_run_id"]) for name, a in kept.items()} == {
        "report-first": ("markdown", "report", lived.flow_run_id),
        "report": ("markdown", "report", lived.flow_run_id),
        "cities": ("table", "cities", lived.flow_run_id),
        "docs": ("markdown", "docs", lived.flow_run_id),
        "picture": ("image", "picture", lived.flow_run_id),
        "progress": ("progress", "progress", lived.flow_run_id),
    }
    assert kept["report-first"]["data"] == "# first"
    assert kept["report-first"]["description"] == "a report"
    assert kept["progress"]["data"] == 75.0
    assert "Köln" in kept["cities"]["data"] or "K\\u00f6ln" in kept["cities"]["data"]


def test_the_latest_artifact_of_a_key_is_the_last_one_made(lived: Lived) -> None:
    assert lived.api.read("/artifacts/report/latest")["data"] == "# second"


def test_the_graph_shows_tasks_and_subflows_of_a_run(lived: Lived) -> None:
    graph = lived.api.read(f"/flow_runs/{lived.flow_run_id}/graph-v2")
    kinds = Counter(node["kind"] for _, node in graph["nodes"])
    assert kinds["flow-run"] == 3
    directly = [
        run for run in lived.said["task_runs"].values() if run["flow_run_id"] == lived.flow_run_id
    ]
    assert kinds["task-run"] == len(directly)
    keys = [artifact["key"] for artifact in graph["artifacts"]]
    assert sorted(keys) == ["cities", "docs", "picture", "progress", "report", "report"]


def test_every_state_of_every_run_is_in_the_event_feed_once(lived: Lived) -> None:
    feed = _feed(lived)
    assert max(Counter(event["id"] for event in feed).values()) == 1
    runs = lived.said["task_runs"].keys() | lived.said["flow_runs"].keys()
    names = Counter(
        event["event"]
        for event in feed
        if event["resource"]["prefect.resource.id"].rpartition(".")[2] in runs
    )
    tasks = Counter(run["state_name"] for run in lived.said["task_runs"].values())
    for state, number in tasks.items():
        assert names[f"prefect.task-run.{state}"] == number
    flows = Counter(run["state_name"] for run in lived.said["flow_runs"].values())
    for state, number in flows.items():
        assert names[f"prefect.flow-run.{state}"] == number


def _feed(lived: Lived) -> list[dict[str, Any]]:
    page = lived.api.ask("/events/filter")
    total = page["total"]
    events: list[dict[str, Any]] = page["events"]
    while page["next_page"]:
        page = lived.api.read(page["next_page"])
        events += page["events"]
    assert len(events) == total
    return events
