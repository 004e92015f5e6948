"""Variables: found, made with a value that is checked while it is typed, changed, deleted."""

import re
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import (
    Visit,
    assert_accessible,
    assert_live,
)
from tests.browser.looks import assert_each_can_be_used, in_every_look
from tests.browser.making_runs import Runs

LONG = "a-variable-whose-name-somebody-built-from-a-date-a-region-and-a-customer-2026-11-26-eu"


def _make(runs: Runs, name: str, value: Any, *tags: str) -> str:
    return str(runs.post("/variables/", {"name": name, "value": value, "tags": tags})["id"])


def _populated(runs: Runs) -> str:
    _make(runs, "region", "eu", "prod")
    _make(runs, "batch-size", 500)
    _make(runs, LONG, ["x" * 50] * 40, "prod", "a-tag-that-is-long", "b", "c", "d")
    return _make(runs, "limits", {"rows": 10_000, "owners": ["anna"]}, "prod", "team:data")


@in_every_look
def test_every_page_is_accessible_and_fits(
    server_url: str, runs: Runs, visit: Visit, width: int
) -> None:
    id_ = _populated(runs)
    page = visit(server_url, "variables", width=width)
    paths = ("variables", "variables/create", f"variables/variable/{id_}", "variables?q=none")
    assert_each_can_be_used(page, server_url, paths)


def test_the_first_visit_says_what_to_type_next(server_url: str, visit: Visit) -> None:
    page = visit(server_url)
    page.keyboard.press("g")
    page.keyboard.press("v")
    expect(page).to_have_url(re.compile("variables$"))
    expect(page.get_by_text("prefect variable set region eu")).to_be_visible()
    assert_accessible(page)


def test_variables_are_found_by_name_and_by_tags_and_followed(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    _populated(runs)
    page = visit(server_url, "variables")
    names = page.locator("td.main-cell")
    expect(names).to_have_text([LONG, "batch-size", "limits", "region"])
    expect(page.get_by_role("row", name='region "eu"', exact=False)).to_contain_text('"eu"')
    _make(runs, "added", True)
    expect(names.filter(has_text="added")).to_be_visible()
    page.get_by_label("Name contains").fill("LIM")
    expect(page).to_have_url(re.compile("q=LIM"))
    expect(names).to_have_text(["limits"])
    page.get_by_label("Name contains").fill("")
    page.get_by_label("Tags, separated by commas").fill("prod, team:data")
    expect(names).to_have_text(["limits"])
    page.get_by_label("Tags, separated by commas").fill("nowhere")
    page.get_by_role("link", name="Show all variables").click()
    page.get_by_role("link", name="Variable, sorted; turn round").click()
    expect(names.first).to_have_text("region")
    page.get_by_role("link", name="Changed").click()
    expect(names.first).to_have_text("added")


def test_a_value_is_judged_while_it_is_typed_and_what_is_made_is_what_was_typed(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    _make(runs, "taken", 1)
    page = visit(server_url, "variables")
    page.get_by_role("link", name="New variable").click()
    value, wrong = page.get_by_label("Value"), page.locator("#value-wrong")
    value.press_sequentially("eu")
    expect(wrong).to_contain_text("Text stands between quotes")
    expect(value).to_have_attribute("aria-invalid", "true")
    value.fill('"eu"')
    expect(wrong).to_be_hidden()
    expect(page.locator("[data-json-told]")).to_have_text("text · 4 bytes")
    value.fill(f'"{"x" * 5_000}"')
    expect(wrong).to_contain_text("A value may have 5000 bytes as JSON; this has 5002.")
    page.locator("#name").fill("Region EU")
    page.get_by_role("button", name="Create variable").click()
    expect(page.locator("#name-wrong")).to_contain_text("small letters, digits")
    expect(wrong).to_contain_text("this has 5002")
    value.fill('{"rows":[1,2.5,null],"on":true}')
    page.get_by_role("button", name="Tidy up").click()
    expect(value).to_have_value(re.compile('^{\n  "rows": \\[\n'))
    page.locator("#name").fill("taken")
    page.get_by_role("button", name="Create variable").click()
    expect(page.locator("#name-wrong")).to_contain_text("There is a variable with this name")
    page.locator("#name").fill("limits")
    page.get_by_label("Tags").fill("prod, team:data, prod")
    page.get_by_role("button", name="Create variable").click()
    expect(page).to_have_url(re.compile("variables$"))
    expect(page.locator(".toast")).to_contain_text("Made the variable limits.")
    made = httpx.get(f"{server_url}/variables/name/limits").json()
    assert made["value"] == {"rows": [1, 2.5, None], "on": True}
    assert made["tags"] == ["prod", "team:data"]


def test_a_variable_is_changed_and_renamed(server_url: str, runs: Runs, visit: Visit) -> None:
    id_ = _make(runs, "region", "eu", "prod")
    page = visit(server_url, "variables")
    page.get_by_role("link", name="Edit region").click()
    expect(page.get_by_label("Value")).to_have_value('"eu"')
    expect(page.get_by_text('Variable.get("region")')).to_be_visible()
    assert_live(page)
    page.get_by_label("Value").fill("")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#value-wrong")).to_contain_text("A value is needed")
    page.get_by_label("Value").fill("null")
    page.locator("#name").fill("area")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".toast")).to_contain_text("Changed the variable area.")
    found = httpx.get(f"{server_url}/variables/{id_}").json()
    assert (found["name"], found["value"], found["tags"]) == ("area", None, ["prod"])


def test_a_variable_is_deleted_after_a_question_and_its_open_page_says_so(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    id_ = _make(runs, "region", "eu")
    other = visit(server_url, f"variables/variable/{id_}", expected="404")
    page = visit(server_url, "variables")
    page.get_by_role("button", name="Delete region…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("listitem")).to_have_text("the variable region with its value")
    assert_accessible(page)
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.locator(f"#variable-{id_}")).to_be_visible()
    page.get_by_role("button", name="Delete region…").click()
    dialog.get_by_role("button", name="Delete the variable").click()
    expect(page.get_by_role("heading", name="No variables yet")).to_be_visible()
    expect(other.get_by_role("heading", name="This variable was deleted")).to_be_visible()
    assert httpx.get(f"{server_url}/variables/{id_}").status_code == 404


@pytest.mark.heavy
def test_without_scripts_a_variable_is_made(server_url: str, browser: Browser) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(server_url.removesuffix("api") + "variables/create")
    page.locator("#name").fill("region")
    page.locator("#value").fill("eu")
    page.get_by_role("button", name="Create variable").click()
    expect(page.get_by_text("Text stands between quotes")).to_be_visible()
    page.go_back()
    page.locator("#name").fill("region")
    page.locator("#value").fill('"eu"')
    page.get_by_role("button", name="Create variable").click()
    page.get_by_role("link", name="Go on").click()
    expect(page.get_by_role("link", name="region", exact=True)).to_be_visible()
    page.close()
