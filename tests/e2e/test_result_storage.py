"""The server's default for result storage: set with the real command, obeyed by the real client."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.prefect_client import PrefectClient

pytestmark = pytest.mark.heavy


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """What the client does does not depend on the engine."""
    return str(request.param)


def test_results_are_stored_where_the_server_says(
    server_url: str, prefect_environment: Path, tmp_path: Path
) -> None:
    client = PrefectClient(prefect_environment, tmp_path / "client", server_url)
    place = tmp_path / "results"
    place.mkdir()

    def storage(*arguments: str) -> str:
        done = client.prefect("experimental", "result-storage", *arguments)
        assert done.code == 0, done.output + done.errors
        return done.output

    def inspected() -> Any:
        return json.loads(storage("inspect", "--output", "json"))

    client.flow("storing.py", "save", str(place))
    client.flow("storing.py", "run")
    assert list(place.iterdir()) == []
    storage("set", "local-file-system/results")
    assert inspected()["block"] == "local-file-system/results"
    client.flow("storing.py", "run")
    stored = len(list(place.iterdir()))
    assert stored > 0
    storage("clear")
    assert inspected() == {"default_result_storage_block_id": None}
    client.flow("storing.py", "run")
    assert len(list(place.iterdir())) == stored
