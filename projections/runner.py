"""Derived projections: each follows the log from its checkpoint, and exactly one process writes.

Rows and checkpoint change in one transaction, which begins by moving the checkpoint from where this
process believes it to be. If it is not there, another process did the work and nothing is written:
that is what makes it right. That only one process does the work is a matter of manners: who finds
the checkpoint moved by somebody else steps back, and comes forward again when it stands still
although there is something to do.

    working ──(checkpoint was moved by another)──▶ watching
       ▲                                              │
       └──────(checkpoint stands still for a while)───┘
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from eventstore import checkpoints
from eventstore.checkpoints import Checkpoint
from eventstore.database import Transaction
from eventstore.errors import DatabaseUnavailable, EventStoreError, LogReplaced
from eventstore.events import Recorded
from eventstore.ring import Entry
from eventstore.store import EventStore
from projections.projection import Projection, Rows, fold

logger = logging.getLogger(__name__)

GATHERING_SECONDS = 0.25
"""How long events are gathered for one transaction, unless a reader waits for them. A transaction
costs as much as folding ten events: of a lone client that sets a state after the other, 50 ms took
0.7 ms of work for each."""
PAGE_EVENTS = 200
"""Events taken in by one transaction. On SQLite whoever records some waits for it: 4 ms of work.
With 500 of them, folded in it, that was 12."""
EVENTS_PER_TURN = 25
"""Folded before others get a turn on the event loop."""
STANDSTILL_SECONDS = 1.0
"""A checkpoint that stands still for so long, with events after it, has lost its process."""
GLANCE_SECONDS = 0.02
"""How often a reader looks for the progress that another process makes."""
SUPERSEDED_SECONDS = 2.0
"""How often a process whose read model another release keeps up looks whether that is still so."""
UNAVAILABLE_PAUSES_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Pauses between attempts while the database is away; the last one is repeated."""
FAILED_PAUSE_SECONDS = 30.0
"""Before an event is tried again that could not be folded: what was in the way may be mended."""


class Superseded(Exception):
    """Another release has folded this read model in its own way."""


MOVE = (
    "UPDATE checkpoints SET position = $1 "
    "WHERE name = $2 AND version = $3 AND position = $4 "
    "AND EXISTS (SELECT 1 FROM events WHERE position = $1 AND hash = $5) RETURNING position"
)
"""Nothing is folded of a log that was set back since, to where the checkpoint was the same: what
this process has read is not in it, or something else is."""


class Projector:
    """Advances one derived projection."""

    def __init__(self, store: EventStore, projection: Projection) -> None:
        self.projection = projection
        self.position = 0
        """Everything up to here is known to be in the read model."""
        self.failure: Exception | None = None
        """Why this projection does not go on. An event is never skipped: it is tried again."""
        self._store = store
        self._cursor = 0
        """Where this process believes the checkpoint to be."""
        self._working = False
        """Whether it is this process that moves the checkpoint."""
        self._hurry = asyncio.Event()
        self._waiting: set[asyncio.Future[None]] = set()

    async def run(self) -> None:
        """Follow the log for ever; returns only if it cannot be followed any further."""
        failures = 0
        while True:
            before = self.position
            try:
                await self._locate()
                if isinstance(self.failure, Superseded):
                    self.failure = None
                await self._work()
            except Superseded as error:
                if self.failure is None:
                    logger.error("a read model is not kept up here: %s", error)
                self.failure, self._working = error, False
                self._wake()
                await asyncio.sleep(SUPERSEDED_SECONDS)
            except DatabaseUnavailable as error:
                failures = 0 if self.position > before else failures
                pause = UNAVAILABLE_PAUSES_SECONDS[
                    min(failures, len(UNAVAILABLE_PAUSES_SECONDS) - 1)
                ]
                failures += 1
                self._working = False
                logger.warning("projection %s waits: %s", self.projection.name, error)
                await asyncio.sleep(pause)
            except EventStoreError as error:
                foreseen = isinstance(error, LogReplaced)
                logger.error("projection %s stopped", self.projection.name, exc_info=not foreseen)
                self.failure = error
                self._wake()
                return
            except Exception as error:
                logger.exception("projection %s stands still", self.projection.name)
                self.failure, self._working = error, False
                self._wake()
                await asyncio.sleep(FAILED_PAUSE_SECONDS)

    async def reached(self, position: int, timeout_seconds: float) -> bool:
        """Wait until everything up to a position is in the read model; whether it came in time."""
        deadline = time.monotonic() + timeout_seconds
        while self.position < position:
            if not self._working:
                # Nobody tells us how far another process is.
                await self._look()
                if self.position >= position:
                    break
            remaining = deadline - time.monotonic()
            if remaining <= 0 or self.failure is not None:
                return False
            moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(moved)
            self._hurry.set()
            try:
                await asyncio.wait({moved}, timeout=min(GLANCE_SECONDS, remaining))
            finally:
                self._waiting.discard(moved)
        return True

    async def _look(self) -> Checkpoint | None:
        checkpoint = await checkpoints.load(self._store.database, self.projection.name)
        if checkpoint is not None and checkpoint.version == self.projection.version:
            self.position = max(self.position, checkpoint.position)
        return checkpoint

    async def _locate(self) -> None:
        """Find the checkpoint, or begin one. Raises Superseded if it is of another version: who
        folds this read model anew puts the whole in its place."""
        version = self.projection.version
        checkpoint = await self._look()
        if checkpoint is None:
            checkpoint = await self._store.database.transact(self._begin)
        if checkpoint.version != version:
            raise Superseded(
                f"read model {self.projection.name} is of version {checkpoint.version}, here "
                f"{version}: if that is the older one upgrade this server, or go back for good "
                "with its own `pluperfect server database downgrade`"
            )
        self._cursor = checkpoint.position

    async def _begin(self, tx: Transaction) -> Checkpoint:
        projection = self.projection
        held = await checkpoints.load(tx, projection.name)
        if held is not None:
            return held
        checkpoint = Checkpoint(projection.name, projection.version, 0)
        await checkpoints.save(tx, checkpoint)
        return checkpoint

    async def _work(self) -> None:
        """Take in page after page, until another process is found to do the same."""
        while True:
            self._working = True
            async for page in self._store.follow(self._cursor, PAGE_EVENTS):
                if not await self._take_in(page):
                    self._working = False
                    await self._watch()
                    break
                if len(page) < PAGE_EVENTS:
                    await self._gather()

    async def _watch(self) -> None:
        """Leave the work to the process that does it, until its checkpoint stands still."""
        await self._locate()
        while True:
            seen = self._cursor
            await self._store.ring.wait(seen)
            await asyncio.sleep(STANDSTILL_SECONDS)
            await self._locate()
            if self._cursor == seen:
                return

    async def _gather(self) -> None:
        # Not `wait_for`: in Python 3.11 it loses a cancellation that comes with the result.
        with suppress(TimeoutError):
            async with asyncio.timeout(GATHERING_SECONDS):
                await self._hurry.wait()
        self._hurry.clear()

    async def _take_in(self, page: Sequence[Entry]) -> bool:
        """Fold a page and move the checkpoint; False, and nothing done, if it is not ours."""
        projection = self.projection
        after, until = self._cursor, page[-1].recorded.position
        facts = [
            entry.recorded for entry in page if type(entry.recorded.event) in projection.handles
        ]

        # Before the transaction, which others wait for: what is loaded here stays as it is until
        # the checkpoint moves, and then nothing of this is written.
        rows = await self._folded(facts)

        async def work(tx: Transaction) -> bool:
            newest = bytes(page[-1].row[-1])
            moved = await tx.fetch(MOVE, until, projection.name, projection.version, after, newest)
            if moved:
                await rows.write(tx)
            return bool(moved)

        ours = await self._store.database.transact(work)
        self.failure = None
        if not ours:
            return False
        self._cursor = until
        self.position = max(self.position, until)
        self._wake()
        return True

    async def _folded(self, facts: Sequence[Recorded[Any]]) -> Rows:
        """What these events make of the rows in the database."""
        projection, rows = self.projection, Rows()
        wanted = [key for fact in facts for key in projection.reads(fact)]
        await rows.load(self._store.database, wanted)
        for begin in range(0, len(facts), EVENTS_PER_TURN):
            for fact in facts[begin : begin + EVENTS_PER_TURN]:
                fold((projection,), rows, fact)
            await asyncio.sleep(0)
        return rows

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)


class Runner:
    """The derived projections of this process, started and stopped together."""

    def __init__(self, store: EventStore, projections: Sequence[Projection]) -> None:
        self.projectors: Mapping[str, Projector] = {
            projection.name: Projector(store, projection) for projection in projections
        }
        self._tasks: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Begin to follow the log. The store has to be open."""
        self._tasks = [
            asyncio.create_task(projector.run(), name=f"projection-{name}")
            for name, projector in self.projectors.items()
        ]

    async def close(self) -> None:
        """Stop; what was not taken in will be, by another process or after the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    @property
    def failures(self) -> Mapping[str, Exception]:
        """The projections that cannot go on, by name, and why."""
        return {
            name: projector.failure
            for name, projector in self.projectors.items()
            if projector.failure is not None
        }
