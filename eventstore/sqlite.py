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
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from eventstore.database import CommitUnknown, Reader, Row, Table, Transaction, Value
from eventstore.errors import DatabaseBusy, DatabaseUnavailable, ReadOnly
from eventstore.sqlite_access import hindrance
from eventstore.sqlite_connection import connect
from eventstore.sqlite_dialect import SqliteDialect
from eventstore.sqlite_errors import primary_code, unavailable
from eventstore.sqlite_files import Files
from eventstore.sqlite_locks import busy_timeout, holder, open_lock
from eventstore.sqlite_readers import Readers, SqliteSnapshot, open_reader
from eventstore.sqlite_transaction import SqliteTransaction, fetch_keys, run_to_end
from eventstore.writer_thread import WriterThread

T = TypeVar("T")

NEARBY_BUSY_TIMEOUT_SECONDS = 0.1
"""How long the event loop's own thread waits for a lock; only recovery after a crash makes it."""
POLL_BUSY_SECONDS = 0.01
POLL_IDLE_SECONDS = 0.05
"""How often to look whether another process committed: after a change, and when all is quiet."""


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

        `durable=False` is for files that nobody misses after a power cut. Raises
        DatabaseUnavailable if the file is not there, or may not be read or written.
        """
        if not read_only and (lacking := hindrance(path, writing=True)) is not None:
            raise DatabaseUnavailable(lacking)
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
        self._files = Files(path)
        self._data_version = -1
        self._commits = 0
        """Transactions of this process that were committed."""
        self._readers = Readers(partial(self._connect, check_same_thread=False))

    def _connect(self, *, check_same_thread: bool) -> sqlite3.Connection:
        return connect(
            self.path,
            self._lock_timeout_seconds,
            read_only=self._read_only,
            durable=self._durable,
            check_same_thread=check_same_thread,
        )

    async def fetch(self, sql: str, *params: Value) -> list[Row]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                self._stop_if_closed()
                return await self._readers.fetch(sql, *params)
        except TimeoutError:
            raise DatabaseUnavailable(
                f"a query took longer than {self._timeout_seconds:g} s"
            ) from None
        except sqlite3.DatabaseError as error:
            raise unavailable(error) from error

    def _stop_if_closed(self) -> None:
        if self._closed:
            raise DatabaseUnavailable(f"{self.path} is closed")

    async def fetch_keys(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> list[Row]:
        try:
            return fetch_keys(self._nearby, table, keys)
        except sqlite3.DatabaseError as error:
            raise unavailable(error) from error

    async def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        if self._read_only:
            raise ReadOnly(f"{self.path} is opened read-only")
        self._stop_if_closed()
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
        pid = holder(self.path, "lock")
        who = "another process" if pid is None else f"another process ({pid})"
        return f"{who} has held {self.path} for {self._lock_timeout_seconds:g} s"

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
                result = run_to_end(work(SqliteTransaction(connection, abandoned)))
            except BaseException as error:
                self._roll_back(connection)
                if not isinstance(error, sqlite3.DatabaseError):
                    raise
                if primary_code(error) == sqlite3.SQLITE_BUSY:
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
            self._files.check()
            yield self._writer
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Reader]:
        reader = await open_reader(partial(self._connect, check_same_thread=False))
        try:
            await reader.execute_fetchall("BEGIN")
            yield SqliteSnapshot(reader)
        finally:
            await reader.close()

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
        self._stop_if_closed()
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
        if not self._read_only:
            self._files.check()
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
        await self._readers.close()
        self._nearby.close()

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1
