"""One server per engine for all scenarios: each of them uses names of its own."""

from collections.abc import Iterator

import pytest

from tests import serving
from tests.conftest import BACKENDS, fresh_database

SETTINGS = {"PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false"}
"""A real server ends pauses in a loop of 5 s; ours at once, before a scenario's next step."""


@pytest.fixture(scope="module", params=BACKENDS)
def server_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Base URL of the API of a real server that all scenarios of this module share."""
    folder = tmp_path_factory.mktemp("contract")
    with fresh_database(request.param, request, folder) as target:
        server = serving.start(target, folder / "home", settings=SETTINGS)
        yield server.url
        assert server.stop() == 0, server.output()
        serving.verify_digests(target)
