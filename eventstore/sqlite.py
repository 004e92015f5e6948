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
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import aiosqlite

from eventstore.database import CommitUnknown, OnConflict, Reader, Row, Table, Transaction, Value
from eventstore.errors import DatabaseBusy, DatabaseUnavailable, ReadOnly
from eventstore.sqlite_locks import busy_timeout, open_lock
from eventstore.writer_thread import WriterThread

T = TypeVar("T")

READERS_MAX = 4
"""Reader connections (and threads) per process."""
STATEMENT_CACHE_SIZE = 512
"""Prepared statements kept per connection."""
ROWS_PER_STATEMENT = (256, 64, 16, 4, 1)
"""Rows bound to one INSERT: few sizes, so that prepared statements are reused."""
KEYS_PER_STATEMENT = (64, 16, 4)
"""Keys bound to one SELECT; fewer are looked up one at a time."""
NEARBY_BUSY_TIMEOUT_SECONDS = 0.1
"""The same on the event loop's own thread, where only recovery after a crash makes it wait."""
INTERRUPT_AGAIN_SECONDS = 0.05
"""Pause between two attempts to stop a query that nobody waits for any longer."""
JOURNAL_SIZE_LIMIT_BYTES = 64 * 1024 * 1024
"""A write-ahead log grown larger than this is cut back after its checkpoint."""
MAPPED_BYTES_MAX = 1024 * 1024 * 1024
"""So much of the file is read through the page cache of the operating system, without a copy and a
system call for each page. A page of 200 runs of 20,000 takes half the time (2.8 ms to 1.2 ms)."""
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
PRAGMA mmap_size = {MAPPED_BYTES_MAX};
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

    def is_taken(self, error: Exception) -> bool:
        return getattr(error, "sqlite_errorcode", None) in _TAKEN


@lru_cache(maxsize=2048)
def _native(sql: str) -> str:
    """`$1` is `?1` here; `$1` inside a string literal does not occur in our SQL."""
    return re.sub(r"\$(\d+)", r"?\1", sql)


@lru_cache(maxsize=1024)
def _insert_sql(table: Table, rows: int, conflict: OnConflict) -> str:
    one = "(" + ",".join("?" * len(table.columns)) + ")"
    names, values = ",".join(table.columns), ",".join([one] * rows)
    return f"INSERT INTO {table.name} ({names}) VALUES {values}{table.on_conflict(conflict)}"


class _SqliteTransaction:
    """See `eventstore.database.Transaction`. Lives on one thread and never suspends."""

    def __init__(self, connection: sqlite3.Connection, abandoned: threading.Event) -> None:
        self._connection = connection
        self._abandoned = abandoned

    def _stop_if_abandoned(self) -> None:
        # Asked where long work passes again and again: whoever ends it is not kept waiting.
        if self._abandoned.is_set():
            raise DatabaseUnavailable("nobody waits for this transaction any longer")

    async def fetch(self, sql: str, *params: Value) -> list[Row]:
        self._stop_if_abandoned()
        return self._connection.execute(_native(sql), params).fetchall()

    async def fetch_keys(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> list[Row]:
        return _fetch_keys(self._connection, table, keys)

    async def execute(self, sql: str, *params: Value) -> None:
        self._stop_if_abandoned()
        self._connection.execute(_native(sql), params)

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        self._write(table, rows, "fail")

    async def upsert(self, table: Table, rows: Sequence[Row], new: Sequence[Row] = ()) -> None:
        self._write(table, [*rows, *new] if new else rows, "replace")

    async def add(self, table: Table, rows: Sequence[Row]) -> None:
        self._write(table, rows, "add")

    def _write(self, table: Table, rows: Sequence[Row], conflict: OnConflict) -> None:
        # Many rows in one statement: the interpreter lock is given up once per statement, and a
        # busy event loop would otherwise get a turn between any two rows.
        done, total = 0, len(rows)
        for size in ROWS_PER_STATEMENT:
            sql = _insert_sql(table, size, conflict)
            while total - done >= size:
                if size == 1:
                    self._connection.execute(sql, rows[done])
                else:
                    self._connection.execute(sql, list(chain(*rows[done : done + size])))
                done += size

    async def delete(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> None:
        condition = " AND ".join(f"{column}=?" for column in table.key)
        self._connection.executemany(f"DELETE FROM {table.name} WHERE {condition}", keys)

    async def script(self, sql: str) -> None:
        # `executescript` would commit first.
        statement = ""
        for line in sql.splitlines(keepends=True):
            statement += line
            if sqlite3.complete_statement(statement):
                self._connection.execute(statement)
                statement = ""


class _SqliteSnapshot:
    """See `eventstore.database.Reader`; a read transaction on a connection of its own."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *params: Value) -> list[Row]:
        return cast(list[Row], await self._connection.execute_fetchall(_native(sql), params))

    async def fetch_keys(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> list[Row]:
        found = [await self.fetch(_select_key_sql(table), *key) for key in keys]
        return [row for rows in found for row in rows]


def _fetch_keys(
    connection: sqlite3.Connection, table: Table, keys: Sequence[tuple[Value, ...]]
) -> list[Row]:
    done, total = 0, len(keys)
    rows: list[Row] = []
    if len(table.key) == 1:
        # Many keys in one statement, as rows are written: see `_SqliteTransaction._write`.
        for size in KEYS_PER_STATEMENT:
            while total - done >= size:
                some = list(chain(*keys[done : done + size]))
                rows += connection.execute(_select_keys_sql(table, size), some).fetchall()
                done += size
    sql = _select_key_sql(table)
    found = (connection.execute(sql, key).fetchone() for key in keys[done:])
    rows += (row for row in found if row is not None)
    return rows


@lru_cache(maxsize=256)
def _select_keys_sql(table: Table, keys: int) -> str:
    among = ",".join("?" * keys)
    return f"SELECT {','.join(table.columns)} FROM {table.name} WHERE {table.key[0]} IN ({among})"


@lru_cache(maxsize=256)
def _select_key_sql(table: Table) -> str:
    condition = " AND ".join(f"{column}=?" for column in table.key)
    return f"SELECT {','.join(table.columns)} FROM {table.name} WHERE {condition}"


_TAKEN = (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
_AWAY = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
"""What is not the statement's fault."""


class SqliteDatabase:
    """See `eventstore.database.Database`. To be opened after a fork, never before."""

    def __init__(
        self,
        path: Path,
        timeout_seconds: float,
        *,
        lock_timeout_seconds: float | None = None,
        read_only: bool = False,
        durable: bool = True,
    ) -> None:
        """`timeout_seconds` limits a query. A transaction waits for other processes as long, or
        `lock_timeout_seconds`; how long it then works has no limit.

        `durable=False` is for files that nobody misses after a power cut.
        """
        self.path = path
        self._durable = durable
        self.dialect = SqliteDialect()
        self._read_only = read_only
        self._timeout_seconds = timeout_seconds
        self._lock_timeout_seconds = (
            timeout_seconds if lock_timeout_seconds is None else lock_timeout_seconds
        )
        self._writer_thread = WriterThread("sqlite-writer")
        self._given_up: Future[Any] | None = None
        """The last transaction whose caller waited for its turn no longer."""
        self._writer: sqlite3.Connection | None = None
        self._lock_file = -1
        self._closed = False
        # For rows by primary key: read on the event loop's own thread. In WAL mode a reader waits
        # for nobody, and a few microseconds of B-tree are cheaper than two thread switches.
        self._nearby = self._connect(check_same_thread=False)
        self._nearby.execute(f"PRAGMA busy_timeout = {NEARBY_BUSY_TIMEOUT_SECONDS * 1000:.0f}")
        self._data_version = -1
        self._commits = 0
        """Transactions of this process that were committed."""
        self._readers: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()
        self._readers_open = 0
        self._opening: set[asyncio.Task[aiosqlite.Connection]] = set()

    def _connect(self, *, check_same_thread: bool) -> sqlite3.Connection:
        uri = self.path.absolute().as_uri() + ("?mode=ro" if self._read_only else "?mode=rw")
        try:
            connection = sqlite3.connect(
                uri,
                uri=True,
                isolation_level=None,
                timeout=busy_timeout(self._lock_timeout_seconds),
                check_same_thread=check_same_thread,
                cached_statements=STATEMENT_CACHE_SIZE,
            )
            if self._read_only:
                connection.execute("PRAGMA query_only = ON")
                connection.execute("SELECT 1 FROM sqlite_master").fetchone()
            else:
                connection.executescript(_PRAGMAS)
                if not self._durable:
                    connection.execute("PRAGMA synchronous = OFF")
        except sqlite3.Error as error:
            raise DatabaseUnavailable(f"cannot open SQLite database {self.path}: {error}") from None
        return connection

    async def fetch(self, sql: str, *params: Value) -> list[Row]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._query(await self._reader(), _native(sql), params)
        except TimeoutError:
            raise DatabaseUnavailable(
                f"a query took longer than {self._timeout_seconds:g} s"
            ) from None
        except sqlite3.DatabaseError as error:
            raise unavailable(error) from error

    async def _query(
        self, connection: aiosqlite.Connection, sql: str, params: Sequence[Value]
    ) -> list[Row]:
        """Run a query; given up, it is interrupted. Its connection is free when its thread is."""
        query = asyncio.ensure_future(connection.execute_fetchall(sql, params))
        query.add_done_callback(lambda _: self._readers.put_nowait(connection))
        try:
            return cast(list[Row], await asyncio.shield(query))
        except asyncio.CancelledError:
            self._interrupt(connection, query)
            raise

    def _interrupt(self, connection: aiosqlite.Connection, query: "asyncio.Future[Any]") -> None:
        """Stop a query, again and again: before its thread has begun it, nothing is to be stopped,
        and it would be run to its end."""
        if query.done():
            if not query.cancelled():
                query.exception()  # Nobody waits for it: it has been asked for and was not wanted.
            return
        connection._conn.interrupt()
        asyncio.get_running_loop().call_later(
            INTERRUPT_AGAIN_SECONDS, self._interrupt, connection, query
        )

    async def _reader(self) -> aiosqlite.Connection:
        if self._closed:
            raise DatabaseUnavailable(f"{self.path} is closed")
        if self._readers.empty() and self._readers_open < READERS_MAX:
            self._readers_open += 1
            opening = asyncio.create_task(self._open_reader())
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)
            try:
                return await asyncio.shield(opening)
            except asyncio.CancelledError:
                # Half open it cannot be left: the next reader takes it.
                opening.add_done_callback(self._keep)
                raise
        return await self._readers.get()

    async def _open_reader(self) -> aiosqlite.Connection:
        try:
            return await aiosqlite.Connection(
                lambda: self._connect(check_same_thread=False), iter_chunk_size=1024
            )
        except BaseException:
            self._readers_open -= 1
            raise

    def _keep(self, opening: asyncio.Task[aiosqlite.Connection]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self._readers.put_nowait(opening.result())

    async def fetch_keys(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> list[Row]:
        try:
            return _fetch_keys(self._nearby, table, keys)
        except sqlite3.DatabaseError as error:
            raise unavailable(error) from error

    async def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        if self._read_only:
            raise ReadOnly(f"{self.path} is opened read-only")
        if self._closed:
            raise DatabaseUnavailable(f"{self.path} is closed")
        # Taken by whoever is first: the writer thread when its turn has come, or the caller who
        # waits no longer. Once begun, only the end of a transaction tells what became of it.
        begun = threading.Lock()
        abandoned = threading.Event()
        given_up = False
        running = self._writer_thread.submit(self._transact, work, begun, abandoned)
        transaction = asyncio.wrap_future(running)

        def give_up() -> None:
            nonlocal given_up
            given_up = begun.acquire(blocking=False) and transaction.cancel()

        timer = asyncio.get_running_loop().call_later(self._lock_timeout_seconds, give_up)
        try:
            return await transaction
        except asyncio.CancelledError:
            abandoned.set()
            hangs = self._given_up is not None and not self._given_up.done()
            if not hangs and (given_up or begun.acquire(blocking=False)):
                self._given_up = running
            if not given_up:
                raise
            raise DatabaseBusy(self._held()) from None
        finally:
            timer.cancel()
            begun.acquire(blocking=False)

    def _held(self) -> str:
        return f"another process has held {self.path} for {self._lock_timeout_seconds:g} s"

    def _transact(
        self,
        work: Callable[[Transaction], Awaitable[T]],
        begun: threading.Lock,
        abandoned: threading.Event,
    ) -> T:
        with self._turn() as connection:
            try:
                # Waits for programs that know nothing of the lock file.
                connection.execute("BEGIN IMMEDIATE")
                if not begun.acquire(blocking=False):
                    raise DatabaseUnavailable("nobody waits for this transaction any longer")
                result = _run_to_end(work(_SqliteTransaction(connection, abandoned)))
            except BaseException as error:
                self._roll_back(connection)
                if not isinstance(error, sqlite3.DatabaseError):
                    raise
                if _primary_code(error) == sqlite3.SQLITE_BUSY:
                    raise DatabaseBusy(self._held()) from error
                raise unavailable(error) from error
            try:
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                # The disk may have taken the commit and failed on what comes after it.
                self._roll_back(connection)
                raise CommitUnknown(f"SQLite: {error}") from error
            self._commits += 1
            return result

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        """Roll back; a connection that cannot is closed, which does it too."""
        try:
            if connection.in_transaction:
                connection.rollback()
        except sqlite3.Error:
            self._writer = None
            connection.close()

    @contextmanager
    def _turn(self) -> Iterator[sqlite3.Connection]:
        """Hold the lock file: processes write in the order in which they asked."""
        try:
            if self._lock_file < 0:
                self._lock_file = open_lock(self.path, "lock")
            fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        except OSError as error:
            raise DatabaseUnavailable(f"cannot lock {self.path}.lock: {error.strerror}") from error
        try:
            if self._writer is None:
                self._writer = self._connect(check_same_thread=True)
                # What it sorts are indexes of whole logs (`projections/rebuild.py`): in memory that
                # takes more than we may have, in files it takes less time as well.
                self._writer.execute("PRAGMA temp_store = FILE")
            yield self._writer
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Reader]:
        connection = await aiosqlite.Connection(
            lambda: self._connect(check_same_thread=False), iter_chunk_size=1024
        )
        try:
            await connection.execute_fetchall("BEGIN")
            yield _SqliteSnapshot(connection)
        finally:
            await connection.close()

    async def changed(self) -> None:
        deadline = time.monotonic() + POLL_IDLE_SECONDS * 20
        pause = POLL_BUSY_SECONDS
        commits = -1
        while time.monotonic() < deadline:
            if self._commits != commits:
                # Our own transactions see what others wrote before them; they change the counter,
                # too, and to ask now would mean to wait for the writer thread's interpreter lock.
                commits = self._commits
                await asyncio.sleep(POLL_BUSY_SECONDS)
                continue
            try:
                (version,) = self._nearby.execute("PRAGMA data_version").fetchone()
            except sqlite3.Error as error:
                raise DatabaseUnavailable(f"SQLite: {error}") from error
            if version != self._data_version:
                self._data_version = version
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, POLL_IDLE_SECONDS)

    async def remove_traces(self, tables: Sequence[Table]) -> None:
        if self._closed:
            raise DatabaseUnavailable(f"{self.path} is closed")
        await asyncio.wrap_future(self._writer_thread.submit(self._empty_wal))

    def _empty_wal(self) -> None:
        with self._turn() as connection:
            # Whoever reads holds the log; those who write are not kept waiting for them.
            connection.execute(f"PRAGMA busy_timeout = {NEARBY_BUSY_TIMEOUT_SECONDS * 1000:.0f}")
            try:
                row = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.DatabaseError as error:
                raise unavailable(error) from error
            finally:
                patience = busy_timeout(self._lock_timeout_seconds)
                connection.execute(f"PRAGMA busy_timeout = {patience * 1000:.0f}")
        if row[0]:
            raise DatabaseBusy(f"the write-ahead log of {self.path} is being read")

    async def ping(self) -> None:
        try:
            self._nearby.execute("SELECT 1 FROM log_head").fetchone()
        except sqlite3.Error as error:
            raise DatabaseUnavailable(f"SQLite: {error}") from error

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        closing = asyncio.wrap_future(self._writer_thread.submit(self._close_writer))
        # The thread may wait for a process that never gives up the lock file.
        hangs = self._given_up is not None and not self._given_up.done()
        await asyncio.wait({closing}, timeout=0 if hangs else self._timeout_seconds)
        self._writer_thread.shutdown(wait=False)
        await asyncio.gather(*self._opening, return_exceptions=True)
        while self._readers_open:
            connection = await self._readers.get()
            self._readers_open -= 1
            await connection.close()
        self._nearby.close()

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1


def _run_to_end(work: Awaitable[T]) -> T:
    """Run a coroutine that never suspends, without an event loop."""
    coroutine = cast(Coroutine[Any, Any, T], work)
    try:
        coroutine.send(None)
    except StopIteration as finished:
        return cast(T, finished.value)
    coroutine.close()
    raise RuntimeError("a transaction awaited something other than its own statements")


def unavailable(error: sqlite3.DatabaseError) -> Exception:
    """The error to raise instead. Locked, full, unreadable: the command may be sent again; a wrong
    statement is a bug."""
    if _primary_code(error) in _AWAY:
        return DatabaseUnavailable(f"SQLite: {error}")
    return error


def _primary_code(error: sqlite3.DatabaseError) -> int:
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF
