"""The list of flows and the page of one: how their runs went, and deleting one with all of them."""

import re

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import LARGE, SMALL, Visit, assert_fits, assert_whole
from tests.browser.making_runs import Runs

LONG = "a-flow-with-a-name-that-somebody-built-from-a-team-a-region-and-a-customer-eu-central-1"


def _names(page: Page) -> Locator:
    return page.locator("td.main-cell a")


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_both_pages_fit_and_are_accessible(
    server_url: str, runs: Runs, visit: Visit, width: int
) -> None:
    runs.of_every_state()
    runs.run("one", "FAILED", flow=LONG)
    runs.post("/flows/", {"name": "never ran", "tags": ["eu", "a-tag-that-is-long-as-well"]})
    page = visit(server_url, "flows", width=width)
    expect(page.get_by_role("row").filter(has_text="never ran")).to_be_visible()
    assert_whole(page)
    flow = runs.flow("nightly load")
    page = visit(server_url, f"flows/flow/{flow}", width=width)
    expect(page.get_by_role("heading", name="nightly load")).to_be_visible()
    expect(page.locator(".dots circle")).not_to_have_count(0)
    assert_whole(page)
    page = visit(server_url, f"flows/flow/{runs.flow('never ran')}", width=width)
    expect(page.get_by_text("This flow has no runs.")).to_be_visible()
    assert_fits(page)


def test_the_first_visit_says_what_to_type_and_then_shows_the_flow(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    page = visit(server_url, "flows")
    expect(page.get_by_text(f"prefect config set PREFECT_API_URL={server_url}")).to_be_visible()
    runs.run("first", "COMPLETED", flow="billing")
    row = page.get_by_role("row").filter(has_text="billing")
    expect(row).to_contain_text("Completed")
    expect(row).to_contain_text("100")
    runs.run("second", "FAILED", flow="billing")
    expect(row).to_contain_text("50.0")
    expect(row).to_contain_text("Failed")


def test_flows_are_searched_sorted_and_paged_in_the_address(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    for number in range(53):
        runs.flow(f"flow-{number:02}")
    runs.run("one", "COMPLETED", flow="flow-30")
    runs.post("/flows/", {"name": "tagged", "tags": ["eu"]})
    page = visit(server_url, "flows")
    first = [f"flow-{number:02}" for number in range(50)]
    expect(_names(page)).to_have_text(first)
    page.get_by_role("link", name="Next page").click()
    expect(_names(page)).to_have_text(["flow-50", "flow-51", "flow-52", "tagged"])
    page.reload()
    page.locator("[rel=prev]").click()
    expect(_names(page)).to_have_text(first)

    page.get_by_role("link", name="Last run").click()
    expect(_names(page).first).to_have_text("flow-30")
    page.get_by_label("Flow name contains").fill("W-5")
    expect(page.locator("td.main-cell")).to_have_count(3)
    expect(page).to_have_url(re.compile(r"q=W-5.*sort=last|sort=last.*q=W-5"))
    page.get_by_role("link", name=re.compile("^Remove the filter")).click()
    page.get_by_label("Tags, separated by commas").fill("eu")
    expect(_names(page)).to_have_text(["tagged"])


def test_a_flow_is_deleted_with_its_runs_after_a_question_that_names_them(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    done = runs.run("done", "COMPLETED", flow="billing")
    runs.task_run(done, "load")
    runs.run("busy", "RUNNING", flow="billing")
    runs.run("other", "COMPLETED", flow="kept")
    page = visit(server_url, "flows")
    page.get_by_role("button", name="Delete the flow billing").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete the flow billing?")
    expect(dialog).to_contain_text("2 flow runs")
    expect(dialog).to_contain_text("1 task run")
    expect(dialog).to_contain_text("1 run is running and will not be stopped")
    dialog.get_by_role("button", name="Cancel").click()
    expect(_names(page)).to_have_text(["billing", "kept"])
    page.get_by_role("button", name="Delete the flow billing").click()
    dialog.get_by_role("button", name="Delete the flow").click()
    expect(page.get_by_text("Deleted the flow billing and 2 flow runs.")).to_be_visible()
    expect(page.locator("td.main-cell")).to_have_count(1)
    assert httpx.get(f"{server_url}/flow_runs/{done}").status_code == 404


def test_the_page_of_a_flow_follows_its_runs_until_it_is_gone(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    runs.run("good", "COMPLETED", flow="billing")
    flow = runs.flow("billing")
    page = visit(server_url, f"flows/flow/{flow}", expected="404")
    expect(page.get_by_role("heading", name="1 run", exact=True)).to_be_visible()
    expect(page.get_by_text("Nothing failed")).to_be_visible()
    bad = runs.run("bad", "RUNNING", flow="billing")
    said = {"type": "FAILED", "message": "ValueError: row 3 is empty"}
    runs.post(f"/flow_runs/{bad}/set_state", {"state": said, "force": True})
    failures = page.get_by_role("region", name="Failures")
    expect(failures).to_contain_text("ValueError: row 3 is empty")
    expect(failures).to_contain_text("The last run failed")
    expect(page.get_by_role("region", name="2 runs")).to_contain_text("50.0")
    expect(page.locator(".dots circle")).to_have_count(2)
    runs.run("elsewhere", "COMPLETED", flow="reports")
    expect(page.locator(f"#run-{bad}")).to_contain_text("bad")

    page.get_by_text("24h", exact=True).click()
    expect(page).to_have_url(re.compile("range=24h"))
    page.locator(".dots a").first.click()
    expect(page).to_have_url(re.compile("runs/flow-run/"))
    page.go_back()
    runs.run("of-another", "COMPLETED", flow="billing of returns")
    page.get_by_role("link", name="All runs").click()
    expect(page.get_by_text("of the flow billing", exact=True)).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.go_back()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete the flow").click()
    expect(page.locator("#connection")).to_contain_text("This flow does not exist")


def test_a_flow_that_does_not_exist_says_so(server_url: str, visit: Visit) -> None:
    page = visit(
        server_url,
        "flows/flow/0199abcd-0000-7000-8000-000000000001",
        live=False,
        expected="404",
    )
    expect(page.get_by_role("heading", name="This flow does not exist")).to_be_visible()


def test_buttons_of_a_flow_without_tags_stand_below_its_name_on_a_phone(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    page = visit(server_url, f"flows/flow/{runs.flow(LONG)}", width=SMALL)
    left = "one => one.getBoundingClientRect().left"
    assert page.locator(".title .actions").evaluate(left) == page.locator("h1").evaluate(left)
