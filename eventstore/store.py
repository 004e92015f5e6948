"""The event store of one process: its database, committer and ring, opened and closed together."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from eventstore import log
from eventstore.chain import GENESIS, chained
from eventstore.codec import Codec
from eventstore.committer import Committer, Hooks, Written
from eventstore.database import Database, Row, Transaction
from eventstore.errors import (
    DatabaseUnavailable,
    EventStoreError,
    LogCorrupted,
    LogReplaced,
    UnknownEvent,
)
from eventstore.events import Recorded
from eventstore.held import Held
from eventstore.line_head import LineHead
from eventstore.log import Appended, Command, Head, Inline, Versions
from eventstore.notifier import Batch, Notifier
from eventstore.releases import Releases
from eventstore.ring import Entry, Ring
from eventstore.subscription import PAGE_MAX, follow, newer

logger = logging.getLogger(__name__)

FOLLOW_PAGE = 1_000
"""Events of other processes taken in at a time."""
OWN_COMMIT_SECONDS_MAX = 0.1
"""How long the follower leaves events to the committer that may be of its own batch."""
SET_BACK = (
    "the log was set back while this server had it open, by a backup or by a standby that took "
    "over without its newest events"
)
UNAVAILABLE_PAUSE_SECONDS = 1.0
"""How long the follower waits before it asks a database again that did not answer."""


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
        versions: Mapping[str, int] | None = None,
        stream_versions: Versions = log.nothing_known,
    ) -> None:
        """`versions` are those of the read models that `inline` writes."""
        self.database = database
        self.codec = codec
        self._notifier = notifier
        self._inline = inline
        self._committed = committed
        self._foreign = foreign
        self._stream_versions = stream_versions
        hooks = Hooks(self._fold, self._publish, self._versions, rolled_back)
        self.committer = Committer(database, codec, hooks)
        self.releases = Releases(database.dialect, codec, versions or {})
        self.ring = Ring(0)
        self.lines = LineHead(0)
        self.epoch = ""
        self._generation = 0
        self._newest = (0, GENESIS)
        """Position and hash of the newest event of the ring. The log never ends before it, nor with
        another there; else it was set back, and what is remembered of it never was."""
        self.replaced = asyncio.Event()
        """Set when the log has been found to be another one than was opened. Nothing is written any
        more, and what is remembered of it never was: the process has to end."""
        self._held = Held()
        self._missing = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, *, follow_others: bool = True) -> None:
        """Find the end of the log and begin to write and to watch other processes."""
        head = await log.head(self.database)
        self.ring = Ring(head.position)
        self.lines = LineHead(head.lines)
        self.epoch = head.epoch
        self._generation = head.generation
        self._newest = (head.position, head.hash)
        await self.releases.look(self.database, head.generation)
        self._notifier.open(self.epoch)
        self.committer.start()
        if follow_others:
            self._tasks = [asyncio.create_task(self._follow_others(), name="log-follower")]

    async def close(self) -> None:
        """Write what is queued; stop. The database stays open: it was given."""
        try:
            await self.committer.close()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._notifier.close()

    async def submit(self, command: Command, size: int = 0) -> Written:
        """See `Committer.submit`. Raises OtherRelease as well."""
        self.releases.check()
        return await self.committer.submit(command, size)

    def follow(self, after: int, page: int = PAGE_MAX) -> AsyncIterator[Sequence[Entry]]:
        """See `eventstore.subscription.follow`."""
        return follow(self.database, self.codec, self.ring, after, page)

    async def newer(self, after: int, page: int = PAGE_MAX) -> Sequence[Entry]:
        """See `eventstore.subscription.newer`."""
        return await newer(self.database, self.codec, self.ring, after, page)

    async def read_position(self, position: int) -> Recorded[Any] | None:
        """The event at one position, or None."""
        return await log.read_position(self.database, self.database.dialect, self.codec, position)

    async def last_of(self, stream: str, correlation: str, after: int) -> Recorded[Any] | None:
        """See `eventstore.log.last_of`."""
        database = self.database
        return await log.last_of(database, database.dialect, self.codec, stream, correlation, after)

    def _versions(self, before: Head) -> Mapping[str, int]:
        # Whatever is to be written, also where it is no event: how far somebody has come, say.
        if before.epoch != self.epoch:
            raise LogReplaced("the log was erased or restored while this server had it open")
        if self.replaced.is_set() or self._was_set_back(before, self._newest):
            raise LogReplaced(SET_BACK)
        return self._stream_versions(before)

    async def _fold(self, tx: Transaction, before: Head, recorded: Sequence[Recorded[Any]]) -> bool:
        raised = await self.releases.admit(tx, before, recorded)
        await self._inline(tx, before, recorded)
        return raised

    @staticmethod
    def _was_set_back(head: Head, newest: tuple[int, bytes]) -> bool:
        position, hash_ = newest
        return head.position < position or (head.position == position and head.hash != hash_)

    def _follows(self, row: Row, newest: tuple[int, bytes]) -> bool:
        return chained(newest[1], tuple(row)[:-1]) == bytes(row[-1])

    def _publish(self, appended: Appended) -> None:
        try:
            self._committed(appended)
        finally:
            self.lines.advance(appended.after.lines)
            if appended.after != appended.before:
                after = appended.after
                self._notifier.tell(Batch(self.epoch, after.position, after.lines, appended.rows))
            if appended.recorded:
                facts = zip(appended.recorded, appended.rows, strict=True)
                if not self._join([Entry(fact, row) for fact, row in facts], own=True):
                    self._missing.set()
            elif self.ring.head < appended.after.position:
                self._missing.set()  # It wrote no event, but it has seen those of somebody else.

    async def _follow_others(self) -> None:
        """Bring the ring up to the log's head whenever somebody else may have moved it."""
        while True:
            try:
                batch = await self._woken()
                look = batch is None or self._missing.is_set() or self._held.overdue
                self._missing.clear()
                if (batch is not None and not self._takes(batch)) or look:
                    await self._catch_up()
            except DatabaseUnavailable as error:
                logger.warning("cannot look for events of other processes: %s", error)
                await asyncio.sleep(UNAVAILABLE_PAUSE_SECONDS)
            except EventStoreError as error:
                # Never skipped: an unknown or missing event ends it for every reader of the ring.
                logger.error("the log cannot be followed any further: %s", error)
                if isinstance(error, UnknownEvent):
                    self.releases.stop(str(error))
                self.ring.fail(error)
                self.lines.fail(error)
                if isinstance(error, LogReplaced):
                    self.replaced.set()
                return
            except Exception:
                logger.exception("could not look for events of other processes")
                await asyncio.sleep(UNAVAILABLE_PAUSE_SECONDS)

    async def _woken(self) -> Batch | None:
        """What another process told; None if the log's head has to be looked at."""
        waits: set[asyncio.Future[Any]] = {
            (hearing := asyncio.ensure_future(self._notifier.heard())),
            asyncio.ensure_future(self._missing.wait()),
        }
        timeout = self._held.seconds_left()
        try:
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return hearing.result() if hearing.done() and not hearing.cancelled() else None

    def _takes(self, batch: Batch) -> bool:
        """Take in what was told; False if the log has to be read instead."""
        if batch.epoch != self.epoch:
            return False
        self.lines.advance(batch.lines)
        if batch.until <= self.ring.head:
            return True
        entries = self._told(batch)
        return bool(entries) and self._join(entries, own=False)

    def _told(self, batch: Batch) -> Sequence[Entry]:
        """A batch's events; none if they are not what a commit tells. Then the log says what is so,
        and if it cannot be read either, that is an error."""
        first = batch.until - len(batch.rows) + 1
        if [row[:1] for row in batch.rows] != [(first + n,) for n in range(len(batch.rows))]:
            return ()
        try:
            return [Entry(self.codec.recorded(row), row) for row in batch.rows]
        except Exception as error:
            logger.warning("what another process told cannot be read: %s", error)
            return ()

    def _join(self, entries: Sequence[Entry], *, own: bool) -> bool:
        """Bring entries into the ring, or hold them until those before them have come.

        False if they are not to be waited for: the log has to be read.
        """
        if entries[0].recorded.position > self.ring.head + 1:
            return self._held.hold(entries, own, self._notifier.patience_seconds)
        waiting = [(entries, own), *self._held.all()]
        for some, ours in waiting:
            if some[0].recorded.position > self.ring.head + 1:
                break
            new = [entry for entry in some if entry.recorded.position > self.ring.head]
            if new:
                if not ours:
                    if not self._follows(new[0].row, self._newest):
                        return False
                    self._foreign(new)
                self._take_up(new)
        self._held.forget(self.ring.head)
        return True

    def _take_up(self, new: Sequence[Entry]) -> None:
        self.ring.publish(new)
        self._newest = (new[-1].recorded.position, bytes(new[-1].row[-1]))

    async def _catch_up(self) -> None:
        newest = self._newest
        head = await log.head(self.database)
        if head.epoch != self.epoch:
            raise LogReplaced(f"the log is now {head.epoch}, it was {self.epoch}")
        if self._was_set_back(head, newest):
            await self._stop_if_another(newest)
        if head.generation != self._generation:
            # Read models were folded anew: what is remembered of the old ones is of no use.
            self._generation = head.generation
            self._foreign(())
            await self.releases.look(self.database, head.generation)
        self.lines.advance(head.lines)
        if self.ring.head < head.position:
            # Mostly that is our own commit, about to be told of: to read it means to read twice
            # all that we write, and to forget what we remember of it.
            await self.committer.told(OWN_COMMIT_SECONDS_MAX)
        while self.ring.head < head.position:
            await self._take_in(head.position)
        self._held.forget(self.ring.head)

    async def _stop_if_another(self, newest: tuple[int, bytes]) -> None:
        """Raise LogReplaced if the log is not the one that was opened, or does not reach `newest`.

        Whoever has the lock has the truth, which a proxy that asks a standby may not.
        """
        head, _ = await self.database.transact(lambda tx: log.lock(tx, self.database.dialect))
        if head.epoch != self.epoch:
            raise LogReplaced(f"the log is now {head.epoch}, it was {self.epoch}")
        if self._was_set_back(head, newest):
            raise LogReplaced(SET_BACK)

    async def _take_in(self, until: int) -> None:
        newest = self._newest
        known = newest[0]
        try:
            rows = await log.read_rows(
                self.database, self.database.dialect, known, until, FOLLOW_PAGE
            )
            if not rows:
                raise LogCorrupted(f"the events after position {known} are gone")
        except LogCorrupted:
            # The log may have been erased between the look at its end and this one.
            await self._stop_if_another(newest)
            raise
        if not self._follows(rows[0], newest):
            raise LogReplaced(SET_BACK)
        entries = [Entry(self.codec.recorded(row), row) for row in rows]
        # While we read, our own committer may have published some of these.
        new = [entry for entry in entries if entry.recorded.position > self.ring.head]
        if new:
            self._foreign(new)
            self._take_up(new)
