"""Pages behind a proxy, below a path of it: links, styles, news and actions all find their way."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests import nginx_serving
from tests.browser.conftest import Visit, assert_live
from tests.browser.making_blocks import Blocks
from tests.browser.making_deployments import Deployments
from tests.browser.making_runs import Runs
from tests.conftest import StartServer
from tests.nginx_serving import BASE_PATH, PASSED_ON, PATH, TAKEN_OFF


@pytest.fixture(params=[PASSED_ON, TAKEN_OFF], ids=["passed on", "taken off"])
def api(start_server: StartServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of the API through nginx, which passes the prefix on to the server or takes it off."""
    settings = BASE_PATH if request.param == PASSED_ON else {}
    ports = [start_server(settings=settings).port for _ in range(2)]
    with nginx_serving.in_front_of(tmp_path / "nginx", ports, request.param) as url:
        yield f"{url}{PATH}/api"


def test_a_run_is_found_cancelled_and_brought_back_below_a_prefix(api: str, visit: Visit) -> None:
    runs = Runs(api)
    id_ = runs.run("waiting", "SCHEDULED")
    page = visit(api, "dashboard")
    page.get_by_role("navigation").get_by_role("link", name="Runs").click()
    page.get_by_role("link", name="1 upcoming run").click()
    row = page.locator(f"#run-{id_}")
    row.locator("input").check()
    page.get_by_role("button", name="Cancel runs").click()
    expect(row).to_contain_text("Cancelled")
    page.get_by_role("button", name="Undo").click()
    expect(row).to_contain_text("Scheduled")
    row.get_by_role("link", name="waiting").click()
    expect(page).to_have_url(f"{api.removesuffix('/api')}/runs/flow-run/{id_}")
    runs.set_state(id_, "RUNNING")
    expect(page.locator("main")).to_contain_text("Running")


def test_a_deployment_is_run_and_gets_a_schedule_below_a_prefix(api: str, visit: Visit) -> None:
    id_ = Deployments(api).make("served")
    page = visit(api, "deployments")
    page.get_by_role("button", name="Run served now").click()
    page.get_by_role("link", name="Open the run").click()
    page.get_by_role("link", name="served").click()
    expect(page).to_have_url(f"{api.removesuffix('/api')}/deployments/deployment/{id_}")
    page.get_by_role("link", name="Add", exact=True).click()
    page.get_by_label("Cron expression").fill("*/20 * * * *")
    expect(page.locator("#preview")).to_contain_text("Every 20 minutes")
    page.get_by_role("button", name="Add the schedule").click()
    expect(page.locator("#plan")).to_contain_text("Every 20 minutes")


@pytest.mark.heavy
def test_a_limit_a_variable_and_a_block_are_made_below_a_prefix(api: str, visit: Visit) -> None:
    root = api.removesuffix("/api")
    Blocks(api).registered()
    page = visit(api, "concurrency-limits")
    page.get_by_role("link", name="New limit").first.click()
    assert_live(page)
    page.locator("#name").fill("database")
    page.locator("#limit").fill("2")
    page.get_by_role("button", name="Create limit").click()
    expect(page.get_by_role("heading", name="database")).to_be_visible()
    page.get_by_role("navigation").get_by_role("link", name="Variables").click()
    page.get_by_role("link", name="New variable").first.click()
    assert_live(page)
    page.locator("#name").fill("region")
    page.get_by_label("Value").fill('"eu"')
    page.get_by_role("button", name="Create variable").click()
    expect(page).to_have_url(f"{root}/variables")
    page.goto(f"{root}/blocks/catalog/account/create")
    page.locator("#name").fill("main")
    page.get_by_label("User").fill("anna")
    page.get_by_label("Password").fill("secret")
    page.get_by_role("button", name="Save block").click()
    expect(page.get_by_text('Block.load("account/main")')).to_be_visible()
    page.goto(f"{root}/runs?state=FAILED")
    page.locator("#saved-filters summary").click()
    page.get_by_role("button", name="Save this filter…").click()
    page.get_by_role("dialog").get_by_label("Name").fill("failed")
    page.get_by_role("dialog").get_by_role("button", name="Save the filter").click()
    page.locator("#saved-filters summary").click()
    page.get_by_role("link", name="failed", exact=True).click()
    expect(page).to_have_url(f"{root}/runs?state=FAILED")
