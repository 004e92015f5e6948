"""The settings: what is in force and who chose it, the log, who runs what, the theme."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import LARGE, SMALL, Visit, assert_whole
from tests.browser.making_runs import Runs


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_the_settings_are_accessible_and_nothing_is_cut_off(
    server_url: str, runs: Runs, visit: Visit, width: int
) -> None:
    runs.flow("etl")
    page = visit(server_url, "settings?all=yes", width=width)
    expect(page.get_by_role("heading", name="Settings in force")).to_be_visible()
    assert_whole(page)


def test_the_log_and_its_readers_are_shown_as_they_are_now(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    page = visit(server_url, "settings")
    expect(page.get_by_text("nothing is recorded yet")).to_be_visible()
    runs.flow("etl")
    expect(page.get_by_role("link", name="position 1")).to_be_visible()
    expect(page.locator("#model-emissions .number")).to_have_text("up to date")
    expect(page.get_by_label("This server")).to_contain_text("up to date")


def test_a_setting_is_found_by_prefects_name_as_well_and_says_where_it_comes_from(
    server_url: str, visit: Visit
) -> None:
    page = visit(server_url, "settings")
    page.get_by_role("searchbox", name="Find a setting").fill("PREFECT_SERVER_API_PORT")
    expect(page).to_have_url(re.compile("q=PREFECT_SERVER_API_PORT"))
    row = page.locator("#setting-PLUPERFECT_API_PORT")
    expect(row).to_contain_text(re.search(r":(\d+)/", server_url)[1])  # type: ignore[index]
    page.get_by_role("searchbox", name="Find a setting").fill("no such setting")
    expect(page.get_by_role("heading", name="No setting is called that")).to_be_visible()


def test_the_theme_is_chosen_here_and_kept(server_url: str, visit: Visit) -> None:
    page = visit(server_url, "settings")
    theme = page.get_by_role("radiogroup", name="Theme")
    expect(theme.get_by_label("System")).to_be_checked()
    theme.get_by_label("Dark").check()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(theme.get_by_label("Dark")).to_be_checked()
    expect(page.locator("[data-theme-name]")).to_have_text("dark")
    page.keyboard.press("t")
    expect(theme.get_by_label("Dark")).not_to_be_checked()
