"""Whatever people call things, and however near somebody looks: no page is wider than its window.

A window of 1280 px that is magnified to 400 % is one of 320 px (WCAG 2.2, 1.4.10 Reflow).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import expect

from tests import serving
from tests.browser.conftest import LARGE, Visit, assert_accessible, assert_fits, assert_live
from tests.browser.making_deployments import HOURLY, Deployments
from tests.browser.making_limits import Limits
from tests.browser.making_task_runs import simple, tell
from tests.conftest import fresh_database
from tests.serving import NO_CERTIFICATES

MAGNIFIED = 320
WORD = "w" * 180
"""Without a place where it may be broken."""


def _pages(url: str) -> Mapping[str, Sequence[str]]:
    """Of everything that has a name, called WORD: by where they are."""
    limits, deployments = Limits(url), Deployments(url)
    limits.pool(WORD, description=WORD)
    queue = limits.queue(WORD, WORD, description=WORD)
    schema = {
        "type": "object",
        "properties": {WORD: {"title": WORD, "type": "string", "description": WORD}},
        "required": [WORD],
    }
    deployment = deployments.make(
        WORD,
        flow=WORD,
        work_pool_name=WORD,
        work_queue_name=WORD,
        schedules=[HOURLY],
        parameter_openapi_schema=schema,
        parameters={WORD: WORD},
        description=WORD,
        entrypoint=WORD,
        version=WORD,
        tags=[WORD, "short"],
        job_variables={"env": {WORD: WORD}},
    )
    run = limits.run(WORD, flow=WORD, tags=[WORD], parameters={WORD: [WORD, WORD]})
    deployments.run(deployment, "SCHEDULED")
    state = {"type": "FAILED", "name": WORD, "message": "\n".join([WORD] * 30)}
    limits.post(f"/flow_runs/{run}/set_state", {"state": state, "force": True})
    task = simple(WORD, 0, 1, end="FAILED", message="\n".join([WORD] * 30))
    tell(url, run, datetime.now(UTC) - timedelta(minutes=1), [task])
    about = {"description": WORD, "flow_run_id": run, "task_run_id": task.id}
    artifact = limits.post("/artifacts/", {"key": WORD, "type": WORD, "data": WORD, **about})["id"]
    limit = limits.limit(WORD, 2)
    limits.on_tag(WORD, 1)
    limits.take(WORD, limits.run("holder", flow=WORD))
    variable = limits.post("/variables/", {"name": WORD, "value": WORD, "tags": [WORD]})["id"]
    emitted: dict[str, Any] = {
        "id": "0199a8c2-0000-7000-8000-000000000001",
        "occurred": datetime.now(UTC).isoformat(),
        "event": WORD,
        "resource": {"prefect.resource.id": WORD, WORD: WORD},
        "related": [{"prefect.resource.id": WORD, "prefect.resource.role": WORD}],
        "payload": {WORD: WORD},
    }
    httpx.post(f"{url}/events", json=[emitted], verify=NO_CERTIFICATES).raise_for_status()
    event = f"{emitted['occurred'][:10]}/{emitted['id']}"
    flow = httpx.get(f"{url}/flows/name/{WORD}", verify=NO_CERTIFICATES).json()["id"]
    of_run = ("logs", "task-runs", "artifacts", "parameters", "history")
    of_deployment = ("runs", "upcoming", "parameters", "configuration", "description")
    the_deployment = f"deployments/deployment/{deployment}"
    the_pool = f"work-pools/work-pool/{quote(WORD)}"
    the_limit = f"concurrency-limits/concurrency-limit/{limit}"
    limits_of = ("global", "task-run", "deployments")
    return {
        "runs": (
            *("dashboard", "runs", "runs?upcoming=open", "runs?tab=task-runs"),
            *(f"runs/flow-run/{run}?tab={one}" for one in of_run),
            *(f"runs/task-run/{task.id}?tab={one}" for one in ("logs", "states", "details")),
        ),
        "deployments": (
            *("flows", f"flows/flow/{flow}", "deployments"),
            *(f"{the_deployment}?tab={one}" for one in of_deployment),
            *(f"{the_deployment}/{one}" for one in ("edit", "run", "schedule")),
        ),
        "pools": (
            "work-pools",
            *(f"{the_pool}?tab={one}" for one in ("queues", "workers", "deployments", "upcoming")),
            *(f"{the_pool}/edit", f"{the_pool}/queue/create"),
            *(f"work-queues/work-queue/{queue}", f"work-queues/work-queue/{queue}/edit"),
        ),
        "configuration": (
            *("blocks", "blocks/catalog", "variables", f"variables/variable/{variable}"),
            *(f"concurrency-limits?tab={one}" for one in limits_of),
            *(the_limit, f"{the_limit}/edit", "settings"),
        ),
        "what happened": (
            *("artifacts", f"artifacts/key/{WORD}", f"artifacts/artifact/{artifact}"),
            *("events", f"events/event/{event}", "log", "log/1", f"search?q={WORD[:9]}"),
        ),
    }


PLACES = ("runs", "deployments", "pools", "configuration", "what happened")


@pytest.fixture(scope="module")
def named(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Mapping[str, Sequence[str]]]]:
    """The base of the API of a server on which everything is called WORD, and its pages. They are
    looked at in parts: one test of all of them takes minutes far from the server."""
    folder = tmp_path_factory.mktemp("named")
    with fresh_database("sqlite", request, folder) as target:
        server = serving.start(target, folder / "home")
        try:
            yield server.url, _pages(server.url)
        finally:
            code = server.stop()
        assert code == 0, server.output()
        serving.verify_digests(target)


@pytest.mark.parametrize("width", [MAGNIFIED, LARGE])
@pytest.mark.parametrize("place", PLACES)
def test_no_page_is_wider_than_the_screen_whatever_things_are_called(
    named: tuple[str, Mapping[str, Sequence[str]]], visit: Visit, place: str, width: int
) -> None:
    wide = []
    url, pages = named
    assert set(pages) == set(PLACES)
    page = visit(url, width=width)
    for path in pages[place]:
        page.goto(url.removesuffix("api") + path)
        assert_live(page)
        try:
            assert_fits(page)
            assert_accessible(page)
        except AssertionError as error:
            wide.append(f"{path}: {error}")
            page.set_viewport_size({"width": width, "height": 800})
    assert not wide, "\n".join(wide)


@pytest.mark.parametrize("width", [MAGNIFIED, LARGE])
def test_questions_and_what_is_said_after_them_fit_whatever_they_are_about(
    server_url: str, visit: Visit, width: int
) -> None:
    limits = Limits(server_url)
    limits.pool(WORD)
    page = visit(server_url, f"work-pools/work-pool/{WORD}", width=width)
    dialog = page.get_by_role("dialog")
    cut = """one => [one, ...one.querySelectorAll("*")]
      .filter(part => part.scrollWidth > part.clientWidth && part.clientWidth
        || part.getBoundingClientRect().right > innerWidth).map(part => part.outerHTML)"""
    page.get_by_role("button", name="Delete…").click()
    expect(dialog).to_contain_text(f"Delete the work pool {WORD}?")
    assert dialog.evaluate(cut) == []
    assert_accessible(page)
    dialog.get_by_role("button", name="Delete the work pool").click()
    said = page.locator("#toasts .toast")
    expect(said).to_contain_text(WORD)
    assert said.evaluate(cut) == []


@pytest.mark.parametrize("width", [MAGNIFIED, LARGE])
def test_a_failed_task_takes_a_line_whatever_it_is_called(
    server_url: str, visit: Visit, width: int
) -> None:
    limits = Limits(server_url)
    heights = []
    for name in ("load", WORD):
        run = limits.run("plain-otter", "FAILED")
        task = simple(name, 0, 1, end="FAILED", message="No rows")
        tell(server_url, run, datetime.now(UTC) - timedelta(minutes=1), [task])
        page = visit(server_url, f"runs/flow-run/{run}", width=width)
        failed = page.locator(".failures a")
        expect(failed).to_have_text(name)
        heights.append(failed.evaluate("one => one.getBoundingClientRect().height"))
    assert heights[0] == heights[1]
