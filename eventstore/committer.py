"""Group commit: one committer per process writes whatever queued up while it wrote the last batch.

There is no timer. A lone command is written at once; under load the batch grows to what arrived
during one fsync, so that the cost of being durable is shared.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from eventstore.codec import EVENTS
from eventstore.database import CommitUnknown, Database, Transaction
from eventstore.errors import DatabaseUnavailable, Overloaded
from eventstore.events import Recorded
from eventstore.log import Appended, Command, Head, Inline, append

logger = logging.getLogger(__name__)

BATCH_COMMANDS_MAX = 256
"""Commands written in one transaction."""
BATCH_BYTES_MAX = 4 * 1024 * 1024
"""Payload written in one transaction, as far as callers said how large theirs is."""
QUEUE_COMMANDS_MAX = 20_000
"""Commands that may wait; more are refused and may be sent again."""
UNAVAILABLE_PAUSES_SECONDS = (0.05, 0.2, 0.5, 1.0, 1.5, 1.5)
"""Pauses between attempts while the database is away; after the last the batch is refused."""


class Written(Struct, frozen=True):
    """The answer to a command: its events, and where the log ended after its batch."""

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
    rolled_back: Callable[[], None]
    """Called when the transaction came to nothing; `inline` may run again for the same events."""


class Committer:
    """Takes commands, gives answers once they are durable."""

    def __init__(self, database: Database, hooks: Hooks) -> None:
        self._database = database
        self._hooks = hooks
        self._queue: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        """Begin to write. Needs a running event loop."""
        self._task = asyncio.create_task(self._run(), name="committer")

    async def close(self) -> None:
        """Write what is queued, then stop. Later commands are refused."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def submit(self, command: Command, size: int = 0) -> Written:
        """Write one command. `size` is its payload in bytes, for the batch limit.

        Raises VersionConflict, AlreadyRecorded, Overloaded, DatabaseUnavailable, or what a serial
        `decide` or a projection raised; in each case nothing of the command was written.
        """
        if self._closing:
            raise DatabaseUnavailable("the server is shutting down; send the request again")
        if len(self._queue) >= QUEUE_COMMANDS_MAX:
            raise Overloaded(f"{QUEUE_COMMANDS_MAX} commands are waiting to be written; try later")
        answer: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(command, size, answer))
        self._wake.set()
        return await answer

    async def _run(self) -> None:
        while True:
            if not self._queue:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = self._take()
            try:
                await self._write(batch)
            except Exception as error:
                logger.exception("a batch could not be written")
                _refuse(batch, error)

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
                continue
            contention = waiting.command.contention
            if contention is not None and contention in contended:
                put_back.append(waiting)
                continue
            if contention is not None:
                contended.add(contention)
            batch.append(waiting)
            size += waiting.size
        self._queue.extendleft(reversed(put_back))
        return batch

    async def _write(self, batch: list[_Waiting]) -> None:
        """Write a batch; if it raises, find the command to blame by halves."""
        try:
            appended = await self._attempt([waiting.command for waiting in batch])
        except DatabaseUnavailable as error:
            _refuse(batch, error)
            return
        except Exception as error:
            if len(batch) == 1:
                _refuse(batch, error)
                return
            middle = len(batch) // 2
            await self._write(batch[:middle])
            await self._write(batch[middle:])
            return
        self._hooks.committed(appended)
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
        attempted: Appended | None = None

        async def work(tx: Transaction) -> Appended:
            nonlocal attempted
            attempted = None
            attempted = await append(tx, self._database.dialect, commands, self._hooks.inline)
            return attempted

        pauses = iter(UNAVAILABLE_PAUSES_SECONDS)
        while True:
            try:
                return await self._database.transact(work)
            except CommitUnknown as error:
                # Never write again blindly: first ask the log whether the commit went through.
                if attempted is not None and await self._is_recorded(attempted):
                    return attempted
                self._hooks.rolled_back()
                logger.warning("a commit was lost and is written again: %s", error)
            except DatabaseUnavailable as error:
                self._hooks.rolled_back()
                pause = next(pauses, None)
                if pause is None or self._closing:
                    raise
                logger.warning("the database is away, trying again: %s", error)
                await asyncio.sleep(pause)
            except BaseException:
                self._hooks.rolled_back()
                raise

    async def _is_recorded(self, attempted: Appended) -> bool:
        """Whether a batch whose commit got no answer is in the log.

        Positions are gapless and were assigned under the lock: the batch is there exactly if its
        first position holds its first event id (or its first line number its first line).
        """
        for pause in (*UNAVAILABLE_PAUSES_SECONDS, None):
            try:
                return await self._look_up(attempted)
            except DatabaseUnavailable:
                if pause is None:
                    raise
                await asyncio.sleep(pause)
        return False

    async def _look_up(self, attempted: Appended) -> bool:
        if attempted.recorded:
            first = attempted.recorded[0]
            rows = await self._database.fetch_keys(EVENTS, [(first.position,)])
            return bool(rows) and rows[0][6] == first.event_id
        if attempted.first_line is not None:
            table, row = attempted.first_line
            rows = await self._database.fetch_keys(table, [(row[0],)])
            return bool(rows) and tuple(rows[0]) == tuple(row)
        return False  # Effects alone may be carried out twice.


def _refuse(batch: list[_Waiting], error: Exception) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
