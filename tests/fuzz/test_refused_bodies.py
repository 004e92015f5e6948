"""What is left of a body that was refused."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from api.bodies import decoded
from api.errors import http_error
from api.http import Endpoint
from api.routes import areas

MARK = "a value that nobody else has"
BODIES = (
    b'[["%b"]]' % MARK.encode(),
    b'{"name": ["%b"]}' % MARK.encode(),
    b'{"nope": ["%b"], "filter": 1, "limit": {}}' % MARK.encode(),
)
ENDPOINTS = [
    endpoint for area in areas() for endpoint in area.endpoints if endpoint.body is not None
]


@pytest.fixture
def without_collector() -> Iterator[None]:
    """As in a server, where the collector of cycles runs rarely."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collector")
def test_nothing_is_left_of_a_body_that_was_refused() -> None:
    refused = 0
    for endpoint in ENDPOINTS:
        for body in BODIES:
            refused += _is_refused(endpoint, body)
    assert refused > len(ENDPOINTS)
    assert [one for one in gc.get_objects() if isinstance(one, list) and one == [MARK]] == []


def _is_refused(endpoint: Endpoint[Any], body: bytes) -> bool:
    try:
        decoded(endpoint, body)
    except Exception as error:
        http_error(error, body)
        return True
    return False
