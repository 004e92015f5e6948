"""Emissions over websockets: in from clients, out to followers."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import json
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.typing import Subprotocol

from tests.api.talk import expect, talk_to
from tests.conftest import StartServer
from tests.emitting import Json, emission, report

SOON = 20.0
"""Seconds; a busy machine is slow."""
POLL = 0.02
QUIET = 0.3
"""How long nothing has to come before we believe that nothing will."""


@asynccontextmanager
async def opened(
    url: str, path: str, *, token: str | None = None
) -> AsyncIterator[ClientConnection]:
    """A websocket after the handshake, as Prefect's clients do it."""
    address = url.replace("http", "ws") + path
    async with connect(address, subprotocols=[Subprotocol("prefect")], max_queue=None) as socket:
        await (await socket.ping())
        await socket.send(json.encode({"type": "auth", "token": token}).decode())
        assert json.decode(await socket.recv()) == {"type": "auth_success"}
        yield socket


async def send(socket: ClientConnection, *sent: Json) -> None:
    for one in sent:
        await socket.send(json.encode(one).decode())


async def follow(socket: ClientConnection, backfill: Any = True, **asked: Any) -> None:
    await send(socket, {"type": "filter", "filter": asked, "backfill": backfill})


async def receive(socket: ClientConnection, number: int) -> list[Json]:
    """The next events. Fails if they do not come."""
    events = []
    async with asyncio.timeout(SOON):
        for _ in range(number):
            frame = json.decode(await socket.recv())
            assert frame["type"] == "event"
            events.append(frame["event"])
    return events


async def is_quiet(socket: ClientConnection) -> bool:
    try:
        await asyncio.wait_for(socket.recv(), QUIET)
    except TimeoutError:
        return True
    return False


async def is_following(socket: ClientConnection, url: str, name: str) -> None:
    """Return when what happens from now on reaches this follower."""
    async with opened(url, "/events/in") as inlet, asyncio.timeout(SOON):
        while True:
            await send(inlet, emission(event=name))
            try:
                await asyncio.wait_for(socket.recv(), QUIET)
                return
            except TimeoutError:
                continue


async def eventually(url: str, path: str, count: int) -> None:
    async with talk_to(url) as client, asyncio.timeout(SOON):
        while True:
            if (await client.post(path, json={})).json() == count:
                return
            await asyncio.sleep(POLL)


async def test_reports_in_bursts_are_all_there_when_they_were_taken(server_url: str) -> None:
    ids = [str(uuid.uuid4()) for _ in range(150)]
    moment = datetime.now(UTC)
    async with opened(server_url, "/events/in") as first, opened(server_url, "/events/in") as other:
        for kind, second in (("COMPLETED", 3), ("PENDING", 1), ("RUNNING", 2)):
            for number, id in enumerate(ids):
                told = report(id, kind, moment + timedelta(seconds=second))
                await send((first, other)[number % 2], told, *([told] if number % 7 == 0 else []))
    await eventually(server_url, "/task_runs/count", len(ids))
    async with talk_to(server_url) as client, asyncio.timeout(SOON):
        while True:
            found = await expect(client, "POST", "/events/filter", 200, {"limit": 0})
            if found["total"] == 3 * len(ids):
                break
            await asyncio.sleep(POLL)
        for id in ids[:20]:
            shown = await expect(client, "GET", f"/task_runs/{id}", 200)
            assert shown["state_type"] == "COMPLETED"
            states = await client.get("/task_run_states/", params={"task_run_id": id})
            assert [one["type"] for one in states.json()] == ["PENDING", "RUNNING", "COMPLETED"]


async def test_a_client_that_leaves_at_once_has_still_said_what_it_said(server_url: str) -> None:
    for _ in range(5):
        async with opened(server_url, "/events/in") as socket:
            await send(socket, *(report(str(uuid.uuid4()), "RUNNING", datetime.now(UTC))
                                 for _ in range(40)))  # fmt: skip
    await eventually(server_url, "/task_runs/count", 200)


async def test_a_bad_event_is_passed_over_and_the_connection_stays(server_url: str) -> None:
    async with opened(server_url, "/events/in") as socket:
        await socket.send("{")
        await send(socket, {"no": "event"}, emission(resource={}), emission(event="good"))
        await (await socket.ping())
    async with talk_to(server_url) as client, asyncio.timeout(SOON):
        while True:
            found = (await client.post("/events/filter", json={})).json()
            if found["total"]:
                break
            await asyncio.sleep(POLL)
    assert [one["event"] for one in found["events"]] == ["good"]


async def test_a_binary_frame_ends_the_connection(server_url: str) -> None:
    async with opened(server_url, "/events/in") as socket:
        await socket.send(b"\x00")
        with pytest.raises(ConnectionClosedError) as ended:
            await asyncio.wait_for(socket.recv(), SOON)
    assert ended.value.rcvd is not None and ended.value.rcvd.code == 1003


async def test_what_happened_lately_comes_first_then_what_happens(server_url: str) -> None:
    lately = [emission(event="lately", payload={"n": n}) for n in range(600)]
    old = emission(event="old", occurred=(datetime.now(UTC) - timedelta(hours=1)).isoformat())
    async with talk_to(server_url) as client:
        await client.post("/events", json=[old, *lately])
        async with opened(server_url, "/events/out") as socket:
            await follow(socket)
            before = await receive(socket, 600)
            await client.post("/events", json=[emission(event="now") for _ in range(3)])
            after = await receive(socket, 3)
            assert await is_quiet(socket)
    assert [one["payload"]["n"] for one in before] == list(range(600))
    assert [one["event"] for one in after] == ["now"] * 3
    assert set(after[0]) == {
        "occurred", "event", "resource", "related", "payload", "id", "follows", "received",
    }  # fmt: skip


async def test_nothing_is_missing_or_comes_twice_while_it_is_recorded(
    start_server: StartServer,
) -> None:
    urls = start_server().url, start_server().url
    sent: list[str] = []
    enough = asyncio.Event()

    async def emit(url: str) -> None:
        async with opened(url, "/events/in") as socket:
            while not enough.is_set():
                some = [emission(event="flood") for _ in range(20)]
                await send(socket, *some)
                sent.extend(one["id"] for one in some)
                await (await socket.ping())

    emitting = [asyncio.create_task(emit(url)) for url in urls]
    seen: list[list[str]] = []

    async def listen(url: str) -> None:
        mine: list[str] = []
        seen.append(mine)
        async with opened(url, "/events/out") as socket:
            await follow(socket, event={"name": ["flood"]})
            async with asyncio.timeout(SOON * 2):
                while not enough.is_set() or len(mine) < len(sent):
                    mine += [one["id"] for one in await receive(socket, 1)]

    listening = []
    for url in urls * 2:
        await asyncio.sleep(0.2)  # Each comes in at another moment of the flood.
        listening.append(asyncio.create_task(listen(url)))
    await asyncio.sleep(0.2)
    enough.set()
    await asyncio.gather(*emitting, *listening)
    for mine in seen:
        assert len(mine) == len(set(mine))
        assert set(mine) == set(sent)


async def test_live_events_come_in_the_order_of_the_log_on_every_server(
    start_server: StartServer,
) -> None:
    urls = start_server().url, start_server().url
    heard: list[list[str]] = []
    async with opened(urls[0], "/events/out") as one, opened(urls[1], "/events/out") as other:
        for socket in (one, other):
            await follow(socket, backfill=False, event={"prefix": ["order"]})
            await is_following(socket, urls[0], "order.probe")
        async with opened(urls[0], "/events/in") as first, opened(urls[1], "/events/in") as second:
            for n in range(100):
                await send((first, second)[n % 2], emission(event=f"order.{n}"))
        for socket in (one, other):
            names: list[str] = []
            while len(names) < 100:
                names += [
                    event["event"]
                    for event in await receive(socket, 1)
                    if event["event"] != "order.probe"
                ]
            heard.append(names)
    assert heard[0] == heard[1]


async def test_a_follower_gets_only_what_it_asked_for(server_url: str) -> None:
    async with opened(server_url, "/events/out") as socket, talk_to(server_url) as client:
        await follow(
            socket,
            occurred={"since": "2020-01-01T00:00:00Z"},
            event=None,
            resource=None,
            related={"labels": {"kind": ["a*", "b"]}},
            any_resource=None,
            id={"id": []},
            text=None,
            order="DESC",
        )

        def related(kind: str) -> Json:
            labels = {"prefect.resource.id": "x", "prefect.resource.role": "r", "kind": kind}
            return emission(event=kind, related=[labels])

        kinds = ["ab", "c", "b", "bb", "a"]
        await client.post("/events", json=[*map(related, kinds), emission()])
        heard = await receive(socket, 3)
        assert [one["event"] for one in heard] == ["ab", "b", "a"]
        assert await is_quiet(socket)


@pytest.mark.parametrize("backfill", [False, None, 0])
async def test_without_backfill_only_the_future_comes(server_url: str, backfill: Any) -> None:
    async with talk_to(server_url) as client:
        await client.post("/events", json=[emission(event="past")])
        async with opened(server_url, "/events/out") as socket:
            await follow(socket, backfill=backfill)
            await is_following(socket, server_url, "probe")
            await client.post("/events", json=[emission(event="future")])
            names = [one["event"] for one in await receive(socket, 1)]
            while names[-1] == "probe":
                names += [one["event"] for one in await receive(socket, 1)]
    assert names[-1] == "future" and "past" not in names


async def test_where_the_stream_is_switched_off_there_is_silence(
    start_server: StartServer,
) -> None:
    url = start_server(settings={"PREFECT_API_EVENTS_STREAM_OUT_ENABLED": "false"}).url
    async with talk_to(url) as client, opened(url, "/events/out") as socket:
        await client.post("/events", json=[emission()])
        await follow(socket)
        assert await is_quiet(socket)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"type": "hello"}, "Expected 'filter' message"),
        ({"type": "filter"}, "Invalid filter: 'filter'"),
        ({"type": "filter", "filter": {"event": 1}}, "Invalid filter: "),
        (
            {"type": "filter", "filter": {"event": {"prefix": [str(n) for n in range(33_000)]}}},
            "Invalid filter: ",
        ),
    ],
)
async def test_a_follower_that_asks_for_nonsense_is_told_so(
    server_url: str, said: Json, reason: str
) -> None:
    async with opened(server_url, "/events/out") as socket:
        await send(socket, said)
        with pytest.raises(ConnectionClosedError) as ended:
            await asyncio.wait_for(socket.recv(), SOON)
    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == 1002
    assert ended.value.rcvd.reason.startswith(reason)


async def test_a_slow_follower_misses_nothing_and_holds_up_nobody(server_url: str) -> None:
    async with talk_to(server_url) as client:
        address = server_url.replace("http", "ws") + "/events/out"
        # Small windows: the follower's connection is full long before all is sent.
        async with connect(address, max_queue=1) as slow:
            await follow(slow, backfill=False)
            await is_following(slow, server_url, "probe")
            padding = {"text": "x" * 5_000}
            sent = [emission(event="flood", payload=padding) for _ in range(4_000)]
            for n in range(0, len(sent), 500):
                answer = await client.post("/events", json=sent[n : n + 500])
                assert answer.status_code == 204
            heard: list[str] = []
            async with asyncio.timeout(SOON * 2):
                while len(heard) < len(sent):
                    (event,) = await receive(slow, 1)
                    if event["event"] == "flood":
                        heard.append(event["id"])
    assert heard == [one["id"] for one in sent]


async def test_a_password_is_asked_for_where_there_is_one(start_server: StartServer) -> None:
    url = start_server(settings={"PREFECT_SERVER_API_AUTH_STRING": "admin:pass"}).url
    async with opened(url, "/events/in", token="admin:pass") as socket:
        await send(socket, emission())
        await (await socket.ping())
    with pytest.raises(ConnectionClosed):
        async with opened(url, "/events/in", token="wrong"):
            pass
    with pytest.raises(InvalidStatus):
        async with connect(url.replace("http", "ws") + "/events/in"):
            pass


async def test_a_server_that_stops_has_recorded_what_it_took(start_server: StartServer) -> None:
    server = start_server()
    async with opened(server.url, "/events/in") as socket:
        ids = [str(uuid.uuid4()) for _ in range(300)]
        await send(socket, *(report(id, "RUNNING", datetime.now(UTC)) for id in ids))
        await (await socket.ping())
        assert server.stop() == 0
    again = start_server()
    async with talk_to(again.url) as client:
        assert await expect(client, "POST", "/task_runs/count", 200, {}) == len(ids)
