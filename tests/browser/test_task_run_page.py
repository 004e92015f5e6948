"""The page of a task run: its states, logs, artifacts, details, history, and what can be done."""

import re
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import LARGE, SMALL, Visit, assert_whole
from tests.browser.making_runs import LONG_NAME, Runs

MESSAGE = "Task run encountered an exception ValueError: no rows for 2026-11-26"


@pytest.fixture
def failed(runs: Runs) -> dict[str, Any]:
    """A task run that failed at its second attempt, with all that one may have."""
    run = runs.run(LONG_NAME, "RUNNING", flow="nightly load")
    given = runs.task_run(run, "extract")
    body = {
        "flow_run_id": run,
        "task_key": "fetch",
        "dynamic_key": "1",
        "name": "fetch-1",
        "tags": ["eu", "slow"],
        "cache_key": "abc123",
        "empirical_policy": {"retries": 1, "retry_delay": 10},
        "task_inputs": {
            "day": [{"input_type": "parameter", "name": "day"}],
            "rows": [{"input_type": "task_run", "id": given}],
            "n": [{"input_type": "constant", "type": "int"}],
        },
        "state": {"type": "PENDING"},
    }
    task = str(runs.post("/task_runs/", body)["id"])
    for state in ("RUNNING", "FAILED", "RUNNING", "FAILED"):
        proposed = {"type": state, "message": MESSAGE if state == "FAILED" else None}
        runs.post(f"/task_runs/{task}/set_state", {"state": proposed, "force": True})
    made = {"key": "rows", "type": "table", "data": "[]", "task_run_id": task}
    runs.post("/artifacts/", made)
    line = {"name": "x", "level": 40, "message": "no rows", "timestamp": "2026-11-26T06:00:00Z"}
    runs.post("/logs/", [{**line, "flow_run_id": run, "task_run_id": task}])
    return {"id": task, "run": run, "given": given}


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_every_tab_can_be_read(
    server_url: str, failed: dict[str, Any], visit: Visit, width: int
) -> None:
    page = visit(server_url, f"runs/task-run/{failed['id']}", width=width)
    expect(page.get_by_role("heading", name="fetch-1")).to_be_visible()
    expect(page.get_by_text("no rows", exact=True)).to_be_visible()
    expect(page.locator(".notice .message")).to_have_text(MESSAGE)
    expect(page.locator(".stays li")).to_have_count(5)
    seen = {
        "States": "Message",
        "Artifacts": "rows",
        "Details": "abc123",
        "History": "task-run.state-set",
        "Logs": "no rows",
    }
    for name, text in seen.items():
        page.get_by_role("link", name=name, exact=True).last.click()
        expect(page.locator("#tab").get_by_text(text, exact=True).first).to_be_attached()
        expect(page).to_have_url(re.compile(f"tab={name.lower()}"))
        assert_whole(page)


def test_what_surrounds_it_is_linked(server_url: str, failed: dict[str, Any], visit: Visit) -> None:
    page = visit(server_url, f"runs/task-run/{failed['id']}?tab=details")
    link = page.get_by_role("link", name="extract-0")
    assert str(link.get_attribute("href")).endswith(f"runs/task-run/{failed['given']}")
    expect(page.get_by_text("a constant of type int")).to_be_visible()
    page.locator(".run-facts").get_by_role("link", name=LONG_NAME).click()
    expect(page).to_have_url(re.compile(f"runs/flow-run/{failed['run']}"))


def test_a_state_is_set_by_hand_and_taken_back(
    server_url: str, failed: dict[str, Any], visit: Visit
) -> None:
    page = visit(server_url, f"runs/task-run/{failed['id']}")
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Set state…").click()
    dialog.get_by_label("State").select_option("COMPLETED")
    dialog.get_by_label("Message").fill("looked at by hand")
    dialog.get_by_role("button", name="Set state").click()
    expect(page.locator("#run-state")).to_have_text("Completed")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#run-state")).to_have_text("Failed")
    expect(page.locator("#toasts")).to_contain_text("Back in the state before: 1 task run.")


def test_deleting_names_what_is_lost_and_the_page_says_so(
    server_url: str, failed: dict[str, Any], visit: Visit
) -> None:
    page = visit(server_url, f"runs/task-run/{failed['id']}", expected="404")
    page.get_by_role("button", name="Delete…").click()
    expect(page.locator("dialog .lost")).to_contain_text("5 states")
    expect(page.locator("dialog .lost")).to_contain_text("1 log line")
    page.get_by_role("button", name="Delete task run").click()
    expect(page.get_by_text("This task run was deleted")).to_be_visible()
    assert httpx.get(f"{server_url}/task_runs/{failed['id']}").status_code == 404


def test_a_state_that_is_set_elsewhere_is_seen_without_a_reload(
    server_url: str, runs: Runs, failed: dict[str, Any], visit: Visit
) -> None:
    page = visit(server_url, f"runs/task-run/{failed['id']}?tab=states")
    proposed = {"type": "RUNNING"}
    runs.post(f"/task_runs/{failed['id']}/set_state", {"state": proposed, "force": True})
    expect(page.locator("#run-state")).to_have_text("Running")
    expect(page.locator("#tab tbody tr")).to_have_count(6)


def test_one_that_does_not_exist_is_not_found(server_url: str, visit: Visit) -> None:
    nowhere = "runs/task-run/00000000-0000-0000-0000-000000000000"
    page = visit(server_url, nowhere, live=False, expected="404")
    expect(page.get_by_role("heading", name="This task run does not exist")).to_be_visible()
