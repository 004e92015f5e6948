"""Work pools, their queues and workers: seen, made, changed, paused, deleted."""

import re
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import LARGE, SMALL, Visit, assert_accessible, assert_live, assert_whole
from tests.browser.making_pools import Pools

POOL = "work-pools/work-pool/"
TABS = ("queues", "workers", "upcoming", "runs", "deployments", "template")
LONG = "a-pool-whose-name-somebody-built-from-a-cloud-a-region-and-a-team-eu-central-1-analytics"


def _pool(url: str, name: str) -> dict[str, object]:
    found: dict[str, object] = httpx.get(f"{url}/work_pools/{name}").json()
    return found


def _populated(pools: Pools) -> None:
    """Pools that are ready, not ready and paused, with queues, a late run and runs to come."""
    pools.pool("main pool", concurrency_limit=3, description="What runs every night.")
    pools.queue("main pool", "urgent", priority=1, concurrency_limit=1)
    pools.heartbeat("main pool", "worker-1")
    deployment = pools.deployment("load-eu", "main pool", "urgent")
    late = pools.due(deployment, "overdue-heron", -30)
    body = {"state": {"type": "SCHEDULED", "name": "Late"}, "force": True}
    pools.post(f"/flow_runs/{late}/set_state", body)
    pools.due(deployment, "early-otter", 30)
    busy = pools.due(deployment, "busy-lynx", 0)
    pools.set_state(busy, "RUNNING")
    pools.pool(LONG, "kubernetes")
    pools.pool("idle", "docker", is_paused=True)


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_every_page_is_accessible_and_fits(
    server_url: str, pools: Pools, visit: Visit, width: int
) -> None:
    _populated(pools)
    queue = pools.queue("idle", "slow", description="Whatever can wait.")
    page = visit(server_url, "work-pools", width=width)
    paths = [f"{POOL}main%20pool?tab={tab}" for tab in TABS]
    paths += [f"{POOL}{LONG}", "work-pools/create", "work-pools/create?type=kubernetes"]
    paths += ["work-pools/create?type=custom", f"{POOL}idle/edit", f"{POOL}idle/queue/create"]
    paths += [f"work-queues/work-queue/{queue}", f"work-queues/work-queue/{queue}/edit"]
    for path in ("work-pools", *paths, "dashboard"):
        page.goto(server_url.removesuffix("api") + path)
        assert_live(page)
        assert_whole(page)


def test_the_list_tells_how_pools_do_and_follows_them(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    _populated(pools)
    page = visit(server_url, "work-pools")
    row = page.get_by_role("row").filter(has_text="main pool")
    expect(row).to_contain_text("Ready")
    expect(row.get_by_role("link", name="1 late")).to_be_visible()
    expect(row).to_contain_text("1 of 3")
    expect(page.get_by_role("row").filter(has_text="idle")).to_contain_text("Paused")
    pools.heartbeat(LONG, "worker-9")
    expect(page.get_by_role("row").filter(has_text=LONG)).to_contain_text(
        re.compile(r"Ready.*1", re.DOTALL)
    )
    page.get_by_label("Name contains").fill("MAIN")
    expect(page).to_have_url(re.compile(r"work-pools\?q=MAIN"))
    expect(page.locator("td.main-cell")).to_have_count(1)
    page.get_by_label("Name contains").fill("nothing")
    page.get_by_role("link", name="Show all work pools").click()
    page.get_by_label("Type").select_option("docker")
    expect(page.locator("td.main-cell")).to_have_text(["idle"])


def test_the_first_visit_says_what_to_type_next(server_url: str, visit: Visit) -> None:
    page = visit(server_url, "work-pools")
    expect(page.get_by_text("prefect worker start --pool my-pool")).to_be_visible()
    page.get_by_role("button", name="Copy this command").last.click()
    expect(page.locator("[data-done]")).to_have_count(1)
    assert_accessible(page)


def test_a_pool_is_paused_and_resumed_and_both_are_taken_back(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    pools.pool("main")
    page = visit(server_url, "work-pools")
    page.get_by_role("button", name="Pause main").click()
    expect(page.locator("tbody .state")).to_have_text("Paused")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("tbody .state")).to_have_text("Not ready")
    page.goto(f"{server_url.removesuffix('api')}{POOL}main")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.get_by_text("It is paused: its workers are given no runs")).to_be_visible()
    assert _pool(server_url, "main")["is_paused"] is True
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.locator("#pool-status")).to_have_text("Not ready")


def test_a_limit_is_set_from_the_page_and_taken_back(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    pools.pool("main", concurrency_limit=7)
    page = visit(server_url, f"{POOL}main")
    page.get_by_role("button", name="Limit…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("a limit of 7")
    dialog.get_by_label("Limit").fill("many")
    dialog.get_by_role("button", name="Set the limit").click()
    expect(page.locator(".toast.failed")).to_contain_text("whole number")
    page.get_by_role("button", name="Limit…").click()
    dialog.get_by_label("Limit").fill("2")
    dialog.get_by_role("button", name="Set the limit").click()
    expect(page.locator("#head")).to_contain_text("0 of 2")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#head")).to_contain_text("0 of 7")


def test_a_worker_that_is_heard_of_makes_its_pool_ready_at_once(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    pools.pool("main")
    page = visit(server_url, f"{POOL}main?tab=workers")
    expect(page.get_by_text('prefect worker start --pool "main"').first).to_be_visible()
    pools.heartbeat("main", "worker-1")
    expect(page.locator("#pool-status")).to_have_text("Ready")
    expect(page.get_by_role("row").filter(has_text="worker-1")).to_contain_text("Online")
    page.get_by_role("button", name="Forget worker-1").click()
    page.get_by_role("dialog").get_by_role("button", name="Forget the worker").click()
    expect(page.locator(".toast")).to_contain_text("Forgot the worker worker-1.")
    expect(page.locator("#pool-status")).to_have_text("Not ready")


def _fill(page: Page, values: dict[str, str]) -> None:
    for label, value in values.items():
        page.get_by_label(label, exact=True).fill(value)


def test_a_pool_is_made_with_the_defaults_of_its_jobs(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    pools.pool("taken")
    page = visit(server_url, "work-pools/create")
    page.get_by_role("link", name="Docker").click()
    expect(page).to_have_url(re.compile("type=docker"))
    assert_live(page)
    page.get_by_role("button", name="Create work pool").click()
    expect(page.locator("#name-wrong")).to_contain_text("A name is not empty")
    expect(page.locator("#name")).to_be_focused()
    page.locator("#name").fill("taken")
    page.get_by_role("button", name="Create work pool").click()
    expect(page.locator("#name-wrong")).to_contain_text("There is a work pool with this name")
    page.locator("#name").fill("containers")
    page.get_by_label("Description", exact=True).fill("For images")
    page.get_by_label("Runs at the same time").fill("4")
    page.locator("[name='job/image']").fill("python:3.13")
    page.get_by_role("checkbox", name="Auto Remove").check()
    page.locator("[name='job/env~given']").check()
    page.get_by_role("button", name="Add to Env").click()
    page.get_by_label("Name", exact=True).last.fill("REGION")
    page.get_by_label("Value", exact=True).last.fill("eu")
    page.get_by_role("button", name="Create work pool").click()
    expect(page).to_have_url(re.compile(f"{POOL}containers$"))
    expect(page.locator(".toast")).to_contain_text("Made the work pool containers.")
    made = _pool(server_url, "containers")
    assert (made["type"], made["concurrency_limit"]) == ("docker", 4)
    assert made["description"] == "For images"
    template = made["base_job_template"]
    assert isinstance(template, dict)
    variables = template["variables"]["properties"]
    assert variables["image"]["default"] == "python:3.13"
    assert variables["auto_remove"]["default"] is True
    assert variables["env"]["default"] == {"REGION": "eu"}
    assert "default" not in variables["volumes"]
    assert template["job_configuration"]["image"] == "{{ image }}"


def test_a_job_template_is_changed_as_fields_and_as_json(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    pools.pool("main")
    page = visit(server_url, f"{POOL}main/edit")
    expect(page.get_by_label("Processors")).to_have_value("2")
    page.get_by_label("Processors").fill("0")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("[data-wrong='job/cpu']")).to_contain_text("less than the minimum of 1")
    expect(page.get_by_label("Processors")).to_be_focused()
    page.get_by_label("Processors").fill("5")
    page.get_by_text("JSON", exact=True).click()
    text = page.get_by_label("Everything as JSON")
    expect(text).to_be_visible()
    expect(text).to_have_value(re.compile('"default": 5'))
    expect(page.get_by_label("Processors")).to_be_hidden()
    whole = text.input_value()
    text.fill(whole[:-3])
    page.get_by_text("Fields", exact=True).click()
    expect(page.locator("[data-wrong='job~raw']")).to_contain_text("This is not JSON")
    expect(text).to_be_visible()
    text.fill(whole.replace('"{{ cpu }}"', '"{{ cpus }}"'))
    page.get_by_role("button", name="Save").click()
    expect(page.locator("[data-wrong='job~raw']")).to_contain_text("cpus")
    text.fill(whole.replace('"Processors"', '"Cores"'))
    page.get_by_text("Fields", exact=True).click()
    expect(page.get_by_label("Cores")).to_have_value("5")
    page.get_by_label("Cores").fill("6")
    page.get_by_role("button", name="Save").click()
    expect(page).to_have_url(re.compile(f"{POOL}main$"))
    template = _pool(server_url, "main")["base_job_template"]
    assert isinstance(template, dict)
    cpu = template["variables"]["properties"]["cpu"]
    assert (cpu["title"], cpu["default"]) == ("Cores", 6)


def test_a_pool_is_deleted_after_a_question_that_names_what_goes_and_what_stays(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    pools.pool("main")
    pools.queue("main", "urgent")
    pools.heartbeat("main", "worker-1")
    pools.due(pools.deployment("load", "main"), "early-otter")
    page = visit(server_url, f"{POOL}main", expected="404")
    page.get_by_role("button", name="Delete…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("listitem")).to_have_text(
        ["the work pool main", "2 queues", "1 worker"]
    )
    expect(dialog).to_contain_text("1 deployment stays without a pool")
    assert_accessible(page)
    dialog.get_by_role("button", name="Delete the work pool").click()
    expect(page).to_have_url(re.compile("work-pools$"))
    expect(page.locator(".toast")).to_contain_text("Deleted the work pool main.")
    assert httpx.get(f"{server_url}/work_pools/main").status_code == 404
    page.goto(f"{server_url.removesuffix('api')}{POOL}main")
    expect(page.get_by_role("heading", name="There is no work pool main")).to_be_visible()


def test_queues_are_added_by_priority_changed_paused_and_deleted(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    pools.pool("main")
    page = visit(server_url, f"{POOL}main")
    page.get_by_role("link", name="New queue").click()
    expect(page.get_by_label("Priority")).to_have_value("2")
    assert_live(page)
    page.locator("#name").fill("default")
    page.get_by_label("Runs at the same time").fill("-1")
    page.get_by_role("button", name="Create queue").click()
    expect(page.locator("#limit-wrong")).to_contain_text("whole number")
    page.get_by_label("Runs at the same time").fill("2")
    page.get_by_role("button", name="Create queue").click()
    expect(page.locator("#name-wrong")).to_contain_text("has a queue with this name already")
    page.locator("#name").fill("urgent")
    page.get_by_label("Priority").fill("1")
    page.get_by_role("button", name="Create queue").click()
    expect(page.locator("#tab td.main-cell a")).to_have_text(["urgent", "default"])
    row = page.get_by_role("row").filter(has_text="urgent")
    expect(row).to_contain_text("0 of 2")
    assert_live(page)
    page.get_by_role("button", name="Pause urgent").click()
    expect(row).to_contain_text("Paused")
    row.get_by_role("link", name="urgent", exact=True).click()
    expect(page.get_by_text("It is paused: no worker is given runs of it")).to_be_visible()
    assert_live(page)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#queue-status")).to_have_text("Not ready")
    page.get_by_role("link", name="Edit").click()
    assert_live(page)
    page.locator("#name").fill("fast")
    page.get_by_label("Description").fill("First come")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="fast")).to_be_visible()
    assert_live(page)
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete the queue").click()
    expect(page).to_have_url(re.compile(f"{POOL}main$"))
    expect(page.locator("#tab td.main-cell a")).to_have_text(["default"])


def test_a_queue_shows_what_waits_in_it_and_follows_it(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    pools.pool("main")
    queue = pools.queue("main", "urgent")
    deployment = pools.deployment("load", "main", "urgent")
    page = visit(server_url, f"work-queues/work-queue/{queue}")
    expect(page.get_by_text("Nothing waits in this queue.")).to_be_visible()
    run = pools.due(deployment, "early-otter")
    expect(page.locator(f"#next-{run}")).to_contain_text("early-otter")
    expect(page.locator(f"#next-{run}")).to_contain_text("in ")
    pools.set_state(run, "RUNNING")
    expect(page.locator(f"#next-{run}")).to_have_count(0)
    expect(page.locator(f"#run-{run}")).to_contain_text("Running")
    expect(page.locator(f"#deployment-{deployment}")).to_contain_text("load")


def test_upcoming_runs_and_pools_are_on_the_dashboard(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    _populated(pools)
    page = visit(server_url, "dashboard")
    upcoming = page.get_by_role("region", name="Upcoming")
    expect(upcoming.locator("li")).to_have_count(2)
    expect(upcoming.locator("li").first).to_contain_text("overdue-heron")
    expect(upcoming.locator("li").last).to_contain_text(re.compile("early-otter.*in ", re.DOTALL))
    health = page.get_by_role("region", name="Work pools")
    expect(health.locator("li").first).to_contain_text(
        re.compile("main pool.*1 worker online.*1 late", re.DOTALL)
    )
    pools.heartbeat(LONG, "worker-2")
    expect(health.locator("li").filter(has_text=LONG)).to_contain_text("Ready")


def test_pools_and_queues_are_found_by_name_and_by_keys(
    server_url: str, pools: Pools, visit: Visit
) -> None:
    name = "main #1? pool"
    pools.pool(name)
    pools.queue(quote(name), "main queue")
    page = visit(server_url)
    page.keyboard.press("g")
    page.keyboard.press("w")
    expect(page).to_have_url(re.compile("work-pools$"))
    assert_live(page)
    page.keyboard.press("/")
    page.keyboard.type("MAIN")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="main queue")).to_be_visible()
    page.get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    pools.heartbeat(quote(name), "worker-1")
    expect(page.locator("#pool-status")).to_have_text("Ready")


def test_without_scripts_a_pool_is_made(server_url: str, browser: Browser) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(server_url.removesuffix("api") + "work-pools/create?type=process")
    page.locator("#name").fill("bad/name")
    page.get_by_role("button", name="Create work pool").click()
    expect(page.get_by_text("A name is not empty")).to_be_visible()
    page.go_back()
    page.locator("#name").fill("plain")
    page.get_by_role("button", name="Create work pool").click()
    page.get_by_role("link", name="Go on").click()
    expect(page.get_by_role("heading", name="plain")).to_be_visible()
    page.close()


@pytest.mark.parametrize("name", [".", ".."])
def test_a_pool_whose_name_is_a_place_to_browsers_has_its_pages(
    server_url: str, visit: Visit, name: str
) -> None:
    page = visit(server_url, "work-pools/create?type=process")
    page.locator("#name").fill(name)
    page.get_by_role("button", name="Create work pool").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    assert_live(page)
    page.get_by_role("link", name="New queue").click()
    assert_live(page)
    page.locator("#name").fill(name)
    page.get_by_role("button", name="Create queue").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    page.locator("table").get_by_role("link", name=name, exact=True).click()
    page.get_by_role("navigation", name="Breadcrumb").get_by_role("link", name=name).click()
    assert_live(page)
    page.get_by_role("button", name="Pause").first.click()
    expect(page.locator("#head")).to_contain_text("Paused")
    page.get_by_role("link", name="Workers").click()
    page.get_by_role("link", name="Edit").first.click()
    assert_live(page)
    page.get_by_label("Description").fill("What is above.")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#head")).to_contain_text("What is above.")
    page.goto(server_url.removesuffix("api") + "work-pools")
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
