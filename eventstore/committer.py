"""Group commit: one committer per process writes whatever queued up while it wrote the last batch.

A lone command is written at once; under load the batch grows to what arrived during one fsync, so
that the cost of being durable is shared. Only where that takes long is there a short wait for those
who have just been answered and are about to say the next thing: who misses a batch by a moment
waits for a whole one more, and clients on slow disks would else take turns in two halves.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from msgspec import Struct

from eventstore.codec import Codec
from eventstore.database import CommitUnknown, Database, Transaction
from eventstore.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    EventStoreError,
    LogCorrupted,
    LogReplaced,
    OtherRelease,
    Overloaded,
    ReadOnly,
)
from eventstore.events import Recorded
from eventstore.log import Appended, Command, Inline, Versions, append, is_recorded

logger = logging.getLogger(__name__)

BATCH_COMMANDS_MAX = 256
"""Commands written in one transaction."""
BATCH_BYTES_MAX = 4 * 1024 * 1024
"""Payload written in one transaction, as far as callers said how large theirs is."""
QUEUE_COMMANDS_MAX = 20_000
QUEUE_BYTES_MAX = 256 * 1024 * 1024
"""Commands, and payload of commands, that may wait; more are refused and may be sent again."""
LOOK_AHEAD_COMMANDS_MAX = 1_024
"""Contended commands passed over in search of ones that fit into the same batch."""
LOOK_SECONDS = 1.0
"""How long event ids are looked for in the log before they are recorded, after one was found there:
a client that connects again sends many that were."""
UNAVAILABLE_PAUSES_SECONDS = (0.05, 0.2, 0.5, 1.0, 1.5, 1.5)
"""Pauses between attempts while the database is away; after the last the batch is refused."""

SLOW_COMMIT_SECONDS = 0.02
"""A commit that takes so long is worth waiting for others to share it."""
WAIT_PER_COMMIT = 0.05
"""So much of the time that the last commit took is waited at most: a millisecond or more. Shorter
ones the event loop's timers do not know."""

_NOBODY_CAN_WRITE = (DatabaseUnavailable, ReadOnly, LogCorrupted, LogReplaced)
"""Errors that no single command is to blame for."""


class Written(Struct, frozen=True):
    """The answer to a command: its events, and the position from which they can be read.

    That is the position of the last of them; without any, of the last event of its batch.
    """

    recorded: list[Recorded[Any]]
    position: int


class _Waiting(Struct):
    command: Command
    size: int
    answer: asyncio.Future[Written]


class Hooks(Struct, frozen=True):
    """What happens around a batch, given by whoever composes the application."""

    inline: Inline
    """Folds the inline projections, inside the transaction."""
    committed: Callable[[Appended], None]
    """Called on the event loop after the commit, before the callers get their answers."""
    stream_versions: Versions
    """Inside the transaction: what is remembered of stream versions, if it is still true."""
    rolled_back: Callable[[], None]
    """Called when the transaction came to nothing; `inline` may run again for the same events.

    Like `inline`, on SQLite perhaps on the writer thread.
    """


class Committer:
    """Takes commands, gives answers once they are durable."""

    def __init__(self, database: Database, codec: Codec, hooks: Hooks) -> None:
        self._database = database
        self._codec = codec
        self._hooks = hooks
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._told = asyncio.Event()
        """Set unless a batch is being written whose outcome nobody has been told."""
        self._told.set()
        self._closing = False
        self._look_until = 0.0
        self._commit_seconds = 0.0
        """How long the last batch took."""
        self._expected = 0
        """Commands that the next batch has if all who were answered by the last one come again."""

    def start(self) -> None:
        """Begin to write. Needs a running event loop."""
        self._task = asyncio.create_task(self._run(), name="committer")

    async def close(self) -> None:
        """Write what is queued, then stop. Later commands are refused."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            # Not awaited by itself: who gives up waiting must not stop it in mid-commit.
            await asyncio.wait({self._task})

    async def told(self, timeout_seconds: float) -> None:
        """Wait until the batch that is being written, if any, has been told of; so long at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._told.wait()

    async def submit(self, command: Command, size: int = 0) -> Written:
        """Write one command. `size` is its payload in bytes, for the batch limit.

        Raises VersionConflict, AlreadyRecorded, Overloaded, DatabaseUnavailable, ReadOnly,
        LogReplaced, or what a serial `decide` or a projection raised; in each case nothing of the
        command was written. Only after CommitUnknown, or if cancelled, it may or may not have been.
        """
        if self._closing:
            raise DatabaseUnavailable("the server is shutting down; send the request again")
        if len(self._queue) >= QUEUE_COMMANDS_MAX:
            raise Overloaded(f"{QUEUE_COMMANDS_MAX} commands are waiting to be written; try later")
        if self._queue and self._queued_bytes + size > QUEUE_BYTES_MAX:
            raise Overloaded(f"{self._queued_bytes} bytes are waiting to be written; try later")
        answer: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(command, size, answer))
        self._queued_bytes += size
        self._wake.set()
        return await answer

    async def _run(self) -> None:
        batch: list[_Waiting] = []
        try:
            while self._queue or not self._closing:
                if not self._queue:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                # Whoever is about to submit does so first: a transaction more costs as much as ten
                # events in one.
                await asyncio.sleep(0)
                await self._wait_for_others()
                batch = self._take()
                if batch:
                    self._told.clear()
                    began = time.monotonic()
                    await self._write_or_refuse(batch)
                    self._commit_seconds = time.monotonic() - began
                    self._expected = min(len(batch) + len(self._queue), BATCH_COMMANDS_MAX)
                    self._told.set()
        except Exception:
            logger.exception("the committer failed")
        finally:
            # Only reached in order after `close`; else nobody may be left waiting for ever.
            self._closing = True
            self._told.set()
            _refuse(batch, CommitUnknown("the server stopped while it wrote the command"))
            _refuse(self._queue, DatabaseUnavailable("the server stopped; send the request again"))
            self._queue.clear()

    async def _wait_for_others(self) -> None:
        """Where commits are slow, wait a moment for those who are about to submit again."""
        if self._commit_seconds < SLOW_COMMIT_SECONDS:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._commit_seconds * WAIT_PER_COMMIT):
                while len(self._queue) < self._expected and not self._closing:
                    self._wake.clear()
                    await self._wake.wait()
        self._expected = 0

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        contended: set[str] = set()
        put_back: list[_Waiting] = []
        size = 0
        while self._queue and len(batch) < BATCH_COMMANDS_MAX:
            waiting = self._queue[0]
            if batch and size + waiting.size > BATCH_BYTES_MAX:
                break
            self._queue.popleft()
            if waiting.answer.cancelled():
                self._queued_bytes -= waiting.size
                continue
            contention = waiting.command.contention
            if contention is not None:
                shared = (contention,) if isinstance(contention, str) else contention
                if not contended.isdisjoint(shared):
                    put_back.append(waiting)
                    if len(put_back) == LOOK_AHEAD_COMMANDS_MAX:
                        break
                    continue
                contended.update(shared)
            batch.append(waiting)
            size += waiting.size
        self._queued_bytes -= size
        self._queue.extendleft(reversed(put_back))
        return batch

    async def _write_or_refuse(self, batch: list[_Waiting]) -> None:
        """Write a batch. What nobody foresaw is its end, and not that of all writing.

        A driver may end in a cancellation that nobody asked for: then it is such an error, too.
        """
        try:
            await self._write(batch)
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            logger.exception("a batch could not be written")
            self._hooks.rolled_back()
            unknown = CommitUnknown(f"the command could not be written: {error!r}")
            _refuse(batch, unknown)

    async def _write(self, batch: list[_Waiting]) -> None:
        """Write a batch; if it raises, find the command to blame by halves."""
        try:
            appended = await self._attempt([waiting.command for waiting in batch])
        except _NOBODY_CAN_WRITE as error:
            if not isinstance(error, ReadOnly):  # A picture of the past is there to say no.
                logger.error("%d commands could not be written: %s", len(batch), error)
            _refuse(batch, error)
            if self._closing:
                _refuse(self._queue, error)
                self._queue.clear()
            return
        except Exception as error:
            if len(batch) == 1:
                if not batch[0].answer.done():
                    batch[0].answer.set_exception(error)
                return
            middle = len(batch) // 2
            await self._write(batch[:middle])
            await self._write(batch[middle:])
            return
        try:
            self._hooks.committed(appended)
        except Exception:
            # It is in the log, whatever a listener thinks of it: the callers must be told so.
            logger.exception("a listener failed after the commit")
        for waiting, outcome in zip(batch, appended.outcomes, strict=True):
            if waiting.answer.done():
                continue
            if outcome.refusal is not None:
                waiting.answer.set_exception(outcome.refusal)
            else:
                last = outcome.recorded[-1].position if outcome.recorded else 0
                waiting.answer.set_result(
                    Written(outcome.recorded, last or appended.after.position)
                )

    async def _attempt(self, commands: list[Command]) -> Appended:
        """Write, as often as it takes the database to answer.

        Never blindly twice: an attempt whose commit got no answer is looked up first, in the
        transaction that would write it again.
        """
        attempted: Appended | None = None
        unknown: Appended | None = None
        look = time.monotonic() < self._look_until

        async def work(tx: Transaction) -> Appended:
            nonlocal attempted, unknown
            if unknown is not None:
                if await is_recorded(tx, self._database.dialect, unknown):
                    return unknown
                unknown = None
                self._hooks.rolled_back()
            attempted = None
            attempted = await append(
                tx,
                self._database.dialect,
                self._codec,
                commands,
                self._hooks.inline,
                self._hooks.stream_versions,
                look=look,
            )
            return attempted

        pauses = iter(UNAVAILABLE_PAUSES_SECONDS)
        while True:
            try:
                return await self._database.transact(work)
            except Exception as error:
                if isinstance(error, CommitUnknown):
                    unknown = unknown or attempted
                if unknown is None:
                    self._hooks.rolled_back()
                if not look and self._database.dialect.is_taken(error):
                    look, self._look_until = True, time.monotonic() + LOOK_SECONDS
                    continue
                if not isinstance(error, DatabaseUnavailable) and unknown is None:
                    raise
                hopeless = isinstance(error, DatabaseBusy | OtherRelease)
                pause = None if hopeless else next(pauses, None)
                if pause is None or (self._closing and unknown is None):
                    if unknown is None:
                        raise
                    self._hooks.rolled_back()
                    raise CommitUnknown(
                        f"the database went away during the commit: {error}"
                    ) from error
                logger.warning("the database is away, trying again: %s", error)
                await asyncio.sleep(pause)


def _refuse(batch: Iterable[_Waiting], error: EventStoreError) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            # One each: an exception that many callers raise would collect all their tracebacks.
            refusal = type(error)(str(error))
            refusal.__cause__ = error
            waiting.answer.set_exception(refusal)
