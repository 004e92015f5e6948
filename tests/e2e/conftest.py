"""The real client, and servers of every shape for it to talk to."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import prefect_client
from tests.e2e.prefect_client import PrefectClient


@pytest.fixture(scope="session")
def prefect_environment() -> Path:
    """The virtual environment with the real client."""
    return prefect_client.environment()


@pytest.fixture
def client_of(prefect_environment: Path, tmp_path: Path) -> Callable[[str], PrefectClient]:
    """Makes a real client of the server whose API is at a URL."""
    return lambda url: PrefectClient(prefect_environment, tmp_path / "client", url)
