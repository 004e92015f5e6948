"""A client on a busy machine is slow to say what it wants; it is waited for."""

import asyncio

from tests.conftest import StartServer

SILENCE_SECONDS = 2.0
"""Longer than idle connections are kept here, by a setting."""


async def test_a_client_that_is_slow_with_its_first_request_is_answered(
    start_server: StartServer,
) -> None:
    server = start_server(settings={"PLUPERFECT_API_KEEPALIVE_TIMEOUT": "1"})
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await asyncio.sleep(SILENCE_SECONDS)  # The silence itself is what is tested.
    writer.write(b"GET /api/health HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200")
