"""What can be done with one flow run: retry, pause, suspend, resume; and why it waits."""

import json
import re
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import LARGE, SMALL, Visit, assert_accessible, assert_whole
from tests.browser.making_pools import Pools

SCHEMA = {
    "title": "Approval",
    "type": "object",
    "required": ["approved", "amount"],
    "properties": {
        "approved": {"type": "boolean", "title": "Approved", "description": "May it be paid?"},
        "amount": {"type": "number", "title": "Amount", "minimum": 1},
        "until": {"type": "string", "format": "date-time", "title": "Until"},
        "level": {"enum": ["low", "high"], "title": "Level", "default": "low"},
        "cc": {"type": "array", "items": {"type": "string"}, "title": "Copies to"},
        "who": {"anyOf": [{"type": "string"}, {"type": "integer"}], "title": "Who"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "title": "Note"},
    },
}


def _run(url: str, id_: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{url}/flow_runs/{id_}").json()
    return found


def _of_deployment(pools: Pools, state: str | None = None) -> str:
    pools.pool("main")
    run = pools.due(pools.deployment("load", "main"), "brave-otter", 0)
    if state is not None:
        pools.set_state(run, "RUNNING")
    if state not in (None, "RUNNING"):
        pools.set_state(run, state)
    return run


def _paused_for_input(pools: Pools, schema: Any = SCHEMA) -> str:
    """A run that is paused until somebody fills in what it asks for."""
    run = pools.run("asking")
    for key, value in (("ask-schema", schema), ("ask-description", "Please **check** it.")):
        body = {"key": key, "value": json.dumps(value)}
        httpx.post(f"{pools.url}/flow_runs/{run}/input", json=body).raise_for_status()
    keyset = {"schema": "ask-schema", "response": "ask-response", "description": "ask-description"}
    details = {"pause_key": "ask", "run_input_keyset": keyset, "pause_timeout": "2099-01-01T00:00Z"}
    state = {"type": "PAUSED", "state_details": details}
    pools.post(f"/flow_runs/{run}/set_state", {"state": state})
    return run


def _response(url: str, run: str) -> Any:
    return httpx.get(f"{url}/flow_runs/{run}/input/ask-response").json()


@pytest.mark.parametrize(
    ("state", "offered"),
    [
        ("SCHEDULED", ["Cancel run"]),
        ("RUNNING", ["Suspend…", "Pause…", "Cancel run"]),
        ("PAUSED", ["Resume", "Cancel run"]),
        ("FAILED", ["Retry…"]),
        ("CANCELLING", []),
    ],
)
def test_only_what_the_state_allows_is_offered(
    server_url: str, pools: Pools, visit: Visit, state: str, offered: list[str]
) -> None:
    run = _of_deployment(pools, None if state == "SCHEDULED" else state)
    page = visit(server_url, f"runs/flow-run/{run}")
    shown = page.locator("#head").get_by_role("button").filter(has_not_text="Copy")
    expect(shown.filter(has_text=re.compile("."))).to_have_text([*offered, "Set state…", "Delete…"])


def test_a_run_without_a_deployment_is_neither_suspended_nor_retried(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    run = pools.run("alone", "RUNNING")
    page = visit(server_url, f"runs/flow-run/{run}")
    expect(page.get_by_role("button", name="Pause…")).to_be_visible()
    expect(page.get_by_role("button", name="Suspend…")).to_have_count(0)
    pools.set_state(run, "FAILED")
    expect(page.get_by_role("button", name="Pause…")).to_have_count(0)
    expect(page.get_by_role("button", name="Retry…")).to_have_count(0)


def test_a_failed_run_is_retried_and_that_is_taken_back(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    run = _of_deployment(pools, "FAILED")
    page = visit(server_url, f"runs/flow-run/{run}")
    page.get_by_role("button", name="Retry…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("A worker of the work pool main starts it")
    expect(dialog).to_contain_text("attempt 2")
    assert_accessible(page)
    dialog.get_by_role("button", name="Retry").click()
    expect(page.locator("#run-state")).to_have_text("AwaitingRetry")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#run-state")).to_have_text("Failed")


def test_a_running_run_is_paused_for_a_while_and_resumed(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    run = _of_deployment(pools, "RUNNING")
    page = visit(server_url, f"runs/flow-run/{run}")
    page.get_by_role("button", name="Pause…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("its code goes on. To have it stop, suspend it")
    dialog.get_by_label("For at most").select_option("1 hour")
    assert_accessible(page)
    dialog.get_by_role("button", name="Pause").click()
    expect(page.locator("#run-state")).to_have_text("Paused")
    why = page.get_by_role("region", name="Why it waits")
    expect(why).to_contain_text("waits for somebody to resume it")
    details = _run(server_url, run)["state"]["state_details"]
    assert details["pause_timeout"] and not details["pause_reschedule"]
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#run-state")).to_have_text("Running")
    expect(why).to_have_count(0)


def test_a_suspended_run_is_scheduled_again_when_it_is_resumed(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    run = _of_deployment(pools, "RUNNING")
    page = visit(server_url, f"runs/flow-run/{run}")
    page.get_by_role("button", name="Suspend…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Its process ends")
    dialog.get_by_role("button", name="Suspend").click()
    expect(page.locator("#run-state")).to_have_text("Suspended")
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#run-state")).to_have_text("Resuming")


def test_a_running_run_tells_when_its_heart_last_beat(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    run = pools.run("alive")
    beat = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
    }
    httpx.post(f"{server_url}/events", json=[beat]).raise_for_status()
    page = visit(server_url, f"runs/flow-run/{run}")
    expect(page.locator("#head")).to_contain_text("Last heartbeat")
    pools.set_state(run, "COMPLETED")
    expect(page.locator("#head")).not_to_contain_text("Last heartbeat")


def test_a_paused_run_is_cancelled(server_url: str, pools: Pools, visit: Visit) -> None:
    run = _of_deployment(pools, "PAUSED")
    page = visit(server_url, f"runs/flow-run/{run}")
    page.get_by_role("button", name="Cancel run").click()
    expect(page.locator("#run-state")).to_have_text("Cancelled")
    assert _run(server_url, run)["state_type"] == "CANCELLED"


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_the_form_of_an_input_is_accessible_and_fits(
    server_url: str, pools: Pools, visit: Visit, width: int
) -> None:
    run = _paused_for_input(pools)
    page = visit(server_url, f"runs/flow-run/{run}", width=width)
    page.get_by_label("Copies to").check()
    page.get_by_role("button", name="Add to Copies to").click()
    page.locator("#resuming").get_by_role("button", name="Resume").click()
    expect(page.locator("[data-wrong='input/amount']")).to_be_visible()
    assert_whole(page)


def test_a_run_is_resumed_with_the_input_that_it_asks_for(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    run = _paused_for_input(pools)
    page = visit(server_url, f"runs/flow-run/{run}")
    form = page.locator("#resuming form")
    expect(form.locator("strong")).to_have_text("check")
    page.get_by_role("link", name="Resume…").click()
    expect(form).to_be_in_viewport()
    form.get_by_role("button", name="Resume").click()
    expect(form.locator("[data-wrong='input/amount']")).to_have_text("This is required.")
    expect(form.get_by_label("Amount")).to_be_focused()
    form.get_by_label("Amount").fill("0.5")
    form.get_by_label("Approved").check()
    # What is being filled in stays while the page changes.
    pools.task_run(run, "load")
    form.get_by_role("button", name="Resume").click()
    expect(form.locator("[data-wrong='input/amount']")).to_contain_text("minimum of 1")
    form.get_by_label("Amount").fill("12.5")
    form.get_by_label("Level").select_option("high")
    form.get_by_label("Copies to").check()
    form.get_by_role("button", name="Add to Copies to").click()
    form.get_by_label("Item").last.fill("anna")
    form.get_by_role("button", name="Add to Copies to").click()
    form.get_by_label("Item").last.fill("to be removed")
    form.get_by_role("button", name="Remove").last.click()
    expect(form.locator("[name='input/who|1']")).to_be_hidden()
    form.get_by_text("Whole number", exact=True).click()
    form.locator("[name='input/who|1']").fill("7")
    form.get_by_label(re.compile("^Until")).fill("2026-11-26T12:30:00")
    assert _run(server_url, run)["state_type"] == "PAUSED"
    form.get_by_role("button", name="Resume").click()
    expect(page.locator("#run-state")).to_have_text("Running")
    expect(form).to_have_count(0)
    found = _response(server_url, run)
    assert found.pop("until").startswith("2026-11-26T12:30:00")
    assert found == {"approved": True, "amount": 12.5, "level": "high", "cc": ["anna"], "who": 7}


def test_an_input_is_given_as_json(server_url: str, pools: Pools, visit: Visit) -> None:
    run = _paused_for_input(pools)
    page = visit(server_url, f"runs/flow-run/{run}")
    form = page.locator("#resuming form")
    form.get_by_label("Amount").fill("3")
    form.get_by_text("JSON", exact=True).click()
    text = form.get_by_label("Everything as JSON")
    expect(text).to_have_value(re.compile('"amount": 3'))
    text.fill('{"approved": 1, "amount": 3}')
    form.get_by_role("button", name="Resume").click()
    expect(form.locator("[data-wrong='input~raw']")).to_contain_text("approved")
    text.fill('{"approved": false, "amount": 4, "note": "später"}')
    form.get_by_text("Fields", exact=True).click()
    expect(form.get_by_label("Note")).to_have_value("später")
    form.get_by_role("button", name="Resume").click()
    expect(page.locator("#run-state")).to_have_text("Running")
    found = _response(server_url, run)
    assert found == {"approved": False, "amount": 4, "level": "low", "note": "später"}


def test_an_input_whose_schema_cannot_be_read_says_so(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    run = pools.run("asking")
    keyset = {"schema": "lost", "response": "ask-response"}
    state = {"type": "PAUSED", "state_details": {"pause_key": "a", "run_input_keyset": keyset}}
    pools.post(f"/flow_runs/{run}/set_state", {"state": state, "force": True})
    page = visit(server_url, f"runs/flow-run/{run}")
    expect(page.get_by_role("alert")).to_contain_text("Run input schema not found")


def test_why_a_run_is_late_is_told_with_links_and_follows_what_it_waits_for(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    pools.pool("main")
    run = pools.due(pools.deployment("load", "main"), "overdue-heron", -3)
    body = {"state": {"type": "SCHEDULED", "name": "Late"}, "force": True}
    pools.post(f"/flow_runs/{run}/set_state", body)
    page = visit(server_url, f"runs/flow-run/{run}")
    why = page.get_by_role("region", name="Why it waits")
    expect(why).to_contain_text("Nothing has started it")
    expect(why).to_contain_text(
        re.compile(r"should have started at (\w+ \d+, )?\d\d:\d\d \(\d+ s ago\)")
    )
    expect(why).to_contain_text("none has ever asked the work queue default")
    expect(why.get_by_text('prefect worker start --pool "main"')).to_be_visible()
    assert_accessible(page)
    httpx.patch(f"{server_url}/work_pools/main", json={"is_paused": True}).raise_for_status()
    expect(why).to_contain_text("Its work pool main is paused")
    why.get_by_role("link", name="Work pool").click()
    expect(page.get_by_role("heading", name="main")).to_be_visible()
    page.go_back()
    why.get_by_role("link", name="Work queue").first.click()
    expect(page.get_by_role("heading", name="default")).to_be_visible()


@pytest.mark.parametrize("kind", ["flow", "task"])
def test_a_state_that_came_while_it_was_asked_for_another_is_shown_before_it_is_lost(
    server_url: str, pools: Pools, visit: Visit, kind: str
) -> None:
    run = pools.run("brave-otter", "RUNNING")
    if kind == "task":
        body = {"flow_run_id": run, "task_key": "load", "dynamic_key": "0", "name": "load-0"}
        run = str(pools.post("/task_runs/", {**body, "state": {"type": "RUNNING"}})["id"])
    page = visit(server_url, f"runs/{kind}-run/{run}")
    page.get_by_role("button", name="Set state…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("State").select_option("FAILED")
    done = {"state": {"type": "COMPLETED", "message": "All of it"}}
    pools.post(f"/{kind}_runs/{run}/set_state", done)
    dialog.get_by_role("button", name="Set state").click()
    expect(dialog).to_contain_text("This was changed meanwhile")
    expect(dialog.get_by_role("listitem")).to_have_text(re.compile(r"^(brave-otter|load-0): Comp"))
    assert_accessible(page)
    dialog.get_by_role("button", name="Cancel").click()
    assert _state(server_url, kind, run)["message"] == "All of it"

    page.get_by_role("button", name="Set state…").click()
    dialog.get_by_label("State").select_option("FAILED")
    pools.post(f"/{kind}_runs/{run}/set_state", {"state": {"type": "CRASHED"}, "force": True})
    dialog.get_by_role("button", name="Set state").click()
    expect(dialog.get_by_role("listitem")).to_contain_text("Crashed")
    dialog.get_by_role("button", name="Set state all the same").click()
    expect(page.locator("#toasts")).to_contain_text("Set to Failed")
    assert _state(server_url, kind, run)["type"] == "FAILED"


def _state(url: str, kind: str, run: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{url}/{kind}_runs/{run}").json()["state"]
    return found


def test_a_retry_that_somebody_else_asked_for_meanwhile_is_not_asked_for_twice(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    run = _of_deployment(pools, "FAILED")
    page = visit(server_url, f"runs/flow-run/{run}")
    page.get_by_role("button", name="Retry…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    pools.set_state(run, "RUNNING")
    dialog.get_by_role("button", name="Retry").click()
    expect(dialog).to_contain_text("brave-otter: Running")
    dialog.get_by_role("button", name="Cancel").click()
    assert _run(server_url, run)["state_type"] == "RUNNING"


def test_of_many_runs_those_that_moved_on_are_named_before_any_is_set(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    runs = [pools.run(name, "RUNNING") for name in ("brave-otter", "calm-heron")]
    page = visit(server_url, "runs")
    for name in ("brave-otter", "calm-heron"):
        page.get_by_role("checkbox", name=name).check()
    page.get_by_role("button", name="Set state…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("State").select_option("FAILED")
    pools.set_state(runs[1], "COMPLETED")
    dialog.get_by_role("button", name="Set state").click()
    expect(dialog.get_by_role("listitem")).to_have_text(["calm-heron: Completed"])
    assert [_run(server_url, run)["state_type"] for run in runs] == ["RUNNING", "COMPLETED"]
    dialog.get_by_role("button", name="Set state all the same").click()
    expect(page.locator("#toasts")).to_contain_text("Set to Failed: 2 flow runs.")
