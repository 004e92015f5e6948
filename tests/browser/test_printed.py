"""Pages on paper: what they say, whole, by light, without what can be done."""

import re
from datetime import UTC, datetime, timedelta

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, assert_accessible
from tests.browser.making_runs import Runs
from tests.browser.making_task_runs import simple, tell

BEGAN = datetime(2026, 11, 26, 6, 0, tzinfo=UTC)
LINES = 300
"""Far more than can be seen at once."""


def _noisy(runs: Runs, name: str) -> str:
    run = runs.run(name, "FAILED")
    lines = [
        {
            "name": "prefect.flow_runs",
            "level": 20 + 10 * (at % 2),
            "message": f"row {at}",
            "timestamp": (BEGAN + timedelta(seconds=at)).isoformat(),
            "flow_run_id": run,
        }
        for at in range(LINES)
    ]
    runs.post("/logs/", lines)
    return run


def _print(page: Page, see: str) -> object:
    """What `see` gives while the page is printed."""
    page.evaluate(
        f"""() => addEventListener("beforeprint", () => {{
          window.seen = ({see})();
        }}, {{ once: true }})"""
    )
    page.pdf()
    return page.evaluate("window.seen")


def test_the_log_of_a_run_is_printed_whole_and_as_it_is_filtered(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    page = visit(server_url, f"runs/flow-run/{_noisy(runs, 'noisy-otter')}")
    lines = (
        "() => [...document.querySelectorAll('.log-printed .log-message')].map(o => o.textContent)"
    )
    expect(page.locator("[data-count]")).to_have_text(f"{LINES} lines")
    assert _print(page, lines) == [f"row {at}" for at in range(LINES)]
    expect(page.locator(".log-printed")).to_have_count(0)
    page.get_by_label("Least level").select_option("Warning and above")
    assert _print(page, lines) == [f"row {at}" for at in range(1, LINES, 2)]
    said = "() => document.querySelector('.log-printed p').textContent"
    assert _print(page, said) == f"{LINES // 2} of {LINES} lines"


def test_paper_has_the_page_without_its_buttons_and_with_moments_that_stay_true(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    run = _noisy(runs, "noisy-otter")
    page = visit(server_url, f"runs/flow-run/{run}", scheme="dark")
    expect(page.locator("[data-count]")).to_have_text(f"{LINES} lines")
    started = page.locator(".run-facts time").first
    expect(started).to_have_text(re.compile(r"now|ago$"))
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    expect(started).to_contain_text(str(datetime.now(UTC).year))
    expect(page.locator(".log-printed .log-line").last).to_be_visible()
    for left_out in (
        ".sidebar",
        ".find",
        ".log-lines",
        ".log-bar",
        ".title .actions",
        "#connection",
    ):
        expect(page.locator(left_out).first).to_be_hidden()
    assert page.locator("body button:visible").count() == 0
    assert (
        page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(23, 23, 28)"
    )
    assert_accessible(page)
    page.evaluate("() => dispatchEvent(new Event('afterprint'))")
    expect(started).to_have_text(re.compile(r"now|ago$"))


def test_a_timeline_is_printed_by_light(server_url: str, runs: Runs, visit: Visit) -> None:
    run = runs.run("brave-otter")
    tasks = [simple(f"load-{at}", 0, 60) for at in range(5)]
    tell(server_url, run, datetime.now(UTC) - timedelta(minutes=2), tasks)
    path, told = f"runs/flow-run/{run}", "Multiple readback"  # Chromium, of the two looks below.
    page = visit(server_url, path, scheme="dark", expected=told)
    expect(page.locator("run-timeline[data-drawn]")).to_be_visible()
    page.evaluate(
        """() => matchMedia("print").addEventListener("change", () => {
          const canvas = document.querySelector("run-timeline canvas:last-of-type");
          const dots = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          let light = 0, all = 0;
          for (let at = 0; at < dots.length; at += 4) if (dots[at + 3] > 200) {
            all += 1;
            light += (dots[at] + dots[at + 1] + dots[at + 2]) / 3;
          }
          (window.light ??= []).push(light / all);
        })"""
    )
    page.pdf()
    page.wait_for_function("window.light?.length > 1")  # That it is over is told with a frame.
    on_paper, after, *_ = page.evaluate("window.light")
    assert on_paper > 128 > after
