"""Schedules of a deployment: filled in with a preview, changed, turned off and on, deleted."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import LARGE, SMALL, Visit, assert_live, assert_whole
from tests.browser.making_deployments import DAILY, HOURLY, SCHEMA, WEEKLY, Deployments


@pytest.fixture
def made(server_url: str) -> Deployments:
    """Makes deployments on this test's server."""
    return Deployments(server_url)


def _new(id_: str) -> str:
    return f"deployments/deployment/{id_}/schedule"


def _schedules(made: Deployments, id_: str) -> list[dict[str, Any]]:
    return list(made.read(id_)["schedules"])


def _preview(page: Page) -> Any:
    return page.locator("#preview")


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_the_form_fits_and_is_accessible(
    server_url: str, made: Deployments, visit: Visit, width: int
) -> None:
    id_ = made.make("d", schedules=[DAILY, HOURLY, WEEKLY], parameter_openapi_schema=SCHEMA)
    page = visit(server_url, _new(id_), width=width)
    assert_whole(page)
    for one in _schedules(made, id_):
        page = visit(server_url, f"{_new(id_)}/{one['id']}", width=width)
        assert_whole(page)


def test_a_schedule_is_previewed_while_it_is_filled_in_and_then_acts(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.make("d", parameter_openapi_schema=SCHEMA)
    page = visit(server_url, f"deployments/deployment/{id_}?tab=upcoming")
    page.get_by_role("link", name="Add", exact=True).click()
    expect(_preview(page)).to_contain_text("Every day at 09:00")
    expect(_preview(page).locator(".moments li")).to_have_count(5)
    page.get_by_label("Time zone").fill("Europe/Paris")
    page.get_by_label("Cron expression").fill("30 2 * * *")
    expect(_preview(page)).to_contain_text("Every day at 02:30")
    expect(page).to_have_url(re.compile(r"cron=30(%20|\+)2"))
    change = _preview(page).locator(".clock-change")
    expect(change).to_contain_text(re.compile("The clocks go (forward|back) on"))
    expect(change.locator(".moments li")).to_have_count(5)
    page.reload()
    expect(page.get_by_label("Cron expression")).to_have_value("30 2 * * *")
    moments = [
        datetime.fromisoformat(moment).astimezone(UTC)
        for moment in _preview(page)
        .locator(".moments")
        .first.locator("time")
        .evaluate_all("all => all.map((one) => one.dateTime)")
    ]
    page.get_by_role("button", name="Add the schedule").click()
    expect(page.get_by_text("Added the schedule.")).to_be_visible()
    expect(page.locator("#plan")).to_contain_text("Every day at 02:30")
    (made_schedule,) = _schedules(made, id_)
    assert made_schedule["schedule"] == {
        "cron": "30 2 * * *",
        "timezone": "Europe/Paris",
        "day_or": True,
    }
    # The scheduler makes runs at the moments that were shown.
    page.get_by_role("link", name="Upcoming").click()
    expect(page.locator("#tab tbody tr")).not_to_have_count(0)
    due = page.locator("#tab tbody tr .due time").evaluate_all(
        "all => all.map((one) => one.dateTime)"
    )
    assert [datetime.fromisoformat(one) for one in due[:3]] == moments[:3]


def test_intervals_and_rules_are_made_as_they_are_filled_in(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.make("d")
    page = visit(server_url, _new(id_))
    page.get_by_text("Interval", exact=True).click()
    page.get_by_label("Every", exact=True).fill("90")
    page.get_by_label("Unit").select_option("minutes")
    page.get_by_label("Counted from").fill("2026-01-01T00:15:00")
    page.get_by_label("Time zone").fill("Asia/Tokyo")
    expect(_preview(page)).to_contain_text("Every 1 hour 30 minutes")
    page.get_by_role("button", name="Add the schedule").click()
    expect(page.locator("#plan")).to_contain_text("Every 1 hour 30 minutes")
    page.get_by_role("link", name="Add", exact=True).click()
    page.get_by_text("Rule", exact=True).click()
    page.get_by_label("Rule of RFC 5545").fill("FREQ=DAILY;INTERVAL=2;BYHOUR=6;BYMINUTE=0")
    page.get_by_label("Time zone").fill("UTC")
    page.get_by_label("Slug").fill("every-other-day")
    page.get_by_label("Runs that may wait").fill("2")
    expect(_preview(page)).to_contain_text("Every 2 days at 06:00")
    page.get_by_role("button", name="Add the schedule").click()
    expect(page.locator("#plan")).to_contain_text("Every 2 days at 06:00")
    rule, interval = sorted(_schedules(made, id_), key=lambda one: one["slug"] or "", reverse=True)
    assert interval["schedule"]["interval"] == 5400
    assert interval["schedule"]["timezone"] == "Asia/Tokyo"
    anchor = datetime.fromisoformat(interval["schedule"]["anchor_date"])
    assert anchor == datetime.fromisoformat("2026-01-01T00:15:00+09:00")
    assert (rule["slug"], rule["max_scheduled_runs"]) == ("every-other-day", 2)
    assert rule["schedule"]["rrule"].endswith("FREQ=DAILY;INTERVAL=2;BYHOUR=6;BYMINUTE=0")


def test_what_is_wrong_with_a_schedule_is_said_at_its_field(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.make("d", parameter_openapi_schema=SCHEMA)
    page = visit(server_url, _new(id_))
    page.get_by_label("Cron expression").fill("61 * * * *")
    expect(_preview(page)).to_contain_text("Not a schedule yet")
    expect(_preview(page)).to_contain_text("Invalid cron string")
    page.get_by_label("Runs that may wait").fill("51")
    page.get_by_label("rows").fill("many")
    page.get_by_role("button", name="Add the schedule").click()
    expect(page.locator("[data-wrong='cron']")).to_contain_text("Invalid cron string")
    expect(page.locator("[data-wrong='most']")).to_contain_text("from 1 to 50")
    expect(page.locator("[data-wrong='value/rows']")).to_contain_text("whole number")
    page.get_by_label("Time zone").fill("Mars/Olympus")
    page.get_by_role("button", name="Add the schedule").click()
    expect(page.locator("[data-wrong='timezone']")).to_contain_text("no time zone")
    assert _schedules(made, id_) == []


def test_a_schedule_has_parameters_of_its_own_and_the_fields_show_what_holds_without(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.make("d", parameter_openapi_schema=SCHEMA, parameters={"region": "eu"})
    page = visit(server_url, _new(id_))
    expect(page.get_by_label("region")).to_have_attribute("placeholder", "eu")
    expect(page.get_by_label("rows")).to_have_attribute("placeholder", "100")
    expect(page.get_by_label("rows")).to_have_value("")
    page.get_by_label("rows").fill("5")
    page.get_by_role("button", name="Add the schedule").click()
    expect(page.locator("#plan")).to_contain_text("1 parameter of its own")
    (schedule,) = _schedules(made, id_)
    assert schedule["parameters"] == {"rows": 5}
    page.locator("#plan .what a").click()
    expect(page.get_by_label("rows")).to_have_value("5")
    page.get_by_label("rows").fill("")
    page.get_by_label("region").fill("us")
    page.get_by_role("button", name="Save the schedule").click()
    expect(page.get_by_text("Changed the schedule.")).to_be_visible()
    (schedule,) = _schedules(made, id_)
    assert schedule["parameters"] == {"region": "us"}


def test_a_schedule_is_changed_turned_off_and_on_again_and_deleted_after_a_question(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.make("d", schedules=[DAILY])
    (before,) = _schedules(made, id_)
    page = visit(server_url, f"deployments/deployment/{id_}?tab=upcoming")
    expect(page.locator("#tab tbody tr")).not_to_have_count(0)
    page.get_by_role("switch", name="Every day at 09:00").click()
    expect(page.get_by_role("switch")).to_have_attribute("aria-checked", "false")
    expect(page.get_by_text("were taken away")).to_be_visible()
    expect(page.get_by_role("heading", name="Nothing is to come")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("switch")).to_have_attribute("aria-checked", "true")
    expect(page.locator("#tab tbody tr")).not_to_have_count(0)

    page.locator("#plan .what a").click()
    expect(page.get_by_label("Cron expression")).to_have_value("0 9 * * *")
    expect(page.get_by_label("Time zone")).to_have_value("Europe/Paris")
    assert_live(page)
    page.get_by_role("button", name="At 09:00 on weekdays").click()
    expect(_preview(page)).to_contain_text("At 09:00 on weekdays")
    page.get_by_role("button", name="Save the schedule").click()
    expect(page.locator("#plan")).to_contain_text("At 09:00 on weekdays")
    (after,) = _schedules(made, id_)
    assert (after["id"], after["schedule"]["cron"]) == (before["id"], "0 9 * * 1-5")

    assert_live(page)
    page.get_by_role("button", name=re.compile("^Delete the schedule")).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("At 09:00 on weekdays")
    dialog.get_by_role("button", name="Delete the schedule").click()
    expect(page.get_by_text("It runs only when somebody asks for it.")).to_be_visible()
    assert _schedules(made, id_) == []


def test_a_schedule_that_does_not_exist_says_so(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.make("d")
    page = visit(
        server_url,
        f"{_new(id_)}/0199abcd-0000-7000-8000-000000000001",
        live=False,
        expected="404",
    )
    expect(page.get_by_role("heading", name="This schedule does not exist")).to_be_visible()
