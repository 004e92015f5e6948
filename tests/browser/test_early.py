"""Who is quicker than the scripts of a page, as one is on a slow network."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Visit, assert_live
from tests.browser.making_deployments import Deployments
from tests.browser.making_runs import Runs

FIRST_SCRIPT = "**/htmx.min.js"
"""The first of those that wait for the document; none of them begins before it."""


@pytest.fixture
def made(server_url: str) -> Deployments:
    """Makes deployments on this test's server."""
    return Deployments(server_url)


@contextmanager
def _before_its_scripts(visit: Visit, url: str, path: str) -> Iterator[Page]:
    """A page that can be used, and gets its scripts afterwards."""
    page = visit(url, "search", live=False)
    held: list[Route] = []
    page.route(FIRST_SCRIPT, lambda route: held.append(route))
    with page.expect_request(FIRST_SCRIPT):
        page.goto(url.removesuffix("api") + path, wait_until="commit")
    yield page
    (route,) = held
    route.continue_()
    assert_live(page)


def test_a_filter_that_is_filled_in_takes_effect(server_url: str, runs: Runs, visit: Visit) -> None:
    runs.run("slow-otter", "COMPLETED")
    runs.run("slow-heron", "COMPLETED")
    with _before_its_scripts(visit, server_url, "runs") as page:
        page.get_by_label("Run name contains").fill("otter")
    expect(page).to_have_url(re.compile("q=otter"))
    expect(page.locator("#runs td.main-cell a")).to_have_text(["slow-otter"])


def test_a_date_that_is_filled_in_takes_effect(server_url: str, runs: Runs, visit: Visit) -> None:
    runs.run("slow-otter", "COMPLETED")
    with _before_its_scripts(visit, server_url, "runs") as page:
        page.get_by_text("Dates", exact=True).click()
        page.get_by_label("To", exact=True).fill("2026-01-02T03:00")
        page.get_by_label("From", exact=True).focus()
    expect(page).to_have_url(re.compile("until=2026-01-0"))
    expect(page.get_by_label("To", exact=True)).to_have_value("2026-01-02T03:00")
    expect(page.get_by_text("No run is like that")).to_be_visible()


def test_runs_that_are_chosen_stay_chosen(server_url: str, runs: Runs, visit: Visit) -> None:
    runs.run("slow-otter", "COMPLETED")
    with _before_its_scripts(visit, server_url, "runs") as page:
        page.locator("#runs tbody input").check()
    expect(page.get_by_text("1 chosen")).to_be_visible()
    expect(page.locator("#runs tbody input")).to_be_checked()


def test_the_zone_of_a_new_schedule_stays_what_somebody_chose(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.make("every-day")
    path = f"deployments/deployment/{id_}/schedule"
    with _before_its_scripts(visit, server_url, path) as page:
        page.get_by_label("Time zone").fill("Asia/Tokyo")
    expect(page).to_have_url(re.compile("timezone=Asia"))
    expect(page.get_by_label("Time zone")).to_have_value("Asia/Tokyo")
    expect(page.locator("#preview")).to_contain_text("Asia/Tokyo")


def test_a_form_that_is_sent_is_answered_by_a_page_that_follows_nothing(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.make("every-day", flow="billing")
    page = visit(server_url, f"deployments/deployment/{id_}/run")
    followed: list[str] = []
    page.on("request", lambda one: followed.append(one.url) if "live?" in one.url else None)
    page.locator("#run").evaluate("form => form.submit()")  # Past every listener.
    expect(page.get_by_role("heading", name="every-day is to run now")).to_be_visible()
    page.wait_for_load_state("load")  # Scripts have run by then.
    expect(page.locator("#connection")).to_be_hidden()
    assert followed == []
    page.get_by_role("link", name="Go on").click()
    assert_live(page)
