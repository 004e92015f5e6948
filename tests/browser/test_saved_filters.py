"""Filters of the runs page that are kept under a name."""

import re

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SMALL, Visit, assert_accessible, assert_fits, assert_live
from tests.browser.making_runs import Runs


def _save(page: Page, name: str) -> None:
    page.locator("#saved-filters summary").click()
    page.get_by_role("button", name="Save this filter…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill(name)
    dialog.get_by_role("button", name="Save the filter").click()


def test_a_filter_is_saved_chosen_and_deleted(server_url: str, runs: Runs, visit: Visit) -> None:
    runs.run("good-otter", "COMPLETED", tags=["eu"])
    runs.run("bad-otter", "FAILED", tags=["eu"])
    runs.run("bad-heron", "FAILED")
    page = visit(server_url, "runs")
    other = visit(server_url, "runs")
    page.locator("#saved-filters summary").click()
    expect(page.get_by_text("None yet. Filter the list")).to_be_visible()
    assert_accessible(page)
    page.goto(page.url + "?state=FAILED&tag=eu")
    _save(page, "Failures in Europe")
    expect(page.locator(".toast")).to_contain_text("Saved the filter Failures in Europe.")
    expect(page.locator("#saved-filters summary")).to_have_text("Failures in Europe")
    other.locator("#saved-filters summary").click()
    choice = other.get_by_role("link", name="Failures in Europe")
    expect(choice).to_be_visible()
    choice.click()
    expect(other).to_have_url(re.compile(r"runs\?state=FAILED&tag=eu$"))
    expect(other.locator("#runs td.main-cell a")).to_have_text(["bad-otter"])
    expect(other.locator("#saved-filters summary")).to_have_text("Failures in Europe")
    (kept,) = httpx.post(f"{server_url}/saved_searches/filter", json={}).json()
    values = {one["property"]: one["value"] for one in kept["filters"]}
    assert values == {"state": ["Failed", "TimedOut"], "tag": ["eu"]}
    assert_live(other)
    other.locator("#saved-filters summary").click()
    other.get_by_role("button", name="Delete the saved filter Failures in Europe").click()
    expect(other.locator("#saved-filters summary")).to_have_text("Saved filters")
    other.get_by_role("button", name="Undo").click()
    expect(page.locator("#saved-filters summary")).to_have_text("Failures in Europe")


def test_a_name_stands_for_another_filter_until_that_is_taken_back(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    runs.run("bad-otter", "FAILED")
    page = visit(server_url, "runs?state=FAILED")
    _save(page, "mine")
    expect(page.locator("#saved-filters summary")).to_have_text("mine")
    page.goto(f"{server_url.removesuffix('api')}runs?q=otter")
    expect(page.locator("#saved-filters summary")).to_have_text("Saved filters")
    _save(page, "mine")
    expect(page.locator(".toast")).to_contain_text("The filter mine is now this one.")
    expect(page.locator("#saved-filters summary")).to_have_text("mine")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#saved-filters summary")).to_have_text("Saved filters")


@pytest.mark.heavy
def test_what_prefects_pages_saved_is_chosen_here_and_the_menu_fits(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    flow = runs.flow("nightly load")
    runs.run("good-otter", "COMPLETED")
    runs.run("other-otter", "COMPLETED", flow="billing")
    conditions = [("flow", [flow]), ("state", []), ("range", {"type": "span", "seconds": -604_800})]
    for name, more in (("Load", []), ("Two queues", [("workQueue", ["a", "b"])])):
        filters = [
            {"object": "flowRun", "property": key, "type": "", "operation": "", "value": value}
            for key, value in [*conditions, *more]
        ]
        body = {"name": name, "filters": filters}
        httpx.put(f"{server_url}/saved_searches/", json=body).raise_for_status()
    page = visit(server_url, "runs", width=SMALL, scheme="dark")
    page.locator("#saved-filters summary").click()
    expect(page.get_by_role("link", name="Two queues")).to_have_count(0)
    assert_fits(page)
    assert_accessible(page)
    page.get_by_role("link", name="Load", exact=True).click()
    expect(page.get_by_text("of the flow nightly load")).to_be_visible()
    expect(page.locator("#runs td.main-cell a")).to_have_text(["good-otter"])
