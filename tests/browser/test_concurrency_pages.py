"""Concurrency limits: seen with their holders, made, changed, switched off, reset, deleted."""

import re

import httpx
import pytest
from playwright.sync_api import expect

from projections.concurrency_pages import DEPLOYMENTS_SHOWN
from tests.browser.conftest import SMALL, Visit, assert_accessible, assert_live, assert_whole
from tests.browser.looks import assert_each_can_be_used, in_every_look
from tests.browser.making_limits import Limits
from tests.browser.test_event_feed import emit

LIMITS = "concurrency-limits"
LIMIT = f"{LIMITS}/concurrency-limit/"
LONG = "a-limit-whose-name-somebody-built-from-a-database-a-region-and-a-team-eu-analytics"


@pytest.fixture
def limits(server_url: str) -> Limits:
    """Makes limits on this test's server."""
    return Limits(server_url)


def _populated(limits: Limits) -> tuple[str, str, str]:
    """Limits of each kind, some of them held; ids of a global one, a tag's and a deployment's."""
    database = limits.limit("database", 2)
    limits.take("database", limits.run("busy-lynx"))
    limits.limit(LONG, 5, active=False)
    limits.limit("quota", 10, slot_decay_per_second=0.5)
    limits.post("/v2/concurrency_limits/increment", {"names": ["quota"], "slots": 4})
    tag = limits.on_tag("gpu", 1)
    limits.on_tag("never", 0)
    task = limits.task_run(limits.run("parent-otter"), "train")
    limits.post("/concurrency_limits/increment", {"names": ["gpu"], "task_run_id": task})
    limits.pool("main")
    options = {"collision_strategy": "ENQUEUE"}
    made = limits.deployment("nightly", "main", concurrency_limit=1, concurrency_options=options)
    for name in ("first-heron", "second-heron"):
        run = limits.due(made, name, 0)
        limits.post(f"/flow_runs/{run}/set_state", {"state": {"type": "PENDING"}})
    found = httpx.get(f"{limits.url}/deployments/{made}").json()
    return database, tag, found["global_concurrency_limit"]["id"]


@in_every_look
def test_every_page_is_accessible_and_fits(
    server_url: str, limits: Limits, visit: Visit, width: int
) -> None:
    ids = _populated(limits)
    page = visit(server_url, LIMITS, width=width)
    paths = [f"{LIMITS}?tab={tab}" for tab in ("global", "task-run", "deployments")]
    paths += [f"{LIMIT}{id_}" for id_ in ids]
    paths += [f"{LIMIT}{ids[0]}/edit", f"{LIMITS}/create", f"{LIMITS}/create?kind=tag"]
    assert_each_can_be_used(page, server_url, paths)


def test_the_first_visit_says_what_to_type_next(server_url: str, visit: Visit) -> None:
    page = visit(server_url)
    page.keyboard.press("g")
    page.keyboard.press("c")
    expect(page).to_have_url(re.compile(f"{LIMITS}$"))
    expect(page.get_by_text("prefect gcl create database --limit 5")).to_be_visible()
    page.get_by_role("link", name="Tags of tasks").click()
    expect(page.get_by_text("prefect concurrency-limit create database 5")).to_be_visible()
    page.get_by_role("link", name="Deployments").last.click()
    expect(page.get_by_text("--concurrency-limit 1")).to_be_visible()
    assert_accessible(page)


def test_slots_that_are_taken_and_given_back_are_seen_with_who_holds_them(
    server_url: str, limits: Limits, visit: Visit
) -> None:
    id_ = limits.limit("database", 2)
    page = visit(server_url, LIMITS)
    row = page.locator(f"#limit-{id_}")
    expect(row).to_contain_text("0 of 2")
    lease = limits.take("database", limits.run("busy-lynx"), 2)
    expect(row).to_contain_text("2 of 2")
    expect(row).to_contain_text("1 holder")
    row.get_by_role("link", name="database", exact=True).click()
    holder = page.locator(f"#lease-{lease}")
    expect(holder).to_contain_text(re.compile("busy-lynx.*flow run.*Running.*2", re.DOTALL))
    expect(page.get_by_text("All of its slots are taken.")).to_be_visible()
    limits.give_back(lease)
    expect(page.get_by_text("Nobody holds a slot.")).to_be_visible()
    expect(page.locator("#one")).to_contain_text("0 of 2")


def test_holders_stand_below_their_heading_on_a_phone(
    server_url: str, limits: Limits, visit: Visit
) -> None:
    id_, _, _ = _populated(limits)
    page = visit(server_url, f"{LIMIT}{id_}", width=SMALL)
    text = """one => {
      const range = document.createRange();
      range.selectNodeContents(one);
      return range.getBoundingClientRect().left;
    }"""
    left = page.get_by_role("heading", name="Who holds slots").evaluate(text)
    assert page.locator(".holders .main-cell").evaluate(text) == left


def test_a_holder_that_did_not_say_who_it_is_is_found_in_the_event_that_it_sent(
    server_url: str, limits: Limits, visit: Visit
) -> None:
    id_ = limits.limit("database", 2)
    body = {"names": ["database"], "slots": 1, "mode": "concurrency"}
    limits.post("/v2/concurrency_limits/increment-with-lease", body)
    run = limits.run("busy-lynx")
    about = {"prefect.resource.id": f"prefect.concurrency-limit.{id_}"}
    by = {"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.role": "flow-run"}
    emit(
        server_url,
        event="prefect.concurrency-limit.acquired",
        resource=about,
        related=[{**by, "prefect.resource.name": "busy-lynx"}],
    )
    for others in (
        {"event": "prefect.concurrency-limit.released", "resource": about},
        {"event": "prefect.concurrency-limit.acquired"},
        {
            "event": "prefect.concurrency-limit.acquired",
            "resource": about,
            "minutes_ago": 60,
        },
    ):
        emit(server_url, **others)
    page = visit(server_url, f"{LIMIT}{id_}")
    page.get_by_role("link", name="a client that did not say who it is").click()
    rows = page.locator(".feed-rows tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("busy-lynx")


def test_who_holds_slots_of_a_tag_and_who_waits_for_a_deployment_is_said(
    server_url: str, limits: Limits, visit: Visit
) -> None:
    _, tag, deployment = _populated(limits)
    page = visit(server_url, f"{LIMITS}?tab=task-run")
    expect(page.locator(f"#limit-{tag}")).to_contain_text(re.compile("gpu.*1 of 1", re.DOTALL))
    page.get_by_role("link", name="gpu", exact=True).click()
    expect(page.get_by_role("row").filter(has_text="train-0")).to_contain_text("parent-otter")
    page.goto(f"{server_url.removesuffix('api')}{LIMITS}?tab=deployments")
    row = page.locator(f"#limit-{deployment}")
    expect(row).to_contain_text(re.compile("nightly.*1 of 1.*1 waiting", re.DOTALL))
    row.get_by_role("link", name="nightly", exact=True).click()
    expect(page.get_by_text("All of its slots are taken: 1 run waits for one.")).to_be_visible()
    expect(page.get_by_role("button", name="Delete…")).to_have_count(0)
    page.set_viewport_size({"width": SMALL, "height": 800})
    expect(page.get_by_role("row").filter(has_text="run waits")).to_contain_text("1 waiting")
    page.get_by_role("link", name="1 waiting").click()
    expect(page.locator("#runs td.main-cell a")).to_have_text(["second-heron"])


def test_slots_of_a_rate_come_free_while_one_looks(
    server_url: str, limits: Limits, visit: Visit
) -> None:
    id_ = limits.limit("quota", 100, slot_decay_per_second=20)
    page = visit(server_url, f"{LIMIT}{id_}")
    limits.post("/v2/concurrency_limits/increment", {"names": ["quota"], "slots": 40})
    expect(page.locator("[data-active]")).not_to_have_text("0")
    expect(page.locator("[data-active]")).to_have_text("0")
    expect(page.get_by_text("20 per second")).to_be_visible()


def test_a_limit_is_made_changed_and_switched_off(
    server_url: str, limits: Limits, visit: Visit
) -> None:
    limits.limit("taken", 1)
    page = visit(server_url, LIMITS)
    page.get_by_role("link", name="New limit").click()
    assert_live(page)
    page.get_by_role("button", name="Create limit").click()
    expect(page.locator("#name-wrong")).to_contain_text("A name is not empty")
    expect(page.locator("#limit-wrong")).to_contain_text("whole number")
    expect(page.locator("#name")).to_be_focused()
    page.locator("#name").fill("tag:eu")
    page.locator("#limit").fill("3")
    page.locator("#decay").fill("soon")
    page.get_by_role("button", name="Create limit").click()
    expect(page.locator("#name-wrong")).to_contain_text("tag:")
    expect(page.locator("#decay-wrong")).to_contain_text("0.5")
    page.locator("#name").fill("taken")
    page.locator("#decay").fill("")
    page.get_by_role("button", name="Create limit").click()
    expect(page.locator("#name-wrong")).to_contain_text("There is such a limit already.")
    page.locator("#name").fill("database")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="database")).to_be_visible()
    expect(page.locator(".toast")).to_contain_text("Made the concurrency limit database.")
    page.get_by_role("link", name="Edit").click()
    assert_live(page)
    page.locator("#limit").fill("7")
    page.locator("#decay").fill("0.25")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#one")).to_contain_text("0 of 7")
    expect(page.locator("#one")).to_contain_text("15 per minute")
    assert_live(page)
    page.get_by_role("button", name="Switch off").click()
    expect(page.locator("#limit-status")).to_have_text("Off")
    expect(page.get_by_text("It is off: whoever asks gets slots at once")).to_be_visible()
    made = httpx.get(f"{server_url}/v2/concurrency_limits/database").json()
    assert (made["limit"], made["active"], made["slot_decay_per_second"]) == (7, False, 0.25)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#limit-status")).to_have_text("Active")
    page.get_by_role("button", name="Limit…").click()
    page.get_by_role("dialog").get_by_label("Limit").fill("9")
    page.get_by_role("dialog").get_by_role("button", name="Set the limit").click()
    expect(page.locator("#one")).to_contain_text("0 of 9")
    expect(page.get_by_text("has 9 slots now")).to_be_visible()  # With an “Undo” of its own.
    page.get_by_role("button", name="Undo").last.click()
    expect(page.locator("#one")).to_contain_text("0 of 7")


def test_a_tag_is_limited_to_none(server_url: str, visit: Visit) -> None:
    page = visit(server_url, f"{LIMITS}?tab=task-run")
    page.get_by_role("link", name="Limit a tag").first.click()
    assert_live(page)
    page.locator("#name").fill("gpu")
    page.locator("#limit").fill("0")
    page.get_by_role("button", name="Limit the tag").click()
    expect(page.get_by_text("task runs with this tag are aborted")).to_be_visible()
    found = httpx.get(f"{server_url}/concurrency_limits/tag/gpu").json()
    assert found["concurrency_limit"] == 0


def test_a_reset_says_what_it_lets_go_and_frees_every_slot(
    server_url: str, limits: Limits, visit: Visit
) -> None:
    id_ = limits.limit("database", 3)
    limits.take("database", limits.run("busy-lynx"), 2)
    limits.post("/v2/concurrency_limits/increment", {"names": ["database"], "slots": 1})
    page = visit(server_url, f"{LIMIT}{id_}")
    page.get_by_role("button", name="Reset…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("listitem").first).to_have_text("3 slots that are taken")
    expect(dialog.get_by_role("listitem").last).to_contain_text("1 lease")
    expect(dialog).to_contain_text("not stopped")
    assert_accessible(page)
    dialog.get_by_role("button", name="Cancel").click()
    assert limits.active(id_) == 3
    page.get_by_role("button", name="Reset…").click()
    dialog.get_by_role("button", name="Reset the limit").click()
    expect(page.locator(".toast")).to_contain_text("Reset the limit database: 3 slots free again.")
    expect(page.get_by_text("Nobody holds a slot.")).to_be_visible()
    assert limits.active(id_) == 0


def test_the_slots_of_one_holder_are_freed(server_url: str, limits: Limits, visit: Visit) -> None:
    id_ = limits.limit("database", 3)
    limits.take("database", limits.run("busy-lynx"), 2)
    kept = limits.take("database", limits.run("quiet-ibis"))
    page = visit(server_url, f"{LIMIT}{id_}")
    page.get_by_role("button", name="Free the slots of the flow run busy-lynx…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("listitem")).to_have_text("2 slots that the flow run busy-lynx holds")
    dialog.get_by_role("button", name="Free the slots").click()
    expect(page.locator("#one tr[id]")).to_have_count(1)
    expect(page.locator(f"#lease-{kept}")).to_be_visible()
    assert limits.active(id_) == 1


def test_a_limit_is_deleted_after_a_question(server_url: str, limits: Limits, visit: Visit) -> None:
    id_ = limits.limit("database", 3)
    page = visit(server_url, f"{LIMIT}{id_}", expected="404")
    other = visit(server_url, f"{LIMIT}{id_}", expected="404")
    page.get_by_role("button", name="Delete…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("listitem")).to_have_text("the limit database")
    dialog.get_by_role("button", name="Delete the limit").click()
    expect(page).to_have_url(re.compile(f"{LIMITS}$"))
    expect(page.locator(".toast")).to_contain_text("Deleted the limit database.")
    expect(other.get_by_role("heading", name="This limit was deleted")).to_be_visible()
    assert httpx.get(f"{server_url}/v2/concurrency_limits/database").status_code == 404


def test_every_deployment_of_a_limit_is_found_and_all_that_wait_are_counted(
    server_url: str, limits: Limits, visit: Visit
) -> None:
    limit = limits.limit("licences", 1)
    made = [
        limits.post(
            "/deployments/",
            {
                "name": f"load-{at:02}",
                "flow_id": limits.flow("nightly load"),
                "global_concurrency_limit_id": limit,
            },
        )["id"]
        for at in range(DEPLOYMENTS_SHOWN + 3)
    ]
    for deployment in (made[0], made[-1], made[-1]):
        run = limits.post(f"/deployments/{deployment}/create_flow_run", {})["id"]
        limits.set_state(run, "SCHEDULED", "AwaitingConcurrencySlot")
    page = visit(server_url, f"concurrency-limits/concurrency-limit/{limit}")
    rows = page.get_by_role("region", name="Its deployments").locator("td.main-cell")
    expect(rows).to_have_count(DEPLOYMENTS_SHOWN)
    expect(page.get_by_text("53 deployments")).to_be_visible()
    expect(page.locator(".run-facts").get_by_text("3 waiting")).to_be_visible()
    page.get_by_role("link", name="Next page").click()
    expect(rows).to_have_text(["load-50", "load-51", "load-52"])
    expect(page.locator("#one").get_by_text("2 waiting", exact=True)).to_be_visible()
    assert_whole(page)
    page.get_by_role("link", name="Previous page").click()
    expect(rows).to_have_count(DEPLOYMENTS_SHOWN)
    assert_live(page)
    page.get_by_role("button", name="Delete…").click()
    expect(page.get_by_role("dialog")).to_contain_text("the limit of 53 deployments")
