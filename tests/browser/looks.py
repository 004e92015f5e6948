"""Every page of a kind in every look: small and large, light and dark."""

from collections.abc import Iterable

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import LARGE, SMALL, assert_live, assert_whole

in_every_look = pytest.mark.parametrize("width", [SMALL, LARGE])
"""`assert_whole` then looks at a page in either theme."""


def assert_each_can_be_used(page: Page, server_url: str, paths: Iterable[str]) -> None:
    """Each of these pages is accessible, and fits, in either theme."""
    for path in paths:
        page.goto(server_url.removesuffix("api") + path)
        assert_live(page)
        assert_whole(page)
