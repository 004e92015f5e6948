"""The event feed: filters and zoom in the address, what is new without moving what one reads."""

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from projections.emission_pages import PAGE_EMISSIONS
from tests.browser.conftest import LARGE, SMALL, Visit, assert_accessible, assert_live, assert_whole
from tests.browser.making_runs import Runs

ROW = ".feed-rows tbody tr"


def emit(url: str, number: int = 1, *, minutes_ago: float = 0, **changes: Any) -> list[str]:
    """Events of a warehouse; their ids, the oldest first."""
    now = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    sent = [
        {
            "occurred": (now + timedelta(milliseconds=n)).isoformat(),
            "event": "order.paid",
            "resource": {
                "prefect.resource.id": f"order.{n}",
                "prefect.resource.name": f"order {n} of the northern warehouse",
            },
            "related": [],
            "payload": {"amount": n},
            "id": str(uuid.uuid4()),
        }
        | changes
        for n in range(number)
    ]
    for began in range(0, number, 100):
        answer = httpx.post(f"{url}/events", json=sent[began : began + 100], timeout=30)
        assert answer.status_code == 204, answer.text
    return [str(one["id"]) for one in sent]


def _events(page: Page) -> list[str]:
    return page.locator(f"{ROW} .main-cell").all_text_contents()


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_the_feed_is_accessible_and_nothing_is_cut_off(
    server_url: str, runs: Runs, visit: Visit, width: int
) -> None:
    runs.of_every_state()
    emit(server_url, 3, minutes_ago=90, event="a.name.that.somebody.made.very.long.on.purpose")
    page = visit(server_url, "events", width=width)
    expect(page.get_by_role("heading", name="34 events")).to_be_visible()
    assert "prefect.flow-run.Crashed" in " ".join(_events(page))
    assert_whole(page)
    page.locator(f"{ROW} .main-cell a").first.click()
    expect(page.get_by_role("heading", name="Raw")).to_be_visible()
    assert_whole(page)


def test_an_empty_feed_says_what_to_type_next(server_url: str, visit: Visit) -> None:
    page = visit(server_url, "events")
    expect(page.get_by_text("prefect event emit order.paid")).to_be_visible()
    assert_accessible(page)
    emit(server_url)
    expect(page.locator(ROW)).to_have_count(1)
    expect(page.get_by_text("prefect event emit order.paid")).to_be_hidden()


def test_filters_are_in_the_address_and_can_be_lifted(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    run = runs.run("brave-otter", "FAILED")
    emit(server_url, 4)
    page = visit(server_url, "events")
    page.get_by_label("Event name begins with").fill("prefect.flow-run.")
    expect(page).to_have_url(re.compile(r"event=prefect\.flow-run\."))
    expect(page.locator(ROW)).to_have_count(3)
    page.get_by_label("Resource id").fill(run)
    expect(page).to_have_url(re.compile(f"resource={run}"))
    page.get_by_text("Related", exact=True).first.click()
    expect(page).to_have_url(re.compile("as=related"))
    expect(page.get_by_role("heading", name="No event is like that")).to_be_visible()
    page.get_by_role("link", name=re.compile("Remove the filter related")).click()
    expect(page.locator(ROW)).to_have_count(3)
    page.get_by_role("link", name="Clear all").click()
    expect(page.get_by_role("heading", name="8 events")).to_be_visible()

    page.get_by_label("Text that the event contains").fill('"order 2 of"')
    expect(page.locator(ROW)).to_have_count(1)
    page.reload()
    expect(page.locator(ROW)).to_have_count(1)
    expect(page.get_by_role("heading", name="1 event")).to_be_visible()


def test_names_that_are_there_are_offered(server_url: str, visit: Visit) -> None:
    emit(server_url, event="order.paid")
    emit(server_url, event="order.refunded")
    page = visit(server_url, "events")
    offered = page.locator("#names option")
    assert [one.get_attribute("value") for one in offered.all()] == ["order.paid", "order.refunded"]


def test_a_bar_narrows_the_window_and_zooming_out_widens_it(server_url: str, visit: Visit) -> None:
    emit(server_url, 5, minutes_ago=300)
    emit(server_url, 2)
    page = visit(server_url, "events")
    expect(page.locator(ROW)).to_have_count(7)
    page.locator("#over-time a").filter(has=page.locator("[data-runs='5']")).click()
    expect(page).to_have_url(re.compile(r"from=.*&to="))
    expect(page.locator(ROW)).to_have_count(5)
    expect(page.get_by_role("heading", name="5 events")).to_be_visible()
    page.get_by_role("link", name="Zoom out").click()
    expect(page.get_by_role("heading", name="5 events")).to_be_visible()
    page.get_by_role("link", name="7d", exact=True).click()
    expect(page).to_have_url(re.compile(r"range=7d"))
    expect(page.locator(ROW)).to_have_count(7)


def test_bars_are_brushed_by_keys(server_url: str, visit: Visit) -> None:
    emit(server_url, 2)
    page = visit(server_url, "events")
    page.locator("#over-time").focus()
    page.keyboard.press("End")
    page.keyboard.press("Shift+ArrowLeft")
    expect(page.locator("#over-time-tip")).to_contain_text("2 events")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"from=.*&to="))
    expect(page.locator(ROW)).to_have_count(2)


def test_new_events_appear_at_the_top_without_a_reload(server_url: str, visit: Visit) -> None:
    emit(server_url, 3)
    page = visit(server_url, "events?event=order.")
    expect(page.locator(ROW)).to_have_count(3)
    page.evaluate("window.same = true")
    (newest,) = emit(server_url, event="order.shipped")
    emit(server_url, event="something.else")
    expect(page.locator(ROW)).to_have_count(4)
    first = page.locator(ROW).first
    expect(first).to_contain_text("order.shipped")
    expect(first.locator("time")).to_have_text(re.compile("ago|now"))
    expect(page.get_by_role("heading", name="4 events")).to_be_visible()
    emit(server_url, minutes_ago=60, event="order.late")
    expect(page.locator(ROW)).to_have_count(5)
    # Sorted in by when it occurred, not by when it came.
    expect(page.locator(ROW).last).to_contain_text("order.late")
    assert page.evaluate("window.same") is True
    first.get_by_role("link").first.click()
    expect(page).to_have_url(re.compile(rf"events/event/\d{{4}}-\d\d-\d\d/{newest}"))


def test_what_happens_to_a_tag_or_a_flow_appears_as_well(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    flow = runs.flow("nightly load")
    by_tag = visit(server_url, "events?resource=prefect.tag.eu")
    by_flow = visit(server_url, f"events?resource={flow}&as=related")
    runs.run("brave-otter", "RUNNING", tags=("eu",))
    for page in (by_tag, by_flow):
        expect(page.locator(ROW)).to_have_count(2)
        expect(page.get_by_role("heading", name="2 events")).to_be_visible()


def test_who_has_scrolled_down_reads_on_and_hears_how_many_are_new(
    server_url: str, visit: Visit
) -> None:
    emit(server_url, PAGE_EMISSIONS)
    page = visit(server_url, "events")
    page.mouse.wheel(0, 600)
    expect(page.locator(ROW).nth(20)).to_be_in_viewport()
    before = page.locator(ROW).nth(20).bounding_box()
    emit(server_url, 12, event="order.shipped")
    news = page.get_by_role("button", name="12 new events")
    expect(news).to_be_visible()
    expect(page.locator(ROW)).to_have_count(PAGE_EMISSIONS)
    after = page.locator(ROW).nth(20).bounding_box()
    assert before is not None
    assert after is not None
    assert abs(after["y"] - before["y"]) < 1
    assert_accessible(page)
    page.keyboard.press("n")
    expect(page.locator(ROW).first).to_contain_text("order.shipped")
    expect(page.locator(ROW).first).to_be_in_viewport()
    expect(news).to_be_hidden()


def test_held_still_new_events_are_counted_only(server_url: str, visit: Visit) -> None:
    emit(server_url, 2)
    page = visit(server_url, "events")
    page.get_by_label("Hold still").check()
    expect(page).to_have_url(re.compile("follow=no"))
    assert_live(page)
    emit(server_url, 3)
    page.get_by_role("button", name="3 new events").click()
    expect(page.locator(ROW)).to_have_count(5)


def test_rows_that_nobody_will_see_are_not_kept_while_the_feed_is_held_still(
    server_url: str, visit: Visit
) -> None:
    emit(server_url, 2)
    page = visit(server_url, "events?follow=no")
    expect(page.locator(ROW)).to_have_count(2)
    # As the stream brings them in the course of a day.
    page.evaluate(
        """() => {
          for (let message = 0; message < 40; message++) {
            const row = (_, n) => `<tr id="new-${message}-${n}" data-place="1"><td></td></tr>`;
            const rows = Array.from({ length: 50 }, row).join("");
            document.querySelector("live-rows").receive({ rows, number: 50 });
          }
        }"""
    )
    expect(page.get_by_role("button", name="2\u2009000 new events")).to_be_visible()
    browser = page.context.new_cdp_session(page)
    rows = browser.send("Runtime.evaluate", {"expression": "HTMLTableRowElement.prototype"})
    kind = {"prototypeObjectId": rows["result"]["objectId"]}
    kept = browser.send("Runtime.queryObjects", kind)["objects"]["description"]
    assert int(kept.removeprefix("Array(").removesuffix(")")) < 600, kept


def test_pages_lead_to_older_events_and_back(server_url: str, visit: Visit) -> None:
    emit(server_url, PAGE_EMISSIONS + 5)
    page = visit(server_url, "events")
    first = page.locator(ROW).first.get_attribute("id")
    page.get_by_role("link", name="Next page").click()
    expect(page.locator(ROW)).to_have_count(5)
    page.get_by_role("link", name="Previous page").click()
    expect(page.locator(ROW)).to_have_count(PAGE_EMISSIONS)
    assert page.locator(ROW).first.get_attribute("id") == first


def test_an_event_leads_to_what_it_is_about_to_its_raw_form_and_into_the_log(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    run = runs.run("brave-otter", "FAILED", tags=("eu",))
    page = visit(server_url, "events")
    page.get_by_role("link", name="prefect.flow-run.Failed").click()
    expect(page.locator(".things")).to_contain_text("nightly load")
    expect(page.locator(".code pre")).to_contain_text('"prefect.state-type": "FAILED"')
    assert_live(page)
    page.get_by_role("button", name="Copy the JSON").click()
    expect(page.locator("[data-done]")).to_have_count(1)
    page.get_by_role("link", name="the event before it").click()
    expect(page.get_by_role("heading", name="prefect.flow-run.Running")).to_be_visible()
    page.get_by_role("link", name=re.compile("^position ")).click()
    expect(page.get_by_role("heading", name="flow-run.state-set")).to_be_visible()
    page.get_by_role("link", name="an event of the feed").click()
    page.get_by_role("link", name="brave-otter").click()
    expect(page).to_have_url(re.compile(f"runs/flow-run/{run}"))


def test_an_event_that_left_the_feed_is_looked_for_in_the_log(
    server_url: str, visit: Visit
) -> None:
    address = "events/event/2026-01-01/0199abcd-0000-7000-8000-000000000001"
    page = visit(server_url, address, live=False, expected="404")
    page.get_by_role("link", name="Look for it in the log").click()
    expect(page).to_have_url(re.compile("log\\?resource=0199abcd"))
