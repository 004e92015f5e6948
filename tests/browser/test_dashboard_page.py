"""The front page: what fails, what is late, what runs; the window that its bars narrow."""

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import LARGE, SMALL, Visit, assert_accessible, assert_live, assert_whole
from tests.browser.making_runs import Runs


def _section(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True)


def _fails(runs: Runs, name: str, message: str, **about: str) -> str:
    id_ = runs.run(name, "RUNNING", **about)  # type: ignore[arg-type]
    state = {"type": "FAILED", "message": message}
    runs.post(f"/flow_runs/{id_}/set_state", {"state": state, "force": True})
    return id_


def _query(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_all_of_it_fits_and_is_accessible(
    server_url: str, runs: Runs, visit: Visit, width: int
) -> None:
    ids = runs.of_every_state()
    _fails(runs, "long", "x" * 200, flow="a-flow-with-a-name-that-is-as-long-as-names-of-flows-get")
    runs.task_run(ids[3], "load")
    page = visit(server_url, "", width=width)
    for name in ("Failing", "Late", "Running now", "Upcoming", "Task runs"):
        expect(_section(page, name)).to_be_visible()
    assert_whole(page)


def test_on_a_large_screen_there_are_three_columns_and_on_a_small_one_the_whole_message(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    message = "ValueError: column 'amount' holds text in row 20417"
    _fails(runs, "bad", message, flow="billing")
    page = visit(server_url, "", width=2_560)
    names = ("Failing", "Upcoming", "Late")
    boxes = [_section(page, name).bounding_box() for name in names]
    lefts = [box["x"] for box in boxes if box is not None]
    assert lefts == sorted(set(lefts)) and len(lefts) == len(names)
    assert len({box["y"] for box in boxes if box is not None}) == 1
    page.set_viewport_size({"width": SMALL, "height": 800})
    said = page.get_by_role("link", name=message)
    assert said.evaluate(
        "it => it.scrollWidth <= it.clientWidth && it.scrollHeight <= it.clientHeight"
    )


def test_a_newcomer_is_told_what_to_type_and_then_sees_the_run(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    page = visit(server_url, "dashboard")
    expect(page.get_by_text(f"prefect config set PREFECT_API_URL={server_url}")).to_be_visible()
    expect(page.get_by_role("button", name="Copy this command")).to_have_count(3)
    expect(_section(page, "Failing")).to_be_hidden()
    assert_accessible(page)
    runs.run("first")
    expect(page.get_by_role("heading", name="1 flow run")).to_be_visible()
    expect(_section(page, "Running now")).to_contain_text("first")


def test_failures_are_grouped_by_flow_and_by_what_they_said(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    runs.run("good", "COMPLETED", flow="billing")
    said = "Flow run encountered an exception: ValueError: row {} is empty\nTraceback"
    for row in (3, 4711):
        _fails(runs, f"bad-{row}", said.format(row), flow="billing")
    _fails(runs, "once", "no space left", flow="reports")
    runs.run("after", "COMPLETED", flow="reports")
    page = visit(server_url, "")
    billing = page.locator("[id^=failing-]").filter(has_text="billing")
    expect(billing).to_contain_text("2 of 3 failed")
    expect(billing).to_contain_text("2 failures in a row")
    reasons = billing.locator(".reasons li")
    expect(reasons).to_have_count(1)
    expect(reasons).to_contain_text("ValueError: row 4711 is empty")
    expect(reasons).to_contain_text(re.compile(r"×\s*2"))
    reports = page.locator("[id^=failing-]").filter(has_text="reports")
    expect(reports).to_contain_text("Recovered")
    expect(reports).to_contain_text("no space left")

    _fails(runs, "bad-again", said.format(12), flow="billing")
    expect(billing).to_contain_text("3 failures in a row")

    billing.get_by_role("link", name="3 of 4 failed").click()
    expect(page.locator("td.main-cell")).to_have_count(3)
    assert set(_query(page)["state"]) == {"FAILED", "CRASHED"}


def test_what_is_late_and_what_runs_is_there_at_once(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    runs.run("quick", "COMPLETED", flow="ingest")
    page = visit(server_url, "")
    expect(page.get_by_text("Nothing is late.")).to_be_visible()
    expect(page.get_by_text("Nothing runs at the moment.")).to_be_visible()
    runs.run("overdue", "SCHEDULED", state_name="Late", flow="ingest")
    expect(_section(page, "Late")).to_contain_text("1 late")
    id_ = runs.run("busy", flow="ingest")
    running = page.locator(f"#running-{id_}")
    expect(running).to_contain_text("expected end")
    expect(running.get_by_role("progressbar")).to_have_attribute("value", re.compile("."))
    runs.task_run(id_, "load")
    expect(running).to_contain_text("1 of 1 task run ended")
    expect(_section(page, "Task runs")).to_contain_text("Completed")
    runs.set_state(id_, "COMPLETED")
    expect(running).to_have_count(0)


def test_filters_are_in_the_address(server_url: str, runs: Runs, visit: Visit) -> None:
    runs.run("tagged", "COMPLETED", tags=("eu",))
    runs.run("plain", "COMPLETED")
    page = visit(server_url, "")
    expect(page.get_by_role("heading", name="2 flow runs")).to_be_visible()
    page.get_by_label("Tags, separated by commas").fill("eu")
    expect(page.get_by_role("heading", name="1 flow run")).to_be_visible()
    page.get_by_text("7d", exact=True).click()
    page.get_by_label("Hide subflows").check()
    expect(page).to_have_url(re.compile("range=7d"))
    expect(page).to_have_url(re.compile("subflows=no"))
    page.reload()
    assert page.get_by_label("Hide subflows").is_checked()
    page.get_by_role("link", name=re.compile("^Completed")).click()
    expect(page.locator("td.main-cell")).to_have_text("tagged")


def test_a_range_is_brushed_with_the_mouse_and_given_back(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    runs.run("one", "COMPLETED")
    page = visit(server_url, "")
    bars = page.locator("run-bars")
    box = bars.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] - 4, middle)
    expect(page.locator("#bars-tip")).to_contain_text("Completed")
    page.mouse.move(box["x"] + box["width"] * 0.5, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, middle, steps=5)
    expect(page.locator("#bars-chosen")).to_be_visible()
    page.mouse.up()
    expect(page).to_have_url(re.compile("from=.*&to="))
    query = _query(page)
    first, until = (datetime.fromisoformat(query[name][0]) for name in ("from", "to"))
    assert timedelta(hours=5) < until - first < timedelta(hours=8)
    assert "range" not in query
    expect(page.get_by_role("heading", name="0 flow runs")).to_be_visible()
    page.get_by_label("Hide subflows").check()
    expect(page).to_have_url(re.compile("subflows=no"))
    assert {name: _query(page)[name] for name in ("from", "to")} == {
        name: query[name] for name in ("from", "to")
    }
    page.get_by_role("link", name=re.compile("^Remove the filter .* to ")).click()
    expect(page.get_by_role("heading", name="1 flow run")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="0 flow runs")).to_be_visible()
    page.get_by_text("7d", exact=True).click()
    expect(page.get_by_role("heading", name="1 flow run")).to_be_visible()


def test_the_bars_are_used_with_the_keyboard_alone(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    runs.run("one", "COMPLETED")
    page = visit(server_url, "")
    page.get_by_text("30d", exact=True).focus()
    while not page.evaluate("document.activeElement.matches('run-bars')"):
        page.keyboard.press("Tab")
    expect(page.locator("#bars-said")).to_contain_text("1 Completed")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#bars-said")).to_contain_text("no runs")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator("#bars-said")).to_contain_text("1 Completed")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("from=.*&to="))
    expect(page.get_by_role("heading", name="1 flow run")).to_be_visible()
    query = _query(page)
    assert datetime.fromisoformat(query["to"][0]) > datetime.now(UTC) - timedelta(hours=1)

    assert_live(page)
    page.locator("run-bars").focus()
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"runs\?since="))


def test_a_state_of_a_bar_leads_to_its_runs(server_url: str, runs: Runs, visit: Visit) -> None:
    runs.run("good", "COMPLETED")
    _fails(runs, "bad", "no")
    page = visit(server_url, "")
    page.locator("run-bars rect[data-state=FAILED]").click()
    expect(page.locator("td.main-cell")).to_have_text("bad")
    assert _query(page)["state"] == ["FAILED"]


def test_a_range_is_brushed_with_a_finger(server_url: str, runs: Runs, visit: Visit) -> None:
    runs.run("one", "COMPLETED")
    page = visit(server_url, "", width=SMALL)
    page.locator("run-bars").scroll_into_view_if_needed()
    box = page.locator("run-bars").bounding_box()
    assert box is not None
    session = page.context.new_cdp_session(page)

    def touch(kind: str, share: float) -> None:
        at = {"x": box["x"] + box["width"] * share, "y": box["y"] + 20}
        points = [] if kind == "touchEnd" else [at]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 0.2)
    for share in (0.25, 0.3, 0.4, 0.5):
        touch("touchMove", share)
    touch("touchEnd", 0.5)
    expect(page).to_have_url(re.compile("from=.*&to="))
