"""A database that fails where databases fail: before, during and after the commit.

Each transaction meets the next planned fault, or one drawn with the seed; so a failure can be had
again.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, TypeVar

from eventstore.database import (
    CommitUnknown,
    Database,
    Dialect,
    Reader,
    Row,
    Table,
    Transaction,
    Value,
)
from eventstore.errors import DatabaseUnavailable

T = TypeVar("T")

Fault = Literal[
    "refused",  # Nobody answers.
    "failed",  # An error before the commit.
    "lost",  # The connection breaks during the commit, which never arrives.
    "unanswered",  # The commit is done, its answer never arrives.
    "late",  # The connection breaks, and the commit is done a while after that.
    "slow",  # A slow fsync, and nothing else.
]
FAULTS: tuple[Fault, ...] = ("refused", "failed", "lost", "unanswered", "late", "slow")

PAUSE_SECONDS = 0.02
"""How slow a slow commit is, and how late a late one."""


class FaultyDatabase:
    """See `eventstore.database.Database`; only its transactions fail."""

    def __init__(
        self, database: Database, seed: int = 0, chances: Mapping[Fault, float] | None = None
    ) -> None:
        self._database = database
        self._random = random.Random(seed)
        self._chances = dict(chances or {})
        self._late: set[asyncio.Task[object]] = set()
        self.planned: deque[Fault | None] = deque()
        """What happens to the next transactions; None: nothing."""
        self.met: list[Fault] = []

    @property
    def dialect(self) -> Dialect:
        return self._database.dialect

    async def fetch(self, sql: str, *params: Value) -> list[Row]:
        return await self._database.fetch(sql, *params)

    async def fetch_keys(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> list[Row]:
        return await self._database.fetch_keys(table, keys)

    def snapshot(self) -> AbstractAsyncContextManager[Reader]:
        return self._database.snapshot()

    async def changed(self) -> None:
        await self._database.changed()

    async def remove_traces(self, tables: Sequence[Table]) -> None:
        await self._database.remove_traces(tables)

    async def ping(self) -> None:
        await self._database.ping()

    async def close(self) -> None:
        await asyncio.gather(*self._late, return_exceptions=True)
        await self._database.close()

    def _next(self) -> Fault | None:
        if self.planned:
            return self.planned.popleft()
        drawn = self._random.random()
        for fault, chance in self._chances.items():
            drawn -= chance
            if drawn < 0:
                return fault
        return None

    async def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        fault = self._next()
        if fault is not None:
            self.met.append(fault)
        match fault:
            case None:
                return await self._database.transact(work)
            case "refused":
                raise DatabaseUnavailable("fault: nobody answers")
            case "failed":
                return await self._database.transact(_broken_off(work))
            case "lost":
                try:
                    await self._database.transact(_broken_off(work))
                except _BrokenOff as error:
                    raise CommitUnknown("fault: lost before the commit") from error
                raise AssertionError("a transaction without an end")
            case "unanswered":
                await self._database.transact(work)
                raise CommitUnknown("fault: lost after the commit")
            case "late":
                return await self._commit_late(work)
            case "slow":
                return await self._database.transact(self._slowly(work, asyncio.Event()))

    async def _commit_late(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        reached = asyncio.Event()
        committing = asyncio.create_task(self._database.transact(self._slowly(work, reached)))
        self._late.add(committing)
        waiting = asyncio.create_task(reached.wait())
        await asyncio.wait({committing, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if committing.done():
            return await committing
        raise CommitUnknown("fault: lost during the commit")

    def _slowly(
        self, work: Callable[[Transaction], Awaitable[T]], reached: asyncio.Event
    ) -> Callable[[Transaction], Awaitable[T]]:
        loop = asyncio.get_running_loop()

        async def slow(tx: Transaction) -> T:
            result = await work(tx)
            loop.call_soon_threadsafe(reached.set)
            if self.dialect.name == "sqlite":
                time.sleep(PAUSE_SECONDS)  # noqa: ASYNC251 - on the writer thread.
            else:
                await asyncio.sleep(PAUSE_SECONDS)
            return result

        return slow


class _BrokenOff(DatabaseUnavailable):
    pass


def _broken_off(
    work: Callable[[Transaction], Awaitable[T]],
) -> Callable[[Transaction], Awaitable[T]]:
    async def broken_off(tx: Transaction) -> T:
        await work(tx)
        raise _BrokenOff("fault: an error before the commit")

    return broken_off
