"""Following run log lines as they are written, in whichever process that happens.

There is no task behind it. Whoever listens waits for a line number to be known, and the first of
them to get there reads the new lines from the database for all; a listener that falls behind what
is kept here reads for itself. So nothing runs while nobody listens, and nothing is dropped.
"""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Sequence

from msgspec import Struct

from eventstore import log
from eventstore.database import Row
from eventstore.store import EventStore
from projections import log_lines
from projections.filters import LogFilter
from projections.log_matching import matcher

PAGE_LINES = 500
"""Lines read, and handed to a listener, at a time."""
KEPT_PAGES_MAX = 100
KEPT_CHARACTERS_MAX = 16 * 1024 * 1024
"""What is kept of the newest lines for listeners that are a little behind."""


class Page(Struct, frozen=True):
    """The lines with numbers after `after`, up to and including `until`."""

    after: int
    until: int
    rows: Sequence[Row]

    @property
    def characters(self) -> int:
        """Length of the messages, the part without a bound."""
        return sum(len(row[_MESSAGE]) for row in self.rows)


_MESSAGE = list(log_lines.TABLE.columns).index("message")


class LogTail:
    """The newest lines of this process's database, shared by all who listen here."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._reading = asyncio.Lock()
        self._pages: deque[Page] = deque()
        self._characters = 0

    async def follow(self, asked: LogFilter) -> AsyncIterator[list[Row]]:
        """Matching lines written from now on, for ever, a page that is not empty at a time.

        Raises what `EventStore.lines.wait` raises, and DatabaseUnavailable.
        """
        matches = matcher(asked)
        number = (await log.head(self._store.database)).lines
        while True:
            page = await self.after(number)
            number = page.until
            found = [row for row in page.rows if matches(row)]
            if found:
                yield found

    async def after(self, number: int) -> Page:
        """Some lines after `number`, as soon as there are any.

        Raises what `EventStore.lines.wait` raises, and DatabaseUnavailable.
        """
        await self._store.lines.wait(number)
        page = self._kept(number)
        if page is not None:
            return page
        if self._pages and number < self._pages[0].after:
            return await self._read(number, self._pages[0].after)
        async with self._reading:
            page = self._kept(number)
            if page is None:
                page = await self._read(number, self._store.lines.number)
                self._keep(page)
        return page

    async def _read(self, number: int, until: int) -> Page:
        rows = await log_lines.after(self._store.database, number, until, PAGE_LINES)
        # Numbers of deleted lines are missing, so a page that is not full reaches to `until`.
        return Page(number, rows[-1][0] if len(rows) == PAGE_LINES else until, rows)

    def _kept(self, number: int) -> Page | None:
        at = bisect_right(self._pages, number, key=lambda page: page.after) - 1
        if at < 0 or self._pages[at].until <= number:
            return None
        page = self._pages[at]
        if page.after == number:
            return page
        return Page(number, page.until, [row for row in page.rows if row[0] > number])

    def _keep(self, page: Page) -> None:
        if self._pages and self._pages[-1].until != page.after:
            self._pages.clear()  # Nobody listened for a while.
            self._characters = 0
        self._pages.append(page)
        self._characters += page.characters
        while len(self._pages) > KEPT_PAGES_MAX or self._characters > KEPT_CHARACTERS_MAX:
            self._characters -= self._pages.popleft().characters


def frame(row: Row) -> str:
    """A line as a listener is sent it. Like Prefect, without the time at which it was stored."""
    (line,) = log_lines.texts((row,), stored=False)
    return f'{{"type":"log","log":{line}}}'
