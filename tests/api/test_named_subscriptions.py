"""Named subscriptions: remembered, consumed by one at a time, delivered until acknowledged."""

import asyncio
from typing import Any

import httpx
import pytest
from msgspec import json
from websockets.asyncio.client import ClientConnection

from tests.api.talk import Json, expect, make_flow, talk_to
from tests.api.test_subscriptions import (
    SOON,
    closed,
    events_of,
    frames,
    poll,
    streamed,
    subscribed,
)
from tests.conftest import StartServer

NAMED = "/subscriptions/named"


async def create(client: httpx.AsyncClient, **fields: Any) -> Json:
    body = {"name": "mine", "filter": {"type": ["flow.created"]}, "from": "beginning"} | fields
    shown: Json = await expect(client, "POST", f"{NAMED}/", 201, body)
    return shown


async def positions(socket: ClientConnection, number: int) -> list[tuple[int, str]]:
    """The next events: position and token."""
    found: list[tuple[int, str]] = []
    async with asyncio.timeout(SOON):
        while len(found) < number:
            frame = json.decode(await socket.recv())
            if frame["type"] == "event":
                found.append((frame["event"]["position"], frame["token"]))
    return found


async def acknowledge(socket: ClientConnection, token: str) -> None:
    await socket.send(json.encode({"type": "acknowledge", "token": token}).decode())


async def is_at(client: httpx.AsyncClient, position: int, name: str = "mine") -> Json:
    """Wait until it is acknowledged up to there."""
    async with asyncio.timeout(SOON):
        while True:
            shown: Json = await expect(client, "GET", f"{NAMED}/{name}", 200)
            if shown["position"] == position:
                return shown
            await asyncio.sleep(0.02)


async def test_a_subscription_is_created_shown_with_its_lag_and_deleted(server_url: str) -> None:
    async with talk_to(server_url) as client:
        await make_flow(client)
        shown = await create(client)
        assert (shown["position"], shown["lag_events"]) == (0, 1)
        assert shown["lag_since"] is not None
        assert shown["filter"] == {"type": ["flow.created"]}
        again = {"name": "mine", "filter": {"type": ["flow.created"]}}
        assert await expect(client, "POST", f"{NAMED}/", 200, again) == shown
        other = {"name": "mine", "filter": {}}
        refused = await expect(client, "POST", f"{NAMED}/", 409, other)
        assert refused["reason"] == "conflict"
        assert (await create(client, name="now", **{"from": "now"}))["lag_events"] == 0
        everything = await expect(client, "GET", f"{NAMED}/", 200)
        assert [one["name"] for one in everything] == ["mine", "now"]
        await expect(client, "DELETE", f"{NAMED}/mine", 204)
        for method in ("GET", "DELETE"):
            answer = await expect(client, method, f"{NAMED}/mine", 404)
            assert answer["reason"] == "not-found"
        for bad in ({"name": "no/slash"}, {"name": ""}, {"redeliver_seconds": 0}):
            answer = await expect(client, "POST", f"{NAMED}/", 400, {"name": "x"} | bad)
            assert answer["reason"] == "invalid"
        await expect(client, "POST", f"{NAMED}/", 422, {"name": "x", "filtre": {}})


async def test_what_is_acknowledged_is_not_delivered_again_and_the_rest_is(
    server_url: str,
) -> None:
    async with talk_to(server_url) as client:
        for _ in range(4):
            await make_flow(client)
        await create(client)
        async with subscribed(server_url, name="mine") as socket:
            got = await positions(socket, 4)
            assert [position for position, _ in got] == [1, 2, 3, 4]
            await acknowledge(socket, got[1][1])
            assert (await is_at(client, 2))["lag_events"] == 2
        async with subscribed(server_url, name="mine") as socket:
            assert [position for position, _ in await positions(socket, 2)] == [3, 4]


async def test_what_is_not_acknowledged_in_time_comes_again_on_the_same_connection(
    server_url: str,
) -> None:
    async with talk_to(server_url) as client:
        for _ in range(2):
            await make_flow(client)
        await create(client, redeliver_seconds=0.3)
        async with subscribed(server_url, name="mine") as socket:
            got = await positions(socket, 4)
            assert [position for position, _ in got] == [1, 2, 1, 2]
            await acknowledge(socket, got[-1][1])
            await is_at(client, 2)
            await make_flow(client)
            seen = [position for position, _ in await positions(socket, 1)]
            while seen[-1] < 3:  # One more of the former may have been on its way.
                seen += [position for position, _ in await positions(socket, 1)]
            assert 3 in seen


async def test_the_newer_consumer_wins_and_the_older_is_told_and_cannot_acknowledge(
    start_server: StartServer,
) -> None:
    server = start_server(workers=2)
    async with talk_to(server.url) as client:
        await make_flow(client)
        await create(client)
        async with subscribed(server.url, name="mine") as older:
            ((_, stale),) = await positions(older, 1)
            async with streamed(client, None, name="mine") as newer:
                code, reason = await closed(older)
                assert (code, reason.partition(":")[0]) == (4409, "superseded")
                (message,) = await events_of(newer, 1)
                path = f"{NAMED}/mine/acknowledge"
                refused = await expect(client, "POST", path, 409, {"token": stale})
                assert refused["reason"] == "superseded"
                shown = await expect(client, "POST", path, 200, {"token": message["id"]})
                assert shown["position"] == 1
                await expect(client, "DELETE", f"{NAMED}/mine", 204)
                (end,) = await events_of(newer, 1)
                assert (end["event"], json.decode(end["data"])["reason"]) == ("end", "not-found")


async def test_a_subscription_is_moved_and_its_consumer_starts_again_there(
    server_url: str,
) -> None:
    async with talk_to(server_url) as client:
        for _ in range(3):
            await make_flow(client)
        await create(client, **{"from": "now"})
        async with subscribed(server_url, name="mine") as socket:
            await frames(socket, 1)
            body = {"from": "beginning"}
            shown = await expect(client, "POST", f"{NAMED}/mine/seek", 200, body)
            assert shown["lag_events"] == 3
            assert (await closed(socket))[0] == 4409
        async with subscribed(server_url, name="mine") as socket:
            assert [position for position, _ in await positions(socket, 3)] == [1, 2, 3]


async def test_it_survives_restarts_and_goes_on_by_polling(start_server: StartServer) -> None:
    server = start_server()
    async with talk_to(server.url) as client:
        for _ in range(3):
            await make_flow(client)
        await create(client)
        answer = await poll(client, name="mine", limit=2)
        assert [event["position"] for event in answer["events"]] == [1, 2]
        body = {"token": answer["token"]}
        await expect(client, "POST", f"{NAMED}/mine/acknowledge", 200, body)
    server.stop()
    server = start_server()
    async with talk_to(server.url) as client:
        answer = await poll(client, name="mine")
        assert [event["position"] for event in answer["events"]] == [3]
        # Not acknowledged: it comes again.
        assert (await poll(client, name="mine"))["events"] == answer["events"]


async def test_what_nobody_wants_counts_as_read(server_url: str) -> None:
    async with talk_to(server_url) as client:
        await create(client, filter={"type": ["never"]})
        async with subscribed(server_url, name="mine") as socket:
            await frames(socket, 1)
            for _ in range(3):
                await make_flow(client)
            (bookmark,) = await frames(socket, 1)
            assert (bookmark["type"], bookmark["position"]) == ("bookmark", 3)
        assert (await is_at(client, 3))["lag_events"] == 0


async def test_a_consumer_has_only_so_many_unacknowledged_events(server_url: str) -> None:
    async with talk_to(server_url) as client:
        names = [{"name": f"flow {n}"} for n in range(1_005)]
        for at in range(0, len(names), 100):
            await asyncio.gather(
                *(client.post("/flows/", json=body) for body in names[at : at + 100])
            )
        await create(client)
        async with subscribed(server_url, name="mine") as socket:
            got = await positions(socket, 1_000)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await socket.recv()
            await acknowledge(socket, got[9][1])
            assert [position for position, _ in await positions(socket, 5)] == [
                *range(1_001, 1_006)
            ]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"name": "nobody"}, 4404),
        ({"name": "no\0body"}, 4404),
        ({"name": "mine", "from": "now"}, 4400),
        ({"name": "mine", "filter": {"type": ["x"]}}, 4400),
    ],
)
async def test_nonsense_about_a_name_closes_the_websocket(
    server_url: str, asked: Json, code: int
) -> None:
    async with talk_to(server_url) as client:
        await create(client)
    async with subscribed(server_url, **asked) as socket:
        assert (await closed(socket))[0] == code


@pytest.mark.parametrize("way", ["poll", "stream"])
async def test_what_cannot_be_a_name_is_not_found_like_one_that_nobody_gave(
    server_url: str, way: str
) -> None:
    async with talk_to(server_url) as client:
        for name in ("no%00body", "%FF", "x" * 101, "%C3%A9"):
            answer = await expect(client, "GET", f"/subscriptions/{way}?name={name}", 404)
            assert answer["reason"] == "not-found"


async def test_an_acknowledgement_that_is_none_closes_the_websocket(server_url: str) -> None:
    async with talk_to(server_url) as client:
        await create(client)
    for nonsense in (
        '{"type":"acknowledge","token":"x"}',
        '{"type":"hello"}',
        "5",
        "no JSON",
        '{"type":"acknowledge","token":"\\ud800"}',
        "[" * 5_000,
        '{"type":"acknowledge","token":' + "[" * 5_000,
        b"\xff\xfe",
    ):
        async with subscribed(server_url, name="mine") as socket:
            await frames(socket, 1)
            await socket.send(nonsense)
            assert (await closed(socket))[0] == 4400
