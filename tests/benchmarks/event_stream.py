"""Server-sent events for the load generator: as little work as possible."""

import asyncio
from collections.abc import Callable
from typing import cast

from tests.benchmarks.client import ANSWER_SECONDS_MAX, HOST, Failed

_END = b"\n\n"


class EventStream(asyncio.Protocol):
    """One connection that is told events until it is closed."""

    def __init__(self, path: str, port: int, hear: Callable[[bytes], None]) -> None:
        self._hear = hear
        self._hello = (
            f"GET /api{path} HTTP/1.1\r\nhost: {HOST}:{port}\r\naccept: text/event-stream\r\n\r\n"
        ).encode()
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._text = bytearray()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = False
        """Whether the connection has ended, by whomever."""

    @classmethod
    async def open(cls, path: str, port: int, hear: Callable[[bytes], None]) -> "EventStream":
        """Connect; `hear` is called with every message (fields in lines). Raises Failed."""
        loop = asyncio.get_running_loop()
        _, stream = await loop.create_connection(lambda: cls(path, port, hear), HOST, port)
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            await stream._opened
        return stream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._hello)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if not self._opened.done():
            self._opened.set_exception(ConnectionResetError("the server closed the stream"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._opened.done():
            end = self._received.find(_END.replace(b"\n", b"\r\n"))
            if end < 0:
                return
            if not self._received.startswith(b"HTTP/1.1 200"):
                self._opened.set_exception(Failed(bytes(self._received[:200]).decode()))
                return
            del self._received[: end + 4]
            self._opened.set_result(None)
        while self._chunk():
            pass

    def _chunk(self) -> bool:
        """Take one chunk off what was received, if it is complete."""
        received = self._received
        head = received.find(b"\r\n")
        if head < 0:
            return False
        end = head + 2 + int(received[:head], 16)
        if len(received) < end + 2:
            return False
        self._text += received[head + 2 : end]
        del received[: end + 2]
        *messages, rest = self._text.split(_END)
        self._text = rest
        for message in messages:
            self._hear(bytes(message))
        return True

    def read(self, go_on: bool) -> None:
        """Stop reading what the server sends, or go on."""
        assert self._transport is not None
        if go_on:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def close(self) -> None:
        """Leave."""
        if self._transport is not None:
            self._transport.close()
