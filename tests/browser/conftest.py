"""A real Chromium. Where tests have to be complete (CI) a missing one is a failure, else a skip.

Pages that are opened by `visit` are watched: an error on the console, a request to another origin
and a breach of the content security policy fail the test.
"""

import os
import re
import shutil
from collections.abc import Iterator
from typing import Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)

from tests.browser.making_pools import Pools
from tests.browser.making_runs import Runs

Scheme = Literal["light", "dark"]
SMALL, LARGE = 375, 1440
"""Widths that pages are looked at in, in CSS pixels."""
BETWEEN = (1_380, 1_024, 768)
"""Widths that a page has to fit into as well, if it is looked at in a larger one."""

PATIENCE_MILLISECONDS = 30_000
"""How long a page may take for what is expected of it: other tests keep the machine busy. What has
to be quick is measured by itself."""
expect.set_options(timeout=PATIENCE_MILLISECONDS)

LATENCY_MILLISECONDS = int(os.environ.get("PLUPERFECT_TEST_LATENCY_MILLISECONDS", 0))
"""Each answer of a server comes this much later, and nothing is cached: whoever does not wait for a
page's scripts, or for what a click does, fails then always instead of once in fifty runs. Tests of
what has to be quick, or small by being cached, fail as well."""

CHROMIUMS = ("chromium-headless-shell", "chromium", "chromium-browser")
"""Commands of the system's Chromium. The first has no windows: the others make one for each page,
hidden, which takes them three times as long as the page."""

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """Pages do not depend on the engine."""
    return str(request.param)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium as the system has it."""
    path = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("there is no chromium; .ci/run installs the system's package")
        pytest.skip(f"there is no chromium on this machine (Debian's package is `{CHROMIUMS[0]}`)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        yield browser
        browser.close()


REPLACED = re.compile(r"^htmx:(afterRequest|sendAbort)\b")
"""What htmx notes when a request is given up for a later one of the same form (`hx-sync`), as
happens to who types faster than the server answers. Of one that fails it notes `sendError` too."""


class Visit:
    """Opens pages of servers and watches them."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self._complaints: list[str] = []

    def __call__(
        self,
        url: str,
        path: str = "runs",
        *,
        width: int = LARGE,
        scheme: Scheme = "light",
        live: bool = True,
        expected: str | None = None,
        password: str | None = None,
        zone: str | None = None,
        language: str | None = None,
    ) -> Page:
        """`url` is the base of the server's API. With `live` the page is connected when this
        returns. Complaints that contain `expected` are none. `zone` and
        `language` are the viewer's, if not those of this machine."""
        root = url.removesuffix("api")
        name, _, secret = (password or "").partition(":")
        context = self._browser.new_context(
            color_scheme=scheme,
            viewport={"width": width, "height": 800},
            timezone_id=zone,
            locale=language,
            permissions=["clipboard-write"],  # As a Chromium with windows lets who clicks.
            http_credentials={"username": name, "password": secret} if password else None,
        )
        self._contexts.append(context)
        page = context.new_page()
        if LATENCY_MILLISECONDS:
            network = context.new_cdp_session(page)
            network.send("Network.enable")
            network.send("Network.setCacheDisabled", {"cacheDisabled": True})
            network.send(
                "Network.emulateNetworkConditions",
                {
                    "offline": False,
                    "latency": LATENCY_MILLISECONDS,
                    "downloadThroughput": -1,
                    "uploadThroughput": -1,
                },
            )

        def complain(text: str) -> None:
            if expected is None or expected not in text:
                self._complaints.append(text)

        def said(message: ConsoleMessage) -> None:
            if REPLACED.search(message.text):
                return
            if message.type in ("error", "warning"):
                complain(f"{message.type} on {page.url}: {message.text}")

        def asked(request: Request) -> None:
            if urlsplit(request.url).netloc != urlsplit(root).netloc:
                complain(f"{page.url} asked {request.url}")

        page.on("console", said)
        page.on("pageerror", lambda error: complain(f"{page.url}: {error}"))
        page.on("request", asked)
        page.goto(root + path)
        if live:
            assert_live(page)
        return page

    def end(self) -> None:
        """Closes the pages. Nothing may have been complained about."""
        for context in self._contexts:
            context.close()
        assert self._complaints == []


def assert_live(page: Page) -> None:
    """The page's scripts are there and hear of changes. Who pressed a link or a key that leads to
    another page waits for this: keys that come before the scripts are nobody's, and forms that are
    sent before them are answered by a page of its own."""
    expect(page.locator("#connection")).to_have_attribute("data-is", "live")


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """See `Visit`."""
    visit = Visit(browser)
    yield visit
    visit.end()


@pytest.fixture
def runs(server_url: str) -> Runs:
    """Makes runs on this test's server."""
    return Runs(server_url)


@pytest.fixture
def pools(server_url: str) -> Pools:
    """Makes work pools and what waits in them on this test's server."""
    return Pools(server_url)


def assert_accessible(page: Page) -> None:
    """axe-core finds nothing in what is shown now."""
    # To read it in takes a third of an examination, so a page does that once.
    axe = Axe("") if page.evaluate("typeof axe === 'object'") else Axe()
    found = [
        f"{one['id']}: {one['help']}: {node['html'][:200]} {node['failureSummary']}"
        for one in axe.run(page).response["violations"]
        for node in one["nodes"]
    ]
    assert found == [], "\n".join(found)


_PAINTED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""Until what scripts do about another width is done."""
_OUTSIDE = """() => [...document.querySelectorAll("table.list")]
  .filter(table => getComputedStyle(table.parentElement).overflowX !== "auto")
  .filter(table => table.scrollWidth > Math.ceil(table.parentElement.clientWidth))
  .map(table => table.caption?.textContent ?? table.className)
  .concat([...document.querySelectorAll(".panel-box .code")]
    .filter(box => box.getBoundingClientRect().right
      > box.closest(".panel-box").getBoundingClientRect().right - 4)
    .map(box => box.textContent))"""


def assert_fits(page: Page) -> None:
    """Nothing has to be scrolled sideways to be seen, nothing covers it, no list is cut off, and no
    code reaches beyond its panel: in the width in which the page is, and in those below it."""
    size = page.viewport_size
    assert size is not None
    for width in (size["width"], *(one for one in BETWEEN if one < size["width"])):
        page.set_viewport_size({"width": width, "height": size["height"]})
        page.evaluate(_PAINTED)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        assert page.evaluate(_OUTSIDE) == [], width
    page.set_viewport_size(size)


COLOURS_CHANGED = """Promise.all(
  document.getAnimations().filter(one => one instanceof CSSTransition)
    .map(one => one.finished.catch(() => null)))"""
"""Waits until what fades from one colour into another has the other."""


def assert_whole(page: Page) -> None:
    """What is shown now fits and is accessible, by light and in the dark; it is left light."""
    schemes: tuple[Scheme, ...] = ("dark", "light")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        page.evaluate(COLOURS_CHANGED)
        assert_fits(page)
        assert_accessible(page)
