"""The list of deployments and the page of one: whether they run, why not, pause, copy, delete."""

import re

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import (
    LARGE,
    SMALL,
    Visit,
    assert_accessible,
    assert_fits,
    assert_live,
    assert_whole,
)
from tests.browser.making_deployments import DAILY, HOURLY, PULL_STEPS, SCHEMA, Deployments

TABS = ("runs", "upcoming", "parameters", "configuration", "description")


@pytest.fixture
def made(server_url: str) -> Deployments:
    """Makes deployments on this test's server."""
    return Deployments(server_url)


def _names(page: Page) -> Locator:
    return page.locator("td.main-cell .named > a")


def _of(id_: str) -> str:
    return f"deployments/deployment/{id_}"


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_the_list_and_every_tab_fit_and_are_accessible(
    server_url: str, made: Deployments, visit: Visit, width: int
) -> None:
    served, pooled, long, paused = made.of_every_kind()
    page = visit(server_url, "deployments", width=width)
    expect(page.locator("tbody tr")).to_have_count(4)
    assert_whole(page)
    for id_ in (served, long, paused):
        page = visit(server_url, _of(id_), width=width)
        assert_whole(page)
    for tab in TABS:
        page = visit(server_url, f"{_of(pooled)}?tab={tab}", width=width)
        assert_whole(page)


def test_the_first_visit_says_what_to_type_and_then_shows_the_deployment(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    page = visit(server_url, "deployments")
    expect(page.get_by_text(f"prefect config set PREFECT_API_URL={server_url}")).to_be_visible()
    id_ = made.make("every-day", flow="billing", schedules=[DAILY], tags=["eu"])
    row = page.get_by_role("row").filter(has_text="every-day")
    expect(row).to_contain_text("billing")
    expect(row).to_contain_text("Not ready")
    expect(row).to_contain_text("Every day at 09:00 Europe/Paris")
    expect(row.locator(".next-cell time")).to_be_visible()
    made.ready(id_)
    expect(row).not_to_contain_text("Not ready")
    made.run(id_, "FAILED")
    expect(row.locator(".trend rect")).to_have_attribute("data-state", "FAILED")
    httpx.delete(f"{server_url}/deployments/{id_}")
    expect(page.get_by_role("heading", name="No deployments yet")).to_be_visible()


def test_deployments_are_filtered_sorted_and_paged_in_the_address(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    made.pool("workers")
    for number in range(51):
        made.make(f"d-{number:02}", flow="many")
    made.make("hourly", flow="a first one", schedules=[HOURLY], tags=["eu"])
    made.make("paused", flow="other", paused=True, work_pool_name="workers")
    page = visit(server_url, "deployments")
    first = ["hourly", *(f"d-{number:02}" for number in range(49))]
    expect(_names(page)).to_have_text(first)
    page.get_by_role("link", name="Next page").click()
    expect(_names(page)).to_have_text(["d-49", "d-50", "paused"])
    page.reload()
    page.locator("[rel=prev]").click()
    expect(_names(page)).to_have_text(first)

    page.get_by_role("link", name="Next run", exact=True).click()
    expect(page).to_have_url(re.compile("sort=next"))
    expect(_names(page).first).to_have_text("hourly")
    page.get_by_label("Name of the deployment or its flow contains").fill("D-4")
    expect(page.locator("td.main-cell")).to_have_count(10)
    page.get_by_label("Name of the deployment or its flow contains").fill("FIRST")
    expect(page.locator("td.main-cell")).to_have_count(1)
    expect(page).to_have_url(re.compile(r"q=FIRST.*sort=next|sort=next.*q=FIRST"))
    page.get_by_role("link", name=re.compile("^Remove the filter")).click()
    expect(page.locator("td.main-cell")).to_have_count(50)
    page.get_by_label("Tags, separated by commas").fill("eu")
    expect(page.locator("td.main-cell")).to_have_count(1)
    page.get_by_role("link", name="Clear all").click()
    expect(page.locator("td.main-cell")).to_have_count(50)
    page.get_by_text("Status", exact=True).first.click()
    page.get_by_role("checkbox", name="Paused", exact=True).check()
    expect(_names(page)).to_have_text(["paused"])
    page.get_by_role("checkbox", name="Paused", exact=True).uncheck()
    page.get_by_label("Work pool", exact=True).select_option("workers")
    expect(_names(page)).to_have_text(["paused"])
    page.get_by_label("Name of the deployment or its flow contains").fill("nothing")
    expect(page.get_by_role("heading", name="No deployment is like that")).to_be_visible()


def test_a_double_click_runs_a_deployment_once_and_leads_to_the_run(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.make("served")
    page = visit(server_url, "deployments")
    page.get_by_role("button", name="Run served now").dblclick()
    link = page.get_by_role("link", name="Open the run")
    expect(link).to_be_visible()
    link.click()
    expect(page).to_have_url(re.compile("runs/flow-run/"))
    assert len(made.runs_of(id_)) == 1
    page.goto(server_url.removesuffix("api") + _of(id_))
    page.get_by_role("button", name="Run now").click()
    expect(page.get_by_role("link", name="Open the run")).to_be_visible()
    assert len(made.runs_of(id_)) == 2


def test_a_deployment_without_all_of_its_parameters_leads_to_the_form(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.make("needs-some", parameter_openapi_schema=SCHEMA)
    page = visit(server_url, _of(id_))
    page.get_by_role("button", name="Run now").click()
    expect(page).to_have_url(re.compile(f"{id_}/run"))
    expect(page.get_by_text("no value for some of its parameters")).to_be_visible()
    assert made.runs_of(id_) == []


def test_many_are_paused_and_resumed_and_that_is_taken_back(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    first = made.make("first", schedules=[HOURLY])
    second = made.make("second")
    page = visit(server_url, "deployments")
    page.get_by_role("checkbox", name="Choose all deployments").check()
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.get_by_text("Paused 2 deployments.")).to_be_visible()
    expect(page.locator(".status-cell").filter(has_text="Paused")).to_have_count(2)
    assert made.read(first)["paused"] and made.read(second)["paused"]
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".status-cell").filter(has_text="Paused")).to_have_count(0)
    page = visit(server_url, _of(first))
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#status")).to_have_text("Paused")
    expect(page.get_by_text("They rest while the deployment is paused.")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#status")).to_have_text("Not ready")


def test_a_deployment_is_deleted_after_a_question_that_names_what_is_lost_and_what_stays(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.make("served", schedules=[DAILY], flow="billing")
    made.run(id_, "COMPLETED")
    other = visit(server_url, _of(id_))
    page = visit(server_url, _of(id_))
    expect(page.locator("#plan time")).to_be_visible()
    page.get_by_text("More actions").or_(page.locator("#more summary")).first.click()
    page.get_by_role("button", name="Delete…", exact=True).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete the deployment served?")
    expect(dialog).to_contain_text("1 schedule")
    expect(dialog).to_contain_text("that wait for their time")
    expect(dialog).to_contain_text("1 other run stays")
    dialog.get_by_role("button", name="Delete the deployment").click()
    expect(page).to_have_url(re.compile("/deployments$"))
    expect(page.get_by_text("Deleted served.")).to_be_visible()
    expect(other.locator("#connection")).to_contain_text("This deployment does not exist")
    assert httpx.get(f"{server_url}/deployments/{id_}").status_code == 404


def test_a_deployment_that_nobody_runs_says_why_and_what_to_type(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    made.pool("workers")
    served = made.make("served", entrypoint="flows/a b.py:load")
    pooled = made.make("pooled", work_pool_name="workers")
    page = visit(server_url, _of(served))
    notice = page.get_by_role("region", name="Why its runs do not start")
    expect(notice).to_contain_text("prefect flow serve 'flows/a b.py:load' --name served")
    made.ready(served)
    expect(notice).to_have_count(0)
    page = visit(server_url, _of(pooled))
    notice = page.get_by_role("region", name="Why its runs do not start")
    expect(notice).to_contain_text("No worker of the work pool workers is online")
    expect(notice).to_contain_text("prefect worker start --pool workers")
    httpx.patch(f"{server_url}/work_pools/workers", json={"is_paused": True})
    expect(notice).to_contain_text("The work pool workers is paused")


def test_the_tabs_show_the_runs_as_they_come_and_how_they_are_made(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.of_every_kind()[1]
    page = visit(server_url, _of(id_))
    expect(page.get_by_role("heading", name="It has not run yet")).to_be_visible()
    expect(page.get_by_text("prefect deployment run billing/pooled")).to_be_visible()
    run = made.run(id_, "FAILED")
    expect(page.locator(f"#run-{run}")).to_contain_text("Failed")
    page.get_by_label("Run name contains").fill("no such name")
    expect(page.get_by_role("heading", name="No run is like that")).to_be_visible()
    page.get_by_role("link", name="Clear").click()
    page.locator("#run-filter-states summary").click()
    page.get_by_role("checkbox", name="Failed").check()
    expect(page).to_have_url(re.compile("state=FAILED"))
    expect(page.locator("#tab tbody tr")).to_have_count(1)
    page.get_by_role("link", name="Upcoming").click()
    expect(page).to_have_url(re.compile("tab=upcoming"))
    expect(page.locator("#tab tbody tr").first).to_contain_text("Scheduled")
    expect(page.locator("#tab tbody")).to_contain_text("Every day at 09:00")
    expect(page.locator("#tab tbody")).to_contain_text("Every week on Mon and Thu at 07:30")
    page.get_by_role("link", name="Parameters").click()
    row = page.get_by_role("row").filter(has_text="region")
    expect(row).to_contain_text("Where the orders come from.")
    expect(row).to_contain_text('"eu"')
    expect(page.get_by_role("row").filter(has_text="rows")).to_contain_text("100")
    page.get_by_role("link", name="Configuration").click()
    for step in PULL_STEPS:
        expect(page.locator("#tab")).to_contain_text(next(iter(step)))
    expect(page.locator("#tab")).to_contain_text("a new run is cancelled")
    expect(page.locator("#tab")).to_contain_text("REGION")
    page.get_by_role("link", name="Description").click()
    expect(page.get_by_role("heading", name="Invoices")).to_be_visible()
    expect(page.get_by_role("link", name="the team")).to_have_attribute(
        "rel", re.compile("noopener")
    )


def test_a_deployment_is_duplicated_under_a_name_that_is_free_and_does_not_run_twice(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.of_every_kind()[1]
    page = visit(server_url, _of(id_), expected="409")
    page.locator("#more summary").click()
    page.get_by_role("button", name="Duplicate…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("3 schedules will not act until you turn them on")
    dialog.get_by_label("Name").fill("pooled")
    dialog.get_by_role("button", name="Duplicate").click()
    expect(page.get_by_text("take another name")).to_be_visible()
    page.locator("#more summary").click()
    page.get_by_role("button", name="Duplicate…").click()
    dialog.get_by_label("Name").fill("pooled-2")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="pooled-2")).to_be_visible()
    copy = made.read(page.url.rpartition("/")[2])
    first = made.read(id_)
    assert copy["id"] != id_
    assert [one["active"] for one in copy["schedules"]] == [False] * 3
    for name in (
        "flow_id",
        "parameters",
        "parameter_openapi_schema",
        "work_pool_name",
        "work_queue_id",
        "tags",
        "labels",
        "pull_steps",
        "job_variables",
        "description",
        "entrypoint",
        "version",
        "concurrency_options",
        "enforce_parameter_schema",
    ):
        assert copy[name] == first[name], name
    assert copy["global_concurrency_limit"]["limit"] == 2
    assert copy["global_concurrency_limit"]["id"] != first["global_concurrency_limit"]["id"]


def test_a_deployment_is_changed_by_a_form_and_what_is_wrong_is_said_at_its_fields(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.of_every_kind()[1]
    made.pool("others")
    page = visit(server_url, _of(id_))
    page.locator("#more summary").click()
    page.get_by_role("link", name="Change…").click()
    expect(page.get_by_label("region")).to_have_value("eu")
    expect(page.get_by_label("rows")).to_have_attribute("placeholder", "100")
    assert_fits(page)
    assert_accessible(page)
    assert_live(page)
    page.get_by_label("Concurrent runs").fill("none")
    page.get_by_label("rows").fill("many")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("[data-wrong='limit']")).to_contain_text("whole number above 0")
    expect(page.locator("[data-wrong='value/rows']")).to_contain_text("whole number")
    before = made.read(id_)
    page.get_by_label("Concurrent runs").fill("5")
    page.get_by_label("rows").fill("7")
    page.get_by_label("Description").fill("# Changed")
    page.get_by_label("Tags, by comma").last.fill("billing, new")
    page.get_by_label("Work pool", exact=True).select_option("others")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Changed pooled.")).to_be_visible()
    after = made.read(id_)
    # An object that is given is whole: with the defaults of its members.
    assert after["parameters"] == {
        "region": "eu",
        "rows": 7,
        "target": {"schema": "raw", "replace": False},
    }
    assert (after["description"], after["tags"]) == ("# Changed", ["billing", "new"])
    assert (after["work_pool_name"], after["work_queue_name"]) == ("others", "default")
    assert after["global_concurrency_limit"]["limit"] == 5
    for name in (
        "job_variables",
        "concurrency_options",
        "enforce_parameter_schema",
        "pull_steps",
        "entrypoint",
        "version",
        "labels",
    ):
        assert after[name] == before[name], name
    assert {one["id"] for one in after["schedules"]} == {one["id"] for one in before["schedules"]}


def test_the_keyboard_alone_leads_from_anywhere_to_a_run_of_a_deployment(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    first = made.make("first", flow="a")
    second = made.make("second", flow="b")
    page = visit(server_url, "runs")
    page.keyboard.press("g")
    page.keyboard.press("p")
    expect(page).to_have_url(re.compile("/deployments$"))
    assert_live(page)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(second))
    assert_live(page)
    page.keyboard.press("c")
    expect(page).to_have_url(re.compile(f"{second}/run$"))
    assert_live(page)
    page.get_by_role("button", name="Run", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("runs/flow-run/"))
    assert (len(made.runs_of(first)), len(made.runs_of(second))) == (0, 1)


def test_other_pages_lead_to_deployments(server_url: str, made: Deployments, visit: Visit) -> None:
    id_ = made.make("every-day", flow="billing", schedules=[DAILY])
    run = made.run(id_, "COMPLETED")
    made.runs.run("by-hand", "COMPLETED", flow="billing")
    flow = made.runs.flow("billing")
    page = visit(server_url, f"flows/flow/{flow}")
    expect(page.locator("#planned")).to_contain_text("Every day at 09:00")
    page.get_by_role("link", name="every-day").click()
    expect(page).to_have_url(re.compile(id_))
    page.get_by_role("link", name="All in the list of runs").click()
    expect(page.get_by_text("of the deployment billing / every-day")).to_be_visible()
    listed = page.locator("tbody:not(#upcoming)")
    expect(page.locator(f"#run-{run}")).to_be_visible()
    expect(listed).not_to_contain_text("by-hand")
    page.get_by_role("link", name=re.compile("^Remove the filter of the deployment")).click()
    expect(listed).to_contain_text("by-hand")
    page.get_by_label("Name of the deployment or its flow contains").fill("EVERY")
    expect(listed).not_to_contain_text("by-hand")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("ry-da")
    page.keyboard.press("Enter")
    page.get_by_role("row").filter(has_text="Deployment").get_by_role("link").click()
    expect(page).to_have_url(re.compile(id_))


def test_a_deployment_that_does_not_exist_says_so(server_url: str, visit: Visit) -> None:
    page = visit(
        server_url, _of("0199abcd-0000-7000-8000-000000000001"), live=False, expected="404"
    )
    expect(page.get_by_role("heading", name="This deployment does not exist")).to_be_visible()
