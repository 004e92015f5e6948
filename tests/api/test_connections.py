"""Answers without an end, and websockets when the server ends, on the real HTTP server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from granian.constants import Interfaces
from granian.server.embed import Server as EmbeddedServer
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from api.connections import GOING_AWAY, Connections, over
from tests.serving import free_port

SOON = 20.0


async def test_an_answer_without_an_end_notices_that_its_client_has_gone() -> None:
    ended = asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"now", "more_body": True})
        await over(scope)
        ended.set()

    connections = Connections(endless)
    async with _served(connections) as port:
        reader, writer = await _connected(port)
        writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        await reader.readuntil(b"now")
        assert connections.requests == 1
        assert not ended.is_set()
        writer.close()
        await ended.wait()


async def test_a_websocket_that_comes_when_the_server_leaves_is_closed_not_forbidden() -> None:
    async def hears(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("this server lets nobody in any more")

    connections = Connections(hears)
    async with _served(connections) as port:
        await connections.leave()
        assert await _close_code(port) == GOING_AWAY


async def test_a_websocket_that_is_not_let_in_yet_when_the_server_leaves_is_closed_too() -> None:
    asked = asyncio.Event()

    async def hesitates(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        asked.set()
        await receive()

    connections = Connections(hesitates)
    async with _served(connections) as port:
        coming = asyncio.create_task(_close_code(port))
        await asked.wait()
        await connections.leave()
        assert await coming == GOING_AWAY


@asynccontextmanager
async def _served(connections: Connections) -> AsyncIterator[int]:
    """The port of a server; what is done with it has to be done soon."""
    port = free_port()
    granian = EmbeddedServer(connections, "127.0.0.1", port, interface=Interfaces.ASGINL)
    serving = asyncio.create_task(granian.serve())
    try:
        async with asyncio.timeout(SOON):
            _, writer = await _connected(port)
            writer.close()
            yield port
    finally:
        granian.stop()  # type: ignore[no-untyped-call]
        await serving


async def _close_code(port: int) -> int:
    """Of a websocket of a client like Prefect's."""
    with pytest.raises(ConnectionClosed) as closed:
        offer = [Subprotocol("prefect")]
        async with connect(f"ws://127.0.0.1:{port}/", subprotocols=offer) as socket:
            await socket.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


async def _connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
