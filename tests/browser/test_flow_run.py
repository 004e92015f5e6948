"""One flow run: what state it is in and why, what it consists of, what can be done with it."""

import re
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from playwright.sync_api import expect

from projections.flow_run_lists import PAGE_TASK_RUNS
from tests.browser.conftest import LARGE, SMALL, Visit, assert_whole
from tests.browser.making_runs import LONG_NAME, Runs
from tests.browser.making_task_runs import Task, simple, tell

TABS = ("logs", "task-runs", "subflows", "artifacts", "parameters", "history")


def _failed(runs: Runs) -> str:
    """A flow run that failed because a task run did, with something in every tab."""
    id_ = runs.run(LONG_NAME, tags=("eu", "nightly"), parameters={"day": "2026-11-26", "of": [1]})
    began = datetime.now(UTC) - timedelta(minutes=5)
    first = simple("extract-0", 0, 20)
    tell(
        runs.url,
        id_,
        began,
        [
            first,
            simple("load-0", 30, 5, end="FAILED", after=(first,), message="no such table: sales"),
            simple("never-0", 40, 5, end="CRASHED", message="killed"),
        ],
    )
    runs.post("/artifacts/", {"key": "report", "type": "markdown", "data": "x", "flow_run_id": id_})
    lines = [
        {
            "name": "prefect.flow_runs",
            "level": level,
            "message": message,
            "timestamp": (began + timedelta(seconds=at)).isoformat(),
            "flow_run_id": id_,
        }
        for at, (level, message) in enumerate(
            [(20, "begins"), (40, "Oh\nTraceback (most recent call last):\n  File"), (20, "ends")]
        )
    ]
    httpx.post(f"{runs.url}/logs/", json=lines).raise_for_status()
    body = {"state": {"type": "FAILED", "message": "ValueError: <b>boom</b>"}, "force": True}
    runs.post(f"/flow_runs/{id_}/set_state", body)
    return id_


def _subflow(runs: Runs, id_: str, name: str = "invoice-eu") -> str:
    """A subflow run of a flow run, Running."""
    state = {"type": "PENDING"}
    task = {"flow_run_id": id_, "task_key": name, "dynamic_key": "0", "state": state}
    parent = runs.post("/task_runs/", task)["id"]
    body = {"flow_id": runs.flow("billing"), "name": name, "parent_task_run_id": parent}
    sub = str(runs.post("/flow_runs/", body | {"state": state})["id"])
    runs.set_state(sub, "RUNNING")
    return sub


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_every_tab_is_accessible_and_fits(
    server_url: str, runs: Runs, visit: Visit, width: int
) -> None:
    id_ = _failed(runs)
    _subflow(runs, id_)
    page = visit(server_url, f"runs/flow-run/{id_}", width=width)
    for tab in TABS:
        page.goto(f"{server_url.removesuffix('api')}runs/flow-run/{id_}?tab={tab}")
        expect(page.locator(".run-strip [aria-current=page]")).to_be_in_viewport(ratio=0.9)
        assert_whole(page)


def test_why_a_run_failed_is_said_first(server_url: str, runs: Runs, visit: Visit) -> None:
    page = visit(server_url, f"runs/flow-run/{_failed(runs)}")
    why = page.get_by_role("region", name="Why it failed")
    expect(why).to_contain_text("ValueError: <b>boom</b>")
    expect(why.get_by_role("listitem").first).to_contain_text("no such table: sales")
    expect(why.get_by_role("link", name="load-0")).to_have_attribute("href", re.compile("task-run"))
    why.get_by_text("Traceback", exact=True).click()
    expect(why.get_by_text("most recent call last")).to_be_visible()


def test_a_run_that_is_late_says_what_to_start(server_url: str, runs: Runs, visit: Visit) -> None:
    page = visit(server_url, f"runs/flow-run/{runs.run('hare', 'SCHEDULED', state_name='Late')}")
    expect(page.get_by_role("region", name="Why it waits")).to_contain_text("Nothing has started")


def test_a_state_appears_without_a_reload(server_url: str, runs: Runs, visit: Visit) -> None:
    id_ = runs.run("otter")
    page = visit(server_url, f"runs/flow-run/{id_}?tab=task-runs")
    expect(page.get_by_role("heading", name="No task runs yet")).to_be_visible()
    runs.task_run(id_, "load")
    expect(page.get_by_role("row").filter(has_text="load-0")).to_be_visible()
    expect(page.locator(".task-states")).to_contain_text("1 completed")
    runs.set_state(id_, "FAILED")
    expect(page.locator("#run-state")).to_contain_text("Failed")
    expect(page.get_by_role("button", name="Cancel run")).to_have_count(0)


def test_how_long_it_will_take_is_known_from_past_runs(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    id_ = runs.run("first", flow="estimated")
    page = visit(server_url, f"runs/flow-run/{id_}")
    expect(page.get_by_text("Expected end")).to_have_count(0)
    for number in range(3):
        runs.run(f"past-{number}", "COMPLETED", flow="estimated")
    page = visit(server_url, f"runs/flow-run/{runs.run('now', flow='estimated')}")
    expect(page.get_by_text("Expected end")).to_be_visible()


def test_task_runs_are_filtered_sorted_and_paged_by_the_address(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    id_ = runs.run("otter")
    number = PAGE_TASK_RUNS + 7
    tasks = [simple(f"task-{at:03}", at, 1 + at % 5) for at in range(number)]
    tasks.append(Task("other-0", (("PENDING", 1), ("RUNNING", 2))))
    tell(server_url, id_, datetime.now(UTC) - timedelta(minutes=9), tasks)
    page = visit(server_url, f"runs/flow-run/{id_}?tab=task-runs&sort=name&q=task")
    names = page.locator("#tab td.main-cell > a")
    expected = [task.name for task in tasks[:-1]]
    expect(names).to_have_text(expected[:PAGE_TASK_RUNS])
    page.get_by_role("link", name="Next page").click()
    expect(names).to_have_text(expected[PAGE_TASK_RUNS:])
    page.goto(f"{server_url.removesuffix('api')}runs/flow-run/{id_}?tab=task-runs")
    page.locator("#task-filter-states summary").click()
    page.locator("#task-filter-states").get_by_label("Running", exact=True).check()
    expect(page).to_have_url(re.compile("state=RUNNING"))
    expect(names).to_have_text(["other-0"])


def test_a_subflow_leads_to_its_run_and_back(server_url: str, runs: Runs, visit: Visit) -> None:
    id_ = runs.run("around")
    sub = _subflow(runs, id_)
    page = visit(server_url, f"runs/flow-run/{id_}?tab=subflows")
    page.locator("#tab").get_by_role("link", name="invoice-eu").click()
    expect(page).to_have_url(re.compile(f"runs/flow-run/{sub}"))
    page.locator(".run-facts").get_by_role("link", name="around").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("around")


def test_history_tells_every_fact_and_what_it_changed(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    id_ = runs.run("otter", "SCHEDULED", tags=("eu",))
    httpx.patch(f"{server_url}/flow_runs/{id_}", json={"name": "heron"}).raise_for_status()
    page = visit(server_url, f"runs/flow-run/{id_}?tab=history")
    facts = page.locator(".history > li")
    expect(facts).to_have_count(3)
    expect(facts.nth(0)).to_contain_text(
        re.compile(r"3\s+Changed.*by anonymous.*name\s*otter heron", re.S)
    )
    expect(facts.nth(2)).to_contain_text('["eu"]')
    runs.set_state(id_, "RUNNING")
    expect(facts).to_have_count(4)
    expect(facts.nth(0)).to_contain_text(re.compile(r"Scheduled\s*→\s*Running"))
    facts.nth(0).get_by_text("Recorded as").click()
    expect(facts.nth(0).locator("pre")).to_contain_text('"type": "RUNNING"')


def test_a_run_is_cancelled_and_that_is_taken_back(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    page = visit(server_url, f"runs/flow-run/{runs.run('otter', 'SCHEDULED')}")
    page.get_by_role("button", name="Cancel run").click()
    expect(page.locator("#run-state")).to_contain_text("Cancelled")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#run-state")).to_contain_text("Scheduled")


def test_a_state_is_set_by_hand(server_url: str, runs: Runs, visit: Visit) -> None:
    page = visit(server_url, f"runs/flow-run/{runs.run('otter')}")
    page.get_by_role("button", name="Set state…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("State").select_option("FAILED")
    dialog.get_by_label("Message").fill("the machine is gone")
    dialog.get_by_role("button", name="Set state").click()
    expect(page.get_by_role("region", name="Why it failed")).to_contain_text("machine is gone")


def test_a_run_that_is_deleted_is_said_to_be(server_url: str, runs: Runs, visit: Visit) -> None:
    id_ = runs.run("otter", "COMPLETED")
    page = visit(server_url, f"runs/flow-run/{id_}")
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete 1 flow run").click()
    expect(page.get_by_role("heading", name="This flow run was deleted")).to_be_visible()
    expect(page.get_by_role("button", name="Delete…")).to_have_count(0)
    page.get_by_role("link", name="All runs").click()
    expect(page.get_by_text("No runs yet")).to_be_visible()


def test_a_run_that_is_not_there_is_a_page_that_says_so(server_url: str, visit: Visit) -> None:
    url = f"{server_url.removesuffix('api')}runs/flow-run/0199abcd-0000-7000-8000-000000000001"
    answer = httpx.get(url, headers={"accept": "text/html"})
    assert answer.status_code == 404
    assert "This flow run does not exist" in answer.text
