"""The form of a custom run: fields by the schema, what is wrong said at them, sent once."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import LARGE, SMALL, Visit, assert_whole
from tests.browser.making_deployments import SCHEMA, Deployments

GIVEN = {"region": "eu", "target": {"schema": "raw"}}


@pytest.fixture
def made(server_url: str) -> Deployments:
    """Makes deployments on this test's server."""
    return Deployments(server_url)


def _form(id_: str) -> str:
    return f"deployments/deployment/{id_}/run"


def _sent(page: Page, made: Deployments, id_: str) -> Any:
    """The run that the form makes when it is sent now."""
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page).to_have_url(re.compile("runs/flow-run/"))
    (run,) = made.runs_of(id_)
    return run


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_the_form_fits_and_is_accessible(
    server_url: str, made: Deployments, visit: Visit, width: int
) -> None:
    made.pool("workers")
    id_ = made.make("d", parameter_openapi_schema=SCHEMA, work_pool_name="workers")
    page = visit(server_url, _form(id_), width=width)
    page.locator("#further summary").click()
    page.get_by_label("Later").check()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator(".wrong:visible").first).to_be_visible()
    assert_whole(page)


def test_what_is_filled_in_is_what_the_run_gets(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.make("d", parameter_openapi_schema=SCHEMA, parameters=GIVEN)
    page = visit(server_url, _form(id_))
    expect(page.get_by_label("region")).to_have_value("eu")
    page.get_by_label("region").fill("us")
    page.get_by_label("rows").fill("12345678901234567890")
    page.get_by_label("share").fill("0.25")
    page.get_by_label("full").check()
    page.get_by_label("mode").select_option("fast")
    page.get_by_role("button", name="Add to tables").click()
    page.keyboard.type("invoices")
    page.get_by_label("Replace").check()
    run = _sent(page, made, id_)
    assert run["parameters"]["region"] == "us"
    assert run["parameters"]["rows"] == 12345678901234567890
    assert run["parameters"]["share"] == 0.25
    assert run["parameters"]["full"] is True
    assert run["parameters"]["mode"] == "fast"
    assert run["parameters"]["tables"] == ["orders", "invoices"]
    assert run["parameters"]["target"] == {"schema": "raw", "replace": True}
    assert run["state"]["type"] == "SCHEDULED"


def test_what_is_wrong_is_said_at_the_field_by_the_rules_of_the_api(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.make("d", parameter_openapi_schema=SCHEMA)
    page = visit(server_url, _form(id_))
    page.get_by_label("rows").fill("many")
    page.get_by_role("button", name="Run", exact=True).click()
    wrong = page.locator("[data-wrong='value/rows']")
    expect(wrong).to_have_text("This has to be a whole number.")
    page.get_by_label("rows").fill("1")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("[data-wrong='value/region']")).to_have_text("This is required.")
    expect(page.get_by_label("region")).to_be_focused()
    expect(page.get_by_label("region")).to_have_attribute("aria-invalid", "true")
    expect(wrong).to_be_hidden()
    assert made.runs_of(id_) == []
    page.get_by_label("region").fill("eu")
    page.get_by_label("Schema").fill("raw")
    run = _sent(page, made, id_)
    assert run["parameters"]["rows"] == 1


def test_fields_and_json_are_turned_into_each_other(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.make("d", parameter_openapi_schema=SCHEMA, parameters=GIVEN)
    page = visit(server_url, _form(id_))
    page.get_by_label("region").fill("us")
    page.get_by_text("JSON", exact=True).click()
    raw = page.get_by_label("Everything as JSON")
    expect(raw).to_have_value(re.compile('"region": "us"'))
    raw.fill('{"region": 5, "target": {"schema": "raw"}}')
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("[data-wrong='value~raw']")).to_contain_text("region")
    assert made.runs_of(id_) == []
    raw.fill('{"region": "asia", "target": {"schema": "raw"}}')
    page.get_by_text("Fields", exact=True).click()
    expect(page.get_by_label("region")).to_have_value("asia")
    run = _sent(page, made, id_)
    assert run["parameters"]["region"] == "asia"


def test_a_run_is_asked_for_later_with_a_name_tags_and_retries(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    made.pool("workers")
    made.runs.post("/work_pools/workers/queues", {"name": "fast"})
    id_ = made.make("d", work_pool_name="workers", tags=["own"])
    page = visit(server_url, _form(id_))
    page.get_by_label("Later").check()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("[data-wrong='start']")).to_have_text("Say when it is to start.")
    due = (datetime.now(UTC) + timedelta(days=2)).replace(microsecond=0, tzinfo=None)
    page.locator("#start").fill(due.isoformat())
    page.locator("#further summary").click()
    page.locator("#name").fill("on-purpose")
    page.get_by_label("Tags, by comma").fill("eu, extra,eu")
    page.get_by_label("Message").fill("because")
    page.get_by_label("Retries").fill("3")
    page.get_by_label("Seconds between them").fill("60")
    page.get_by_label("Work queue").select_option("fast")
    zone = page.evaluate("new Intl.DateTimeFormat().resolvedOptions().timeZone")
    assert zone == "UTC"
    run = _sent(page, made, id_)
    assert (run["name"], run["work_queue_name"]) == ("on-purpose", "fast")
    assert sorted(run["tags"]) == ["eu", "extra", "own"]
    assert run["state"]["message"] == "because"
    assert run["expected_start_time"].startswith(due.isoformat())
    assert run["empirical_policy"]["retries"] == 3
    assert run["empirical_policy"]["retry_delay"] == 60


def test_a_form_that_is_sent_twice_makes_one_run_and_one_that_was_changed_another(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.make("d", parameter_openapi_schema=SCHEMA, parameters=GIVEN)
    page = visit(server_url, _form(id_))
    fields = page.evaluate(
        "[...new FormData(document.getElementById('run')).entries()].map(([k, v]) => [k, v])"
    )
    page.get_by_role("button", name="Run", exact=True).dblclick()
    expect(page).to_have_url(re.compile("runs/flow-run/"))
    (first,) = made.runs_of(id_)
    send = """async ([path, fields]) => (await fetch(path, {
        method: 'POST', body: new URLSearchParams(fields), headers: {accept: 'application/json'},
    })).json()"""
    path = "/deployments/actions/run/custom"
    again = page.evaluate(send, [path, fields])
    assert again["said"]["go"] == f"runs/flow-run/{first['id']}"
    assert "sent already" in again["said"]["text"]
    other = [[k, "us" if k == "value/region" else v] for k, v in fields]
    page.evaluate(send, [path, other])
    assert [one["parameters"]["region"] for one in made.runs_of(id_)] == ["eu", "us"]


def test_a_form_is_filled_in_like_a_run_that_there_was(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.make("d", parameter_openapi_schema=SCHEMA, parameters=GIVEN)
    run = made.run(id_, "FAILED", name="before", parameters={"region": "mars", "rows": 7})
    page = visit(server_url, f"{_form(id_)}?like={run}")
    expect(page.get_by_text("filled in like before")).to_be_visible()
    expect(page.get_by_label("region")).to_have_value("mars")
    expect(page.get_by_label("rows")).to_have_value("7")


def test_parameters_are_not_checked_where_somebody_says_so(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    id_ = made.make("d", parameter_openapi_schema=SCHEMA)
    page = visit(server_url, _form(id_))
    page.locator("#further summary").click()
    page.get_by_label("Do not check the parameters of this run").check()
    run = _sent(page, made, id_)
    assert "region" not in run["parameters"]


def test_job_variables_are_fields_of_the_pools_template(
    server_url: str, made: Deployments, visit: Visit
) -> None:
    template = {
        "job_configuration": {"command": "{{ command }}", "memory": "{{ memory }}"},
        "variables": {
            "type": "object",
            "properties": {
                "command": {"title": "Command", "type": "string"},
                "memory": {"title": "Memory", "type": "integer", "default": 512},
            },
        },
    }
    made.runs.post(
        "/work_pools/", {"name": "boxes", "type": "docker", "base_job_template": template}
    )
    id_ = made.make("d", work_pool_name="boxes", job_variables={"command": "python"})
    page = visit(server_url, _form(id_))
    page.locator("#further summary").click()
    expect(page.get_by_label("Command")).to_have_attribute("placeholder", "python")
    expect(page.get_by_label("Memory")).to_have_value("")
    page.get_by_label("Memory").fill("much")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("[data-wrong='job/memory']")).to_have_text("This has to be a whole number.")
    page.get_by_label("Memory").fill("1024")
    run = _sent(page, made, id_)
    assert run["job_variables"] == {"memory": 1024}
