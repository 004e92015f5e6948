"""The list of flow runs: filters in the address, pages, choosing many, and what is done to them."""

import re
from datetime import UTC, datetime
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from projections.run_pages import PAGE_RUNS
from tests.browser.conftest import LARGE, SMALL, Visit, assert_accessible, assert_fits, assert_whole
from tests.browser.making_pools import Pools
from tests.browser.making_runs import ALL_STATES, Runs


def _names(page: Page) -> Locator:
    return page.locator("td.main-cell a")


def _state(url: str, id_: str) -> str:
    return str(httpx.get(f"{url}/flow_runs/{id_}").json()["state_name"])


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_every_state_is_shown_by_icon_and_name_and_nothing_is_cut_off(
    server_url: str, runs: Runs, visit: Visit, width: int
) -> None:
    runs.of_every_state()
    page = visit(server_url, "runs?upcoming=open", width=width)
    page.get_by_label("Choose crashed-otter").check()
    for _, name in ALL_STATES:
        shown = page.locator("td .state").filter(has_text=re.compile(f"^{name}$")).first
        expect(shown).to_be_visible()
        assert shown.locator("use").evaluate("use => use.getBoundingClientRect().width") > 0
    assert_whole(page)
    page.get_by_text("State", exact=True).first.click()
    assert_fits(page)


def test_the_first_visit_says_what_to_type_next(server_url: str, visit: Visit) -> None:
    page = visit(server_url)
    expect(page.get_by_text(f"prefect config set PREFECT_API_URL={server_url}")).to_be_visible()
    page.get_by_role("button", name="Copy this command").first.click()
    expect(page.locator("[data-done]")).to_have_count(1)
    assert_accessible(page)


def test_filters_are_in_the_address_and_can_be_lifted_one_by_one(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    runs.of_every_state()
    page = visit(server_url)
    page.get_by_label("Run name contains").fill("otter")
    page.get_by_text("State", exact=True).first.click()
    page.get_by_role("checkbox", name="Failed", exact=True).check()
    page.get_by_role("checkbox", name="Crashed", exact=True).check()
    expect(page).to_have_url(re.compile(r"runs\?.*q=otter.*state=FAILED.*state=CRASHED"))
    expect(page.locator("td.main-cell")).to_have_count(2)
    # The menu is still open, for a third choice.
    expect(page.get_by_role("checkbox", name="Paused", exact=True)).to_be_visible()

    page.reload()
    assert sorted(_names(page).all_text_contents()) == ["crashed-otter", "failed-otter"]
    page.get_by_role("link", name="Remove the filter Crashed").click()
    expect(_names(page)).to_have_text(["failed-otter"])
    page.go_back()
    expect(page.locator("td.main-cell")).to_have_count(2)


def test_runs_are_filtered_by_their_work_pool(server_url: str, pools: Pools, visit: Visit) -> None:
    for name in ("gpu", "docker"):
        pools.pool(name)
        pools.due(pools.deployment(f"on {name}", name), f"{name}-otter", -60)
    page = visit(server_url)
    expect(page.locator("td.main-cell")).to_have_count(2)
    page.get_by_label("Work pool").select_option("gpu")
    expect(page).to_have_url(re.compile(r"runs\?.*pool=gpu"))
    expect(page.locator("td.main-cell")).to_have_count(1)
    page.reload()
    expect(_names(page)).to_have_text(["gpu-otter"])
    assert_accessible(page)
    page.get_by_role("link", name="Remove the filter in the pool gpu").click()
    expect(page.locator("td.main-cell")).to_have_count(2)


def test_runs_to_come_are_apart_from_what_has_happened(
    server_url: str, runs: Runs, pools: Pools, visit: Visit
) -> None:
    pools.pool("gpu")
    deployment = pools.deployment("on gpu", "gpu")
    pools.due(deployment, "late-otter", -60)
    runs.run("ran-otter")
    page = visit(server_url)
    expect(page.locator("#upcoming")).to_have_count(0)
    for name, minutes in (("soon-otter", 20), ("distant-otter", 3_000)):
        pools.due(deployment, name, minutes)
    fold = page.get_by_role("link", name="2 upcoming runs")
    expect(page.get_by_role("row").filter(has=fold)).to_contain_text("next: soon-otter")
    expect(_names(page)).to_have_text(["ran-otter", "late-otter"])
    assert_accessible(page)

    fold.click()
    expect(page).to_have_url(re.compile(r"runs\?upcoming=open$"))
    expect(_names(page)).to_have_text(["distant-otter", "soon-otter", "ran-otter", "late-otter"])
    assert_accessible(page)
    page.reload()
    expect(page.locator("td.main-cell")).to_have_count(4)
    # Whoever asks for what is scheduled gets it, and a run that is due is none to come.
    page.goto(page.url.replace("upcoming=open", "state=SCHEDULED"))
    expect(_names(page)).to_have_text(["distant-otter", "soon-otter", "late-otter"])
    expect(page.locator("#upcoming")).to_have_count(0)


def test_a_stretch_of_time_is_told_in_the_zone_of_who_looks(server_url: str, visit: Visit) -> None:
    now = quote(datetime.now(UTC).isoformat())
    page = visit(
        server_url, f"runs?since=2020-11-26T18:00:00Z&until={now}", zone="Asia/Tokyo", live=False
    )
    since = page.get_by_role("link", name="Remove the filter since Nov 27, 2020, 03:00")
    expect(since.locator("time")).to_have_attribute("title", re.compile(r"03:00:00 GMT\+9"))
    # Of today the time alone.
    name = re.compile(r"^Remove the filter until \d\d:\d\d$")
    expect(page.get_by_role("link", name=name)).to_be_visible()
    assert_accessible(page)
    since.click()
    expect(page).to_have_url(re.compile(r"runs\?until="))


def test_a_long_name_that_is_read_from_the_right_is_cut_off_at_its_end(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    runs.run("تحميل البيانات " * 12 + "7", "COMPLETED", flow="تقرير 🚀")
    page = visit(server_url, "runs", width=SMALL)
    cell = page.locator("td.main-cell")
    expect(cell).to_contain_text("تحميل")
    assert cell.evaluate("it => it.scrollWidth > it.clientWidth")
    seen = cell.evaluate(
        """cell => {
          const text = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT).nextNode();
          const range = document.createRange();
          range.setStart(text, 0);
          range.setEnd(text, 5);
          const [word, box] = [range.getBoundingClientRect(), cell.getBoundingClientRect()];
          return box.left <= word.left && word.right <= box.right;
        }"""
    )
    assert seen
    assert_whole(page)


def test_a_list_that_is_filtered_stays_live_as_it_is_filtered(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    page = visit(server_url)
    page.get_by_label("Flow name contains").fill("billing")
    expect(page).to_have_url(re.compile("flow=billing"))
    runs.run("elsewhere", flow="nightly load")
    runs.run("here", flow="billing")
    expect(page.get_by_role("row").filter(has_text="here")).to_be_visible()
    expect(_names(page)).to_have_text(["here"])


def test_pages_neither_repeat_nor_skip_a_run(server_url: str, runs: Runs, visit: Visit) -> None:
    number = 2 * PAGE_RUNS + 3
    names = [f"run-{at:03}" for at in range(number)]
    for name in names:
        runs.run(name, "PENDING")
    for sort, expected in (("", names[::-1]), ("oldest", names), ("name", names)):
        page = visit(server_url, f"runs?sort={sort}")
        first, second, third = (expected[at : at + PAGE_RUNS] for at in range(0, number, PAGE_RUNS))
        expect(_names(page)).to_have_text(first)
        for names_of_page in (second, third):
            page.get_by_role("link", name="Next page").click()
            expect(_names(page)).to_have_text(names_of_page)
        expect(page.get_by_role("link", name="Next page")).to_have_count(0)
        page.get_by_role("link", name="Previous page").click()
        expect(_names(page)).to_have_text(second)


def test_many_are_chosen_by_shift_and_deleted_after_a_question_that_names_what_is_lost(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    ids = [runs.run(f"run-{number}", "COMPLETED") for number in range(4)]
    runs.task_run(ids[1], "load")
    page = visit(server_url)
    page.locator(f"#run-{ids[3]} input").click()
    page.locator(f"#run-{ids[1]} input").click(modifiers=["Shift"])
    expect(page.get_by_text("3 chosen")).to_be_visible()
    assert_accessible(page)

    page.get_by_role("button", name="Delete…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete 3 flow runs?")
    expect(dialog.get_by_role("listitem")).to_have_text(["3 flow runs", "1 task run"])
    assert_accessible(page)
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.locator("td.main-cell")).to_have_count(4)

    page.get_by_role("button", name="Delete…").click()
    dialog.get_by_role("button", name="Delete 3 flow runs").click()
    expect(page.locator(".toast")).to_contain_text("Deleted 3 flow runs.")
    expect(page.locator("td.main-cell")).to_have_count(1)
    assert httpx.get(f"{server_url}/flow_runs/{ids[1]}").status_code == 404


def test_cancelling_is_taken_back(server_url: str, runs: Runs, visit: Visit) -> None:
    id_ = runs.run("waiting", "SCHEDULED")
    page = visit(server_url, "runs?upcoming=open")
    page.locator(f"#run-{id_} input").check()
    page.get_by_role("button", name="Cancel runs").click()
    expect(page.locator(f"#run-{id_}")).to_contain_text("Cancelled")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(f"#upcoming #run-{id_}")).to_contain_text("Scheduled")
    assert _state(server_url, id_) == "Scheduled"


def test_a_state_is_set_by_hand_and_an_undo_does_not_undo_what_came_later(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    id_ = runs.run("stuck", "RUNNING")
    page = visit(server_url)
    page.locator(f"#run-{id_} input").check()
    page.get_by_role("button", name="Set state…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("State").select_option("FAILED")
    dialog.get_by_label("Message").fill("the machine is gone")
    dialog.get_by_role("button", name="Set state").click()
    expect(page.locator(f"#run-{id_}")).to_contain_text("Failed")
    state = httpx.get(f"{server_url}/flow_runs/{id_}").json()["state"]
    assert state["message"] == "the machine is gone"

    runs.set_state(id_, "COMPLETED")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".toast.failed")).to_contain_text("moved on since")
    assert _state(server_url, id_) == "Completed"


def test_what_the_rules_refuse_is_said(server_url: str, runs: Runs, visit: Visit) -> None:
    id_ = runs.run("over", "COMPLETED")
    page = visit(server_url)
    page.locator(f"#run-{id_} input").check()
    page.get_by_role("button", name="Cancel runs").click()
    expect(page.locator(".toast.failed")).to_contain_text("stayed as before")
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)


def test_the_list_is_used_without_a_mouse(server_url: str, runs: Runs, visit: Visit) -> None:
    ids = [runs.run(f"run-{number}", "COMPLETED") for number in range(3)]
    page = visit(server_url)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("k")
    page.keyboard.press("x")
    expect(page.get_by_text("2 chosen")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_text("2 chosen")).to_be_hidden()
    page.keyboard.press("j")
    page.keyboard.press("x")
    button = page.get_by_role("button", name="Delete…")
    for _ in range(40):
        if button.evaluate("button => button === document.activeElement"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete 1 flow run?")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("td.main-cell")).to_have_count(2)
    assert httpx.get(f"{server_url}/flow_runs/{ids[1]}").status_code == 404


def test_without_scripts_the_list_is_filtered_and_runs_are_deleted(
    server_url: str, runs: Runs, browser: Browser
) -> None:
    runs.run("one", "COMPLETED")
    runs.run("two", "COMPLETED")
    page = browser.new_page(java_script_enabled=False)
    page.goto(server_url.removesuffix("api") + "runs")
    page.get_by_label("Run name contains").fill("one")
    page.get_by_role("button", name="Filter").click()
    expect(_names(page)).to_have_text(["one"])
    page.get_by_label("Choose one").check()
    page.get_by_role("button", name="Delete…").click()
    expect(page.get_by_role("heading")).to_have_text("Delete 1 flow run?")
    page.get_by_role("button", name="Delete 1 flow run").click()
    expect(page.get_by_role("heading")).to_have_text("Deleted 1 flow run.")
    page.get_by_role("link", name="Back to Runs").click()
    expect(_names(page)).to_have_text(["two"])
    page.close()


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_on_a_phone_the_runs_stand_above_their_picture(
    server_url: str, runs: Runs, visit: Visit, width: int
) -> None:
    runs.run("brave-otter", "COMPLETED")
    page = visit(server_url, "runs", width=width)
    expect(page.locator("run-scatter canvas")).to_be_visible()
    top = "one => one.getBoundingClientRect().top"
    row, picture = (page.locator(one).evaluate(top) for one in ("#runs", "run-scatter"))
    assert (row < picture) == (width == SMALL)
    assert_fits(page)
