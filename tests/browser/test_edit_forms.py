"""Two people who edit the same thing: the second one to save is told, and loses nothing."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from api.ui.page import Action
from api.ui.rendering import TEMPLATES
from api.ui.table import PAGES
from tests.browser.conftest import SMALL, Visit, assert_whole
from tests.browser.making_blocks import Blocks
from tests.browser.making_deployments import HOURLY, Deployments
from tests.browser.making_limits import Limits
from tests.serving import NO_CERTIFICATES

ORIGIN = {"sec-fetch-site": "same-origin", "accept": "application/json"}


@dataclass(frozen=True)
class Thing:
    """Something with a form, and how somebody else changes it."""

    page: str
    at: str
    """Where the API has it."""
    field: str
    """The input that is typed into."""
    typed: str
    elsewhere: dict[str, Any]
    """What somebody else sends to the API meanwhile."""
    told: str
    """What is said of that."""
    read: Callable[[Any], Any]
    """What the field changes, in what the API answers."""
    saved: Any
    change: str = ""
    """Where it is changed, if that is elsewhere."""


def _variable(url: str) -> Thing:
    made = Limits(url).post("/variables/", {"name": "threshold", "value": 1})
    page, at = f"variables/variable/{made['id']}", f"/variables/{made['id']}"
    return Thing(page, at, "value", "3", {"value": 2}, "Value: 2", lambda v: v["value"], 3)


def _pool(url: str) -> Thing:
    Limits(url).pool("k8s")
    return Thing(
        "work-pools/work-pool/k8s/edit",
        "/work_pools/k8s",
        "description",
        "mine",
        {"description": "theirs"},
        "Description: theirs",
        lambda pool: pool["description"],
        "mine",
    )


def _queue(url: str) -> Thing:
    pools = Limits(url)
    pools.pool("k8s")
    id_ = pools.queue("k8s", "urgent")
    return Thing(
        f"work-queues/work-queue/{id_}/edit",
        f"/work_queues/{id_}",
        "limit",
        "5",
        {"concurrency_limit": 4},
        "Concurrency limit: 4",
        lambda queue: queue["concurrency_limit"],
        5,
    )


def _limit(url: str) -> Thing:
    id_ = Limits(url).limit("database", 3)
    return Thing(
        f"concurrency-limits/concurrency-limit/{id_}/edit",
        f"/v2/concurrency_limits/{id_}",
        "limit",
        "9",
        {"active": False},
        "Switched on: no",
        lambda limit: limit["limit"],
        9,
    )


def _block(url: str) -> Thing:
    blocks = Blocks(url)
    id_ = blocks.save(blocks.registered()["account"], "main", {"user": "anna", "password": "x"})
    return Thing(
        f"blocks/block/{id_}/edit",
        f"/block_documents/{id_}",
        "value/user",
        "carla",
        {"data": {"user": "bert", "password": "y"}},
        "Secret values: another one",
        lambda block: block["data"]["user"],
        "carla",
    )


def _deployment(url: str) -> Thing:
    id_ = Deployments(url).make("nightly")
    return Thing(
        f"deployments/deployment/{id_}/edit",
        f"/deployments/{id_}",
        "description",
        "mine",
        {"tags": ["eu", "nightly"]},
        "Tags: eu, nightly",
        lambda deployment: deployment["description"],
        "mine",
    )


def _schedule(url: str) -> Thing:
    deployments = Deployments(url)
    id_ = deployments.make("nightly", schedules=[HOURLY])
    schedule = deployments.read(id_)["schedules"][0]["id"]
    return Thing(
        f"deployments/deployment/{id_}/schedule/{schedule}",
        f"/deployments/{id_}",
        "most",
        "7",
        {"active": False},
        "Switched on: no",
        lambda deployment: deployment["schedules"][0]["max_scheduled_runs"],
        7,
        f"/deployments/{id_}/schedules/{schedule}",
    )


MAKING = (_variable, _pool, _queue, _limit, _block, _deployment, _schedule)


@pytest.mark.parametrize("make", MAKING)
def test_a_form_is_not_saved_over_what_somebody_else_saved_meanwhile(
    server_url: str, visit: Visit, make: Callable[[str], Thing]
) -> None:
    thing = make(server_url)

    def now() -> Any:
        answer = httpx.get(server_url + thing.at, verify=NO_CERTIFICATES)
        return thing.read(answer.raise_for_status().json())

    page = visit(server_url, thing.page)
    field = page.locator(f'form.form [name="{thing.field}"]')
    field.fill(thing.typed)
    before = now()
    change = server_url + (thing.change or thing.at)
    httpx.patch(change, json=thing.elsewhere, verify=NO_CERTIFICATES).raise_for_status()
    left = now()
    save = page.get_by_role("button", name=re.compile("^Save( the schedule)?$"))
    save.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("This was changed while the form was open")
    expect(dialog).to_contain_text(thing.told)
    if thing.field == "value":
        assert_whole(page)
        page.set_viewport_size({"width": SMALL, "height": 800})
        assert_whole(page)
    dialog.get_by_role("button", name="Cancel").click()
    expect(field).to_have_value(thing.typed)
    assert (before != thing.saved, now()) == (True, left)

    save.click()
    dialog.get_by_role("button", name="Save mine instead").click()
    expect(page.locator("form.form")).to_have_count(0)
    assert now() == thing.saved


@pytest.mark.parametrize("make", MAKING)
def test_a_form_is_saved_without_a_question_if_nobody_changed_what_it_changes(
    server_url: str, visit: Visit, make: Callable[[str], Thing]
) -> None:
    thing = make(server_url)
    page = visit(server_url, thing.page)
    if "concurrency-limit/" in thing.page:  # Whoever takes slots writes to the limit as well.
        limits = Limits(server_url)
        limits.take("database", limits.run("busy"))
    page.locator(f'form.form [name="{thing.field}"]').fill(thing.typed)
    page.get_by_role("button", name=re.compile("^Save( the schedule)?$")).click()
    expect(page.locator("form.form")).to_have_count(0)
    answer = httpx.get(server_url + thing.at, verify=NO_CERTIFICATES)
    assert thing.read(answer.json()) == thing.saved


def _pool_asked(url: str) -> Thing:
    made = _pool(url)
    return replace(
        made,
        page="work-pools/work-pool/k8s",
        typed="9",
        elsewhere={"concurrency_limit": 4},
        told="Limit: 4",
        read=lambda pool: pool["concurrency_limit"],
        saved=9,
    )


def _limit_asked(url: str) -> Thing:
    made = _limit(url)
    return replace(
        made,
        page=made.page.removesuffix("/edit"),
        elsewhere={"limit": 4},
        told="Limit: 4",
    )


@pytest.mark.parametrize("make", [_pool_asked, _limit_asked])
def test_a_limit_that_was_asked_for_is_not_set_over_what_somebody_else_set_meanwhile(
    server_url: str, visit: Visit, make: Callable[[str], Thing]
) -> None:
    thing = make(server_url)

    def now() -> Any:
        answer = httpx.get(server_url + thing.at, verify=NO_CERTIFICATES)
        return thing.read(answer.raise_for_status().json())

    def meanwhile(**change: Any) -> None:
        httpx.patch(server_url + thing.at, json=change, verify=NO_CERTIFICATES).raise_for_status()

    (name,) = thing.elsewhere
    page = visit(server_url, thing.page)
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Limit…").click()
    dialog.get_by_label("Limit").fill(thing.typed)
    meanwhile(**thing.elsewhere)
    dialog.get_by_role("button", name="Set the limit").click()
    expect(dialog).to_contain_text("This was changed meanwhile")
    expect(dialog).to_contain_text(thing.told)
    assert_whole(page)
    dialog.get_by_role("button", name="Cancel").click()
    assert now() == 4

    page.get_by_role("button", name="Limit…").click()
    dialog.get_by_label("Limit").fill(thing.typed)
    meanwhile(**{name: 5})
    dialog.get_by_role("button", name="Set the limit").click()
    dialog.get_by_role("button", name="Save mine instead").click()
    undo = page.get_by_role("button", name="Undo")
    expect(undo).to_be_visible()
    assert now() == thing.saved

    # What is taken back is one's own change, not what somebody else made of it.
    meanwhile(**{name: 6})
    undo.click()
    expect(dialog).to_contain_text("Limit: 6")
    assert now() == 6


@pytest.mark.parametrize("make", [_pool_asked, _limit_asked])
def test_a_limit_is_set_without_a_further_question_if_nobody_else_set_it(
    server_url: str, visit: Visit, make: Callable[[str], Thing]
) -> None:
    thing = make(server_url)

    def now() -> Any:
        return thing.read(httpx.get(server_url + thing.at, verify=NO_CERTIFICATES).json())

    before = now()
    page = visit(server_url, thing.page)
    page.get_by_role("button", name="Limit…").click()
    page.get_by_role("dialog").get_by_label("Limit").fill(thing.typed)
    # Something else of it is not what the question is about.
    field = "is_paused" if "pool" in thing.page else "active"
    httpx.patch(server_url + thing.at, json={field: False}, verify=NO_CERTIFICATES)
    page.get_by_role("dialog").get_by_role("button", name="Set the limit").click()
    undo = page.get_by_role("button", name="Undo")
    expect(undo).to_be_visible()
    assert now() == thing.saved
    undo.click()
    expect(page.locator(".toast")).to_have_count(1)
    expect(undo).to_be_visible()
    assert now() == before


def test_without_scripts_the_question_is_a_page_that_sends_what_was_typed(
    server_url: str, visit: Visit
) -> None:
    thing = _variable(server_url)
    root = server_url.removesuffix("api")
    made_from = httpx.get(root + thing.page).text.partition('name="made_from" value="')[2]
    form = {
        "name": "threshold",
        "value": "3",
        "made_from": made_from.partition('"')[0].replace("&#34;", '"'),
    }
    httpx.patch(server_url + thing.at, json=thing.elsewhere, verify=NO_CERTIFICATES)
    headers = {**ORIGIN, "accept": "text/html"}
    asked = httpx.post(root + thing.page, data=form, headers=headers).text
    assert "This was changed while the form was open" in asked
    assert '<input type="hidden" name="value" value="3">' in asked
    again = dict(form)
    for part in asked.split('<input type="hidden" name="')[1:]:
        name, _, rest = part.partition('" value="')
        again[name] = rest.partition('">')[0].replace("&#34;", '"')
    assert "Changed the variable" in httpx.post(root + thing.page, data=again, headers=headers).text
    assert httpx.get(server_url + thing.at).json()["value"] == 3


def test_every_form_that_changes_something_carries_what_it_was_made_from() -> None:
    edited = {page.template: page.edits for page in PAGES if page.edits is not None}
    assert len(edited) == len(MAKING)
    for template, edits in edited.items():
        assert 'name="made_from" value="{{ made_from }}"' in (TEMPLATES / template).read_text()
        actions: list[Action] = [one for page in PAGES for one in page.actions]
        assert any(one.edits is edits for one in actions), template
