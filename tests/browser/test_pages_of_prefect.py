"""Prefect's own browser UI, both of them, out of the installed package and against our server.

Every page is opened by its address. No answer may be a refusal, no request may fail, and there may
be no error on the console; what is asked of other origins is answered by nobody.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, Route, expect

from tests import serving
from tests.browser import pages_of_prefect
from tests.conftest import fresh_database
from tests.e2e.answers import Api
from tests.e2e.holdings import Holdings
from tests.e2e.prefect_client import PrefectClient

pytestmark = pytest.mark.heavy

MAPPED_TASKS = 3
PAGE_SECONDS_MAX = 30.0
"""How long a page may take on a busy machine."""
GIVEN_UP = "net::ERR_ABORTED"
"""What the browser says of requests that a page did not want any more."""
VERSIONS = tuple(pages_of_prefect.BASES)
THEIR_OWN_FAULT = re.compile(
    r"/(ico/undefined|cancelled|completed|failed|pending|running|scheduled)\.svg"
)
"""Pictures that the pages ask whoever serves them for, and that a real Prefect server does not have
there either: the older ones always, the newer ones for what a graph has folded together."""


@dataclass(frozen=True)
class Land:
    """A server with something of everything on it, and where Prefect's pages about it are."""

    pages: str
    api: Api
    holdings: Holdings
    flow_run_id: str
    failed_flow_run_id: str
    task_run_id: str
    flow_id: str
    tag_limit_id: str
    event_path: str
    """Day and id of an event, as they are in an address."""


@pytest.fixture(scope="module")
def land(
    request: pytest.FixtureRequest,
    prefect_environment: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Land]:
    """See `Land`. The real client has run the flow with everything in it."""
    folder = tmp_path_factory.mktemp("prefects-pages")
    environment = prefect_environment
    with fresh_database("sqlite", request, folder) as target:
        server = serving.start(target, folder / "home")
        try:
            client = PrefectClient(environment, folder / "client", server.url)
            said = client.flow("everything.py", str(MAPPED_TASKS)).said
            with (
                Api(server.url) as api,
                pages_of_prefect.served(environment, server.url) as pages,
            ):
                api.wait_for_task_runs(said["task_runs"])
                holdings = Holdings.made(api)
                id_ = said["flow_run_id"]
                failed = next(
                    key for key, run in said["flow_runs"].items() if run["flow"] == "doomed"
                )
                task = next(
                    key for key, run in said["task_runs"].items() if run["flow_run_id"] == id_
                )
                asked = {"filter": {"event": {"name": ["prefect.flow-run.Completed"]}}}
                event = api.ask("/events/filter", **asked)["events"][0]
                yield Land(
                    pages,
                    api,
                    holdings,
                    flow_run_id=id_,
                    failed_flow_run_id=failed,
                    task_run_id=task,
                    flow_id=api.read(f"/flow_runs/{id_}")["flow_id"],
                    tag_limit_id=api.read(f"/concurrency_limits/tag/{holdings.tag}")["id"],
                    event_path=f"{event['occurred'][:10]}/{event['id']}",
                )
        finally:
            code = server.stop()
        assert code == 0, server.output()
        serving.verify_digests(target)


class Watched:
    """A page, and what went wrong on it."""

    def __init__(self, browser: Browser, land: Land, version: str) -> None:
        self._base = land.pages + pages_of_prefect.BASES[version]
        self._api = str(land.api.base_url).rstrip("/")
        own = (land.pages, self._api)
        self._context = browser.new_context(viewport={"width": 1440, "height": 900})
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(PAGE_SECONDS_MAX * 1000)
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        """What was asked of other origins."""
        self.answers = 0
        """Of the API."""

        def their_own_fault(url: str) -> bool:
            path = url.removeprefix(land.pages)
            return path != url and THEIR_OWN_FAULT.fullmatch(path) is not None

        def passed_on(route: Route) -> None:
            if route.request.url.startswith(own):
                route.continue_()
            else:
                self.elsewhere.append(route.request.url)
                route.fulfill(status=204)

        def answered(response: Response) -> None:
            self.answers += response.url.startswith(own[1])
            if response.status >= 400 and not their_own_fault(response.url):
                asked = response.request
                self.complaints.append(
                    f"{response.status}: {asked.method} {asked.url} {asked.post_data or ''}"
                )

        def failed(request: Request) -> None:
            if request.failure != GIVEN_UP:
                self.complaints.append(f"{request.failure}: {request.method} {request.url}")

        def said(message: ConsoleMessage) -> None:
            from_there = str(message.location.get("url", ""))
            if message.type == "error" and not their_own_fault(from_there):
                self.complaints.append(f"console: {message.text}")

        self.page.route("**/*", passed_on)
        self.page.on("response", answered)
        self.page.on("requestfailed", failed)
        self.page.on("console", said)
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))

    def open(self, path: str) -> None:
        """Go there and wait until nothing is asked for any more."""
        api = self._api
        with self.page.expect_response(lambda response: response.url.startswith(api)):
            self.page.goto(self._base + path)
        self.page.wait_for_load_state("networkidle")

    def end(self) -> None:
        """Nothing may have gone wrong, and something must have been asked for."""
        address = self.page.url
        self.page.wait_for_load_state("networkidle")
        self._context.close()
        assert self.complaints == [], f"on {address}"
        assert self.answers > 0, f"{address} asked the API for nothing"


@pytest.fixture(params=VERSIONS)
def watched(request: pytest.FixtureRequest, browser: Browser, land: Land) -> Iterator[Watched]:
    """See `Watched`."""
    watched = Watched(browser, land, request.param)
    yield watched
    watched.end()


def paths(land: Land) -> dict[str, tuple[str, str]]:
    """The pages: path and a pattern of what has to be on it."""
    has = land.holdings
    return {
        "dashboard": ("/dashboard", r"Flow Runs"),
        "runs": ("/runs", r"everything"),
        "flow-run": (f"/runs/flow-run/{land.flow_run_id}", r"everything"),
        "failed-flow-run": (f"/runs/flow-run/{land.failed_flow_run_id}", r"Failed"),
        "task-run": (f"/runs/task-run/{land.task_run_id}", r"Completed|Failed|Cached"),
        "flows": ("/flows", r"flow-third-time-lucky"),
        "flow": (f"/flows/flow/{land.flow_id}", r"everything"),
        "deployments": ("/deployments", has.deployment_name),
        "deployment": (f"/deployments/deployment/{has.deployment_id}", has.deployment_name),
        "deployment-edit": (f"/deployments/deployment/{has.deployment_id}/edit", "Parameters"),
        "deployment-run": (f"/deployments/deployment/{has.deployment_id}/run", "Parameters"),
        "work-pools": ("/work-pools", has.pool),
        "work-pool": (f"/work-pools/work-pool/{has.pool}", has.pool),
        "work-pool-edit": (f"/work-pools/work-pool/{has.pool}/edit", has.pool),
        "work-pool-create": ("/work-pools/create", "Process"),
        "work-queue": (f"/work-pools/work-pool/{has.pool}/queue/{has.queue}", has.queue),
        "variables": ("/variables", has.variable),
        "concurrency-limits": ("/concurrency-limits", has.limit),
        "concurrency-limit": (
            f"/concurrency-limits/concurrency-limit/{land.tag_limit_id}",
            has.tag,
        ),
        "event": (f"/events/event/{land.event_path}", r"prefect\.flow-run"),
        "events": ("/events", r"[Ff]low run completed|prefect\.flow-run"),
        "artifacts": ("/artifacts", "report"),
        "artifact-key": ("/artifacts/key/report", "report"),
        "blocks": ("/blocks", has.block),
        "block": (f"/blocks/block/{has.block_id}", has.block),
        "block-edit": (f"/blocks/block/{has.block_id}/edit", "Place"),
        "block-catalog": ("/blocks/catalog", "Depot"),
        "block-type": (f"/blocks/catalog/{has.block_type}", "Depot"),
        "block-create": (f"/blocks/catalog/{has.block_type}/create", "Place"),
        "automations": ("/automations", has.automation),
        "automation": (f"/automations/automation/{has.automation_id}", has.automation),
        "automation-edit": (f"/automations/automation/{has.automation_id}/edit", "Trigger"),
        "automation-create": ("/automations/create", "Trigger"),
        "settings": ("/settings", r"3\.8\.4"),
    }


NAMES = (
    *("dashboard", "runs", "flow-run", "failed-flow-run", "task-run", "flows", "flow"),
    *("deployments", "deployment", "deployment-edit", "deployment-run"),
    *("work-pools", "work-pool", "work-pool-edit", "work-pool-create", "work-queue"),
    *("variables", "concurrency-limits", "concurrency-limit", "event", "events"),
    *("artifacts", "artifact-key"),
    *("blocks", "block", "block-edit", "block-catalog", "block-type", "block-create"),
    *("automations", "automation", "automation-edit", "automation-create", "settings"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_of_prefects_finds_nothing_missing(watched: Watched, land: Land, name: str) -> None:
    path, shown = paths(land)[name]
    watched.open(path)
    body = watched.page.locator("body")
    expect(body).to_contain_text(re.compile(shown), timeout=PAGE_SECONDS_MAX * 1000)


def test_prefects_page_of_a_run_shows_its_graph_and_its_lines(watched: Watched, land: Land) -> None:
    watched.open(paths(land)["flow-run"][0])
    milliseconds = PAGE_SECONDS_MAX * 1000
    expect(watched.page.locator("canvas").first).to_be_visible(timeout=milliseconds)
    expect(watched.page.get_by_text(re.compile(r"line \d")).first).to_be_visible(
        timeout=milliseconds
    )


def test_prefects_pages_tell_nobody_that_they_were_opened(watched: Watched) -> None:
    # How they are to report, they ask before they have asked our server whether they may.
    watched.open("/dashboard")
    watched.open("/settings")
    told = [url for url in watched.elsewhere if "amplitude" in url and "/config/" not in url]
    assert told == []


def test_all_pages_are_visited(land: Land) -> None:
    assert tuple(paths(land)) == NAMES
