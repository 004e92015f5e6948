"""A crowd of subscribers of every kind, who check what they hear while they hear it.

Those with the same filter form a circle. The first of a circle to hear something says what comes
at that place; every other one has to hear the same there. So memory does not grow with the number
of subscribers, and at the end only one list per circle is compared with the log.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from tests.benchmarks.client import Websocket
from tests.benchmarks.event_stream import EventStream

Kind = Literal["events", "logs", "subscription", "stream"]

PROBE = "probe"
"""Name of emissions and text of lines that only find out whether a subscription has begun."""
CONNECTING_MAX = 20
"""Subscribers that connect at the same time."""

_encode = msgspec.json.Encoder().encode


class _Emission(Struct):
    id: str
    event: str


class _EmissionFrame(Struct):
    event: _Emission


class _Line(Struct):
    message: str


class _LineFrame(Struct):
    log: _Line


class _Recorded(Struct):
    event_id: str


class _RecordedFrame(Struct, tag_field="type", tag="event"):
    event: _Recorded


class _Bookmark(Struct, tag_field="type", tag="bookmark"):
    pass


class _Heartbeat(Struct, tag_field="type", tag="heartbeat"):
    pass


_emission = msgspec.json.Decoder(_EmissionFrame).decode
_line = msgspec.json.Decoder(_LineFrame).decode
_told = msgspec.json.Decoder(_RecordedFrame | _Bookmark | _Heartbeat).decode
_recorded = msgspec.json.Decoder(_Recorded).decode


class Circle:
    """Subscribers of one kind with one filter."""

    def __init__(self, name: str, kind: Kind, asked: Mapping[str, Any], size: int) -> None:
        self.name = name
        self.kind = kind
        self.asked = asked
        self.subscribers = [Subscriber(self) for _ in range(size)]
        self.heard: list[str] = []
        """Ids of events, or texts of lines, in the order in which they came."""


class Subscriber:
    """One of a circle."""

    def __init__(self, circle: Circle) -> None:
        self._circle = circle
        self._take: Callable[[bytes], None] = getattr(self, f"_{circle.kind}")
        self._connection: Websocket | EventStream | None = None
        self.place = 0
        """How much it has heard."""
        self.listening = circle.kind in ("subscription", "stream")
        """Whether its subscription has begun; those of ours begin at the beginning of the log."""
        self.wrong: str | None = None
        """The first thing that was not what others of the circle had heard there."""

    async def connect(self, port: int) -> None:
        """Subscribe."""
        asked = self._circle.asked
        match self._circle.kind:
            case "events":
                websocket = await Websocket.open("/events/out", port, self._take)
                websocket.send(_encode({"type": "filter", "filter": asked, "backfill": False}))
                self._connection = websocket
            case "logs":
                websocket = await Websocket.open("/logs/out", port, self._take)
                websocket.send(_encode({"type": "filter", "filter": asked}))
                self._connection = websocket
            case "subscription":
                websocket = await Websocket.open("/subscriptions/connect", port, self._take)
                first = {"type": "subscribe", "filter": asked, "from": "beginning"}
                websocket.send(_encode(first))
                self._connection = websocket
            case "stream":
                query = "&".join(f"{field}={one}" for field, many in asked.items() for one in many)
                path = f"/subscriptions/stream?from=beginning&{query}"
                self._connection = await EventStream.open(path, port, self._take)

    @property
    def lost(self) -> bool:
        """Whether its connection has ended."""
        return self._connection is None or self._connection.lost

    def read(self, go_on: bool) -> None:
        """Stop reading for a while, as a slow reader does, or go on."""
        assert self._connection is not None
        self._connection.read(go_on)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _events(self, text: bytes) -> None:
        emission = _emission(text).event
        if emission.event == PROBE:
            self.listening = True
        else:
            self._hear(emission.id)

    def _logs(self, text: bytes) -> None:
        message = _line(text).log.message
        if message == PROBE:
            self.listening = True
        else:
            self._hear(message)

    def _subscription(self, text: bytes) -> None:
        told = _told(text)
        if isinstance(told, _RecordedFrame):
            self._hear(told.event.event_id)

    def _stream(self, text: bytes) -> None:
        _, found, data = text.partition(b"\ndata: ")
        if found and b"\nevent: bookmark\n" not in text:
            self._hear(_recorded(data).event_id)

    def _hear(self, what: str) -> None:
        heard = self._circle.heard
        if self.place == len(heard):
            heard.append(what)
        elif heard[self.place] != what and self.wrong is None:
            expected = heard[self.place]
            self.wrong = f"{self._circle.name}, place {self.place}: {what} and not {expected}"
        self.place += 1


async def connect(circles: Sequence[Circle], port: int) -> None:
    """Connect everybody of these circles."""
    room = asyncio.Semaphore(CONNECTING_MAX)

    async def enter(subscriber: Subscriber) -> None:
        async with room:
            await subscriber.connect(port)

    everybody = [subscriber for circle in circles for subscriber in circle.subscribers]
    await asyncio.gather(*map(enter, everybody))
