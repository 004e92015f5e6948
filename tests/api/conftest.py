"""What several tests of the server over HTTP begin with."""

import pytest


@pytest.fixture
def root(server_url: str) -> str:
    """Where the pages are, with a slash at the end."""
    return server_url.removesuffix("api")
