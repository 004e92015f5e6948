"""A few connections to Postgres that take turns.

asyncpg's own pool costs as much of our processor time as a small query (55 µs of 110): each
acquisition makes a proxy object, and each release looks after listeners and locks that nobody here
has.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

IDLE_SECONDS_MAX = 300.0
"""A connection that nobody used for so long is not trusted: it may have been cut on the way."""


class Pool:
    """At most so many connections, opened when they are needed, the last used first."""

    def __init__(self, connect: Callable[[], Awaitable[Any]], most: int, timeout: float) -> None:
        """`timeout`: seconds to wait for a turn."""
        self._connect = connect
        self._timeout = timeout
        self._turns = asyncio.Semaphore(most)
        self._idle: list[tuple[Any, float]] = []
        self._closed = False
        self._generation = 0
        """How often all connections were given up."""

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Any]:
        """A connection for as long as the block lasts.

        Raises TimeoutError if there is none in time, and what connecting raises.
        """
        if self._turns.locked():
            async with asyncio.timeout(self._timeout):
                await self._turns.acquire()
        else:
            await self._turns.acquire()
        try:
            generation = self._generation
            connection = self._pop() or await self._connect()
            try:
                yield connection
            except asyncpg.PostgresError:
                # The server's answer: the connection has understood it and goes on.
                self._push(connection, generation)
                raise
            except BaseException:
                # Cancelled in the middle of something, perhaps.
                connection.terminate()
                raise
            self._push(connection, generation)
        finally:
            self._turns.release()

    def _pop(self) -> Any | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection, since = self._idle.pop()
            if now - since <= IDLE_SECONDS_MAX and not connection.is_closed():
                return connection
            connection.terminate()
        return None

    def _push(self, connection: Any, generation: int) -> None:
        if self._closed or generation != self._generation or connection.is_closed():
            connection.terminate()
        else:
            self._idle.append((connection, asyncio.get_running_loop().time()))

    def give_up(self) -> None:
        """Use none of the connections that there are for another turn: they lead elsewhere."""
        self._generation += 1
        while self._idle:
            connection, _ = self._idle.pop()
            connection.terminate()

    async def close(self, close: Callable[[Any], Awaitable[None]]) -> None:
        """Close what is idle; what is still in use ends with its use."""
        self._closed = True
        while self._idle:
            connection, _ = self._idle.pop()
            await close(connection)
