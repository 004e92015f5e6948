"""A server whose log is set back beneath it, here by a copy that is written over it, says so and
ends: what is started in its place opens the log as it is."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from api.errors import http_error
from eventstore.errors import LogReplaced
from tests.conftest import StartServer
from tests.serving import RunningServer

SOON_SECONDS = 60.0


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """That both engines notice is in `tests/conformance/test_set_back.py`."""
    return str(request.param)


@pytest.fixture
def server(start_server: StartServer, workers: int) -> RunningServer:
    """One with a flow that is kept, and one that is lost."""
    server = start_server(workers=workers)
    path = server.target.path
    assert path is not None
    assert new_flow(server, "kept").status_code == 201
    older = path.with_name("older.db")
    copy(path, older)
    assert new_flow(server, "lost").status_code == 201
    copy(older, path)
    return server


def new_flow(server: RunningServer, name: str) -> httpx.Response:
    return httpx.post(f"{server.url}/flows/", json={"name": name}, timeout=30)


def sent_until_taken(server: RunningServer, name: str) -> int:
    """As clients do: what meets a worker that is about to end is sent again."""
    deadline = time.monotonic() + SOON_SECONDS
    while time.monotonic() < deadline:
        try:
            status = new_flow(server, name).status_code
        except httpx.TransportError:
            continue
        if status != 503:
            return status
    raise AssertionError(server.output())


def copy(source: Path, over: Path) -> None:
    """All of a database, over another that may be open."""
    with closing(sqlite3.connect(source)) as given, closing(sqlite3.connect(over)) as taken:
        given.backup(taken)


@pytest.mark.parametrize("workers", [1])
def test_who_serves_alone_ends_and_can_be_started_again(
    server: RunningServer, start_server: StartServer
) -> None:
    assert server.process.wait(SOON_SECONDS) == 1
    assert "the log was set back" in server.output()
    assert "Traceback" not in server.output(), server.output()

    again = start_server()
    assert new_flow(again, "kept").status_code == 200
    assert new_flow(again, "lost").status_code == 201
    assert again.stop() == 0


@pytest.mark.parametrize("workers", [2])
def test_workers_are_replaced(server: RunningServer) -> None:
    # The other one, too, if it had seen the lost flow already.
    deadline = time.monotonic() + SOON_SECONDS
    while "is replaced" not in server.output():
        assert time.monotonic() < deadline, server.output()
        time.sleep(0.05)
    for _ in range(10):  # Each on a connection of its own, perhaps to another worker.
        assert sent_until_taken(server, "kept") == 200
    assert sent_until_taken(server, "lost") == 201
    assert "Traceback" not in server.output(), server.output()
    assert server.stop() == 0


def test_what_comes_meanwhile_is_to_be_sent_again() -> None:
    refused = http_error(LogReplaced("the log was set back"), b"")
    assert refused.status == 503
    assert "the log was set back" in refused.body["exception_message"]
    assert any(name == b"retry-after" for name, _ in refused.headers)
