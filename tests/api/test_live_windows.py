"""Windows that end now go on with the clock on an open page, though nothing happens."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import httpx
import pytest

from tests.browser.making_runs import Runs

DASHBOARD = "/dashboard?range=1h"


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """Pages do not depend on the engine."""
    return str(request.param)


async def _first_patch(site: httpx.AsyncClient, page: str, position: str, made: int) -> str | None:
    """The first message of regions, if there is one before another event makes the server speak."""
    asked = {"page": page, "position": position, "made": str(made)}
    async with site.stream("GET", "live", params=asked) as answer:
        lines: AsyncIterator[str] = answer.aiter_lines()
        async for line in lines:
            if line == "event: patch":
                return await anext(lines)
            if line == "event: data":
                return None
    raise AssertionError("the stream has ended")


@pytest.mark.parametrize(
    ("page", "region"),
    [
        (DASHBOARD, "history"),
        ("/flows", "flows"),
        ("/runs?range=24h", "runs"),
        ("/runs?tab=task-runs&range=1h", "runs"),
        ("/events?range=1h", "density"),
    ],
)
async def test_a_page_that_nobody_saw_for_hours_is_told_at_once_what_its_window_shows_by_now(
    server_url: str, page: str, region: str
) -> None:
    runs = Runs(server_url)
    runs.run("one", "COMPLETED")
    async with httpx.AsyncClient(base_url=server_url.removesuffix("api"), timeout=30) as site:
        html = (await site.get(page.removeprefix("/"))).text
        position, made = _told(html)
        hours_ago = made - round(timedelta(hours=7).total_seconds() * 1000)
        said = await _first_patch(site, page, position, hours_ago)
        assert said is not None and f'"{region}"' in said


async def test_the_picture_of_a_page_that_nobody_saw_for_hours_is_read_anew(
    server_url: str,
) -> None:
    Runs(server_url).run("one", "COMPLETED")
    async with httpx.AsyncClient(base_url=server_url.removesuffix("api"), timeout=30) as site:
        position, made = _told((await site.get("runs?range=24h")).text)
        asked = {"page": "/runs?range=24h", "position": position, "made": str(made - 25_200_000)}
        async with site.stream("GET", "live", params=asked) as answer:
            lines: AsyncIterator[str] = answer.aiter_lines()
            async for line in lines:
                if line == "event: data":
                    break
            assert json.loads((await anext(lines)).removeprefix("data: ")) == {
                "scatter": {"again": True}
            }


@pytest.mark.parametrize(
    "page", ["/runs", "/dashboard?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z"]
)
async def test_what_does_not_end_now_is_not_told_again(server_url: str, page: str) -> None:
    runs = Runs(server_url)
    runs.run("one", "COMPLETED")
    async with httpx.AsyncClient(base_url=server_url.removesuffix("api"), timeout=30) as site:
        html = (await site.get(page.removeprefix("/"))).text
        position, made = _told(html)
        listening = asyncio.ensure_future(_first_patch(site, page, position, made - 25_200_000))
        # A variable concerns neither page but that the log has become longer.
        async with httpx.AsyncClient(base_url=server_url, timeout=30) as api:
            while not listening.done():
                name = f"v{datetime.now().timestamp():.6f}".replace(".", "_")
                (await api.post("/variables/", json={"name": name, "value": 1})).raise_for_status()
                await asyncio.wait({listening}, timeout=0.1)
        assert await listening is None


def _told(html: str) -> tuple[str, int]:
    """The position of a page, and when it was made, in milliseconds."""
    found = re.search(r'data-position="([^"]+)" data-made="(\d+)"', html)
    assert found is not None
    return found[1], int(found[2])
