"""The front page in a real browser: live, without a console error, in both colour schemes."""

from typing import Literal

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.conftest import StartServer

Scheme = Literal["light", "dark"]


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """Pages do not depend on the engine."""
    return str(request.param)


def _run(url: str, state: str, state_name: str | None = None) -> str:
    flow = httpx.post(f"{url}/flows/", json={"name": "nightly load"}).json()
    proposed = {"type": state, "name": state_name}
    body = {"flow_id": flow["id"], "name": "a <b>run</b>", "state": proposed}
    run = httpx.post(f"{url}/flow_runs/", json=body).json()
    return str(run["name"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_runs_appear_on_the_page_while_it_is_open(
    server_url: str, browser: Browser, scheme: Scheme, width: int
) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(server_url.removesuffix("api"))
    expect(page.get_by_text("No runs yet")).to_be_visible()

    name = _run(server_url, "RUNNING")
    row = page.get_by_role("row").filter(has_text=name)
    expect(row).to_be_visible()
    expect(row).to_contain_text("Running")
    expect(row).to_contain_text("nightly load")
    assert errors == []
    context.close()


def test_a_long_name_of_a_state_pushes_nothing_off_a_small_screen(
    server_url: str, browser: Browser
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    _run(server_url, "SCHEDULED", "AwaitingConcurrencySlotOfTheNightlyWarehouse")
    page.goto(server_url.removesuffix("api"))

    for heading in ("State", "Run", "Flow", "Duration"):
        box = page.get_by_role("columnheader", name=heading, exact=True).bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 390
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    main = page.locator("main")
    assert main.evaluate("main => main.scrollWidth <= main.clientWidth")
    expect(page.get_by_text("AwaitingConcurrencySlotOfTheNightlyWarehouse")).to_be_visible()
    page.close()


def test_a_link_to_a_page_that_is_not_there_yet_leads_to_one_that_is(
    server_url: str, browser: Browser
) -> None:
    page = browser.new_page()
    answer = page.goto(server_url.removesuffix("api") + "runs/flow-run/0199")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_text("There is no page here")).to_be_visible()
    page.get_by_role("link", name="front page").click()
    expect(page.get_by_text("No runs yet")).to_be_visible()
    page.close()


def test_a_browser_can_sign_in_where_the_api_asks_for_a_password(
    start_server: StartServer, browser: Browser
) -> None:
    server = start_server(settings={"PLUPERFECT_API_AUTH_STRING": "me:sesame"})
    root = server.url.removesuffix("api")
    context = browser.new_context(http_credentials={"username": "me", "password": "sesame"})
    page = context.new_page()
    page.goto(root)
    expect(page.get_by_role("status")).to_have_text("live")
    context.close()
    refused = httpx.get(root)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic ")


def test_the_page_says_when_the_server_is_gone(start_server: StartServer, browser: Browser) -> None:
    server = start_server()
    page = browser.new_page()
    page.goto(server.url.removesuffix("api"))
    status = page.get_by_role("status")
    expect(status).to_have_text("live")
    server.stop()
    expect(status).to_contain_text("connection lost")
    page.close()


def test_the_api_page_lists_every_operation(server_url: str, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(server_url.removesuffix("api") + "docs")
    document = httpx.get(f"{server_url}/openapi.json").json()
    operations = sum(len(methods) for methods in document["paths"].values())
    expect(page.locator("section details summary b")).to_have_count(operations)
    page.close()
