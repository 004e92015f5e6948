"""The log: filters, places, live tail, one event with all that stands around it."""

import re

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from projections.log_pages import PAGE_EVENTS
from tests.browser.conftest import LARGE, SMALL, Visit, assert_accessible, assert_live, assert_whole
from tests.browser.making_limits import Limits
from tests.browser.making_pools import Pools
from tests.browser.making_runs import Runs
from tests.browser.test_event_feed import emit
from tests.conftest import StartServer

ROW = ".log-rows tbody tr"


def _types(page: Page) -> set[str]:
    return set(page.locator(f"{ROW} .main-cell").all_text_contents())


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_the_log_is_accessible_and_nothing_is_cut_off(
    server_url: str, runs: Runs, visit: Visit, width: int
) -> None:
    runs.of_every_state()
    page = visit(server_url, "log?go=5", width=width)
    expect(page.locator(f"{ROW}[aria-current]")).to_have_count(1)
    assert_whole(page)
    page.get_by_text("More", exact=True).click()
    assert_whole(page)
    page.goto(server_url.removesuffix("api") + "log/5")
    expect(page.get_by_role("heading", name="Envelope")).to_be_visible()
    assert_whole(page)


def test_on_a_narrow_screen_types_are_told_in_full(
    server_url: str, pools: Pools, runs: Runs, visit: Visit
) -> None:
    pools.pool("main")
    pools.heartbeat("main", "worker-1")
    httpx.delete(f"{runs.url}/flow_runs/{runs.run('brave-otter')}").raise_for_status()
    page = visit(server_url, "log", width=SMALL)
    expect(page.locator(ROW).filter(has=page.locator("td.what:empty"))).not_to_have_count(0)
    cut = (
        "cells => cells.filter(one => one.scrollWidth > one.clientWidth).map(one => one.innerText)"
    )
    assert page.locator(f"{ROW} .main-cell").evaluate_all(cut) == []


def test_on_a_desk_a_stream_is_told_with_its_version(server_url: str, visit: Visit) -> None:
    limits = Limits(server_url)
    limits.limit("database", 2)
    limits.take("database", limits.run("busy-lynx"))
    page = visit(server_url, "log")
    streams = page.locator(f"{ROW} .stream")
    expect(streams.filter(has_text="concurrency-lease:")).to_have_count(1)
    cut = "cells => cells.filter(one => one.scrollWidth > one.clientWidth).map(one => one.title)"
    for width in (LARGE, 1_280, 1_025):
        page.set_viewport_size({"width": width, "height": 800})
        assert streams.evaluate_all(cut) == [], width


def test_an_empty_log_says_what_to_type_next(server_url: str, runs: Runs, visit: Visit) -> None:
    page = visit(server_url, "log")
    expect(page.get_by_role("heading", name="Nothing is recorded yet")).to_be_visible()
    assert_accessible(page)
    runs.flow("etl")
    expect(page.locator(ROW)).to_have_count(1)
    expect(page.get_by_role("heading", name="Nothing is recorded yet")).to_be_hidden()


def test_filters_are_in_the_address_and_can_be_lifted(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    run = runs.run("brave-otter", "FAILED")
    emit(server_url, 3)
    page = visit(server_url, "log")
    page.get_by_label("Types, by comma").fill("flow.*, emission.received")
    expect(page).to_have_url(re.compile("type=flow"))
    expect(page.locator(f"{ROW} .main-cell")).to_have_text(
        [*["emission.received"] * 3, "flow.created"]
    )
    page.get_by_role("link", name=re.compile("Remove the filter type")).click()
    page.get_by_label("Stream", exact=True).fill(f"flow-run:{run}")
    expect(page).to_have_url(re.compile("stream=flow-run"))
    expect(page.locator(ROW)).to_have_count(4)
    page.reload()
    assert _types(page) == {"flow-run.created", "flow-run.state-set"}
    page.get_by_role("link", name="Clear all").click()
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Mentions the id").fill(run)
    expect(page).to_have_url(re.compile(f"resource={run}"))
    expect(page.locator(ROW)).to_have_count(4)
    page.get_by_label("Mentions the id").fill("")
    page.get_by_role("checkbox", name="emissions").check()
    expect(page).to_have_url(re.compile("category=emissions"))
    expect(page.locator(ROW)).to_have_count(3)
    page.goto(server_url.removesuffix("api") + "log?actor=nobody")
    expect(page.get_by_role("heading", name="No event is like that")).to_be_visible()


def test_what_a_request_brought_about_is_found_by_its_correlation(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    runs.run("brave-otter", "RUNNING")
    page = visit(server_url, "log?type=flow-run.created")
    page.locator(f"{ROW} a[title^='All of correlation']").click()
    expect(page).to_have_url(re.compile("correlation="))
    # The run was created and given its first state by one request.
    expect(page.locator(f"{ROW} .main-cell")).to_have_text(
        ["flow-run.state-set", "flow-run.created"]
    )


def test_the_tail_is_live_and_can_be_held_still(server_url: str, runs: Runs, visit: Visit) -> None:
    runs.flow("etl")
    page = visit(server_url, "log?type=flow.*")
    page.evaluate("window.same = true")
    runs.flow("billing")
    emit(server_url)
    expect(page.locator(ROW)).to_have_count(2)
    expect(page.locator(ROW).first).to_contain_text("billing")
    page.get_by_label("Hold still").check()
    expect(page).to_have_url(re.compile("follow=no"))
    assert_live(page)
    runs.flow("train")
    expect(page.get_by_role("button", name="1 new event")).to_be_visible()
    expect(page.locator(ROW)).to_have_count(2)
    page.get_by_label("Hold still").uncheck()
    expect(page.locator(ROW)).to_have_count(3)
    expect(page.get_by_role("button", name="1 new event")).to_be_hidden()
    runs.flow("report")
    expect(page.locator(ROW)).to_have_count(4)
    assert page.evaluate("window.same") is True


def test_more_than_is_sent_is_fetched_in_place(server_url: str, visit: Visit) -> None:
    page = visit(server_url, "log")
    page.evaluate("window.same = true")
    emit(server_url, 3 * PAGE_EVENTS)
    expect(page.locator(f"{ROW} .position").first).to_have_text("150")
    emit(server_url)
    expect(page.locator(f"{ROW} .position").first).to_have_text("151")
    positions = [int(text) for text in page.locator(f"{ROW} .position").all_text_contents()]
    assert positions == list(range(151, 151 - len(positions), -1))
    assert len(positions) >= PAGE_EVENTS
    assert page.evaluate("window.same") is True


def test_what_comes_while_the_list_is_fetched_is_in_it_too(server_url: str, visit: Visit) -> None:
    page = visit(server_url, "log")
    newest = page.locator(f"{ROW} .position").first

    def late(route: Route) -> None:
        answer = route.fetch()
        emit(server_url)
        expect(page.locator("log-position")).to_have_text("151")
        route.fulfill(response=answer)

    page.route(re.compile(r"/log(\?.*)?$"), late, times=1)
    emit(server_url, 3 * PAGE_EVENTS)
    expect(newest).to_have_text("151")
    positions = [int(text) for text in page.locator(f"{ROW} .position").all_text_contents()]
    assert positions == list(range(151, 151 - len(positions), -1))


def test_the_tail_goes_on_after_the_server_was_started_anew(
    start_server: StartServer, visit: Visit
) -> None:
    server = start_server()
    emit(server.url, 3)
    page = visit(server.url, "log", expected="ERR_")
    server.stop()
    expect(page.locator("#connection")).to_contain_text("connection lost")
    start_server(port=server.port)
    emit(server.url, 2)
    expect(page.locator(f"{ROW} .position")).to_have_text(["5", "4", "3", "2", "1"])


def test_one_goes_to_a_position_or_a_time_and_from_there_in_both_directions(
    server_url: str, visit: Visit
) -> None:
    emit(server_url, 3 * PAGE_EVENTS)
    page = visit(server_url, "log")
    go = page.get_by_label("Go to a position, or a time")
    go.fill("70")
    expect(page).to_have_url(re.compile("go=70"))
    expect(page.locator(f"{ROW}[aria-current] .position")).to_have_text("70")
    expect(page.locator(f"{ROW}[aria-current]")).to_be_in_viewport()
    page.get_by_role("link", name="Previous page").click()
    expect(page.locator(f"{ROW} .position").last).to_have_text("80")
    page.get_by_role("link", name="Next page").click()
    expect(page.locator(f"{ROW} .position").first).to_have_text("79")
    go = page.get_by_label("Go to a position, or a time")
    go.fill("2020-01-01")
    expect(page.locator(f"{ROW}[aria-current] .position")).to_have_text("1")
    go.fill("yesterday, perhaps")
    expect(page.get_by_role("alert")).to_contain_text("neither a position nor a time")


def test_an_event_is_shown_with_its_envelope_its_data_and_its_place_in_the_chain(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    run = runs.run("brave-otter", "FAILED")
    page = visit(server_url, f"log?stream=flow-run:{run}")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="flow-run.state-set")).to_be_visible()
    envelope = page.get_by_label("Envelope")
    expect(envelope).to_contain_text("4 of 4")
    expect(envelope).to_contain_text("follows from the one before")
    expect(page.locator(".code pre")).to_contain_text('"FAILED"')
    envelope.get_by_role("link", name="before").click()
    expect(envelope).to_contain_text("3 of 4")
    page.get_by_role("link", name="Older").click()
    envelope.get_by_role("link", name=re.compile("^flow run ")).click()
    expect(page).to_have_url(re.compile(f"runs/flow-run/{run}"))


def test_there_is_nothing_beyond_the_end_of_the_log(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    runs.flow("etl")
    for path in ("log/2", "log/0", "log/abc"):
        page = visit(server_url, path, live=False, expected="404")
        expect(page.get_by_role("heading", name="it ends at position 1")).to_be_visible()


def test_every_entity_leads_to_its_stream(server_url: str, runs: Runs, visit: Visit) -> None:
    flow, run = runs.flow("etl"), runs.run("brave-otter", "RUNNING", flow="etl")
    task_run = runs.task_run(run, "load")
    body = {"flow_run_id": run, "key": "report", "type": "markdown", "data": "# done"}
    artifact = runs.post("/artifacts/", body)["id"]
    for path, stream in (
        (f"flows/flow/{flow}", f"flow:{flow}"),
        (f"runs/flow-run/{run}", f"flow-run:{run}"),
        (f"runs/task-run/{task_run}", f"task-run:{task_run}"),
        (f"artifacts/artifact/{artifact}", f"artifact:{artifact}"),
    ):
        page = visit(server_url, path)
        page.get_by_role("link", name="Its stream in the log").click()
        expect(page.get_by_label("Stream", exact=True)).to_have_value(stream)
        expect(page.locator(ROW).last).to_contain_text(".created")
        page.context.close()


def test_what_was_deleted_leads_to_its_stream(server_url: str, runs: Runs, visit: Visit) -> None:
    run = runs.run("brave-otter", "FAILED")
    assert httpx.delete(f"{server_url}/flow_runs/{run}").status_code == 204
    page = visit(server_url, f"runs/flow-run/{run}", live=False, expected="404")
    assert_accessible(page)
    page.get_by_role("link", name="Show its stream in the log").click()
    expect(page.locator(ROW).first).to_contain_text("flow-run.deleted")
