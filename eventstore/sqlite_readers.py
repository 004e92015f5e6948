"""The connections that read a file of SQLite, each on a thread of its own."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, cast

import aiosqlite

from eventstore.database import Row, Table, Value
from eventstore.sqlite_dialect import native
from eventstore.sqlite_errors import unavailable
from eventstore.sqlite_transaction import select_key_sql

READERS_MAX = 4
"""Reader connections (and threads) per process."""
INTERRUPT_AGAIN_SECONDS = 0.05
"""Pause between two attempts to stop a query that nobody waits for any longer."""


async def open_reader(connect: Callable[[], sqlite3.Connection]) -> aiosqlite.Connection:
    """A connection on a thread of its own."""
    return await aiosqlite.Connection(connect, iter_chunk_size=1024)


class Readers:
    """Up to `READERS_MAX` connections, opened when they are needed."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._free: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()
        self._open = 0
        self._opening: set[asyncio.Task[aiosqlite.Connection]] = set()

    async def fetch(self, sql: str, *params: Value) -> list[Row]:
        """All rows of one statement. Given up, it is interrupted. Raises sqlite3.DatabaseError and
        DatabaseUnavailable."""
        return await self._query(await self._connection(), native(sql), params)

    async def _query(
        self, reader: aiosqlite.Connection, sql: str, params: Sequence[Value]
    ) -> list[Row]:
        """Run a query; given up, it is interrupted. Its connection is free when its thread is."""
        query = asyncio.ensure_future(reader.execute_fetchall(sql, params))
        query.add_done_callback(lambda _: self._free.put_nowait(reader))
        try:
            return cast(list[Row], await asyncio.shield(query))
        except asyncio.CancelledError:
            self._interrupt(reader, query)
            raise

    def _interrupt(self, reader: aiosqlite.Connection, query: "asyncio.Future[Any]") -> None:
        """Stop a query, again and again: before its thread has begun it, nothing is to be stopped,
        and it would be run to its end."""
        if query.done():
            if not query.cancelled():
                query.exception()  # Nobody waits for it: it has been asked for and was not wanted.
            return
        reader._conn.interrupt()
        asyncio.get_running_loop().call_later(
            INTERRUPT_AGAIN_SECONDS, self._interrupt, reader, query
        )

    async def _connection(self) -> aiosqlite.Connection:
        if self._free.empty() and self._open < READERS_MAX:
            self._open += 1
            opening = asyncio.create_task(self._open_another())
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)
            try:
                return await asyncio.shield(opening)
            except asyncio.CancelledError:
                # Half open it cannot be left: the next reader takes it.
                opening.add_done_callback(self._keep)
                raise
        return await self._free.get()

    async def _open_another(self) -> aiosqlite.Connection:
        try:
            return await open_reader(self._connect)
        except BaseException:
            self._open -= 1
            raise

    def _keep(self, opening: asyncio.Task[aiosqlite.Connection]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self._free.put_nowait(opening.result())

    async def close(self) -> None:
        """Close all of them, those in use as soon as they are free."""
        await asyncio.gather(*self._opening, return_exceptions=True)
        while self._open:
            reader = await self._free.get()
            self._open -= 1
            await reader.close()


class SqliteSnapshot:
    """See `eventstore.database.Reader`; a read transaction on a connection of its own."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *params: Value) -> list[Row]:
        try:
            return cast(list[Row], await self._connection.execute_fetchall(native(sql), params))
        except sqlite3.DatabaseError as error:
            raise unavailable(error) from error

    async def fetch_keys(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> list[Row]:
        found = [await self.fetch(select_key_sql(table), *key) for key in keys]
        return [row for rows in found for row in rows]
