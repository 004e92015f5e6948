"""The list of runs, continued: task runs, and the scatter of duration over start time."""

import re

import pytest
from playwright.sync_api import Page, expect

from projections.task_run_list import PAGE_TASK_RUNS
from tests.browser.conftest import LARGE, SMALL, Visit, assert_whole
from tests.browser.making_runs import LONG_NAME, Runs

DAY = 86_400_000
"""Milliseconds."""


def _dots(page: Page) -> int:
    return int(page.locator("run-scatter").evaluate("scatter => scatter.dots.size"))


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_task_runs_are_a_tab_of_their_own(
    server_url: str, runs: Runs, visit: Visit, width: int
) -> None:
    run = runs.run(LONG_NAME, "RUNNING", flow="nightly load")
    runs.task_run(run, "extract")
    page = visit(server_url, "runs", width=width)
    page.get_by_role("link", name="Task runs", exact=True).click()
    expect(page).to_have_url(re.compile("tab=task-runs"))
    expect(page.get_by_role("link", name="extract-0")).to_be_visible()
    expect(page.get_by_text("1 task run", exact=True)).to_be_visible()
    assert_whole(page)
    runs.task_run(run, "load")
    expect(page.get_by_role("link", name="load-0")).to_be_visible()


def test_task_runs_are_filtered_by_what_is_in_the_address(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    for name in ("calm-otter", "brave-heron"):
        run = runs.run(name, "RUNNING", flow=f"{name} flow")
        for key in ("extract", "load"):
            runs.task_run(run, key)
    page = visit(server_url, "runs?tab=task-runs")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(4)
    page.get_by_label("Flow run name contains, or its id").fill("otter")
    expect(rows).to_have_count(2)
    page.get_by_label("Task run name contains").fill("load")
    expect(rows).to_have_count(1)
    expect(page).to_have_url(re.compile(r"tab=task-runs&q=load&run=otter"))
    page.reload()
    expect(rows).to_have_count(1)
    page.get_by_role("link", name="Remove the filter of the flow run “otter”").click()
    expect(rows).to_have_count(2)
    page.get_by_label("Flow name contains").fill("heron")
    expect(rows).to_have_count(1)
    page.get_by_text("State", exact=True).first.click()
    page.get_by_role("checkbox", name="Failed", exact=True).check()
    expect(page.get_by_text("No task run is like that")).to_be_visible()


def test_several_task_runs_get_a_state_or_are_deleted_together(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    page = visit(server_url, "runs?tab=task-runs")
    expect(page.get_by_text("No task runs yet")).to_be_visible()
    run = runs.run("busy-otter", "RUNNING")
    for key in ("extract", "load", "publish"):
        runs.task_run(run, key)
    dialog, rows = page.get_by_role("dialog"), page.locator("tbody tr")
    page.get_by_label("Choose extract-0").check()
    page.get_by_label("Choose load-0").check()
    page.get_by_role("button", name="Set state…").click()
    expect(dialog).to_contain_text("Set the state of 2 task runs")
    dialog.get_by_label("State").select_option("FAILED")
    dialog.get_by_role("button", name="Set state").click()
    expect(rows.filter(has_text="Failed")).to_have_count(2)
    page.get_by_role("button", name="Undo").click()
    expect(rows.filter(has_text="Completed")).to_have_count(3)
    page.get_by_label("Choose all task runs of this page").check()
    page.get_by_label("Choose publish-0").uncheck()
    page.get_by_role("button", name="Delete…").click()
    expect(dialog.locator(".lost")).to_contain_text("6 states")
    dialog.get_by_role("button", name="Delete 2 task runs").click()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("publish-0")


def test_task_runs_page_by_page(server_url: str, runs: Runs, visit: Visit) -> None:
    run = runs.run("busy-otter", "RUNNING")
    for at in range(PAGE_TASK_RUNS + 1):
        runs.task_run(run, f"task{at}")
    page = visit(server_url, "runs?tab=task-runs")
    expect(page.locator("tbody tr")).to_have_count(PAGE_TASK_RUNS)
    page.get_by_role("link", name="Next page").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("link", name="task0-0")).to_be_visible()
    page.get_by_role("link", name="Previous page").click()
    expect(page.locator("tbody tr")).to_have_count(PAGE_TASK_RUNS)


def test_every_run_that_has_started_is_a_dot_and_new_ones_come_live(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    runs.of_every_state()
    page = visit(server_url)
    said = page.locator("run-scatter .below")
    expect(said).to_contain_text("8 runs by start and duration")
    for name in ("Completed", "Running", "Failed", "Crashed"):
        expect(said.locator("li", has_text=name).first).to_be_visible()
    assert _dots(page) == 8
    id_ = runs.run("new-otter", "RUNNING")
    expect(said).to_contain_text("9 runs")
    page.get_by_label("Choose new-otter").check()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete 1 flow run").click()
    expect(said).to_contain_text("8 runs")
    assert id_ not in page.content()


def test_where_there_are_no_runs_what_to_type_comes_first_and_then_the_picture(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    page = visit(server_url)
    scatter = page.locator("run-scatter")
    expect(page.get_by_text("No runs yet")).to_be_visible()
    expect(scatter).to_be_hidden()
    runs.run("first-otter", "COMPLETED")
    expect(scatter).to_contain_text("1 run by start and duration")
    assert scatter.evaluate("it => it.placed.width > 0")


def test_the_scatter_shows_what_the_list_shows(server_url: str, runs: Runs, visit: Visit) -> None:
    runs.of_every_state()
    page = visit(server_url)
    page.get_by_label("Run name contains").fill("failed")
    expect(page.locator("run-scatter .below")).to_contain_text("1 run by")


def test_dragging_narrows_the_list_and_the_address_to_a_stretch_of_time_as_dates_do(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    runs.run("first-otter", "COMPLETED")
    page = visit(server_url, zone="Asia/Kolkata")
    expect(page.locator("run-scatter .below")).to_contain_text("1 run by")
    box = page.locator("run-scatter canvas").bounding_box()
    assert box is not None
    y = box["y"] + 40
    page.mouse.move(box["x"] + box["width"] * 0.8, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, y, steps=3)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"since=.*&until="))
    expect(page.get_by_text("No run is like that")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("link", name="first-otter")).to_be_visible()
    page.get_by_text("Dates", exact=True).click()
    page.get_by_label("To", exact=True).fill("2026-01-02T03:00")
    expect(page).to_have_url(re.compile("until=2026-01-01T21%3A30"))
    expect(page.get_by_text("No run is like that")).to_be_visible()
    page.get_by_label("To", exact=True).fill("")
    expect(page.get_by_role("link", name="first-otter")).to_be_visible()


def test_the_picture_goes_on_with_the_clock_though_nothing_happens(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    runs.run("first-otter", "COMPLETED")
    page = visit(server_url, "runs?range=30d")
    page.clock.install()
    page.reload()
    said, scatter = page.locator("run-scatter .below"), page.locator("run-scatter")
    expect(said).to_contain_text("1 run by")
    place = "it => it.placed.x([...it.dots.values()][0][2]) / it.placed.width"
    assert scatter.evaluate(place) > 0.9
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.fast_forward(15 * DAY)
    assert 0.4 < scatter.evaluate(place) < 0.6
    # Neither does what runs stand still.
    runs.run("second-otter", "RUNNING")
    expect(said).to_contain_text("2 runs by")
    before = scatter.evaluate("it => it.placed.top")
    page.clock.fast_forward(14 * DAY)
    assert scatter.evaluate("it => it.placed.top") > before
    page.clock.fast_forward(2 * DAY)
    expect(scatter).to_be_hidden()  # Both started more than 30 days ago, as the page sees it.
    assert [url for url in asked if "runs/dots" in url] == []


def test_a_click_on_a_dot_opens_its_run(server_url: str, runs: Runs, visit: Visit) -> None:
    id_ = runs.run("first-otter", "COMPLETED")
    page = visit(server_url)
    expect(page.locator("run-scatter .below")).to_contain_text("1 run by")
    place = page.locator("run-scatter").evaluate(
        """scatter => { const [dot] = scatter.dots.values();
          return [scatter.placed.x(dot[2]), scatter.placed.y(scatter.seconds(dot))]; }"""
    )
    canvas = page.locator("run-scatter canvas")
    canvas.hover(position={"x": place[0], "y": place[1]})
    expect(page.locator("run-scatter .tip b")).to_have_text("first-otter")
    canvas.click(position={"x": place[0], "y": place[1]})
    expect(page).to_have_url(re.compile(f"runs/flow-run/{id_}"))
