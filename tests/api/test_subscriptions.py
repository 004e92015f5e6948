"""Following the log from outside: server-sent events, a websocket, and asking again and again."""

import asyncio
import socket as sockets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from msgspec import json
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.api.talk import Json, expect, make_flow, make_flow_run, set_state, talk_to
from tests.conftest import StartServer

SOON = 20.0
"""Seconds; a busy machine is slow."""
POLL = "/subscriptions/poll"
STREAM = "/subscriptions/stream"


async def poll(client: httpx.AsyncClient, status: int = 200, /, **asked: Any) -> Any:
    response = await client.get(POLL, params={"wait": 0} | asked)
    assert response.status_code == status, response.text
    return response.json()


async def poll_all(client: httpx.AsyncClient, **asked: Any) -> list[Json]:
    """Every matching event there is."""
    found: list[Json] = []
    where = {"from": "beginning"}
    while True:
        answer = await poll(client, **(asked | where))
        if not answer["events"]:
            return found
        found += answer["events"]
        where = {"after": answer["token"]}


class Message(dict[str, str]):
    """A server-sent event: its fields by name."""


@asynccontextmanager
async def streamed(
    client: httpx.AsyncClient, headers: dict[str, str] | None = None, /, **asked: Any
) -> AsyncIterator[AsyncIterator[Message]]:
    async with client.stream("GET", STREAM, params=asked, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"] == "text/event-stream"
        yield _messages(response)


async def _messages(response: httpx.Response) -> AsyncIterator[Message]:
    message = Message()
    async for line in response.aiter_lines():
        if not line:
            yield message
            message = Message()
            continue
        name, _, value = line.partition(": ")
        message[name] = value


async def events_of(messages: AsyncIterator[Message], number: int) -> list[Message]:
    """The next events, without bookmarks."""
    found: list[Message] = []
    async with asyncio.timeout(SOON):
        while len(found) < number:
            message = await anext(messages)
            if message["event"] != "bookmark":
                found.append(message)
    return found


@asynccontextmanager
async def subscribed(url: str, **asked: Any) -> AsyncIterator[ClientConnection]:
    address = url.replace("http", "ws") + "/subscriptions/connect"
    async with connect(address, max_queue=None) as socket:
        await socket.send(json.encode({"type": "subscribe"} | asked).decode())
        yield socket


async def frames(socket: ClientConnection, number: int) -> list[Json]:
    async with asyncio.timeout(SOON):
        return [json.decode(await socket.recv()) for _ in range(number)]


async def closed(socket: ClientConnection) -> tuple[int, str]:
    """Code and reason with which the server ends it."""
    with pytest.raises(ConnectionClosed) as ended:
        async with asyncio.timeout(SOON):
            while True:
                await socket.recv()
    assert ended.value.rcvd is not None
    return ended.value.rcvd.code, ended.value.rcvd.reason


async def test_all_three_ways_tell_the_same_in_the_same_words(server_url: str) -> None:
    async with talk_to(server_url) as client:
        flow = await make_flow(client)
        run = await make_flow_run(client, flow)
        await set_state(client, "flow_runs", run["id"], "RUNNING")
        polled = await poll_all(client, limit=2)
        assert [event["position"] for event in polled] == list(range(1, len(polled) + 1))
        assert [event["type"] for event in polled[:2]] == ["flow.created", "flow-run.created"]
        assert polled[1]["stream"] == f"flow-run:{run['id']}"
        assert polled[1]["data"]["flow_id"] == flow
        assert {event["schema"] for event in polled} == {1}

        async with streamed(client, None, **{"from": "beginning"}) as messages:
            sent = await events_of(messages, len(polled))
        assert [json.decode(message["data"]) for message in sent] == polled
        assert [message["event"] for message in sent] == [event["type"] for event in polled]

        async with subscribed(server_url, **{"from": "beginning"}) as socket:
            first, *heard = await frames(socket, 1 + len(polled))
        assert (first["type"], first["position"]) == ("bookmark", 0)
        assert [frame["event"] for frame in heard] == polled
        assert [frame["token"] for frame in heard] == [message["id"] for message in sent]


async def test_a_filter_takes_values_of_every_kind_and_prefixes_of_types(server_url: str) -> None:
    async with talk_to(server_url) as client:
        flow = await make_flow(client)
        run, other = [await make_flow_run(client, flow) for _ in range(2)]
        await client.delete(f"/flow_runs/{run['id']}")

        async def types(**asked: Any) -> list[str]:
            return [event["type"] for event in await poll_all(client, **asked)]

        assert await types(category="flow") == ["flow.created"]
        assert await types(type=["flow.created", "flow-run.deleted"]) == [
            "flow.created",
            "flow-run.deleted",
        ]
        about = await types(resource=run["id"])
        assert (about[0], about[-1]) == ("flow-run.created", "flow-run.deleted")
        assert await types(resource=run["id"], type="flow-run.d*") == ["flow-run.deleted"]
        created = ["flow.created", "flow-run.created"]
        assert await types(resource=flow, type=created) == [*created, "flow-run.created"]
        assert await types(stream=f"flow-run:{other['id']}", type=created) == created[1:]
        body = {"name": "correlated"}
        await client.post("/flows/", json=body, headers={"x-request-id": "mine"})
        assert await types(correlation="mine") == ["flow.created"]


async def test_a_reader_starts_now_at_the_beginning_or_at_a_time(server_url: str) -> None:
    async with talk_to(server_url) as client:
        for _ in range(5):
            await make_flow(client)
        everything = await poll_all(client)
        third = everything[2]["recorded_at"]
        # Also with a plus sign that nobody escaped.
        zoned = datetime.fromisoformat(third).astimezone(UTC).isoformat()
        for text in (third, zoned):
            response = await client.get(f"{POLL}?wait=0&from={text}")
            assert response.json()["events"] == everything[2:]
        later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        for start in ("now", later):
            answer = await poll(client, 200, **{"from": start})
            assert answer["events"] == []
        await make_flow(client)
        answer = await poll(client, after=answer["token"])
        assert [event["position"] for event in answer["events"]] == [6]


async def test_a_poll_waits_for_an_event_and_answers_at_once_then(server_url: str) -> None:
    async with talk_to(server_url) as client:
        begin = await poll(client)
        waiting = asyncio.create_task(poll(client, after=begin["token"], wait=60))
        await make_flow(client)
        async with asyncio.timeout(SOON):
            answer = await waiting
        assert [event["type"] for event in answer["events"]] == ["flow.created"]
        answer = await poll(client, after=answer["token"], wait=0.05)
        assert answer["events"] == []


async def test_a_stream_goes_on_after_the_last_event_that_its_reader_had(server_url: str) -> None:
    async with talk_to(server_url) as client:
        for _ in range(4):
            await make_flow(client)
        async with streamed(client, None, **{"from": "beginning"}) as messages:
            had = await events_of(messages, 2)
        await make_flow(client)
        # A browser asks for the same address again.
        headers = {"Last-Event-ID": had[-1]["id"]}
        async with streamed(client, headers, **{"from": "beginning"}) as messages:
            rest = await events_of(messages, 3)
        assert [json.decode(m["data"])["position"] for m in rest] == [3, 4, 5]
        async with subscribed(server_url, after=had[0]["id"]) as socket:
            _, *heard = await frames(socket, 5)
        assert [frame["event"]["position"] for frame in heard] == [2, 3, 4, 5]


async def test_a_new_event_reaches_those_who_wait_and_those_who_do_not_want_it_not(
    server_url: str,
) -> None:
    async with (
        talk_to(server_url) as client,
        streamed(client) as messages,
        subscribed(server_url, filter={"category": ["flow-run"]}) as runs,
    ):
        assert (await anext(messages))["event"] == "bookmark"
        assert [frame["type"] for frame in await frames(runs, 1)] == ["bookmark"]
        run = await make_flow_run(client, await make_flow(client))
        told = await events_of(messages, 2)
        assert [message["event"] for message in told] == ["flow.created", "flow-run.created"]
        (heard,) = await frames(runs, 1)
        assert heard["event"]["stream"] == f"flow-run:{run['id']}"


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"types": "flow.*"}, "invalid"),
        ({"type": ""}, "invalid"),
        ({"from": "yesterday"}, "invalid"),
        ({"after": "nonsense"}, "invalid-token"),
        ({"wait": "x"}, "invalid"),
        ({"wait": "61"}, "invalid"),
        ({"wait": "nan"}, "invalid"),
        ({"limit": "0"}, "invalid"),
        ({"limit": "1.5"}, "invalid"),
        ({"limit": "9" * 5_000}, "invalid"),
    ],
)
async def test_nonsense_is_refused_with_a_reason(
    server_url: str, asked: dict[str, str], reason: str
) -> None:
    async with talk_to(server_url) as client:
        answer = await poll(client, 400, **asked)
        assert answer["reason"] == reason
        assert answer["detail"]
        if not asked.keys() & {"wait", "limit"}:
            assert (await client.get(STREAM, params=asked)).json() == answer


async def test_a_token_of_another_filter_or_another_log_is_refused_with_a_reason(
    start_server: StartServer,
) -> None:
    server = start_server()
    async with talk_to(server.url) as client:
        await make_flow(client)
        token = (await poll(client))["token"]
        assert (await poll(client, 400, after=token, type="x"))["reason"] == "invalid-token"
        assert (await poll(client, 400, **{"after": token, "from": "now"}))["reason"] == "invalid"
        async with subscribed(server.url, after=token, filter={"type": ["x"]}) as socket:
            code, reason = await closed(socket)
        assert (code, reason.partition(":")[0]) == (4400, "invalid-token")
        async with subscribed(server.url, filtre={}) as socket:
            assert (await closed(socket))[0] == 4400


@pytest.mark.heavy
async def test_a_slow_reader_of_a_stream_gets_everything_also_what_has_left_the_ring(
    start_server: StartServer,
) -> None:
    server = start_server()
    padding = {"text": "x" * 20_000}
    async with talk_to(server.url) as client:
        flow = await make_flow(client)
        host, port = "127.0.0.1", server.port
        with sockets.socket() as slow:
            slow.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
            slow.connect((host, port))
            path = f"/api{STREAM}?from=now&type=flow-run.created"
            slow.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            slow.settimeout(SOON)
            begun = b""
            while b"bookmark" not in begun:
                begun += slow.recv(4_096)
            await make_flow_run(client, flow, parameters=padding)
            count = 1_500  # 30 MB; the ring holds 16.
            for at in range(0, count - 1, 50):
                await asyncio.gather(
                    *(
                        make_flow_run(client, flow, parameters=padding)
                        for _ in range(min(50, count - 1 - at))
                    )
                )
            heard = await asyncio.to_thread(_read_events, slow, count)
        assert heard == count


def _read_events(socket: sockets.socket, count: int) -> int:
    heard = 0
    left = b""
    while heard < count:
        piece = socket.recv(65_536)
        assert piece, f"ended after {heard}"
        left += piece
        heard += left.count(b"event: flow-run.created\n")
        left = left[-25:] if b"event: flow-run.created\n" not in left[-25:] else b""
    return heard


async def test_followers_are_told_that_the_server_ends_and_do_not_hold_it_up(
    start_server: StartServer,
) -> None:
    server = start_server()
    async with (
        talk_to(server.url) as client,
        streamed(client) as messages,
        subscribed(server.url) as socket,
    ):
        await anext(messages)
        await frames(socket, 1)
        token = (await poll(client))["token"]
        waiting = asyncio.create_task(poll(client, after=token, wait=60))
        await make_flow(client)  # So the poll has been taken in, too: it is answered in order.
        await waiting
        waiting = asyncio.create_task(poll(client, wait=60))
        await expect(client, "GET", "/hello", 200)
        began = time.monotonic()
        assert await asyncio.to_thread(server.stop) == 0
        assert time.monotonic() - began < 5
        assert await closed(socket) == (1001, "the server is shutting down")
        assert (await waiting)["events"] == []
        assert [m async for m in messages if m.get("event") not in (None, "flow.created")] == []


async def test_a_password_is_asked_for_where_there_is_one(start_server: StartServer) -> None:
    url = start_server(settings={"PREFECT_SERVER_API_AUTH_STRING": "admin:pass"}).url
    async with talk_to(url) as client:
        await poll(client, 401)
        assert (await client.get(STREAM)).status_code == 401
        response = await client.get(POLL, params={"wait": 0}, auth=("admin", "pass"))
        assert response.status_code == 200
