"""Run log lines through the door: kept, read, and followed as they come, in whichever process."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.api.talk import expect, talk_to
from tests.conftest import StartServer

FRAME_SECONDS = 10.0
"""How long a frame may take that has to come."""
QUIET_SECONDS = 0.3
"""How long nothing has to come."""
PROBE = "is this heard?"
START = datetime(2026, 1, 1, tzinfo=UTC)


def line(message: str, run: str | None = None, **fields: Any) -> dict[str, Any]:
    timestamp = START.isoformat()
    known = {"name": "n", "level": 20, "message": message, "timestamp": timestamp}
    return known | {"flow_run_id": run} | fields


async def read(client: httpx.AsyncClient, **body: Any) -> list[str]:
    found = await expect(client, "POST", "/logs/filter", 200, body)
    return [shown["message"] for shown in found]


@asynccontextmanager
async def asking(
    url: str, filter: dict[str, Any] | None = None, token: str | None = None
) -> AsyncIterator[ClientConnection]:
    """Somebody who has said which lines are wanted."""
    address = url.replace("http", "ws", 1) + "/logs/out"
    async with connect(address, subprotocols=[Subprotocol("prefect")]) as socket:
        await socket.send(json.dumps({"type": "auth", "token": token}))
        assert await heard(socket) == {"type": "auth_success"}
        await socket.send(json.dumps({"type": "filter", "filter": filter or {}}))
        yield socket


@asynccontextmanager
async def listening(
    url: str, filter: dict[str, Any] | None = None, **probe: Any
) -> AsyncIterator[ClientConnection]:
    """Somebody who hears what is written from now on. `probe`: of a line that the filter lets
    through."""
    async with asking(url, filter) as socket, talk_to(url) as client:
        await follows(socket, client, **probe)
        yield socket


async def follows(socket: ClientConnection, client: httpx.AsyncClient, **probe: Any) -> None:
    """Return when lines are heard: that they are is not acknowledged."""
    async with asyncio.timeout(FRAME_SECONDS):
        while True:
            await expect(client, "POST", "/logs/", 201, [line(PROBE, **probe)])
            with suppress(TimeoutError):
                async with asyncio.timeout(QUIET_SECONDS):
                    await socket.recv()
                return


async def heard(socket: ClientConnection) -> Any:
    """The next frame that is none of `follows`."""
    async with asyncio.timeout(FRAME_SECONDS):
        while True:
            frame = json.loads(await socket.recv())
            if frame.get("log", {}).get("message") != PROBE:
                return frame


async def heard_messages(socket: ClientConnection, number: int) -> list[str]:
    return [(await heard(socket))["log"]["message"] for _ in range(number)]


async def nothing_heard(socket: ClientConnection) -> bool:
    try:
        async with asyncio.timeout(QUIET_SECONDS):
            await heard(socket)
    except TimeoutError:
        return True
    return False


async def test_lines_are_read_back_page_by_page_oldest_first(server_url: str) -> None:
    run = str(uuid.uuid4())
    async with talk_to(server_url) as client:
        times = [(START + timedelta(seconds=n % 7)).isoformat() for n in range(250)]
        body = [line(str(n), run, timestamp=time) for n, time in enumerate(times)]
        assert await expect(client, "POST", "/logs/", 201, body) is None
        wanted = {"logs": {"flow_run_id": {"any_": [run]}}}
        pages = [await read(client, **wanted, offset=offset) for offset in (0, 200, 400)]
        assert [len(page) for page in pages] == [200, 50, 0]
        expected = sorted(range(250), key=lambda n: (n % 7, n))
        assert [int(message) for page in pages for message in page] == expected


async def test_of_a_batch_with_a_wrong_line_nothing_is_kept(server_url: str) -> None:
    run = str(uuid.uuid4())
    async with talk_to(server_url) as client:
        for wrong in (
            line("x", "no-uuid"),
            line("x", level=2**31),
            line("x", timestamp="yesterday"),
            line("x", timestamp="0001-01-01T00:00:00+02:00"),
            line("x", timestamp="9999-12-31T23:59:59-02:00"),
            {"name": "n"},
        ):
            body = [line("good", run), wrong]
            refused = await expect(client, "POST", "/logs/", 422, body)
            assert refused["exception_detail"][0]["loc"][:2] == ["body", 1]
        assert await read(client) == []


async def test_ids_and_times_are_brought_to_one_form(server_url: str) -> None:
    run = uuid.uuid4()
    async with talk_to(server_url) as client:
        body = [line("a\x00b", run.hex.upper(), timestamp="2026-01-01T02:00:00.5+02:00")]
        body += [line("later", None, timestamp="2026-01-01T00:00:01", from_the_future=1)]
        await expect(client, "POST", "/logs/", 201, body)
        first, second = await expect(client, "POST", "/logs/filter", 200)
        assert first["flow_run_id"] == str(run)
        assert first["timestamp"] == "2026-01-01T00:00:00.500000Z"
        assert first["message"] == "ab"
        assert second["timestamp"] == "2026-01-01T00:00:01Z"
        assert first["id"] != second["id"]


async def test_a_deleted_flow_run_takes_its_lines_along(server_url: str) -> None:
    async with talk_to(server_url) as client:
        flow = (await expect(client, "POST", "/flows/", 201, {"name": "f"}))["id"]
        run = (await expect(client, "POST", "/flow_runs/", 201, {"flow_id": flow}))["id"]
        await expect(client, "POST", "/logs/", 201, [line("its", run), line("other")])
        await expect(client, "DELETE", f"/flow_runs/{run}", 204)
        assert await read(client) == ["other"]


async def test_lines_are_heard_in_every_process_as_they_are_written(
    start_server: StartServer,
) -> None:
    here, there = start_server().url, start_server().url
    run = str(uuid.uuid4())
    async with talk_to(here) as client, talk_to(there) as other:
        await expect(client, "POST", "/logs/", 201, [line("before")])
        async with listening(here) as near, listening(there) as far:
            await expect(client, "POST", "/logs/", 201, [line("one", run), line("two")])
            await expect(other, "POST", "/logs/", 201, [line("three")])
            for socket in (near, far):
                first = await heard(socket)
                assert first["type"] == "log"
                (stored,) = await expect(
                    client, "POST", "/logs/filter", 200, {"logs": {"flow_run_id": {"any_": [run]}}}
                )
                assert first["log"] == stored | {"created": None, "updated": None}
                assert await heard_messages(socket, 2) == ["two", "three"]


async def test_only_lines_that_match_are_heard(server_url: str) -> None:
    run = str(uuid.uuid4())
    wanted = {"flow_run_id": {"any_": [run]}, "level": {"ge_": 30, "le_": None}, "text": None}
    async with (
        talk_to(server_url) as client,
        listening(server_url, wanted, run=run, level=40) as socket,
    ):
        body = [line("quiet", run), line("other", level=40), line("loud", run, level=40)]
        await expect(client, "POST", "/logs/", 201, body)
        assert await heard_messages(socket, 1) == ["loud"]
        assert await nothing_heard(socket)


async def test_a_listener_that_is_slow_still_hears_every_line(server_url: str) -> None:
    batches, size, long = 200, 10, "x" * 10_000
    last = f"{batches - 1}-{size - 1}"
    async with (
        talk_to(server_url) as client,
        listening(server_url) as slow,
        listening(server_url, {"text": {"query": f'"{last} "'}}, name=f"{last} ") as quick,
    ):
        for batch in range(batches):
            body = [line(f"{batch}-{n} {long}") for n in range(size)]
            await expect(client, "POST", "/logs/", 201, body)
        assert await heard_messages(quick, 1) == [f"{last} {long}"]
        messages = await heard_messages(slow, batches * size)
        expected = [f"{batch}-{n}" for batch in range(batches) for n in range(size)]
        assert [message.partition(" ")[0] for message in messages] == expected


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"type": "hello"}, 1002),
        ({"type": "filter"}, 1002),
        ({"type": "filter", "filter": {"level": {"ge_": "loud"}}}, 1002),
        ({"type": "filter", "filter": {"text": {"query": "x" * 300}}}, 1002),
    ],
)
async def test_what_is_no_filter_closes_the_socket(
    server_url: str, frame: dict[str, Any], code: int
) -> None:
    address = server_url.replace("http", "ws", 1) + "/logs/out"
    async with connect(address, subprotocols=[Subprotocol("prefect")]) as socket:
        await socket.send(json.dumps({"type": "auth", "token": None}))
        await heard(socket)
        await socket.send(json.dumps(frame))
        with pytest.raises(ConnectionClosed) as closed:
            await heard(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == code


async def test_without_the_subprotocol_there_is_no_handshake(server_url: str) -> None:
    address = server_url.replace("http", "ws", 1) + "/logs/out"
    async with talk_to(server_url) as client, connect(address) as socket:
        await socket.send(json.dumps({"type": "filter", "filter": {}}))
        await follows(socket, client)
        await expect(client, "POST", "/logs/", 201, [line("hello")])
        assert await heard_messages(socket, 1) == ["hello"]


async def test_a_password_is_asked_for_where_there_is_one(start_server: StartServer) -> None:
    url = start_server(settings={"PLUPERFECT_API_AUTH_STRING": "admin:pass"}).url
    address = url.replace("http", "ws", 1) + "/logs/out"
    for frame in ({"type": "auth"}, {"type": "auth", "token": "wrong"}, {"type": "filter"}, "x"):
        async with connect(address, subprotocols=[Subprotocol("prefect")]) as socket:
            await socket.send(json.dumps(frame))
            with pytest.raises(ConnectionClosed) as closed:
                await heard(socket)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
    with pytest.raises(Exception, match="403"):
        async with connect(address):
            pass
    async with asking(url, token="admin:pass") as socket:
        assert await nothing_heard(socket)


async def test_a_server_told_not_to_stream_says_nothing(start_server: StartServer) -> None:
    url = start_server(settings={"PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED": "false"}).url
    async with talk_to(url) as client, asking(url) as socket:
        await expect(client, "POST", "/logs/", 201, [line("hello")])
        assert await nothing_heard(socket)
