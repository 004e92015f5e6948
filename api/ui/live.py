"""What changes on an open page, as server-sent events: regions as HTML, feeds as JSON.

    event: patch   data: {"runs": "<table>…"}      the new inside of the elements with these ids
    event: data    data: {"position": 4711}        for custom elements with these ids
    event: gone    data: "Flow run … is deleted"   there is nothing left to follow

Each message's id is the position of the log that it shows. One loop per open page pulls from the
ring: while its last message is on the way it renders nothing, so a slow reader skips what lies
between and has the newest next.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from api.server import Server
from api.ui import rendering
from api.ui.page import Feed, Missing, Page, Region, Visit
from eventstore.database import Row
from eventstore.errors import EventStoreError
from eventstore.ring import RING_EVENTS_MAX
from eventstore.selection import EVERYTHING, Matches, matcher

logger = logging.getLogger(__name__)

PUSH_PAUSE_SECONDS = 0.2
"""The least time between two messages; the first after a pause comes at once."""
KEEP_ALIVE_SECONDS = 15.0
"""A quiet stream says something this often, so that proxies keep it open."""
RETRY_MILLISECONDS = 1_000
"""When a browser tries again that has lost the connection."""
DERIVED_SECONDS_MAX = 5.0
"""How long a page waits for a derived projection to reach what it should show."""
OPEN_PAGES_MAX = 500
"""Pages that one process keeps live; more are told to come back later."""

_encode = msgspec.json.Encoder().encode


async def _position(_: Visit, rows: Sequence[Row] | None) -> int | None:
    return rows[-1][0] if rows else None


LOG_POSITION = Feed("log_position", _position, lambda _: EVERYTHING)
"""Every page shows how long the log is."""


async def changes(
    page: Page, visit: Visit, position: int, end: Awaitable[None]
) -> AsyncGenerator[bytes, None]:
    """Messages for a page that was rendered at `position`, until `end` is done."""
    follower = _Follower(page, visit, position)
    ended = asyncio.ensure_future(end)
    try:
        # So that the browser knows at once that it is connected, and where to go on from.
        yield b"retry: %d\nid: %d\nevent: hello\ndata: \n\n" % (RETRY_MILLISECONDS, position)
        while not ended.done():
            message = await follower.next()
            if message is not None:
                yield message
                if follower.gone:
                    return
                await asyncio.wait({ended}, timeout=PUSH_PAUSE_SECONDS)
            elif not await follower.news(ended) and not ended.done():
                yield b": still here\n\n"
    except EventStoreError:
        return  # The browser comes back, and hears then whether there is a log again.
    finally:
        ended.cancel()


class _Follower:
    """What one open page has seen."""

    def __init__(self, page: Page, visit: Visit, position: int) -> None:
        self._page = page
        self._visit = visit
        self._server: Server = visit.server
        self._position = position
        self._sent: dict[str, bytes] = {}
        self._regions = [(region, matcher(region.concerns(visit))) for region in page.regions]
        self._feeds = [
            (feed, matcher(feed.concerns(visit))) for feed in (*page.feeds, LOG_POSITION)
        ]
        self.gone = False

    async def news(self, ended: asyncio.Future[None]) -> bool:
        """Wait for an event after what was seen, but not for ever; whether there is one."""
        more = asyncio.ensure_future(self._server.store.ring.wait(self._position))
        try:
            await asyncio.wait(
                {more, ended}, timeout=KEEP_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            return more.done() and more.result() is None
        finally:
            more.cancel()

    async def next(self) -> bytes | None:
        """A message about what was recorded since the last one; None if it concerns nothing."""
        ring = self._server.store.ring
        after, self._position = self._position, ring.head
        if after == ring.head:
            return None
        entries = None if after > ring.head else ring.after(after, RING_EVENTS_MAX)
        # None: further behind than is remembered, or ahead of a log that is not the same any more.
        rows = None if entries is None else [entry.row for entry in entries]
        try:
            patches = await self._patches(rows)
            data = await self._data(rows)
        except Missing as missing:
            self.gone = True
            return self._message("gone", str(missing))
        parts = []
        if patches:
            parts.append(self._message("patch", patches))
        if data:
            parts.append(self._message("data", data))
        return b"".join(parts) or None

    async def _patches(self, rows: Sequence[Row] | None) -> dict[str, str]:
        patches: dict[str, str] = {}
        for region, concerns in self._regions:
            if rows is not None and not any(map(concerns, rows)):
                continue
            html = await self._html(region)
            digest = blake2b(html.encode(), digest_size=16).digest()
            if self._sent.get(region.name) != digest:
                self._sent[region.name] = digest
                patches[region.name] = html
        return patches

    async def _html(self, region: Region) -> str:
        await self._reached(region.derived)
        visit = msgspec.structs.replace(self._visit, now=self._server.now())
        return rendering.region(self._page, region, visit, await region.view(visit))

    async def _data(self, rows: Sequence[Row] | None) -> dict[str, Any]:
        data = {}
        for feed, concerns in self._feeds:
            told = await self._told(feed, concerns, rows)
            if told is not None:
                data[feed.name] = told
        return data

    async def _told(self, feed: Feed, concerns: Matches, rows: Sequence[Row] | None) -> Any:
        found = None if rows is None else [row for row in rows if concerns(row)]
        if found == []:
            return None
        await self._reached(feed.derived)
        return await feed.news(self._visit, found)

    async def _reached(self, projections: Sequence[str]) -> None:
        for name in projections:
            projector = self._server.runner.projectors[name]
            await projector.reached(self._position, DERIVED_SECONDS_MAX)

    def _message(self, event: str, data: Any) -> bytes:
        return b"id: %d\nevent: %b\ndata: %b\n\n" % (
            self._position,
            event.encode(),
            _encode(data),
        )
