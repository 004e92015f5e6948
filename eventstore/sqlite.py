"""The database seam on SQLite: one writer thread, a few reader threads, several processes.

Write transactions are whole functions on one thread: an await per statement would cost a thread hop
each and would hold the write lock across the event loop's scheduling. A lock file makes processes
take turns in order of arrival; SQLite's own busy handler sleeps and retries, so that under load one
process can starve another for seconds.

Durable means `synchronous=FULL`: a commit returns after fsync. Group commit pays for it.
"""

import asyncio
import fcntl
import os
import re
import sqlite3
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import aiosqlite

from eventstore.database import CommitUnknown, Row, Table, Transaction, Value
from eventstore.errors import DatabaseUnavailable, ReadOnly

T = TypeVar("T")

READERS_MAX = 4
"""Reader connections (and threads) per process."""
STATEMENT_CACHE_SIZE = 512
"""Prepared statements kept per connection."""
ROWS_PER_STATEMENT = (64, 16, 4, 1)
"""Rows bound to one INSERT: few sizes, so that prepared statements are reused."""
BUSY_TIMEOUT_SECONDS = 10.0
"""How long a writer waits for a foreign program that holds the database lock."""
JOURNAL_SIZE_LIMIT_BYTES = 64 * 1024 * 1024
"""A write-ahead log grown larger than this is cut back after its checkpoint."""
POLL_BUSY_SECONDS = 0.01
POLL_IDLE_SECONDS = 0.05
"""How often to look whether another process committed: after a change, and when all is quiet."""

_PRAGMAS = f"""
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA secure_delete = ON;
PRAGMA journal_size_limit = {JOURNAL_SIZE_LIMIT_BYTES};
PRAGMA cache_size = -16000;
PRAGMA temp_store = MEMORY;
"""


class SqliteDialect:
    """See `eventstore.database.Dialect`."""

    name: Literal["sqlite", "postgres"] = "sqlite"

    def contains_all(self, column: str, placeholder: str) -> str:
        return (
            f"NOT EXISTS (SELECT 1 FROM json_each({placeholder}) wanted WHERE wanted.value "
            f"NOT IN (SELECT value FROM json_each({column})))"
        )

    def contains_any(self, column: str, placeholder: str) -> str:
        return (
            f"EXISTS (SELECT 1 FROM json_each({column}) held WHERE held.value "
            f"IN (SELECT value FROM json_each({placeholder})))"
        )

    def in_list(self, expression: str, placeholder: str) -> str:
        return f"{expression} IN (SELECT value FROM json_each({placeholder}))"

    def ilike(self, expression: str, placeholder: str) -> str:
        return f"{expression} LIKE {placeholder} ESCAPE '\\'"


@lru_cache(maxsize=2048)
def _native(sql: str) -> str:
    """`$1` is `?1` here; `$1` inside a string literal does not occur in our SQL."""
    return re.sub(r"\$(\d+)", r"?\1", sql)


@lru_cache(maxsize=1024)
def _insert_sql(table: Table, rows: int, replace: bool) -> str:
    columns = list(table.columns)
    one = "(" + ",".join("?" * len(columns)) + ")"
    sql = f"INSERT INTO {table.name} ({','.join(columns)}) VALUES {','.join([one] * rows)}"
    if replace:
        changes = ",".join(f"{c}=excluded.{c}" for c in columns if c not in table.key)
        sql += f" ON CONFLICT ({','.join(table.key)}) DO "
        sql += f"UPDATE SET {changes}" if changes else "NOTHING"
    return sql


class _SqliteTransaction:
    """See `eventstore.database.Transaction`. Lives on one thread and never suspends."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *params: Value) -> list[Row]:
        return self._connection.execute(_native(sql), params).fetchall()

    async def fetch_keys(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> list[Row]:
        return _fetch_keys(self._connection, table, keys)

    async def execute(self, sql: str, *params: Value) -> None:
        self._connection.execute(_native(sql), params)

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        self._write(table, rows, replace=False)

    async def upsert(self, table: Table, rows: Sequence[Row]) -> None:
        self._write(table, rows, replace=True)

    def _write(self, table: Table, rows: Sequence[Row], *, replace: bool) -> None:
        # Many rows in one statement: the interpreter lock is given up once per statement, and a
        # busy event loop would otherwise get a turn between any two rows.
        done, total = 0, len(rows)
        for size in ROWS_PER_STATEMENT:
            sql = _insert_sql(table, size, replace)
            while total - done >= size:
                if size == 1:
                    self._connection.execute(sql, rows[done])
                else:
                    params = [value for row in rows[done : done + size] for value in row]
                    self._connection.execute(sql, params)
                done += size

    async def delete(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> None:
        condition = " AND ".join(f"{column}=?" for column in table.key)
        self._connection.executemany(f"DELETE FROM {table.name} WHERE {condition}", keys)


def _fetch_keys(
    connection: sqlite3.Connection, table: Table, keys: Sequence[tuple[Value, ...]]
) -> list[Row]:
    sql = _select_key_sql(table)
    found = (connection.execute(sql, key).fetchone() for key in keys)
    return [row for row in found if row is not None]


@lru_cache(maxsize=256)
def _select_key_sql(table: Table) -> str:
    condition = " AND ".join(f"{column}=?" for column in table.key)
    return f"SELECT {','.join(table.columns)} FROM {table.name} WHERE {condition}"


class SqliteDatabase:
    """See `eventstore.database.Database`."""

    def __init__(self, path: Path, timeout_seconds: float, *, read_only: bool = False) -> None:
        self.path = path
        self.dialect = SqliteDialect()
        self._read_only = read_only
        self._timeout_seconds = timeout_seconds
        self._writer_thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self._writer: sqlite3.Connection | None = None
        self._lock_file = -1
        # For rows by primary key: read on the event loop's own thread. In WAL mode a reader waits
        # for nobody, and a few microseconds of B-tree are cheaper than two thread switches.
        self._nearby = self._connect(check_same_thread=False, busy_timeout_seconds=0.0)
        self._data_version = -1
        self._readers: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()
        self._readers_open = 0

    def _connect(
        self, *, check_same_thread: bool, busy_timeout_seconds: float
    ) -> sqlite3.Connection:
        uri = self.path.absolute().as_uri() + ("?mode=ro" if self._read_only else "?mode=rw")
        try:
            connection = sqlite3.connect(
                uri,
                uri=True,
                isolation_level=None,
                timeout=busy_timeout_seconds,
                check_same_thread=check_same_thread,
                cached_statements=STATEMENT_CACHE_SIZE,
            )
            if self._read_only:
                connection.execute("PRAGMA query_only = ON")
            else:
                connection.executescript(_PRAGMAS)
        except sqlite3.Error as error:
            raise DatabaseUnavailable(f"cannot open SQLite database {self.path}: {error}") from None
        return connection

    async def fetch(self, sql: str, *params: Value) -> list[Row]:
        connection = await self._reader()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                rows = await connection.execute_fetchall(_native(sql), params)
            return cast(list[Row], rows)
        except TimeoutError:
            await connection.interrupt()
            raise DatabaseUnavailable(
                f"a query took longer than {self._timeout_seconds:g} s"
            ) from None
        except sqlite3.OperationalError as error:
            raise _unavailable(error) from error
        finally:
            self._readers.put_nowait(connection)

    async def _reader(self) -> aiosqlite.Connection:
        if self._readers.empty() and self._readers_open < READERS_MAX:
            self._readers_open += 1
            try:
                return await aiosqlite.Connection(
                    lambda: self._connect(
                        check_same_thread=False, busy_timeout_seconds=BUSY_TIMEOUT_SECONDS
                    ),
                    iter_chunk_size=1024,
                )
            except BaseException:
                self._readers_open -= 1
                raise
        return await self._readers.get()

    async def fetch_keys(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> list[Row]:
        try:
            return _fetch_keys(self._nearby, table, keys)
        except sqlite3.OperationalError as error:
            raise _unavailable(error) from error

    async def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        if self._read_only:
            raise ReadOnly(f"{self.path} is opened read-only")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer_thread, self._transact, work)

    def _transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        with self._turn() as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                result = _run_to_end(work(_SqliteTransaction(connection)))
            except BaseException as error:
                if connection.in_transaction:
                    connection.rollback()
                if isinstance(error, sqlite3.OperationalError):
                    raise _unavailable(error) from error
                raise
            try:
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                # The disk may have taken the commit and failed on what comes after it.
                if connection.in_transaction:
                    connection.rollback()
                raise CommitUnknown(str(error)) from error
            return result

    @contextmanager
    def _turn(self) -> Iterator[sqlite3.Connection]:
        """Hold the lock file: processes write in the order in which they asked."""
        if self._writer is None:
            self._lock_file = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            self._writer = self._connect(
                check_same_thread=True, busy_timeout_seconds=BUSY_TIMEOUT_SECONDS
            )
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        try:
            yield self._writer
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    async def changed(self) -> None:
        deadline = time.monotonic() + POLL_IDLE_SECONDS * 20
        pause = POLL_BUSY_SECONDS
        while time.monotonic() < deadline:
            (version,) = self._nearby.execute("PRAGMA data_version").fetchone()
            if version != self._data_version:
                self._data_version = version
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, POLL_IDLE_SECONDS)

    async def ping(self) -> None:
        try:
            self._nearby.execute("SELECT 1").fetchone()
        except sqlite3.Error as error:
            raise DatabaseUnavailable(str(error)) from error

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._writer_thread, self._close_writer)
        self._writer_thread.shutdown(wait=True)
        for _ in range(self._readers_open):
            connection = await self._readers.get()
            await connection.close()
        self._readers_open = 0
        self._nearby.close()

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            os.close(self._lock_file)
            self._writer = None


def _run_to_end(work: Awaitable[T]) -> T:
    """Run a coroutine that never suspends, without an event loop."""
    coroutine = cast(Coroutine[Any, Any, T], work)
    try:
        coroutine.send(None)
    except StopIteration as finished:
        return cast(T, finished.value)
    coroutine.close()
    raise RuntimeError("a transaction awaited something other than its own statements")


def _unavailable(error: sqlite3.OperationalError) -> Exception:
    """Locked, full, unreadable: the command may be sent again. A wrong statement is a bug."""
    if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_ERROR:
        return error
    return DatabaseUnavailable(f"SQLite: {error}")
