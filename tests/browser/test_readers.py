"""Readers with needs of their own: no scripts, more contrast, the colours of their system."""

import re
from datetime import UTC, datetime, timedelta

from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Visit, assert_accessible
from tests.browser.making_runs import Runs
from tests.browser.making_task_runs import simple, tell


def _plain(browser: Browser, url: str, path: str) -> Page:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(url.removesuffix("api") + path)
    return page


def test_without_scripts_a_page_says_what_it_cannot_and_shows_nothing_that_does_nothing(
    server_url: str, runs: Runs, browser: Browser
) -> None:
    run = runs.run("plain-otter", "COMPLETED")
    for path in ("runs", f"runs/flow-run/{run}", "dashboard", "events"):
        page = _plain(browser, server_url, path)
        expect(page.get_by_text("not live, without scripts")).to_be_visible()
        for dead in ("#connection", ".copy", "[data-theme-switch]", "run-scatter", ".log-bar"):
            for one in page.locator(dead).all():
                expect(one).to_be_hidden()
        page.context.close()
    page = _plain(browser, server_url, f"runs/flow-run/{run}")
    expect(page.locator("log-view noscript p")).to_be_visible()
    expect(page.locator(".skeleton")).to_be_hidden()
    page.get_by_role("button", name="Set state…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Set the state of 1 flow run")
    page.context.close()


def _luminance(page: Page, selector: str) -> float:
    colour = page.locator(selector).first.evaluate("one => getComputedStyle(one).color")
    red, green, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_who_asks_for_more_contrast_has_it(server_url: str, runs: Runs, visit: Visit) -> None:
    runs.run("faint-otter", "COMPLETED")
    page = visit(server_url, "runs")
    usual = _luminance(page, "table .quiet")
    page.emulate_media(contrast="more", color_scheme="light")
    assert _luminance(page, "table .quiet") < usual / 2
    assert_accessible(page)
    page.emulate_media(contrast="more", color_scheme="dark")
    assert _luminance(page, "table .quiet") > 200
    assert_accessible(page)


def test_states_in_a_timeline_stay_apart_in_the_colours_of_the_system(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    """Where all colours are those of a system theme, one of text would cover the names on bars."""
    run = runs.run("plain-otter")
    tasks = [simple("good", 0, 60), simple("bad", 0, 60, end="FAILED")]
    tell(server_url, run, datetime.now(UTC) - timedelta(minutes=2), tasks)
    page = visit(server_url, f"runs/flow-run/{run}")
    expect(page.locator("run-timeline canvas").last).to_be_visible()
    page.emulate_media(forced_colors="active")
    _assert_colours_stay_apart(page)


def _assert_colours_stay_apart(page: Page) -> None:
    found = page.locator("run-timeline").evaluate(
        """async line => {
          const { palette } = await import(new URL("timeline_paint.js", document.querySelector(
            "script[src*='timeline']").src));
          return [palette(line), line.colours];
        }"""
    )
    for colours in found:
        assert len(set(colours["states"])) == len(colours["states"])
        assert colours["ink"] not in colours["states"]


def test_states_in_pictures_stay_apart_for_who_wants_nothing_to_move(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    run = runs.run("plain-otter", "FAILED")
    runs.run("good-otter", "COMPLETED")
    tell(server_url, run, datetime.now(UTC) - timedelta(minutes=2), [simple("good", 0, 60)])
    page = visit(server_url, f"runs/flow-run/{run}")
    page.emulate_media(reduced_motion="reduce")
    page.reload()
    expect(page.locator("run-timeline[data-drawn]")).to_be_visible()
    _assert_colours_stay_apart(page)


def test_where_one_is_can_be_seen_in_the_colours_of_the_system(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    runs.run("plain-otter", "COMPLETED")
    page = visit(server_url, "dashboard")
    page.emulate_media(forced_colors="active")
    for path, within, look in (
        ("dashboard", ".places", "backgroundColor"),
        ("dashboard?range=24h", ".segments", "backgroundColor"),
        ("runs", "main .tabs", "borderBottomColor"),
    ):
        page.goto(server_url.removesuffix("api") + path)
        looks = f"all => all.map(one => getComputedStyle(one).{look})"
        current = ":is([aria-current], :has(:checked))"
        (here,) = page.locator(f"{within} :is(a, label){current}").evaluate_all(looks)
        others = page.locator(f"{within} :is(a, label):not({current})").evaluate_all(looks)
        # What lies behind a background that is clear is of the same colour.
        painted = {
            "rgb(255, 255, 255)" if one == "rgba(255, 255, 255, 0)" else one for one in others
        }
        assert painted and here not in painted, path
