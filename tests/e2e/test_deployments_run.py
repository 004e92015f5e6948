"""Deployments run by themselves: the real `prefect deploy`, worker, `serve` and command line."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import fresh_database
from tests.e2e.deployed import (
    POOL,
    PROGRESS_SECONDS_MAX,
    SERVED_SECONDS,
    WORKER,
    Land,
    alive,
    end,
    land,
    once_each,
    stop,
    until,
)
from tests.e2e.prefect_client import FLOWS, Running

SHAPES = (("sqlite", 1, 8), ("postgres", 4, 8), ("sqlite", 1, 50), ("postgres", 4, 50))
"""Engine, workers of the server, and runs at the same time."""
HELD_SHORT = 8
KINDS = {"cron", "interval", "rrule"}
TASKS = 4
BEGUN = ("Scheduled", "Pending", "Submitting", "Running")
"""The states through which a worker brings a run."""

pytestmark = pytest.mark.heavy


@dataclass(frozen=True)
class Moving:
    """A land in which everything is under way."""

    land: Land
    served: Running
    calling: Running
    held: list[str]
    """Runs that wait for the gate."""
    unlucky: str
    hopeless: str
    pausing: str
    suspending: str


@pytest.fixture(
    scope="session",
    params=[pytest.param(s, marks=pytest.mark.long) if s[2] > HELD_SHORT else s for s in SHAPES],
    ids=lambda shape: f"{shape[0]}-{shape[1]}-{shape[2]}_runs",
)
def moving(
    request: pytest.FixtureRequest,
    prefect_environment: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Moving]:
    """A land of some shape; its tests run in the order in which they are written."""
    engine, workers, held = request.param
    folder = tmp_path_factory.mktemp(f"{engine}-{workers}-{held}")
    with (
        fresh_database(engine, request, folder) as target,
        land(target, folder, workers, prefect_environment) as here,
    ):
        served = here.client.start_flow("serving.py", str(SERVED_SECONDS))
        calling = here.client.start_flow("calling.py")
        try:
            yield Moving(
                here,
                served,
                calling,
                [here.create("hold/by-hand", parameters={"number": n}) for n in range(held)],
                here.create("unlucky/by-hand"),
                here.create("unlucky/by-hand", parameters={"always": True}),
                here.create("pausing/by-hand"),
                here.create("suspending/by-hand"),
            )
        finally:
            here.open_gate()
            end(served)
            end(calling)


@pytest.fixture
def here(moving: Moving) -> Land:
    """The land."""
    return moving.land


def test_prefect_deploy_makes_what_the_project_says(here: Land) -> None:
    listed = here.prefect("deployment", "ls").output
    names = [f"{flow}/by-hand" for flow in ("greet", "hold", "unlucky", "pausing", "parent")]
    assert all(name in listed for name in ("greet/scheduled", *names))
    shown = here.shown("deployment", "inspect", "greet/scheduled")
    assert shown["description"] == "Says hello by itself."
    assert (shown["version"], shown["tags"], shown["parameters"]) == (
        "1",
        ["nightly"],
        {"name": "Ada"},
    )
    assert shown["work_pool_name"] == POOL and shown["work_queue_name"] == "urgent"
    assert shown["job_variables"]["env"]["GREETING"] == "hello"
    assert shown["pull_steps"] == [
        {
            "prefect.deployments.steps.set_working_directory": {
                "directory": here.client.settings["PROJECT"]
            }
        }
    ]
    active = {one["slug"]: one["active"] for one in shown["schedules"]}
    assert active == {"night": True, "hourly": True, "mondays": False}


def test_active_schedules_have_runs_with_their_own_parameters(here: Land) -> None:
    def of_night() -> list[Any]:
        runs = here.runs("greet/scheduled", "SCHEDULED")
        return [run for run in runs if run["created_by"]["display_value"] == "night"]

    found = until(of_night, "runs of the schedule")
    assert {run["parameters"]["name"] for run in found} == {"Night"}
    assert all(run["auto_scheduled"] and "auto-scheduled" in run["tags"] for run in found)
    kinds = Counter(
        run["created_by"]["display_value"] for run in here.runs("greet/scheduled", "SCHEDULED")
    )
    assert kinds.keys() == {"night", "hourly"} and min(kinds.values()) >= 3


def test_schedules_are_made_rested_and_deleted_from_the_command_line(here: Land) -> None:
    name = "greet/scheduled"

    def waiting() -> set[str]:
        runs = here.runs(name, "SCHEDULED")
        return {run["created_by"]["id"] for run in runs}

    made = ("--cron", "30 4 1,15 * 1", "--timezone", "America/New_York", "--day_or")
    here.prefect("deployment", "schedule", "create", name, *made)
    by_slug = {one["slug"]: one for one in here.deployment(name)["schedules"]}
    new = by_slug[None]
    assert new["schedule"] == {
        "cron": "30 4 1,15 * 1",
        "timezone": "America/New_York",
        "day_or": True,
    }
    others = {by_slug["night"]["id"], by_slug["hourly"]["id"]}
    until(lambda: waiting() == {new["id"], *others}, "runs of the new schedule")
    listed = here.prefect("deployment", "schedule", "ls", name).output
    assert new["id"] in listed
    here.prefect("deployment", "schedule", "pause", name, new["id"])
    assert waiting() == others
    here.prefect("deployment", "schedule", "resume", name, new["id"])
    until(lambda: new["id"] in waiting(), "runs of the schedule that goes on")
    here.prefect("deployment", "schedule", "delete", name, new["id"], "--accept-yes")
    assert waiting() == others
    here.prefect("deployment", "schedule", "clear", name, "--accept-yes")
    assert here.deployment(name)["schedules"] == [] and waiting() == set()


def test_deploying_again_brings_the_schedules_back(here: Land) -> None:
    here.prefect("deploy", "--name", "scheduled")
    slugs = {one["slug"] for one in here.deployment("greet/scheduled")["schedules"]}
    assert slugs == {"night", "hourly", "mondays"}
    until(lambda: here.runs("greet/scheduled", "SCHEDULED"), "runs of the schedules")


def test_a_worker_runs_many_runs_at_the_same_time(moving: Moving, here: Land) -> None:
    def running() -> bool:
        return len(here.runs("hold/by-hand", "RUNNING")) == len(moving.held)

    until(running, "all of them running")
    # The server knows that a run is running before the flow has said anything.
    noted = until(
        lambda: len(lines := here.noted(flow="hold")) >= len(moving.held) and lines,
        "a line of each",
    )
    assert sorted(line["number"] for line in noted) == list(range(len(moving.held)))
    assert all(alive(line["pid"]) for line in noted)
    (worker,) = here.api.ask(f"/work_pools/{POOL}/workers/filter")
    assert (worker["name"], worker["status"]) == (WORKER, "ONLINE")


def test_the_process_of_a_cancelled_run_ends(moving: Moving, here: Land) -> None:
    id_ = moving.held[0]
    (line,) = here.noted(run=id_)
    here.prefect("flow-run", "cancel", id_)
    assert here.ended(id_) == "Cancelled"
    until(lambda: not alive(line["pid"]), "the end of the process")
    assert here.states(id_) == [*BEGUN, "Cancelling", "Cancelled"]
    again = here.commands.prefect("flow-run", "cancel", id_)
    assert again.code == 1 and "unable to be cancelled" in again.output + again.errors


def test_the_others_end_once_and_well(moving: Moving, here: Land) -> None:
    here.open_gate()
    for id_ in moving.held[1:]:
        assert here.ended(id_) == "Completed"
        assert here.states(id_) == [*BEGUN, "Completed"]
        assert len(here.noted(run=id_)) == 1


def test_run_deployment_waits_or_does_not(moving: Moving, here: Land) -> None:
    done = moving.calling.finish()
    assert done.code == 0, done.errors
    left, awaited = done.said["left"], done.said["awaited"]
    assert (left["name"], left["state"]) == ("left-alone", "Scheduled")
    assert awaited["state"] == "Completed"
    assert here.ended(left["id"]) == "Completed"
    assert "asked-for" in here.run(left["id"])["tags"]
    (line,) = here.noted(run=left["id"])
    assert line["said"] == "good day later"


def test_a_deployment_that_a_flow_runs_is_its_subflow(moving: Moving, here: Land) -> None:
    parent = moving.calling.finish().said["awaited"]["id"]
    (line,) = here.noted(run=parent)
    assert line["state"] == "Completed"
    (child,) = here.noted(run=line["child"])
    assert child["said"] == "hi child"
    around = here.api.read(f"/task_runs/{here.run(line['child'])['parent_task_run_id']}")
    assert around["flow_run_id"] == parent
    assert around["state_name"] == "Completed"
    assert around["state"]["state_details"]["child_flow_run_id"] == line["child"]


def test_a_served_flow_runs_once_in_every_slot_of_each_of_its_schedules(
    moving: Moving, here: Land
) -> None:
    def completed() -> set[str]:
        runs = here.runs("tick/served", "COMPLETED")
        return {run["created_by"]["display_value"] for run in runs}

    # Its first slot has passed while the tests above ran.
    until(lambda: completed() == KINDS, "a run of each schedule")
    stopped = stop(moving.served)
    assert stopped.code == 0, stopped.errors
    assert here.deployment("tick/served")["paused"]
    assert here.runs("tick/served", "SCHEDULED") == []
    ran = here.runs("tick/served")
    for kind in KINDS:
        slots = sorted(
            datetime.fromisoformat(run["expected_start_time"])
            for run in ran
            if run["created_by"]["display_value"] == kind
        )
        step = timedelta(seconds=SERVED_SECONDS)
        assert slots == [slots[0] + number * step for number in range(len(slots))]
    noted = [line["run"] for line in here.noted(flow="tick")]
    assert once_each(noted)
    assert {run["id"] for run in ran if run["state_name"] == "Completed"} <= set(noted)


def test_a_flow_that_failed_is_run_again_after_a_delay(moving: Moving, here: Land) -> None:
    assert here.ended(moving.unlucky) == "Completed"
    states = ["AwaitingRetry", "Running", "Completed"]
    assert here.states(moving.unlucky) == [*BEGUN, *states]
    assert here.run(moving.unlucky)["run_count"] == 2
    attempts = here.noted(run=moving.unlucky)
    assert [line["attempt"] for line in attempts] == [1, 2]
    assert len({line["pid"] for line in attempts}) == 1


def test_a_failed_run_is_retried_by_hand(moving: Moving, here: Land) -> None:
    id_ = moving.hopeless
    assert here.ended(id_) == "Failed"
    Path(here.client.settings["REPAIRED"]).touch()
    here.prefect("flow-run", "retry", id_)
    here.reaches(id_, "Completed")
    assert here.states(id_) == [
        *(*BEGUN, "AwaitingRetry", "Running", "Failed"),
        *(*BEGUN, "Completed"),
    ]
    assert here.run(id_)["run_count"] == 3


def test_a_paused_run_goes_on_in_its_process_with_the_input_of_its_kind(
    moving: Moving, here: Land
) -> None:
    id_ = moving.pausing
    here.reaches(id_, "Paused")
    refused = here.api.ask(f"/flow_runs/{id_}/resume", run_input={"name": "Ada", "age": "old"})
    assert refused["status"] == "REJECT" and "age" in refused["details"]["reason"]
    resumed = here.api.ask(f"/flow_runs/{id_}/resume", run_input={"name": "Ada", "age": 36})
    assert resumed["status"] == "ACCEPT"
    assert here.ended(id_) == "Completed"
    assert here.states(id_) == [*BEGUN, "Paused", "Running", "Completed"]
    first, last = here.noted(run=id_)
    assert first["pid"] == last["pid"] and (last["name"], last["age"]) == ("Ada", 36)


def test_a_suspended_run_goes_away_and_is_scheduled_again(moving: Moving, here: Land) -> None:
    id_ = moving.suspending
    here.reaches(id_, "Suspended")
    (asked,) = here.noted(run=id_)
    until(lambda: not alive(asked["pid"]), "the end of the process")
    here.api.ask(f"/flow_runs/{id_}/resume", run_input={"name": "Grace", "age": 85})
    assert here.ended(id_) == "Completed"
    _, again, last = here.noted(run=id_)
    assert again["pid"] == last["pid"] != asked["pid"]
    assert (last["name"], last["age"]) == ("Grace", 85)


def test_deployment_run_gives_parameters_and_job_variables(here: Land) -> None:
    watched = here.prefect(
        *("deployment", "run", "greet/by-hand", "-p", "name=Bob"),
        *("--job-variable", 'env={"GREETING":"welcome"}', "--tag", "by-command"),
        *("--watch", "--watch-interval", "1"),
    ).output
    assert "finished successfully" in watched
    (run,) = [run for run in here.runs("greet/by-hand") if "by-command" in run["tags"]]
    (line,) = here.noted(run=run["id"])
    assert line["said"] == "welcome Bob"
    later = here.prefect("deployment", "run", "greet/by-hand", "--start-in", "2 hours").output
    (id_,) = [run["id"] for run in here.runs("greet/by-hand", "SCHEDULED")]
    assert id_ in later
    due = datetime.fromisoformat(here.run(id_)["expected_start_time"]) - datetime.now(UTC)
    assert timedelta(hours=1, minutes=50) < due < timedelta(hours=2, minutes=1)
    unknown = here.commands.prefect("deployment", "run", "greet/nobody")
    assert unknown.code == 1 and "not found" in unknown.output + unknown.errors


def test_what_a_deployment_refuses_is_said(here: Land) -> None:
    done = here.commands.prefect("deployment", "run", "greet/by-hand", "-p", "name=[1]")
    assert done.code == 1
    assert "name" in done.output + done.errors


def test_work_pools_are_managed_from_the_command_line(here: Land) -> None:
    name = f"pool-{uuid4().hex[:8]}"
    here.prefect("work-pool", "create", name, "--type", "process", "--paused")
    assert here.api.read(f"/work_pools/{name}")["is_paused"]
    assert {name, POOL} <= {pool["name"] for pool in here.shown("work-pool", "ls")}
    here.prefect("work-pool", "resume", name)
    assert not here.api.read(f"/work_pools/{name}")["is_paused"]
    here.prefect("work-pool", "pause", name)
    assert here.shown("work-pool", "inspect", name)["is_paused"]
    here.prefect("work-pool", "set-concurrency-limit", name, "5")
    assert here.api.read(f"/work_pools/{name}")["concurrency_limit"] == 5
    here.prefect("work-pool", "clear-concurrency-limit", name)
    assert here.api.read(f"/work_pools/{name}")["concurrency_limit"] is None
    here.prefect("work-pool", "update", name, "--description", "for trying")
    assert here.api.read(f"/work_pools/{name}")["description"] == "for trying"
    template = here.prefect("work-pool", "get-default-base-job-template", "--type", "process")
    assert json.loads(template.output)["variables"]["properties"].keys() >= {"env", "command"}
    here.prefect("work-pool", "preview", POOL, "--hours", "24")
    here.prefect("work-pool", "delete", name)
    assert here.api.get(f"/work_pools/{name}").status_code == 404


def test_work_queues_are_managed_from_the_command_line(here: Land) -> None:
    queue = ("slow", "--pool", POOL)
    path = f"/work_pools/{POOL}/queues/slow"
    here.prefect("work-queue", "create", *queue, "--limit", "3", "--priority", "7")
    made = here.api.read(path)
    assert (made["concurrency_limit"], made["priority"]) == (3, 7)
    assert "slow" in here.prefect("work-queue", "ls", "--pool", POOL).output
    here.prefect("work-queue", "pause", *queue)
    assert here.api.read(path)["status"] == "PAUSED"
    here.prefect("work-queue", "resume", *queue)
    assert here.api.read(path)["status"] != "PAUSED"
    here.prefect("work-queue", "set-concurrency-limit", "slow", "2", "--pool", POOL)
    assert here.api.read(path)["concurrency_limit"] == 2
    here.prefect("work-queue", "clear-concurrency-limit", *queue)
    assert here.api.read(path)["concurrency_limit"] is None
    assert "slow" in here.prefect("work-queue", "inspect", *queue).output
    here.prefect("work-queue", "preview", *queue)
    here.prefect("work-queue", "read-runs", *queue)
    here.prefect("work-queue", "delete", *queue)
    assert here.api.get(path).status_code == 404


def test_a_paused_pool_lets_its_runs_wait(here: Land) -> None:
    here.prefect("work-pool", "pause", POOL)
    id_ = here.create("greet/by-hand", parameters={"name": "patience"})
    polled = here.api.ask(f"/work_pools/{POOL}/get_scheduled_flow_runs")
    assert polled == []
    assert here.run(id_)["state_type"] == "SCHEDULED"
    here.prefect("work-pool", "resume", POOL)
    assert here.ended(id_) == "Completed"


def test_task_serve_runs_background_tasks(here: Land) -> None:
    serving = here.client.start_prefect("task", "serve", f"{FLOWS / 'background.py'}:add")
    try:
        said = here.client.flow("background.py", "delay", str(TASKS)).said
        assert said["results"] == [n + 1 for n in range(TASKS)]
        for id_ in said["ids"]:
            names = [one["name"] for one in here.api.read("/task_run_states/", task_run_id=id_)]
            assert names == ["Scheduled", "Pending", "Running", "Completed"]
    finally:
        serving.end()


def test_a_deleted_deployment_leaves_no_run_waiting(here: Land) -> None:
    # Those that a worker cannot have begun by then, should the hour strike meanwhile.
    later = datetime.now(UTC) + timedelta(seconds=PROGRESS_SECONDS_MAX)
    waiting = [
        run["id"]
        for run in here.runs("greet/scheduled", "SCHEDULED")
        if datetime.fromisoformat(run["expected_start_time"]) > later
    ]
    assert waiting
    here.prefect("deployment", "delete", "greet/scheduled")
    assert here.api.get("/deployments/name/greet/scheduled").status_code == 404
    assert {here.api.get(f"/flow_runs/{id_}").status_code for id_ in waiting} == {404}


def test_the_worker_leaves_in_order_and_nothing_is_stuck(here: Land) -> None:
    types = ["PENDING", "RUNNING", "CANCELLING", "PAUSED"]
    stuck = here.api.find("/flow_runs/filter", flow_runs={"state": {"type": {"any_": types}}})
    assert [(run["name"], run["state_name"]) for run in stuck] == []
    stopped = stop(here.worker)
    assert stopped.code == 0, stopped.errors
