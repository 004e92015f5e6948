"""What time it is by the database's clock: the one that all processes on a log have.

Machines disagree. What one process wrote down as a moment, until when slots are held or when a
worker was last heard of, another compares with its own; a minute apart, one takes from the living
what the other gave them. On SQLite all processes are on one machine, whose clock it is.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from eventstore.codec import from_microseconds
from eventstore.database import Database
from eventstore.errors import EventStoreError

logger = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
"""How often the clocks are compared: either may be set."""
AGAIN_SECONDS = 1.0
"""When to compare them again after an answer that did not say well enough what time it was, or
none: until then a clock that is wrong stays wrong."""
AGREEMENT = timedelta(seconds=1)
"""Clocks that are no further apart agree, and the machine's is taken as it is."""
SLOW_ANSWER = timedelta(seconds=4)
"""An answer that takes longer does not say well enough what time it was."""
DATABASE_TIME = "SELECT (extract(epoch from clock_timestamp()) * 1000000)::bigint"


def machine_time() -> datetime:
    """By this machine's clock, in UTC."""
    return datetime.now(UTC)


class DatabaseClock:
    """This machine's clock, put right by as much as the database's differs from it."""

    def __init__(self, database: Database, machine: Callable[[], datetime] = machine_time) -> None:
        self._database = database
        self._machine = machine
        self._ahead = timedelta(0)
        """By how much the database is ahead of this machine."""
        self._task: asyncio.Task[None] | None = None

    def now(self) -> datetime:
        """The time in UTC. It may step back, as clocks do."""
        return self._machine() + self._ahead

    async def open(self) -> None:
        """Compare the clocks, and go on to do so now and then."""
        if self._database.dialect.name == "postgres":
            compared = await self.look()
            self._task = asyncio.create_task(self._run(compared), name="clock")

    async def close(self) -> None:
        """Compare no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def look(self) -> bool:
        """Compare the clocks once, on Postgres.

        False, and all stays as it is, where the database does not say what time it is, or is not
        quick enough about it.
        """
        if self._database.dialect.name == "sqlite":
            return True
        before = self._machine()
        try:
            ((microseconds,),) = await self._database.fetch(DATABASE_TIME)
        except EventStoreError:
            return False
        took = self._machine() - before
        if not timedelta(0) <= took <= SLOW_ANSWER:
            return False
        ahead = from_microseconds(microseconds) - (before + took / 2)
        if abs(ahead - self._ahead) <= AGREEMENT + took / 2:
            return True
        if abs(ahead) <= AGREEMENT:
            self._ahead = timedelta(0)
            logger.warning("this machine's clock agrees with the database's again")
            return True
        self._ahead = ahead
        logger.warning(
            "this machine's clock is %.1f seconds %s the database's, which counts",
            abs(ahead.total_seconds()),
            "behind" if ahead > timedelta(0) else "ahead of",
        )
        return True

    async def _run(self, compared: bool) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS if compared else AGAIN_SECONDS)
            compared = await self.look()
