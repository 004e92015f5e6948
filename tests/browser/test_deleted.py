"""What a page says about something that somebody deletes while it is open."""

from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit, assert_live, assert_whole
from tests.browser.making_blocks import KEYRING, Blocks
from tests.browser.making_deployments import HOURLY, Deployments
from tests.browser.making_limits import Limits
from tests.serving import NO_CERTIFICATES

Made = tuple[str, str]
"""Path of its page, and where the API has it."""


def _flow(url: str) -> Made:
    id_ = Limits(url).flow("short-lived")
    return f"flows/flow/{id_}", f"/flows/{id_}"


def _deployment(url: str) -> Made:
    id_ = Deployments(url).make("short-lived", schedules=[HOURLY])
    return f"deployments/deployment/{id_}", f"/deployments/{id_}"


def _pool(url: str) -> Made:
    Limits(url).pool("short-lived")
    return "work-pools/work-pool/short-lived", "/work_pools/short-lived"


def _queue(url: str) -> Made:
    limits = Limits(url)
    limits.pool("k8s")
    id_ = limits.queue("k8s", "short-lived")
    return f"work-queues/work-queue/{id_}", "/work_pools/k8s/queues/short-lived"


def _block_type(url: str) -> Made:
    blocks = Blocks(url)
    made = blocks.type("Keyring")
    blocks.schema(made["id"], KEYRING)
    return "blocks/catalog/keyring", f"/block_types/{made['id']}"


def _key(url: str) -> Made:
    made = Limits(url).post("/artifacts/", {"key": "short-lived", "type": "markdown", "data": "x"})
    return "artifacts/key/short-lived", f"/artifacts/{made['id']}"


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (_flow, "flow"),
        (_deployment, "deployment"),
        (_pool, "work pool"),
        (_queue, "queue"),
        (_block_type, "block type"),
        (_key, "key"),
    ],
)
def test_a_page_about_what_was_deleted_says_so_and_offers_nothing_to_do_with_it(
    server_url: str, visit: Visit, make: Callable[[str], Made], what: str
) -> None:
    path, at = make(server_url)
    page = visit(server_url, path)
    httpx.delete(server_url + at, verify=NO_CERTIFICATES).raise_for_status()
    expect(page.get_by_role("heading", name=f"This {what} was deleted")).to_be_in_viewport()
    expect(page.locator(".title .actions")).to_have_count(0)
    assert_whole(page)
    page.locator(".empty .button.primary").click()
    assert_live(page)
