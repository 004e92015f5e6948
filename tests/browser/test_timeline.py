"""The timeline of a flow run: what is drawn, moving about on it, live, subflows, the past."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import LARGE, SMALL, Visit, assert_live, assert_whole
from tests.browser.making_runs import Runs
from tests.browser.making_task_runs import Task, fan_out, reports, send, simple, tell

PACKING = Path(__file__).parent / "packing.js"
PATIENCE_MILLISECONDS = 10_000
WIDE, WIDEST = 2_000, 20_000
"""Task runs that have to be fluid, and ones that have to be usable."""


def _ago(**since: float) -> datetime:
    return datetime.now(UTC) - timedelta(**since)


def _some() -> list[Task]:
    first = simple("extract-0", 0, 20)
    other = simple("extract-1", 5, 20)
    retried = Task(
        "transform-0",
        (
            ("PENDING", 30),
            ("RUNNING", 31),
            ("SCHEDULED", 40, "AwaitingRetry"),
            ("RUNNING", 50, "Retrying"),
            ("FAILED", 70),
        ),
        after=(first, other),
        message="no such table",
    )
    return [first, other, retried, simple("load-0", 75, 10, end="CRASHED", after=(retried,))]


def _opened(visit: Visit, url: str, path: str, **how: Any) -> Page:
    page = visit(url, path, **how)
    page.wait_for_selector("run-timeline[data-drawn]", timeout=20_000)
    return page


@pytest.fixture
def open_run(server_url: str, visit: Visit) -> Callable[..., Page]:
    """Opens a flow run's page, its timeline drawn."""

    def opened(id_: str, query: str = "", **how: Any) -> Page:
        return _opened(visit, server_url, f"runs/flow-run/{id_}{query}", **how)

    return opened


def _drawn(page: Page) -> dict[str, float]:
    """What the last frame had to do."""
    return dict(page.evaluate("document.querySelector('run-timeline').drawn"))


def _until(page: Page, condition: str) -> None:
    """Frame by frame until a condition on `t`, the timeline, holds."""
    page.evaluate(
        f"""async (patience) => {{
          const t = document.querySelector("run-timeline"), began = performance.now();
          while (!({condition})) {{
            if (performance.now() - began > patience) throw new Error(JSON.stringify(t.drawn));
            await new Promise(requestAnimationFrame);
          }}
        }}""",
        PATIENCE_MILLISECONDS,
    )


def _stage(page: Page) -> Any:
    return page.locator("run-timeline canvas.stage")


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_it_is_accessible_and_fits_whatever_it_shows(
    server_url: str, runs: Runs, open_run: Callable[..., Page], width: int
) -> None:
    id_ = runs.run("otter")
    tell(server_url, id_, _ago(minutes=2), _some())
    page = open_run(id_, width=width)
    expect(page.locator("run-timeline .head")).to_contain_text("4 task runs, up to 2 at a time")
    _stage(page).focus()
    assert_whole(page)
    page.locator("run-timeline input[type=range]").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("As it was", exact=True)).to_be_visible()
    assert_whole(page)


def test_bars_are_reached_and_opened_by_keys(
    server_url: str, runs: Runs, open_run: Callable[..., Page]
) -> None:
    id_ = runs.run("otter")
    tasks = _some()
    tell(server_url, id_, _ago(minutes=2), tasks)
    page = open_run(id_)
    _stage(page).focus()
    name = page.locator("run-timeline .chosen .name")
    expect(name).to_have_text("extract-0")
    page.keyboard.press("ArrowRight")
    expect(name).to_have_text("transform-0")
    expect(page.locator("run-timeline .chosen")).to_contain_text("2 attempts")
    expect(page.locator("run-timeline .chosen")).to_contain_text("2 upstream")
    page.keyboard.press("ArrowDown")
    expect(name).to_have_text("extract-1")
    page.keyboard.press("End")
    expect(page.locator("run-timeline [aria-live]")).to_contain_text("extract-1, Completed")
    page.keyboard.press("Escape")
    expect(page.locator("run-timeline .chosen")).to_be_hidden()
    page.keyboard.press("Home")
    with page.expect_request(re.compile(rf"runs/task-run/{tasks[0].id}")):
        page.keyboard.press("Enter")


def test_pointing_tells_what_a_bar_is_and_pressing_chooses_it(
    server_url: str, runs: Runs, open_run: Callable[..., Page]
) -> None:
    id_ = runs.run("otter")
    tell(server_url, id_, _ago(minutes=2), [simple("<b>bold</b>", 0, 100)])
    page = open_run(id_)
    box = _stage(page).bounding_box()
    assert box is not None
    # The middle of the one bar: below the axis and the run's own row.
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 58)
    tip = page.locator("run-timeline .tip")
    expect(tip).to_contain_text("<b>bold</b>")
    expect(tip).to_contain_text(re.compile("1 m 40 s from"))
    page.mouse.down()
    page.mouse.up()
    expect(page.locator("run-timeline .chosen .name")).to_have_text("<b>bold</b>")


def test_it_is_zoomed_moved_and_fitted_by_wheel_drag_and_keys(
    server_url: str, runs: Runs, open_run: Callable[..., Page]
) -> None:
    id_ = runs.run("otter", "COMPLETED")
    tell(server_url, id_, _ago(minutes=20), [simple(f"t-{at}", at * 10, 9) for at in range(60)])
    page = open_run(id_)
    assert _drawn(page)["bars"] == 60
    stage = _stage(page)
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 60)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -900)
    page.keyboard.up("Control")
    _until(page, "t.drawn.bars < 20")
    expect(page.locator("run-timeline .window")).to_be_visible()
    before = page.locator("run-timeline .window").bounding_box()
    page.mouse.down()
    page.mouse.move(box["x"] + 20, box["y"] + 60, steps=4)
    page.mouse.up()
    frames = _drawn(page)["frames"]
    _until(page, f"t.drawn.frames >= {frames}")
    after = page.locator("run-timeline .window").bounding_box()
    assert before is not None
    assert after is not None
    assert after["x"] > before["x"], "dragging to the left shows what came later"
    expect(page.locator("run-timeline .chosen")).to_be_hidden()
    page.get_by_role("button", name="Fit").click()
    _until(page, "t.drawn.bars === 60")
    stage.focus()
    for _ in range(5):
        page.keyboard.press("+")
    _until(page, "t.drawn.bars < 20")
    page.keyboard.press("0")
    _until(page, "t.drawn.bars === 60")


def test_task_runs_appear_and_change_while_it_is_open(
    server_url: str, runs: Runs, open_run: Callable[..., Page]
) -> None:
    id_ = runs.run("otter")
    page = open_run(id_)
    head = page.locator("run-timeline .head")
    expect(head).to_contain_text("no task runs yet")
    task = Task("load-0", (("PENDING", 0), ("RUNNING", 1), ("COMPLETED", 5)))
    pending, running, completed = reports(id_, _ago(seconds=10), [task])
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url))
    send(server_url, [pending])
    expect(head).to_contain_text("1 task run")
    _stage(page).focus()
    chosen = page.locator("run-timeline .chosen")
    expect(chosen).to_contain_text("Pending")
    send(server_url, [running])
    expect(chosen).to_contain_text("Running")
    send(server_url, [completed])
    expect(chosen).to_contain_text("Completed")
    expect(chosen).to_contain_text("4.0 s")
    assert not any("/timeline" in url for url in fetched), "changes come over the stream"


def test_a_subflow_is_unfolded_in_place_and_followed(
    server_url: str, runs: Runs, open_run: Callable[..., Page]
) -> None:
    id_ = runs.run("around")
    state = {"type": "PENDING"}
    body = {"flow_run_id": id_, "task_key": "sub", "dynamic_key": "0", "state": state}
    parent = runs.post("/task_runs/", body)["id"]
    child = {"flow_id": runs.flow("inner"), "name": "within", "parent_task_run_id": parent}
    sub = runs.post("/flow_runs/", child | {"state": state})["id"]
    runs.set_state(sub, "RUNNING")
    tell(server_url, sub, datetime.now(UTC), [simple("a-0", 0, 1), simple("b-0", 2, 1)])
    page = open_run(id_)
    assert _drawn(page)["bars"] == 1
    _stage(page).focus()
    expect(page.locator("run-timeline .chosen .name")).to_have_text("inner / within")
    page.keyboard.press(" ")
    _until(page, "t.drawn.bars === 3")
    expect(page.locator("run-timeline .head")).to_contain_text("1 subflow")
    expect(page).to_have_url(re.compile(f"open={sub}"))
    assert_live(page)
    tell(server_url, sub, datetime.now(UTC), [simple("c-0", 0, 1)])
    _until(page, "t.drawn.bars === 4")
    page.get_by_role("link", name="Parameters").click()
    expect(page).to_have_url(re.compile(f"tab=parameters.*open={sub}"))
    page.reload()
    page.wait_for_selector("run-timeline[data-drawn]")
    _until(page, "t.drawn.bars === 4")


def test_artifacts_and_emissions_are_marked(
    server_url: str, runs: Runs, open_run: Callable[..., Page]
) -> None:
    id_ = runs.run("otter")
    task = simple("load-0", 0, 60)
    tell(server_url, id_, _ago(seconds=60), [task])
    page = open_run(id_)
    body = {"key": "report", "type": "markdown", "data": "x", "flow_run_id": id_}
    artifact = runs.post("/artifacts/", body | {"task_run_id": task.id})["id"]
    _until(page, "t.drawn.marks === 1")
    emitted = {
        "occurred": _ago(seconds=30).isoformat(),
        "event": "rows.loaded",
        "resource": {"prefect.resource.id": "table.sales"},
        "related": [
            {
                "prefect.resource.id": f"prefect.flow-run.{id_}",
                "prefect.resource.role": "flow-run",
            }
        ],
        "payload": {},
        "id": "0199abcd-0000-4000-8000-000000000001",
    }
    httpx.post(f"{server_url}/events", json=[emitted]).raise_for_status()
    _until(page, "t.drawn.marks === 2")
    box = _stage(page).bounding_box()
    assert box is not None
    marks = page.evaluate("document.querySelector('run-timeline').marks")
    told = []
    for mark in marks:
        page.mouse.move(box["x"] + mark["x"], box["y"] + mark["y"])
        told.append(page.locator("run-timeline .tip b").text_content())
    assert sorted(filter(None, told)) == ["report", "rows.loaded"]
    at = next(mark for mark in marks if mark["what"] == "report")
    with page.expect_request(re.compile(f"artifacts/artifact/{artifact}")):
        page.mouse.click(box["x"] + at["x"], box["y"] + at["y"])


def test_no_mark_stands_on_the_name_of_the_run(
    server_url: str, runs: Runs, open_run: Callable[..., Page]
) -> None:
    page = open_run(runs.run("otter"))
    script = page.locator("script[src*='timeline.js']").get_attribute("src")
    places = page.evaluate(
        """async (address) => {
          const paint = address.replace("timeline.js", "timeline_paint.js");
          const { besides } = await import(new URL(paint, location.href));
          const begins = (...marks) => besides(marks, 4, 70, 300);
          return [begins(), begins(200), begins(60), begins(75, 30), begins(20, 80, 140, 200, 250)];
        }""",
        script,
    )
    # Nothing is in the way; one is; two are; so many that the name stays where it belongs.
    assert places == [4, 4, 69, 84, 4]


def test_the_past_is_looked_at_by_dragging_and_by_the_address(
    server_url: str, runs: Runs, open_run: Callable[..., Page]
) -> None:
    id_ = runs.run("otter")
    one, other = simple("a-0", 0, 60), simple("b-0", 1, 70)
    tell(server_url, id_, _ago(minutes=2), [one, other])
    runs.set_state(id_, "COMPLETED")
    page = open_run(id_)
    slider = page.get_by_role("slider")
    slider.focus()
    expect(slider).to_have_attribute("max", "9")
    then = page.locator("run-timeline .then")
    # Scheduled, Running; then Pending, Running of each, which end; then the run's own end.
    seen: list[list[str]] = []
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
        expect(then).to_contain_text(f"fact {8 - len(seen)} of 9")
        text = then.text_content() or ""
        seen.append(sorted(re.findall(r"[0-9]+ (?:pending|running|completed)", text)))
    assert seen == [
        ["2 completed"],
        ["1 completed", "1 running"],
        ["2 running"],
        ["1 pending", "1 running"],
        ["1 running"],
        ["1 pending"],
    ]
    expect(then).to_contain_text("Running")
    expect(page).to_have_url(re.compile(r"at=\d+"))
    assert _drawn(page)["bars"] == 1

    page.reload()
    expect(then).to_contain_text("fact 3 of 9")
    expect(page.locator("#run-state")).to_contain_text("Completed")
    page.get_by_role("button", name="Back to now").click()
    expect(then).to_be_empty()
    expect(page).not_to_have_url(re.compile("at="))
    _until(page, "t.drawn.bars === 2")


def test_a_fact_of_the_history_leads_to_the_run_as_it_was(
    server_url: str, runs: Runs, open_run: Callable[..., Page]
) -> None:
    id_ = runs.run("otter", "COMPLETED")
    page = open_run(id_, "?tab=history")
    page.locator(".history > li").nth(1).get_by_role("link", name="position").click()
    expect(page.locator("run-timeline .then")).to_contain_text("Running")
    expect(page.locator("run-timeline .then")).to_contain_text("fact 2 of 3")


@pytest.mark.parametrize("wide", [WIDE, pytest.param(WIDEST, marks=pytest.mark.long)])
def test_a_frame_draws_only_what_can_be_seen_of_many_task_runs(
    server_url: str,
    runs: Runs,
    open_run: Callable[..., Page],
    record_property: Callable[[str, object], None],
    wide: int,
) -> None:
    id_ = runs.run("wide")
    tell(server_url, id_, _ago(minutes=20), fan_out(wide, 50, 20))
    runs.set_state(id_, "COMPLETED")
    page = open_run(id_)
    assert _drawn(page)["bars"] == wide
    panned = page.evaluate(
        """async () => {
          const t = document.querySelector("run-timeline");
          const most = {bars: 0, looked: 0}, times = [];
          t.zoom(10);
          const began = performance.now();
          for (let i = 0; i < 120; i++) {
            t.pan(i < 60 ? 8 : -8);
            await new Promise(requestAnimationFrame);
            times.push(t.drawn.milliseconds);
            if (!i) continue; // The frame before the zoom.
            for (const name of Object.keys(most)) most[name] = Math.max(most[name], t.drawn[name]);
          }
          const frames = 120_000 / (performance.now() - began);
          times.sort((a, b) => a - b);
          return {...most, frames, milliseconds: times[60]};
        }"""
    )
    record_property("frames_per_second", round(panned["frames"], 1))
    record_property("milliseconds_per_frame", panned["milliseconds"])
    assert 0 < panned["bars"] < wide / 5
    assert panned["looked"] < wide / 4


def test_lanes_hold_no_two_at_a_time_and_are_as_few_as_can_be(
    server_url: str, runs: Runs, open_run: Callable[..., Page]
) -> None:
    page = open_run(runs.run("otter"))
    script = page.locator("script[src*='timeline.js']").get_attribute("src")
    assert script is not None
    found = page.evaluate(
        PACKING.read_text(),
        script,
    )
    assert found["clashes"] == 0
    assert found["moved"] == 0
    assert found["lanes"] == found["live"] == found["most"]
