"""What changes on an open page, as server-sent events: regions as HTML, feeds as JSON.

    event: patch   data: {"runs": "<table>…"}      the new inside of the elements with these ids
    event: data    data: {"position": 4711}        for custom elements with these ids
    event: gone    data: "Flow run … is deleted"   there is nothing left to follow
    event: here                                    nothing has changed for a while

Each message's id is the position of the log that it shows; on a page that follows run log lines, a
dot and the number of the newest line come after it. One loop per open page pulls from the
ring: while its last message is on the way it renders nothing, so a slow reader skips what lies
between and has the newest next.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from hashlib import blake2b
from time import monotonic
from typing import Any, NamedTuple

import msgspec

from api.server import Server
from api.ui import rendering
from api.ui.page import Concerns, Feed, Missing, Page, Region, Visit
from eventstore.database import Row
from eventstore.errors import EventStoreError
from eventstore.ring import RING_EVENTS_MAX
from eventstore.selection import EVERYTHING, Matches, Selection, matcher
from projections import log_matching

logger = logging.getLogger(__name__)

PUSH_PAUSE_SECONDS = 0.2
"""The least time between two messages; the first after a pause comes at once."""
KEEP_ALIVE_SECONDS = 15.0
"""A quiet stream says something this often, so that proxies keep it open and the browser knows that
somebody is there: `live.js` takes a stream that is quiet for three times as long for a dead one."""
PULSES_SECONDS = 15.0
"""How often a region that shows pulses is made anew without an event."""
RETRY_MILLISECONDS = 1_000
"""When a browser tries again that has lost the connection."""
DERIVED_SECONDS_MAX = 5.0
"""How long a page waits for a derived projection to reach what it should show."""
LINES_MAX = 2_000
"""Log lines that are looked at for one message."""
LINES_BEHIND_MAX = 20_000
"""Of all runs; a page that missed more log lines than this reads those of its run anew."""
OPEN_PAGES_MAX = 500
"""Pages that one process keeps live; more are told to come back later."""

_encode = msgspec.json.Encoder().encode


async def _position(_: Visit, rows: Sequence[Row] | None) -> int | None:
    return rows[-1][0] if rows else None


LOG_POSITION = Feed("log_position", _position, lambda _: EVERYTHING)
"""Every page shows how long the log is."""


class Mark(NamedTuple):
    """How far a page has seen: the id of its messages."""

    position: int
    """Of the log."""
    line: int | None = None
    """Number of the newest run log line; None on a page that follows none."""

    def __str__(self) -> str:
        return f"{self.position}" if self.line is None else f"{self.position}.{self.line}"

    @staticmethod
    def parse(text: str) -> "Mark | None":
        """From `4711` or `4711.90`; None for anything else."""
        parts = text.split(".")
        if len(parts) > 2 or not all(p.isascii() and p.isdigit() and len(p) < 19 for p in parts):
            return None
        return Mark(*map(int, parts))


def now(server: Server, page: Page) -> Mark:
    """The mark of a page that is rendered now."""
    store = server.store
    return Mark(store.ring.head, store.lines.number if page.lines else None)


async def changes(
    page: Page, visit: Visit, mark: Mark, end: Callable[[], Awaitable[None]]
) -> AsyncGenerator[bytes, None]:
    """Messages for a page that was rendered at `mark` and at the time of its visit, until what
    `end` begins is done. It is begun with the first message: HEAD asks for none."""
    follower = _Follower(page, visit, mark)
    ended = asyncio.ensure_future(end())
    try:
        # So that the browser knows at once that it is connected, and where to go on from.
        yield b"retry: %d\nid: %b\nevent: hello\ndata: \n\n" % (
            RETRY_MILLISECONDS,
            str(mark).encode(),
        )
        # A page that nobody saw for an hour has windows that end an hour ago.
        if (message := await follower.heard_of()) is not None:
            yield message
        while not ended.done():
            message = await follower.next()
            if message is not None:
                yield message
                if follower.gone:
                    return
                await asyncio.wait({ended}, timeout=PUSH_PAUSE_SECONDS)
            elif not await follower.news(ended) and not ended.done():
                yield await follower.heard_of() or b"event: here\ndata: \n\n"
    except EventStoreError:
        return  # The browser comes back, and hears then whether there is a log again.
    finally:
        ended.cancel()


def _matches(concerns: Concerns, visit: Visit) -> Matches:
    wanted = concerns(visit)
    if isinstance(wanted, Selection):
        return matcher(wanted)
    tests = [matcher(one) for one in wanted]
    return lambda row: any(test(row) for test in tests)


class _Follower:
    """What one open page has seen."""

    def __init__(self, page: Page, visit: Visit, mark: Mark) -> None:
        self._page = page
        self._visit = visit
        self._server: Server = visit.server
        self._position = mark.position
        # A page without a number, or from a database that had more lines, begins with the next one.
        newest = self._server.store.lines.number
        self._line = newest if mark.line is None else min(mark.line, newest)
        self._sent: dict[str, bytes] = {}
        self._regions = [(region, _matches(region.concerns, visit)) for region in page.regions]
        self._feeds = [
            (feed, _matches(feed.concerns, visit)) for feed in (*page.feeds, LOG_POSITION)
        ]
        asked = [(lines, lines.wanted(visit)) for lines in page.lines]
        self._lines = [(one, log_matching.matcher(w)) for one, w in asked if w is not None]
        self._made = {region.name: monotonic() for region in page.regions if region.pulses}
        """When a region that shows pulses was last made."""
        going: tuple[Region | Feed, ...] = (*page.regions, *page.feeds)
        self._moved = {one.name: one.moves(visit) for one in going if one.moves is not None}
        """Of regions and feeds that go with the clock, what was shown last."""
        self.gone = False

    async def news(self, ended: asyncio.Future[None]) -> bool:
        """Wait for an event or a line that is new, but not for ever; whether there is one."""
        store = self._server.store
        more = [asyncio.ensure_future(store.ring.wait(self._position))]
        if self._lines:
            more.append(asyncio.ensure_future(store.lines.wait(self._line)))
        try:
            await asyncio.wait(
                {*more, ended}, timeout=KEEP_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            return any(one.done() and one.result() is None for one in more)
        finally:
            for one in more:
                one.cancel()

    async def heard_of(self) -> bytes | None:
        """A message about pulses and what goes with the clock, when nothing was recorded."""
        try:
            patches = await self._patches([])
            data = await self._data([])
        except Missing:
            return None  # The event that says so comes next.
        parts = [self._message("patch", patches)] if patches else []
        parts += [self._message("data", data)] if data else []
        return b"".join(parts) or None

    async def next(self) -> bytes | None:
        """A message about what was recorded since the last one; None if it concerns nothing."""
        recorded, written = await self._recorded(), None
        if self._lines and not self.gone:
            written = await self._written()
        return b"".join(part for part in (recorded, written) if part) or None

    async def _written(self) -> bytes | None:
        """What to tell of run log lines."""
        tail, newest = self._server.log_tail, self._server.store.lines.number
        after = self._line
        rows: list[Row] | None = None
        if newest - after <= LINES_BEHIND_MAX:
            rows = []
            while self._line < newest and self._line - after < LINES_MAX:
                page = await tail.after(self._line)
                self._line = page.until
                rows += page.rows
        else:
            self._line = newest
        data = {}
        for lines, matches in self._lines:
            found = None if rows is None else [row for row in rows if matches(row)]
            if found != []:
                data[lines.name] = await lines.told(self._visit, found)
        return self._message("data", data) if data else None

    async def _recorded(self) -> bytes | None:
        """What to tell of the log."""
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
            quiet = rows is not None and not any(map(concerns, rows))
            if quiet and not self._is_due(region):
                continue
            html = await self._html(region)
            digest = blake2b(html.encode(), digest_size=16).digest()
            if self._sent.get(region.name) != digest:
                self._sent[region.name] = digest
                patches[region.name] = html
        return patches

    def _has_moved(self, one: Region | Feed) -> bool:
        return one.moves is not None and one.moves(self._now()) != self._moved[one.name]

    def _is_due(self, region: Region) -> bool:
        if self._has_moved(region):
            return True
        return region.pulses and monotonic() - self._made[region.name] >= PULSES_SECONDS

    def _now(self) -> Visit:
        return msgspec.structs.replace(self._visit, now=self._server.now())

    async def _html(self, region: Region) -> str:
        await self._reached(region.derived)
        if region.pulses:
            self._made[region.name] = monotonic()
        visit = self._now()
        if region.moves is not None:
            self._moved[region.name] = region.moves(visit)
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
        if self._has_moved(feed):
            found = None
        if found == []:
            return None
        await self._reached(feed.derived)
        visit = self._now()
        if feed.moves is not None:
            self._moved[feed.name] = feed.moves(visit)
        return await feed.news(visit, found)

    async def _reached(self, projections: Sequence[str]) -> None:
        for name in projections:
            projector = self._server.runner.projectors[name]
            await projector.reached(self._position, DERIVED_SECONDS_MAX)

    def _message(self, event: str, data: Any) -> bytes:
        mark = Mark(self._position, self._line if self._page.lines else None)
        return b"id: %b\nevent: %b\ndata: %b\n\n" % (
            str(mark).encode(),
            event.encode(),
            _encode(data),
        )
