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
from eventstore.migrate import Target
from tests import serving
from tests.conftest import StartServer
from tests.serving import RunningServer

SOON_SECONDS = 60.0


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """That both engines notice is in `tests/conformance/test_set_back.py`."""
    return str(request.param)


@pytest.fixture
def followed() -> list[str]:
    """Tokens of subscriptions: one at the flow that is kept, two at the one that is lost."""
    return []


@pytest.fixture
def server(start_server: StartServer, workers: int, followed: list[str]) -> RunningServer:
    """One with a flow that is kept, and one that is lost."""
    server = start_server(workers=workers)
    path = database_of(server)
    assert new_flow(server, "kept").status_code == 201
    followed.append(token_of(server, start="now"))
    older = path.with_name("older.db")
    copy(path, older)
    assert new_flow(server, "lost").status_code == 201
    followed += [token_of(server, start=start) for start in ("beginning", "now")]
    copy(older, path)
    return server


def token_of(server: RunningServer, *, start: str) -> str:
    """What goes on after what there is."""
    asked = {"from": start, "wait": "0"}
    return str(httpx.get(f"{server.url}/subscriptions/poll", params=asked).json()["token"])


def database_of(server: RunningServer) -> Path:
    path = server.target.path
    assert path is not None
    return path


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


@pytest.mark.parametrize("workers", [1])
def test_whoever_followed_what_is_lost_is_told_so_and_misses_nothing_of_what_came_instead(
    server: RunningServer, start_server: StartServer, followed: list[str]
) -> None:
    assert server.process.wait(SOON_SECONDS) == 1
    again = start_server()
    for name in ("other", "another"):
        assert new_flow(again, name).status_code == 201

    kept, *lost = [
        httpx.get(f"{again.url}/subscriptions/poll", params={"after": token, "wait": 0})
        for token in followed
    ]

    assert [event["data"]["name"] for event in kept.json()["events"]] == ["other", "another"]
    assert len(lost) == 2
    for refused in lost:
        assert (refused.status_code, refused.json()["reason"]) == (410, "replaced")
        assert "restored from a backup" in refused.json()["detail"]
    assert again.stop() == 0


def test_a_tail_that_had_shown_what_is_lost_says_so_instead_of_leaving_out_what_came_instead(
    start_server: StartServer, target: Target, tmp_path: Path
) -> None:
    server = start_server()
    path = database_of(server)
    new_flow(server, "kept")
    older = path.with_name("older.db")
    copy(path, older)
    with serving.tail_that_follows(target, tmp_path / "cli") as tail:
        assert tail.stdout is not None
        assert "kept" in tail.stdout.readline()
        new_flow(server, "lost")
        assert "lost" in tail.stdout.readline()
        copy(older, path)
        assert server.process.wait(SOON_SECONDS) == 1
        again = start_server()
        for name in ("other", "another"):
            assert new_flow(again, name).status_code == 201

        shown, said = tail.communicate(timeout=SOON_SECONDS)

    assert (tail.returncode, shown) == (1, "")
    assert said.startswith("Error: The log was erased or restored from a backup meanwhile: ")
    assert said.endswith(" shown, up to position 2; start again.\n")
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
