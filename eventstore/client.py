"""A client of the subscription API: the events of a server's log, one after the other, for ever.

    from eventstore.client import subscribe

    async for received in subscribe("http://127.0.0.1:4200/api", type=["flow-run.*"]):
        print(received.event.type, received.event.stream)

A lost connection is made anew by itself and goes on after the last event that was handed out. Who
keeps the token of the last one, best in one transaction with what was made of it, can go on there
after a restart as well, and so takes in every event exactly once. Needs nothing but this package.
"""

import asyncio
import logging
import random
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

import msgspec
from msgspec import Struct

from eventstore.public import SCHEMA, PublicEvent

logger = logging.getLogger(__name__)

SILENCE_SECONDS = 45.0
"""Servers say something every 15 s; after this long the connection is taken for lost."""
CONNECT_SECONDS = 10.0
PAUSE_SECONDS, PAUSE_SECONDS_MAX = 0.1, 5.0
"""Pause before the first new attempt; doubled for every further one, up to the second."""
READ_BYTES = 64 * 1024
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""Longest event that is taken in."""


class Received(Struct, frozen=True):
    """One event, and what to go on with after it."""

    token: str
    event: PublicEvent


class Bookmark(Struct, frozen=True):
    """Nothing matched up to here; what to go on with."""

    token: str
    position: int


class SubscriptionEnded(Exception):
    """The server says that it cannot go on like this; to try again would change nothing.

    `status` is HTTP's, 0 if it was said later; `reason` one word, see docs/subscriptions.md.
    """

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.status, self.reason, self.detail = status, reason, detail


class _Lost(Exception):
    """The connection is of no use any more; another one may be."""


async def subscribe(
    url: str,
    *,
    category: Sequence[str] = (),
    type: Sequence[str] = (),
    stream: Sequence[str] = (),
    resource: Sequence[str] = (),
    correlation: Sequence[str] = (),
    after: str | None = None,
    start: str = "now",
    auth: str | None = None,
) -> AsyncIterator[Received]:
    """Matching events after the token `after`, or since `start`: `beginning`, `now` or a time.

    `url` is that of the API; `auth` is `user:password`. Raises SubscriptionEnded. A server that
    cannot be reached is tried again, for ever, with one warning in the log.
    """
    selection = {
        "category": category,
        "type": type,
        "stream": stream,
        "resource": resource,
        "correlation": correlation,
    }
    async for item in follow(url, selection, after=after, start=start, auth=auth):
        if isinstance(item, Received):
            yield item


async def follow(
    url: str,
    selection: Mapping[str, Sequence[str]],
    *,
    after: str | None = None,
    start: str = "now",
    auth: str | None = None,
) -> AsyncIterator[Received | Bookmark]:
    """Like `subscribe`, with bookmarks: tokens of stretches in which nothing matched."""
    address = urlsplit(f"{url.rstrip('/')}/subscriptions/stream")
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError(f"{url!r} is not the address of an API: http://HOST:PORT/api")
    failures, warned = 0, False
    while True:
        where = {"from": start} if after is None else {"after": after}
        query = urlencode({**selection, **where}, doseq=True)
        try:
            async with _connected(address) as (reader, writer):
                async for message in _messages(reader, writer, address, query, auth):
                    item = _item(message)
                    if item is not None:
                        after, failures, warned = item.token, 0, False
                        yield item
        except ssl.SSLCertVerificationError as error:
            raise SubscriptionEnded(
                0,
                "untrusted",
                f"{error.verify_message}; SSL_CERT_FILE names the certificates that are trusted",
            ) from error
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError, _Lost) as error:
            if not warned:
                why = str(error) or type(error).__name__
                logger.warning("%s does not answer (%s); trying again", url, why)
                warned = True
        pause = min(PAUSE_SECONDS * 2 ** min(failures, 10), PAUSE_SECONDS_MAX)
        failures += 1
        # Not all clients of a server that comes back at once.
        await asyncio.sleep(pause * random.uniform(0.5, 1))


@asynccontextmanager
async def _connected(
    address: SplitResult,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    secure = ssl.create_default_context() if address.scheme == "https" else None
    port = address.port or (443 if secure else 80)
    async with asyncio.timeout(CONNECT_SECONDS):
        reader, writer = await asyncio.open_connection(address.hostname, port, ssl=secure)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _messages(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    address: SplitResult,
    query: str,
    auth: str | None,
) -> AsyncIterator[dict[str, str]]:
    """Server-sent events: their fields by name."""
    host = address.netloc.rpartition("@")[2]
    lines = [f"GET {address.path}?{query} HTTP/1.1", f"Host: {host}", "Accept: text/event-stream"]
    if auth is not None:
        lines.append(f"Authorization: Basic {b64encode(auth.encode()).decode()}")
    writer.write("\r\n".join((*lines, "", "")).encode())
    async with asyncio.timeout(SILENCE_SECONDS):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    said = head.split(" ", 2)
    if len(said) < 3 or not said[1].isdigit():
        raise _Lost("what answers does not speak HTTP")
    status = int(said[1])
    parts = _chunks(reader) if "transfer-encoding: chunked" in head.lower() else _pieces(reader)
    if status != 200:
        raise await _refused(status, parts)
    left = bytearray()
    async for part in parts:
        seen = max(0, len(left) - 1)
        left += part
        while (end := left.find(b"\n\n", seen)) >= 0:
            yield _fields(left[:end].decode())
            del left[: end + 2]
            seen = 0
        if len(left) > MESSAGE_BYTES_MAX:
            raise SubscriptionEnded(0, "too-large", f"an event is over {MESSAGE_BYTES_MAX} bytes")


async def _refused(status: int, parts: AsyncIterator[bytes]) -> Exception:
    body = b""
    try:
        async for part in parts:
            body += part
            if len(body) >= READ_BYTES or b"}" in part:
                break
    except (OSError, EOFError, TimeoutError):
        pass
    if status >= 500 or status in (408, 429):
        return _Lost(f"answered {status}")
    try:
        said = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        said = {}
    detail = said.get("detail") or said.get("exception_message") or f"answered {status}"
    return SubscriptionEnded(status, str(said.get("reason", "refused")), str(detail))


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        async with asyncio.timeout(SILENCE_SECONDS):
            size = int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16)
            chunk = await reader.readexactly(size + 2)
        if size == 0:
            return
        yield chunk[:-2]


async def _pieces(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        async with asyncio.timeout(SILENCE_SECONDS):
            piece = await reader.read(READ_BYTES)
        if not piece:
            return
        yield piece


def _fields(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        # Only data may have several lines.
        fields[name] = f"{fields[name]}\n{value}" if name in fields else value
    return fields


_decode = msgspec.json.Decoder(PublicEvent).decode


def _item(message: dict[str, str]) -> Received | Bookmark | None:
    """What a message says; None for a heartbeat. Raises SubscriptionEnded, _Lost."""
    kind = message.get("event")
    if kind is None:
        return None
    if kind == "end":
        said = msgspec.json.decode(message["data"], type=dict[str, str])
        if said["reason"] == "unavailable":
            raise _Lost(said["detail"])
        raise SubscriptionEnded(0, said["reason"], said["detail"])
    if kind == "bookmark":
        said_at = msgspec.json.decode(message["data"], type=dict[str, int])
        return Bookmark(message["id"], said_at["position"])
    event = _decode(message["data"])
    if event.schema != SCHEMA:
        raise SubscriptionEnded(0, "schema", f"this client knows schema {SCHEMA} of events only")
    return Received(message["id"], event)
