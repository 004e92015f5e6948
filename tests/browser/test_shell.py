"""The frame around every page: theme, keys, search, signs for what is not there."""

import re
import sqlite3
from datetime import UTC, datetime

import httpx
import pytest
from playwright.sync_api import expect

from eventstore.migrate import Target
from tests.browser.conftest import (
    COLOURS_CHANGED,
    LARGE,
    SMALL,
    Visit,
    assert_accessible,
    assert_live,
    assert_whole,
)
from tests.browser.making_pools import Pools
from tests.browser.making_runs import Runs
from tests.conftest import StartServer

KILOBYTE = 1_000
FIRST_VISIT_BYTES_MAX = 150 * KILOBYTE
LATER_VISIT_BYTES_MAX = 30 * KILOBYTE


def test_a_theme_that_was_chosen_is_kept_and_there_before_anything_is_drawn(
    server_url: str, visit: Visit
) -> None:
    page = visit(server_url, scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.keyboard.press("t")  # light, whatever the system says
    light = page.evaluate(ground)
    assert light != dark
    page.goto(page.url, wait_until="commit")
    page.wait_for_selector("body", state="attached")
    assert page.evaluate(ground) == light
    assert_live(page)
    page.keyboard.press("t")
    page.keyboard.press("t")
    assert page.evaluate(ground) == dark


def test_where_one_is_stands_out_in_the_colours_of_the_system(
    server_url: str, visit: Visit
) -> None:
    page = visit(server_url, "runs")
    page.emulate_media(forced_colors="active")
    page.evaluate(COLOURS_CHANGED)
    looks = """link => {
      const { color, backgroundColor } = getComputedStyle(link);
      const icon = getComputedStyle(link.querySelector("svg"));
      return [color, backgroundColor, icon.color, icon.backgroundColor];
    }"""
    here = page.locator(".places a[aria-current]").evaluate(looks)
    there = page.locator(".places a:not([aria-current])").first.evaluate(looks)
    assert here[1] not in (there[1], here[0])
    for ink, _, icon, ground_of_icon in (here, there):
        assert icon == ink
        assert ground_of_icon == "rgba(0, 0, 0, 0)"


def test_moments_are_in_the_digits_and_the_calendar_of_the_rest_in_any_language(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    run = runs.run("brave-otter", "COMPLETED")
    now = datetime.now(UTC)
    line = {"name": "x", "level": 20, "message": "it began", "flow_run_id": run}
    runs.post("/logs/", [{**line, "timestamp": now.isoformat()}])
    page = visit(server_url, f"runs/flow-run/{run}", language="fa-IR", zone="UTC")
    expect(page.get_by_text("it began")).to_be_visible()
    assert f"{now:%H:%M:%S}.{now:%f}"[:-3] in page.locator("main").inner_text()
    told = page.locator("main time[title]").first.get_attribute("title")
    assert told is not None
    assert str(now.year) in told.splitlines()[0]
    page.goto(server_url.removesuffix("api") + "runs")
    assert_live(page)
    expect(page.locator("run-scatter")).to_be_visible()
    assert not re.search(r"[\u0660-\u0669\u06f0-\u06f9]", page.locator("body").inner_text())


def test_search_finds_runs_and_flows_by_name_and_anything_by_id(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    id_ = runs.run("brave-otter", flow="otters")
    task = runs.task_run(id_, "load")
    page = visit(server_url)
    page.keyboard.press("/")
    page.keyboard.type("OTTER")
    page.keyboard.press("Enter")
    expect(page.get_by_role("row")).to_have_count(3)
    expect(page.get_by_role("link", name="brave-otter")).to_have_attribute(
        "href", re.compile(f"runs/flow-run/{id_}$")
    )
    assert_accessible(page)
    page.goto(server_url.removesuffix("api") + f"search?q={task}")
    expect(page.get_by_role("link", name="load-0")).to_be_visible()


@pytest.mark.parametrize("old_way", [True, False])
def test_what_a_browser_does_not_let_a_page_copy_is_copied_otherwise_or_told(
    server_url: str, visit: Visit, old_way: bool
) -> None:
    page = visit(server_url)
    page.evaluate(
        """works => {
          navigator.clipboard.writeText = () => Promise.reject(new DOMException());
          document.execCommand = () => {
            window.copied = document.activeElement.value;
            return works;
          };
        }""",
        old_way,
    )
    button = page.locator("[data-copy]").first
    button.click()
    expect(page.locator("[data-done]")).to_have_count(1 if old_way else 0)
    expect(page.locator(".toast.failed")).to_have_count(0 if old_way else 1)
    assert page.evaluate("window.copied") == button.get_attribute("data-copy")


def test_keys_lead_everywhere_but_not_while_somebody_types(server_url: str, visit: Visit) -> None:
    page = visit(server_url, "search", live=False)
    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(sheet).to_be_visible()
    assert_accessible(page)
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("gr?")
    expect(sheet).to_be_hidden()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("r")
    expect(page).to_have_url(re.compile("/runs$"))


@pytest.mark.parametrize("name", ["Keyboard shortcuts", "Delete"])
def test_what_a_tall_question_is_about_and_how_to_leave_it_stay_in_sight(
    server_url: str, pools: Pools, visit: Visit, name: str
) -> None:
    pools.pool("w" * 400)
    page = visit(server_url, f"work-pools/work-pool/{'w' * 400}", width=SMALL)
    page.set_viewport_size({"width": SMALL, "height": 300})
    if name == "Delete":
        page.get_by_role("button", name="Delete…").click()
    else:
        page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name=name)
    expect(dialog).to_be_visible()
    height = dialog.evaluate("one => one.scrollHeight - one.clientHeight")
    assert height > 0
    for place in (0, height / 2, height):
        dialog.evaluate("(one, place) => one.scrollTo(0, place)", place)
        expect(dialog.get_by_role("heading")).to_be_in_viewport(ratio=1)
        for button in dialog.get_by_role("button").all():
            expect(button).to_be_in_viewport(ratio=1)
    assert_accessible(page)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_the_sidebar_folds_and_stays_folded(server_url: str, visit: Visit) -> None:
    page = visit(server_url)
    link = page.get_by_role("navigation", name="Main").get_by_text("Runs")
    expect(link).to_be_visible()
    page.keyboard.press("[")
    expect(link).to_be_hidden()
    page.reload()
    expect(link).to_be_hidden()
    assert_accessible(page)


@pytest.mark.parametrize("width", [SMALL, LARGE])
@pytest.mark.parametrize("path", ["search?q=nobody", "nothing/is/here", "docs"])
def test_pages_without_runs_are_whole_as_well(
    server_url: str, visit: Visit, path: str, width: int
) -> None:
    page = visit(server_url, path, width=width, live=False, expected="status of 404")
    if path == "nothing/is/here":
        expect(page.get_by_role("heading", name="There is no page here")).to_be_visible()
        expect(page.get_by_text("/nothing/is/here")).to_be_visible()
    assert_whole(page)


def test_a_page_that_cannot_be_made_says_whose_fault_it_is_and_what_to_pass_on(
    server_url: str, target: Target, visit: Visit
) -> None:
    assert target.path is not None
    database = sqlite3.connect(target.path)
    database.execute("ALTER TABLE artifact_collections RENAME TO lost")
    for width in (SMALL, LARGE):
        page = visit(server_url, "artifacts", width=width, live=False, expected="status of 500")
        expect(page.get_by_role("heading", name="This page could not be made")).to_be_visible()
        expect(page.get_by_text("This is a fault of the server, not of yours")).to_be_visible()
        expect(page.get_by_text(re.compile(r"UTC /artifacts \(version .+\)"))).to_be_visible()
        assert_whole(page)
    database.execute("ALTER TABLE lost RENAME TO artifact_collections")
    database.close()
    page.get_by_role("link", name="Try again").click()
    expect(page.get_by_role("heading", name="No artifacts yet")).to_be_visible()


def test_an_address_that_asks_for_nonsense_leads_to_the_page_without_it(
    server_url: str, visit: Visit
) -> None:
    page = visit(server_url, "runs?after=rubbish", live=False, expected="status of 422")
    expect(page.get_by_role("link", name="Try again")).to_have_count(0)
    page.get_by_role("link", name="Begin anew").click()
    expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()


def test_a_link_that_leads_nowhere_leads_back(server_url: str, visit: Visit) -> None:
    page = visit(server_url, "nothing/is/here", live=False, expected="status of 404")
    page.get_by_role("link", name="Front page").last.click()
    expect(page.get_by_text("Nothing has run yet")).to_be_visible()


def test_everything_works_below_a_path(start_server: StartServer, visit: Visit) -> None:
    server = start_server(settings={"PLUPERFECT_BASE_PATH": "/tools/pluperfect"})
    root = f"http://127.0.0.1:{server.port}/tools/pluperfect/"
    runs = Runs(f"{root}api")
    page = visit(f"{root}api", "runs")
    id_ = runs.run("below", "COMPLETED")
    expect(page.locator(f"#run-{id_}")).to_be_visible()
    page.get_by_label("Run name contains").fill("bel")
    expect(page).to_have_url(re.compile(f"{re.escape(root)}runs.q=bel"))
    page.locator(f"#run-{id_} input").check()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete 1 flow run").click()
    expect(page.locator(".toast")).to_contain_text("Deleted 1 flow run.")


def test_a_browser_signs_in_where_the_api_asks_for_a_password(
    start_server: StartServer, visit: Visit
) -> None:
    server = start_server(settings={"PLUPERFECT_API_AUTH_STRING": "me:sesame"})
    visit(server.url, password="me:sesame")
    root = server.url.removesuffix("api")
    for path in ("", "runs", "live?page=/runs&position=0"):
        refused = httpx.get(root + path)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic ")
    post = httpx.post(f"{root}runs/actions/delete", headers={"origin": root.rstrip("/")})
    assert post.status_code == 401


def test_a_visit_is_small_and_the_next_one_smaller(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    runs.of_every_state()
    page = visit(server_url, "search", live=False)
    transferred = """performance.getEntriesByType("resource")
      .concat(performance.getEntriesByType("navigation"))
      .reduce((sum, entry) => sum + entry.transferSize, 0)"""
    assert 0 < page.evaluate(transferred) < FIRST_VISIT_BYTES_MAX
    page.goto(server_url.removesuffix("api") + "runs")
    assert_live(page)
    assert 0 < page.evaluate(transferred) < LATER_VISIT_BYTES_MAX


def test_who_goes_back_by_keyboard_sees_where_they_are_below_the_header(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    for at in range(40):
        runs.run(f"otter-{at}", "COMPLETED")
    page = visit(server_url, "runs")
    page.locator("main tbody a").last.focus()
    hidden = """() => {
      const one = document.activeElement, header = document.querySelector(".top");
      const top = one.getBoundingClientRect().top;
      return !header.contains(one) && top < header.getBoundingClientRect().bottom;
    }"""
    for _ in range(80):
        page.keyboard.press("Shift+Tab")
        assert not page.evaluate(hidden), page.evaluate("document.activeElement.outerHTML")


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_who_goes_on_by_keyboard_sees_where_they_are_above_what_is_chosen(
    server_url: str, runs: Runs, visit: Visit, width: int
) -> None:
    for at in range(40):
        runs.run(f"otter-{at}", "COMPLETED")
    page = visit(server_url, "runs", width=width)
    page.locator("main tbody input").first.check()
    hidden = """() => {
      const bar = document.querySelector("[data-bulk]"), one = document.activeElement;
      const { top, bottom } = bar.getBoundingClientRect(), box = one.getBoundingClientRect();
      return !bar.contains(one) && box.bottom > top && box.top < bottom;
    }"""
    for _ in range(80):
        page.keyboard.press("Tab")
        assert not page.evaluate(hidden), page.evaluate("document.activeElement.outerHTML")


def test_things_of_one_name_have_titles_that_tell_them_apart(server_url: str, pools: Pools) -> None:
    """A browser shows little else of a page that is in another tab, or in its history."""
    name = "otter"
    flow = pools.flow(name)
    pools.pool(name)
    queue = pools.queue(name, name)
    run = pools.run(name, flow=name)
    body = {"flow_run_id": run, "task_key": name, "dynamic_key": "0", "name": name}
    task = pools.post("/task_runs/", body)["id"]
    body = {"name": name, "flow_id": flow, "work_pool_name": name}
    deployment = pools.post("/deployments/", body)["id"]
    variable = pools.post("/variables/", {"name": name, "value": 1})["id"]
    limit = pools.post("/v2/concurrency_limits/", {"name": name, "limit": 1})["id"]
    body = {"key": name, "type": "markdown", "data": name, "flow_run_id": run}
    versions = [pools.post("/artifacts/", body)["id"] for _ in range(2)]
    paths = [
        f"flows/flow/{flow}",
        f"runs/flow-run/{run}",
        f"runs/task-run/{task}",
        f"deployments/deployment/{deployment}",
        f"deployments/deployment/{deployment}/edit",
        f"deployments/deployment/{deployment}/run",
        f"work-pools/work-pool/{name}",
        f"work-pools/work-pool/{name}/edit",
        f"work-queues/work-queue/{queue}",
        f"work-queues/work-queue/{queue}/edit",
        f"variables/variable/{variable}",
        f"concurrency-limits/concurrency-limit/{limit}",
        f"concurrency-limits/concurrency-limit/{limit}/edit",
        *(f"artifacts/artifact/{version}" for version in versions),
        f"artifacts/key/{name}",
    ]
    titles = {}
    for path in paths:
        answer = httpx.get(server_url.removesuffix("api") + path)
        (title,) = re.findall("<title>(.*)</title>", answer.text)
        titles[path] = title
        assert name in title
    assert len(set(titles.values())) == len(paths), titles
