"""Pulses: when somebody was last heard of, for example a worker, or a queue was last polled.

A pulse is one cell that is written over, not an event: a thousand workers that poll every few
seconds write nothing to the log. What was noted is kept in memory and written together every
second; whoever asks this process gets it written first. A process that is killed takes along what
it heard within its last second.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime
from itertools import islice

from eventstore.codec import from_microseconds, to_microseconds
from eventstore.database import Database, Row, Table, Transaction
from eventstore.errors import DatabaseUnavailable

logger = logging.getLogger(__name__)

WRITE_SECONDS = 1.0
"""How long a pulse may be known to one process alone."""
PULSES_PER_WRITE_MAX = 1_000
"""Cells written in one transaction."""
FAILED_PAUSE_SECONDS_MAX = 30.0
"""How long the writing rests after an error that nobody foresaw; doubled each time up to this."""

PULSES = Table(
    "pulses", {"subject": "text", "at": "bigint", "interval_seconds": "bigint"}, key=("subject",)
)


class Pulses:
    """The pulses of this process, on their way into the table."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[str, Row] = {}
        """By subject, so never more than there are workers and queues."""
        self._gone: set[str] = set()
        self._waiting = asyncio.Event()
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Write what is left and stop."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self.flush()
        except Exception as error:  # Whoever closes has more to close.
            logger.warning("the last pulses could not be written: %s", error)

    def note(self, subject: str, at: datetime, interval_seconds: int | None = None) -> None:
        """Something was heard of at this time, and may be heard of every so many seconds."""
        self._noted[subject] = (subject, to_microseconds(at), interval_seconds)
        self._gone.discard(subject)
        self._waiting.set()

    def forget(self, subjects: Sequence[str]) -> None:
        """Nobody will ask for these again."""
        for subject in subjects:
            self._noted.pop(subject, None)
            self._gone.add(subject)
        self._waiting.set()

    async def last(self, subject: str) -> datetime | None:
        """When something was last heard of; by another process, up to a second ago."""
        await self.flush()
        rows = await self._database.fetch_keys(PULSES, [(subject,)])
        return from_microseconds(rows[0][1]) if rows else None

    async def flush(self) -> None:
        """Write what was noted. Raises DatabaseUnavailable; then it is kept for later."""
        async with self._writing:
            while self._noted or self._gone:
                await self._write()

    async def _write(self) -> None:
        noted = dict(islice(self._noted.items(), PULSES_PER_WRITE_MAX))
        gone = list(islice(self._gone, PULSES_PER_WRITE_MAX))

        async def write(tx: Transaction) -> None:
            if noted:
                await tx.upsert(PULSES, list(noted.values()))
            if gone:
                await tx.delete(PULSES, [(subject,) for subject in gone])

        await self._database.transact(write)
        for subject, row in noted.items():
            if self._noted.get(subject) is row:
                del self._noted[subject]
        self._gone.difference_update(gone)

    async def _run(self) -> None:
        pause = WRITE_SECONDS
        while True:
            await self._waiting.wait()
            self._waiting.clear()
            try:
                await self.flush()
                pause = WRITE_SECONDS
            except DatabaseUnavailable as error:
                logger.warning("pulses could not be written, they will be later: %s", error)
                self._waiting.set()
            except Exception:
                # Without pulses everybody is taken for offline: it goes on, whatever it was.
                logger.exception("pulses could not be written, they will be tried again")
                self._waiting.set()
                pause = min(2 * pause, FAILED_PAUSE_SECONDS_MAX)
            await asyncio.sleep(pause)
