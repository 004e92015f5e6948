"""The load generator's own client: as little work as possible, since it shares the processors.

HTTP/1.1 over one kept connection, a request at a time, and websockets of text frames. Requests are
built once as bytes; of an answer only status and body are looked at.
"""

import asyncio
import base64
import os
import time
import zlib
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import msgspec

HOST = "127.0.0.1"
ANSWER_SECONDS_MAX = 60.0
"""A request that takes longer counts as failed."""
RETRY_SECONDS = 0.05
"""Pause before a request is sent again. The real client waits 2 s and more, which costs it more."""
ATTEMPTS_MAX = 5
RETRIED = frozenset({408, 429, 502, 503})
"""Statuses after which the real client tries again."""

_encode = msgspec.json.Encoder().encode


class Answer(NamedTuple):
    """What came back. The body is as it was sent: perhaps compressed."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body, decoded."""
        body = self.body
        return msgspec.json.decode(zlib.decompress(body, 31) if body[:2] == b"\x1f\x8b" else body)


class Failed(Exception):
    """An answer that the real client would have reported as an error."""


class _Connection(asyncio.Protocol):
    """One kept connection with at most one request on its way."""

    def __init__(self) -> None:
        self.open = False
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the server closed the connection"))

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        end = received.find(b"\r\n\r\n")
        if end < 0 or self._answer is None or self._answer.done():
            return
        head = bytes(received[:end]).lower()
        body = _body(head, received, end + 4)
        if body is None:
            return
        received.clear()
        if b"connection: close" in head:
            self.open = False
        self._answer.set_result(Answer(int(head[9:12]), body))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        self.open = False


def _body(head: bytes, received: bytearray, start: int) -> bytes | None:
    """The body that begins at `start`; None if it has not come completely."""
    at = head.find(b"content-length:")
    if at >= 0:
        end = head.find(b"\r", at)
        size = int(head[at + 15 : end if end >= 0 else None])
        return bytes(received[start : start + size]) if len(received) >= start + size else None
    if b"transfer-encoding: chunked" in head:
        if not received.endswith(b"0\r\n\r\n"):
            return None
        return _dechunked(bytes(received[start:]))
    return b""


def _dechunked(data: bytes) -> bytes:
    parts: list[bytes] = []
    at = 0
    while True:
        end = data.index(b"\r\n", at)
        size = int(data[at:end], 16)
        if not size:
            return b"".join(parts)
        parts.append(data[end + 2 : end + 2 + size])
        at = end + size + 4


class Client:
    """One caller: sends a request, waits for the answer, notes how long it took."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.latencies: list[float] = []
        """Seconds of each request, retries included."""
        self.retries = 0
        self._connection = _Connection()

    async def call(
        self, method: str, path: str, body: Any = None, *, expect: int | None = None
    ) -> Answer:
        """Send a request. Raises Failed for any status but the expected (default: a success)."""
        return await self.send(self.request(method, path, body), expect)

    def request(self, method: str, path: str, body: Any = None) -> bytes:
        """A request as bytes, with the headers that the real client sends."""
        content = b"" if body is None else body if isinstance(body, bytes) else _encode(body)
        head = (
            f"{method} /api{path} HTTP/1.1\r\nhost: {HOST}:{self.port}\r\naccept: */*\r\n"
            "accept-encoding: gzip, deflate\r\nconnection: keep-alive\r\n"
            "user-agent: prefect/3.8.4 (API 0.8.4)\r\nx-prefect-api-version: 0.8.4\r\n"
        )
        if method != "GET":
            head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n"
        return head.encode() + b"\r\n" + content

    async def send(self, request: bytes, expect: int | None = None) -> Answer:
        """Like `call`, for a request that was built before."""
        began = time.perf_counter()
        for _ in range(ATTEMPTS_MAX):
            try:
                answer = await self._once(request)
            except ConnectionError:
                self.retries += 1
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if answer.status in RETRIED:
                self.retries += 1
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if answer.status != expect if expect else not 200 <= answer.status < 300:
                raise Failed(f"{request[:60]!r}: {answer.status} {answer.body[:200]!r}")
            self.latencies.append(time.perf_counter() - began)
            return answer
        raise Failed(f"{request[:60]!r}: given up after {ATTEMPTS_MAX} attempts")

    async def _once(self, request: bytes) -> Answer:
        loop = asyncio.get_running_loop()
        if not self._connection.open:
            self._connection.close()
            _, self._connection = await loop.create_connection(_Connection, HOST, self.port)
        answer = self._connection.ask(request)
        late = loop.call_later(ANSWER_SECONDS_MAX, _give_up, answer)
        try:
            return await answer
        finally:
            late.cancel()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _give_up(answer: asyncio.Future[Answer]) -> None:
    if not answer.done():
        answer.set_exception(Failed(f"no answer within {ANSWER_SECONDS_MAX:g} s"))


_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_FINAL, _MASKED = 0x80, 0x80


class Websocket(asyncio.Protocol):
    """A websocket of text frames. Frames are masked with zeros, which costs nothing."""

    def __init__(self, path: str, port: int, hear: Callable[[bytes], None]) -> None:
        self._hear = hear
        key = base64.b64encode(os.urandom(16)).decode()
        self._hello = (
            f"GET /api{path} HTTP/1.1\r\nhost: {HOST}:{port}\r\nupgrade: websocket\r\n"
            f"connection: Upgrade\r\nsec-websocket-key: {key}\r\nsec-websocket-version: 13\r\n"
            "sec-websocket-protocol: prefect\r\n\r\n"
        ).encode()
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._pongs: deque[asyncio.Future[None]] = deque()
        self.lost = False
        """Whether the connection has ended, by whomever."""
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writable = asyncio.Event()
        self._writable.set()

    @classmethod
    async def open(
        cls, path: str, port: int, hear: Callable[[bytes], None] = lambda text: None
    ) -> "Websocket":
        """Connect and introduce ourselves; `hear` is called with every text that follows."""
        loop = asyncio.get_running_loop()
        _, websocket = await loop.create_connection(lambda: cls(path, port, hear), HOST, port)
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            await websocket._opened
            websocket.send(b'{"type":"auth","token":null}')
            await websocket._greeted
        return websocket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._hello)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._writable.set()
        for waiting in (self._opened, self._greeted, *self._pongs):
            if not waiting.done():
                waiting.set_exception(ConnectionResetError("the server closed the websocket"))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    @property
    def port(self) -> int:
        """Our own end of the connection."""
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    async def drain(self) -> None:
        """Wait until the server has read enough of what was sent."""
        await self._writable.wait()

    async def ping(self) -> None:
        """Ping, and wait for the pong: the server has taken in what was sent before."""
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        self.send(b"", _PING)
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            await pong

    def read(self, go_on: bool) -> None:
        """Stop reading what the server sends, or go on."""
        assert self._transport is not None
        if go_on:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def send(self, text: bytes, kind: int = _TEXT) -> None:
        """Send one frame."""
        assert self._transport is not None
        size = len(text)
        if size < 126:
            head = bytes((_FINAL | kind, _MASKED | size))
        elif size < 1 << 16:
            head = bytes((_FINAL | kind, _MASKED | 126)) + size.to_bytes(2)
        else:
            head = bytes((_FINAL | kind, _MASKED | 127)) + size.to_bytes(8)
        self._transport.write(head + b"\0\0\0\0" + text)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._opened.done():
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            if not self._received.startswith(b"HTTP/1.1 101"):
                self._opened.set_exception(Failed(bytes(self._received[:80]).decode()))
                return
            del self._received[: end + 4]
            self._opened.set_result(None)
        while self._frame():
            pass

    def _frame(self) -> bool:
        """Take one frame off what was received, if it is complete."""
        received = self._received
        if len(received) < 2:
            return False
        kind, size, start = received[0] & 0xF, received[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(received[2:start])
        if len(received) < start + size:
            return False
        text = bytes(received[start : start + size])
        del received[: start + size]
        if kind == _PING:
            self.send(text, _PONG)
        elif kind == _PONG and self._pongs:
            self._pongs.popleft().set_result(None)
        elif kind == _TEXT and not self._greeted.done():
            self._greeted.set_result(None)
        elif kind == _TEXT:
            self._hear(text)
        return True

    def close(self) -> None:
        """Say goodbye and leave."""
        if self._transport is not None:
            self.send((1000).to_bytes(2), _CLOSE)
            self._transport.close()
