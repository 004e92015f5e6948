"""Frames that nobody sends who means well, on every websocket: it is closed with a code that says
why, or goes on; the server stays as it was, and what it does not understand is not recorded."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from tests.api.channels import hello
from tests.fuzz.bodies import LARGE, LEVELS
from tests.fuzz.conftest import ONE_ENGINE, Fuzzed
from tests.serving import NO_CERTIFICATES

Json = dict[str, Any]

pytestmark = pytest.mark.heavy  # A thousand conversations.

SOON = 30.0
CODES = frozenset({1000, 1002, 1003, 1007, 1008, 1009, 4001, 4400, 4404, 4409, 4410, 4422})
"""By which a websocket may be closed. 1011 would be our own failure, 1006 that nobody said why."""
SUBSCRIBE = {"type": "subscribe", "keys": ["a"], "client_id": "fuzz"}
AUTH = '{"type": "auth", "token": null}'


class Place(NamedTuple):
    """A websocket, and what it is told first by who means well."""

    path: str
    opening: Callable[[], Json | None]


PLACES = (
    Place("/events/in", lambda: None),
    Place("/events/out", lambda: {"type": "filter", "filter": {}}),
    Place("/logs/out", lambda: {"type": "filter", "filter": {}}),
    Place("/task_runs/subscriptions/scheduled", lambda: SUBSCRIBE),
    Place("/work_pools/pool/workers/connect", lambda: hello("fuzz")),
    Place("/subscriptions/connect", lambda: {"type": "subscribe"}),
    Place("/subscriptions/connect", lambda: {"type": "subscribe", "name": "subscription"}),
)
EACH_PLACE = pytest.mark.parametrize(
    "place", PLACES, ids=[f"{number}{place.path}" for number, place in enumerate(PLACES)]
)

FRAMES: dict[str, str | bytes] = {
    "binary": b"\x00\xff",
    "binary JSON": b'{"type": "ack"}',
    "empty": "",
    "a large text": "a" * LARGE,
    "a large JSON text": json.dumps("a" * LARGE),
    "large and unknown": json.dumps({"type": "a" * LARGE, "filter": 1}),
    "deep lists": "[" * LEVELS + "]" * LEVELS,
    "deep objects": '{"type":' * LEVELS + "1" + "}" * LEVELS,
    "a deep field": '{"type": "filter", "token": "t", "filter": %s}' % ("[" * 5_000 + "]" * 5_000),
    "a deep unknown field": '{"type": "acknowledge", "token": "t", "x": %s}'
    % ("[" * LEVELS + "]" * LEVELS),
    "lists that never end": "[" * LEVELS,
    "a surrogate": '{"type": "\\ud800", "filter": {"\\ud800": "\\udfff"}, "keys": ["\\ud800"]}',
    "a NUL": '{"type": "a\\u0000b", "client_id": "\\u0000", "keys": ["\\u0000"]}',
    "NaN": '{"type": NaN}',
    "a huge number": '{"type": "subscribe", "keys": ["a"], "client_id": %s}' % ("9" * 5_000),
    "null": "null",
    "a number": "1",
    "a list": "[]",
    "no type": "{}",
    "types of others": '{"type": "auth_success"}',
}
EACH_FRAME = pytest.mark.parametrize("sent", FRAMES.values(), ids=FRAMES.keys())


@asynccontextmanager
async def dialled(fuzzed: Fuzzed, place: Place) -> AsyncIterator[ClientConnection]:
    """A websocket that has been accepted, and has heard nothing so far."""
    address = fuzzed.url.replace("http", "ws") + place.path
    async with connect(
        address, subprotocols=[Subprotocol("prefect")], max_queue=None, close_timeout=SOON
    ) as socket:
        yield socket


@asynccontextmanager
async def opened(fuzzed: Fuzzed, place: Place) -> AsyncIterator[ClientConnection]:
    """A websocket on which the client has been let in and has said what it wants."""
    async with dialled(fuzzed, place) as socket:
        await socket.send(AUTH)
        assert json.loads(await socket.recv()) == {"type": "auth_success"}
        opening = place.opening()
        if opening is not None:
            await socket.send(json.dumps(opening))
        await (await socket.ping())
        yield socket


async def code_of(socket: ClientConnection) -> int | None:
    """The code by which the server closes the websocket; None if it is still open when it has read
    everything that was sent."""
    try:
        async with asyncio.timeout(SOON):
            await (await socket.ping())
            return None
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd is not None else 1006


async def still_serves(fuzzed: Fuzzed) -> None:
    async with httpx.AsyncClient(
        base_url=fuzzed.url, timeout=SOON, verify=NO_CERTIFICATES
    ) as client:
        assert (await client.post("/flows/filter", json={"limit": 1})).status_code == 200


@EACH_PLACE
@EACH_FRAME
@ONE_ENGINE
async def test_a_hostile_first_frame_lets_nobody_in(
    fuzzed: Fuzzed, place: Place, sent: str | bytes
) -> None:
    before = fuzzed.log.head()
    async with dialled(fuzzed, place) as socket:
        try:
            await socket.send(sent)
            async with asyncio.timeout(SOON):
                got = await socket.recv()
            raise AssertionError(f"was answered {got!r}")
        except ConnectionClosed as closed:
            assert closed.rcvd is not None and closed.rcvd.code in {1008, 1009}, closed
    assert fuzzed.log.asked_for_since(before) == []
    await still_serves(fuzzed)


@EACH_PLACE
@EACH_FRAME
async def test_a_hostile_frame_after_the_handshake_is_refused_or_not_heard(
    fuzzed: Fuzzed, place: Place, sent: str | bytes
) -> None:
    async with opened(fuzzed, Place(place.path, lambda: None)) as socket:
        before = fuzzed.log.head()
        try:
            await socket.send(sent)
            code = await code_of(socket)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
        # Events are not answered: one that is none is left out, and the next one is taken. Who asks
        # a subscription for nothing in particular gets everything.
        heard = place.path == "/events/in" or (place.path, sent) == ("/subscriptions/connect", "{}")
        assert code in CODES or (code is None and heard), code
    assert fuzzed.log.asked_for_since(before) == []
    await still_serves(fuzzed)


@EACH_PLACE
@EACH_FRAME
async def test_a_hostile_frame_later_on_is_refused_or_not_heard(
    fuzzed: Fuzzed, place: Place, sent: str | bytes
) -> None:
    async with opened(fuzzed, place) as socket:
        before = fuzzed.log.head()
        try:
            await socket.send(sent)
            code = await code_of(socket)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
        assert code is None or code in CODES, code
    assert fuzzed.log.asked_for_since(before) == []
    await still_serves(fuzzed)


@EACH_PLACE
async def test_a_thousand_frames_of_nonsense_wedge_nothing(fuzzed: Fuzzed, place: Place) -> None:
    async with opened(fuzzed, place) as socket:
        before = fuzzed.log.head()
        try:
            for number in range(1_000):
                await socket.send(json.dumps({"type": "nonsense", "number": number}))
            async with asyncio.timeout(SOON):
                await (await socket.ping())
            code = None
        except ConnectionClosed as closed:
            # The code is lost where the server has gone before it has read everything, whether we
            # were still saying it or it was on its way: the rest has its machine reset the
            # connection. That one frame is refused with a code is shown above.
            code = closed.rcvd.code if closed.rcvd else None
        assert code is None or code in CODES, code
    assert fuzzed.log.asked_for_since(before) == []
    await still_serves(fuzzed)


@EACH_PLACE
async def test_who_goes_without_a_word_is_forgotten(fuzzed: Fuzzed, place: Place) -> None:
    for _ in range(20):
        async with opened(fuzzed, place) as socket:
            socket.transport.abort()
    await still_serves(fuzzed)


@EACH_PLACE
async def test_who_stops_talking_in_the_middle_keeps_nobody_waiting(
    fuzzed: Fuzzed, place: Place
) -> None:
    async with opened(fuzzed, place) as socket:
        half = Frame(Opcode.TEXT, b'{"type": "fil', fin=False).serialize(mask=True)
        socket.transport.write(half)
        socket.transport.write_eof()
        await still_serves(fuzzed)
        try:
            async with asyncio.timeout(SOON):
                async for _ in socket:
                    pass
        except ConnectionClosed:
            pass
    await still_serves(fuzzed)


@EACH_PLACE
@pytest.mark.parametrize(
    "raw",
    [
        Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=True),
        Frame(Opcode.TEXT, b"\xed\xa0\x80").serialize(mask=True),
        Frame(Opcode.TEXT, b"{}").serialize(mask=False),
        b"\xf1\x80\x00\x00\x00\x00",
        Frame(Opcode.CONT, b"{}").serialize(mask=True),
        b"\x83\x80\x00\x00\x00\x00",
        b"\x81\xff" + b"\xff" * 8 + b"mask",
    ],
    ids=["no text", "surrogate", "no mask", "reserved", "continued", "opcode", "length"],
)
@ONE_ENGINE
async def test_what_is_no_frame_ends_that_websocket_alone(
    fuzzed: Fuzzed, place: Place, raw: bytes
) -> None:
    async with opened(fuzzed, place) as socket:
        before = fuzzed.log.head()
        socket.transport.write(raw)
        with pytest.raises(ConnectionClosed):
            async with asyncio.timeout(SOON):
                while True:
                    await socket.recv()
    assert fuzzed.log.asked_for_since(before) == []
    await still_serves(fuzzed)


async def test_a_websocket_that_does_not_exist_is_not_opened(fuzzed: Fuzzed) -> None:
    for path in ("/nope", "/flows/", "/work_pools/a%00b/workers/connect/x", "/events/in/x"):
        with pytest.raises(InvalidHandshake):
            async with dialled(fuzzed, Place(path, lambda: None)):
                pass
    await still_serves(fuzzed)


async def test_a_channel_of_a_pool_with_a_hostile_name_is_closed(fuzzed: Fuzzed) -> None:
    for name in ("%ff", "a" * 5_000, "%F0%9F%98%80", "..%2f"):
        try:
            async with opened(
                fuzzed, Place(f"/work_pools/{name}/workers/connect", lambda: hello("fuzz"))
            ) as socket:
                code = await code_of(socket)
        except InvalidHandshake:
            continue
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
        assert code in CODES, (name, code)
    await still_serves(fuzzed)


HOSTILE_VALUES = (
    *("null", "[]", "{}", '""', '"a\\u0000b"', '"\\ud800"', "-1", "1e400", str(2**63), "NaN"),
    *("9" * 5_000, '"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-14:00"', "true"),
    *('"10000-01-01T00:00:00Z"', "[" * LEVELS + "]" * LEVELS, '{"any_": ["\\ud800"]}', "[null]"),
)


@pytest.mark.parametrize("value", HOSTILE_VALUES, ids=lambda one: one[:40])
async def test_a_worker_that_says_hello_with_anything_is_sent_away_or_taken(
    fuzzed: Fuzzed, value: str
) -> None:
    place = Place("/work_pools/pool/workers/connect", lambda: None)
    said = hello("fuzz")
    payload: Json = said["payload"]
    changed = [said | {key: "@"} for key in said]
    for key in (*payload, *FURTHER):
        changed.append(said | {"payload": payload | {key: "@"}})
    for one in changed:
        async with opened(fuzzed, place) as socket:
            await socket.send(json.dumps(one).replace('"@"', value))
            code = await code_of(socket)
        assert code is None or code in CODES, (one, code)
    await still_serves(fuzzed)


FURTHER = (
    *("work_queue_names", "handled_cleanup_kinds", "max_cleanup_concurrency"),
    *("create_pool_if_not_found", "default_base_job_template"),
)
"""What a worker may say of itself as well."""
