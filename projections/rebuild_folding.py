"""Pages of the log, read and folded in memory for a rebuild.

A page is folded while the one before it is still being written. So what that one left is taken from
memory, as are the rows that were looked at last; only the others are fetched from the tables.
"""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from eventstore import log
from eventstore.codec import EVENTS, Codec
from eventstore.database import Database, Reader, Row
from eventstore.errors import LogCorrupted
from eventstore.events import Recorded
from projections.projection import Key, Model, Projection, Rows

RECENT_ROWS_MAX = 20_000
"""Rows kept in memory by a rebuild for the events to come."""
PAGE_BYTES = 16 * 1024 * 1024
"""A page has no more events when those it has are as large as this together."""
EVENTS_PER_TURN = 200
"""Folded before whoever writes meanwhile, over the same event loop, gets a turn."""


_DATA = list(EVENTS.columns).index("data")


async def read_page(database: Database, after: int, until: int, most: int) -> list[Row]:
    """So many rows of the log, columns as in `EVENTS`; fewer if they are large.

    There has to be one. Raises LogCorrupted.
    """
    page: list[Row] = []
    size = 0
    while len(page) < min(most, until - after) and size < PAGE_BYTES:
        position, portion = after + len(page), min(log.READ_PAGE, most - len(page))
        some = await log.read_rows(database, database.dialect, position, until, portion)
        if not some:
            raise LogCorrupted(f"the events after position {position} are gone")
        page += some
        size += sum(len(row[_DATA]) for row in some)
    return page


class Folding:
    """Folds the pages of one rebuild, one after the other."""

    def __init__(self, codec: Codec, projections: Sequence[Projection]) -> None:
        self._codec = codec
        self._concerned = {
            event: tuple(one for one in projections if event in one.handles)
            for projection in projections
            for event in projection.handles
        }
        self._handled = {event.__struct_config__.tag for event in self._concerned}
        self._last = Rows()
        """What the page before this one left, written or not."""
        self._recent: dict[tuple[Model[Any], Key], Any] = {}
        """Rows as the pages so far left them, those looked at last at the end."""

    async def fold(self, reader: Reader, page: Sequence[Row], *, in_turns: bool = False) -> Rows:
        """The rows that a page of the log changes, to be written after those of the page before.

        If that one removes rows that may not be in memory (`Rows.cascaded`), `reader` has to see it
        written. It may lack it otherwise. Raises UnknownEvent.
        """
        # What no projection of ours handles is not even decoded.
        facts = [
            self._codec.recorded(row)
            for row in page
            if row[3] in self._handled or row[3] not in self._codec.types
        ]
        concerned = self._concerned
        wanted = dict.fromkeys(
            key
            for fact in facts
            for projection in concerned[type(fact.event)]
            for key in projection.reads(fact)
        )
        rows = Rows()
        rows.take_over(self._last, wanted)
        for key in wanted:
            if key in self._recent:
                rows.hold(*key, self._recent[key])
        await rows.load(reader, wanted)
        for begin in range(0, len(facts), EVENTS_PER_TURN):
            self._apply(rows, facts[begin : begin + EVENTS_PER_TURN])
            if in_turns:
                await asyncio.sleep(0)
        self._remember(rows, wanted)
        return rows

    def _apply(self, rows: Rows, facts: Iterable[Recorded[Any]]) -> None:
        for fact in facts:
            for projection in self._concerned[type(fact.event)]:
                projection.apply(rows, fact)

    def _remember(self, rows: Rows, wanted: Iterable[tuple[Model[Any], Key]]) -> None:
        """Keep what was looked at: the rest of a run's events come soon after its first."""
        self._last = rows
        if rows.cascaded:
            self._recent.clear()
        for model, key in wanted:
            self._recent.pop((model, key), None)
            self._recent[model, key] = rows.get(model, *key)
        too_many = max(0, len(self._recent) - RECENT_ROWS_MAX)
        for oldest in list(islice(self._recent, too_many)):
            del self._recent[oldest]

    def forget(self) -> None:
        """Trust nothing but the tables from here on."""
        self._last = Rows()
        self._recent.clear()
