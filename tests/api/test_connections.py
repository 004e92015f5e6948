"""Answers without an end of their own, on the real HTTP server."""

import asyncio
from typing import Any

from granian.constants import Interfaces
from granian.server.embed import Server as EmbeddedServer

from api.connections import Connections, over
from tests.serving import free_port

SOON = 20.0


async def test_an_answer_without_an_end_notices_that_its_client_has_gone() -> None:
    ended = asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"now", "more_body": True})
        await over(scope)
        ended.set()

    port = free_port()
    connections = Connections(endless)
    granian = EmbeddedServer(connections, "127.0.0.1", port, interface=Interfaces.ASGINL)
    serving = asyncio.create_task(granian.serve())
    try:
        async with asyncio.timeout(SOON):
            reader, writer = await _connected(port)
            writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            await reader.readuntil(b"now")
            assert connections.requests == 1
            assert not ended.is_set()
            writer.close()
            await ended.wait()
    finally:
        granian.stop()  # type: ignore[no-untyped-call]
        await serving


async def _connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
