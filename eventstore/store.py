"""The event store of one process: its database, committer and ring, opened and closed together."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from eventstore import log
from eventstore.codec import Codec
from eventstore.committer import Committer, Hooks, Written
from eventstore.database import Database
from eventstore.errors import DatabaseUnavailable
from eventstore.log import Appended, Command, Inline
from eventstore.notifier import Notifier
from eventstore.ring import Entry, Ring
from eventstore.subscription import follow

logger = logging.getLogger(__name__)

FOLLOW_PAGE = 1_000
"""Events of other processes taken in at a time."""


class EventStore:
    """Appends, reads and follows one log. `open` before use, `close` after."""

    def __init__(
        self,
        database: Database,
        codec: Codec,
        notifier: Notifier,
        inline: Inline,
        *,
        committed: Callable[[Appended], None],
        rolled_back: Callable[[], None],
        foreign: Callable[[Sequence[Entry]], None],
    ) -> None:
        self.database = database
        self.codec = codec
        self._notifier = notifier
        self._committed = committed
        self._foreign = foreign
        self.committer = Committer(database, Hooks(inline, self._publish, rolled_back))
        self.ring = Ring(0)
        self.epoch = ""
        self._missing = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, *, follow_others: bool = True) -> None:
        """Find the end of the log and begin to write and to watch other processes."""
        head = await log.head(self.database)
        self.ring = Ring(head.position)
        self.epoch = head.epoch
        self.committer.start()
        if follow_others:
            self._tasks = [asyncio.create_task(self._follow_others(), name="log-follower")]

    async def close(self) -> None:
        """Write what is queued; stop. The database stays open: it was given."""
        await self.committer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def submit(self, command: Command, size: int = 0) -> Written:
        """See `Committer.submit`."""
        return await self.committer.submit(command, size)

    def follow(self, after: int) -> AsyncIterator[Sequence[Entry]]:
        """See `eventstore.subscription.follow`."""
        return follow(self.database, self.codec, self.ring, after)

    async def read_position(self, position: int) -> Any:
        """The event at one position, or None."""
        return await log.read_position(
            self.database, self.database.dialect, self.codec, position
        )

    def _publish(self, appended: Appended) -> None:
        self._committed(appended)
        if appended.recorded:
            entries = [
                Entry(fact, row)
                for fact, row in zip(appended.recorded, appended.rows, strict=True)
            ]
            if not self.ring.publish(entries):
                self._missing.set()

    async def _follow_others(self) -> None:
        """Bring the ring up to the log's head whenever somebody else may have moved it."""
        while True:
            await self._woken()
            try:
                head = await log.head(self.database)
                while self.ring.head < head.position:
                    await self._take_in(head.position)
            except DatabaseUnavailable as error:
                logger.warning("cannot look for events of other processes: %s", error)
                await asyncio.sleep(1)

    async def _woken(self) -> None:
        """Another process may have committed, or a gap was seen before one of our own batches."""
        waits = [
            asyncio.ensure_future(self._notifier.changed()),
            asyncio.ensure_future(self._missing.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._missing.clear()

    async def _take_in(self, until: int) -> None:
        known = self.ring.head
        rows = await log.read_rows(
            self.database, self.database.dialect, known, until, FOLLOW_PAGE
        )
        entries = [Entry(self.codec.recorded(row), row) for row in rows]
        # While we read, our own committer may have published some of these.
        new = [entry for entry in entries if entry.recorded.position > self.ring.head]
        if new:
            self._foreign(new)
            self.ring.publish(new)
