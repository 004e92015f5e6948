"""The database seam on Postgres: asyncpg, two writing connections and a small pool for reads.

Tables live in a schema of their own, found through `search_path`, so that the log can share a
database with something else.

Behind PgBouncer (`pgbouncer=True`) nothing may depend on the session: no prepared statements, and
each transaction sets its own `search_path`.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar, cast

import asyncpg
from msgspec import Struct

from eventstore.database import CommitUnknown, Reader, Row, Table, Transaction, Value
from eventstore.errors import DatabaseUnavailable, ReadOnly
from eventstore.postgres_dialect import PostgresDialect
from eventstore.postgres_pool import Pool
from eventstore.postgres_transaction import PostgresTransaction, fetch_keys

T = TypeVar("T")

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.05
"""How often to look whether another process committed."""
IDLE_SECONDS_MAX = 60.0
"""Who hangs within a transaction is thrown out by the server after this time. A writer, which may
have the log locked, is given no more than the time that its work may take as a whole, if that is
less: everybody waits for it, and it may have been stopped, or its network may be gone."""
WRITERS_MAX = 2
"""Write transactions at a time. Those that append to the log wait for each other in the database;
what a read model that follows the log writes, nobody needs to wait for."""
REWRITE_PATIENCE_MILLISECONDS = 500
"""How long the rewriting of a table waits for those who read it, and keeps others waiting."""
HUNG_IN_COPY = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity AS other
WHERE datname = current_database() AND state = 'active' AND wait_event = 'ClientRead'
  AND query LIKE 'COPY %' AND query_start < clock_timestamp() - make_interval(secs => $1)
  AND EXISTS (SELECT 1 FROM pg_locks WHERE pg_locks.pid = other.pid AND (
    relation = 'log_head'::regclass OR relation = 'checkpoints'::regclass
      AND query_start < clock_timestamp() - make_interval(secs => $2)))
"""
"""None of the server's time limits ends a COPY whose rows do not come: to it that is no idleness.
So whoever waits in vain throws out a writer that hangs there: with the log locked after the same
time, with a follower's checkpoint after `IDLE_SECONDS_MAX`, for a rebuild is given as much."""
UNSEEN_WITH_THE_LOG_LOCKED = """
SELECT usename, pid FROM pg_stat_activity AS other
WHERE datname = current_database() AND state IS NULL AND usename IS NOT NULL
  AND EXISTS (SELECT 1 FROM pg_locks WHERE pg_locks.pid = other.pid AND granted
    AND relation = 'log_head'::regclass AND mode <> 'AccessShareLock')
  AND NOT EXISTS (SELECT 1 FROM pg_locks WHERE pg_locks.pid = other.pid AND NOT granted)
"""
"""What other roles do Postgres tells only those who are members of theirs or of pg_read_all_stats:
of these we see that they have the log locked, wait for nobody, and no more."""
TAKES_NOTHING = (
    "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean"
)
"""Whether what answers is no primary, or is told to be like one that is none."""
READS_MAX = 3
"""Attempts at a read that others were in the way of: one changes nothing, whoever asked need not
be told to try again."""
ROLLBACK_TIMEOUT_SECONDS = 1.0
"""A connection that does not roll back within this time is thrown away."""

_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,  # Cancelled, shut down, crashed, starting up.
    asyncpg.InsufficientResourcesError,  # Disk full, out of memory, too many connections.
    asyncpg.TransactionRollbackError,  # Deadlock.
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # A primary that became a standby.
    asyncpg.LockNotAvailableError,
    asyncpg.PostgresSystemError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidCachedStatementError,  # A table was migrated; asyncpg has dropped its plans.
    OSError,  # Timeouts among them.
)
"""What is not the statement's fault: the same transaction may be tried again."""
_IN_THE_WAY = (
    asyncpg.TransactionRollbackError,  # Deadlock; on a standby, what its primary did meanwhile.
    asyncpg.LockNotAvailableError,
)
"""What others did, such as a rebuild that swaps tables: it is over, or soon will be."""


class PostgresOptions(Struct, frozen=True, kw_only=True):
    """How to reach the database and how to behave there."""

    dsn: str
    """`postgresql://user:password@host:port/name`, or a libpq URL with a socket directory."""
    schema: str = "pluperfect"
    timeout_seconds: float = 10.0
    connect_timeout_seconds: float = 5.0
    readers_max: int = 5
    application_name: str = "pluperfect"
    pgbouncer: bool = False
    tls: ssl.SSLContext | None = None
    read_only: bool = False


class PostgresDatabase:
    """See `eventstore.database.Database`. To be opened after a fork, never before."""

    def __init__(self, options: PostgresOptions) -> None:
        self.options = options
        self.dialect = PostgresDialect()
        self._pool = Pool(self._connect, options.readers_max, options.timeout_seconds)
        self._writers: list[Any] = []
        """Idle writing connections, the last used one last."""
        self._writing = asyncio.Semaphore(WRITERS_MAX)
        self._session_settings = {
            "search_path": f'"{options.schema}"',
            "statement_timeout": str(round(options.timeout_seconds * 1000)),
            "idle_in_transaction_session_timeout": str(IDLE_SECONDS_MAX * 1000),
            "synchronous_commit": "on",
            # What a statement costs is overestimated where it searches an index for many ranges,
            # the more the longer ago a vacuum was. To compile it takes longer than to answer it.
            "jit": "off",
        }
        self._writer_settings = {
            **self._session_settings,
            "idle_in_transaction_session_timeout": str(
                round(min(options.timeout_seconds, IDLE_SECONDS_MAX) * 1000)
            ),
        }
        # One round trip: without parameters a text may hold several statements.
        self._begin = "BEGIN"
        self._begin_reading = "BEGIN READ ONLY"
        if options.pgbouncer:
            self._begin += _set_local(self._writer_settings)
            self._begin_reading += _set_local(self._session_settings)

    def _session(self, settings: Mapping[str, str]) -> dict[str, Any]:
        options = self.options
        session: dict[str, Any] = {
            "dsn": options.dsn,
            "timeout": options.connect_timeout_seconds,
            "command_timeout": options.timeout_seconds,
        }
        if options.tls is not None:
            session["ssl"] = options.tls
        if options.pgbouncer:
            session["statement_cache_size"] = 0
        else:
            session["server_settings"] = {
                **settings,
                "application_name": options.application_name,
            }
        return session

    async def _connect(self) -> Any:
        return await asyncpg.connect(**self._session(self._session_settings))

    async def _connect_writer(self) -> Any:
        return await asyncpg.connect(**self._session(self._writer_settings))

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Any]:
        """A pooled connection; errors that mean "try again" become DatabaseUnavailable."""
        try:
            async with self._pool.turn() as connection:
                if self.options.pgbouncer:
                    await connection.execute(self._begin_reading)
                    try:
                        yield connection
                    finally:
                        await connection.execute("ROLLBACK")
                else:
                    yield connection
        except _AWAY as error:
            raise DatabaseUnavailable(_reason(error)) from error

    async def _read(self, read: Callable[[Any], Awaitable[list[Row]]]) -> list[Row]:
        left = READS_MAX
        while True:
            left -= 1
            try:
                async with self._reading() as connection:
                    return await read(connection)
            except DatabaseUnavailable as error:
                if not left or not isinstance(error.__cause__, _IN_THE_WAY):
                    raise

    async def fetch(self, sql: str, *params: Value) -> list[Row]:
        return await self._read(lambda connection: connection.fetch(sql, *params))

    async def fetch_keys(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> list[Row]:
        return await self._read(lambda connection: fetch_keys(connection, table, keys))

    async def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        if self.options.read_only:
            raise ReadOnly("this database is opened read-only")
        async with self._writing:
            connection: Any = None
            committing = False
            try:
                connection = self._idle_writer() or await self._connect_writer()
                async with asyncio.timeout(self.options.timeout_seconds):
                    await connection.execute(self._begin)
                    transaction = PostgresTransaction(connection)
                    result = await work(transaction)
                    await transaction.flush()
                    committing = True
                    if await connection.execute("COMMIT") != "COMMIT":
                        raise RuntimeError(
                            "nothing was written: a statement of the transaction had failed, and "
                            "whoever ran it went on"
                        )
                self._writers.append(connection)
                return result
            except BaseException as error:
                if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                    self._connect_anew(connection)
                await self._abandon(connection)
                if isinstance(error, (asyncpg.QueryCanceledError, TimeoutError)):
                    await self._throw_out_the_hung()
                if isinstance(error, _AWAY):
                    kind = CommitUnknown if committing else DatabaseUnavailable
                    raise kind(_reason(error)) from error
                raise

    def _connect_anew(self, connection: Any) -> None:
        """What these connections lead to is no primary any more: who connects now may find the one
        that is. Those that only read go with it, for they would read what is old."""
        connection.terminate()
        while self._writers:
            self._writers.pop().terminate()
        self._pool.give_up()

    async def _throw_out_the_hung(self) -> None:
        bound = min(self.options.timeout_seconds, IDLE_SECONDS_MAX)
        try:
            async with asyncio.timeout(self.options.connect_timeout_seconds):
                if await self.fetch(HUNG_IN_COPY, bound, IDLE_SECONDS_MAX):
                    logger.warning("threw out a writer that hung in the middle of its rows")
                for role, pid in await self.fetch(UNSEEN_WITH_THE_LOG_LOCKED):
                    logger.warning(
                        "process %d of the role %s has the log locked, and this one cannot see "
                        "whether it hangs: let all servers be of one role, or of one that is a "
                        "member of pg_read_all_stats and pg_signal_backend",
                        pid,
                        role,
                    )
        except (DatabaseUnavailable, TimeoutError, asyncpg.PostgresError) as error:
            # It may be another role's. The caller is told why it waited in vain, not this.
            logger.warning("cannot throw out whoever may hang with the log locked: %s", error)

    def _idle_writer(self) -> Any | None:
        while self._writers:
            connection = self._writers.pop()
            if not connection.is_closed():
                return connection
        return None

    async def _abandon(self, connection: Any | None) -> None:
        """Roll back; a connection that cannot is thrown away."""
        if connection is None or connection.is_closed():
            return
        try:
            await connection.execute("ROLLBACK", timeout=ROLLBACK_TIMEOUT_SECONDS)
        except BaseException as error:
            # Left alone, it would keep the log locked.
            connection.terminate()
            if not isinstance(error, Exception):
                raise
        else:
            self._writers.append(connection)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Reader]:
        with _told_as_unavailable():
            connection = await self._connect()
        try:
            settings = self._begin_reading.removeprefix("BEGIN READ ONLY")
            with _told_as_unavailable():
                await connection.execute(
                    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" + settings
                )
            yield _Snapshot(connection)
        finally:
            await _close(connection, self.options.connect_timeout_seconds)

    async def changed(self) -> None:
        await asyncio.sleep(POLL_SECONDS)

    async def remove_traces(self, tables: Sequence[Table]) -> None:
        async def work(tx: Transaction) -> None:
            await tx.execute(f"SET LOCAL lock_timeout = '{REWRITE_PATIENCE_MILLISECONDS}ms'")
            for name in (table.name for table in tables):
                # An emptied table gets a new file, and the old one goes with the commit.
                await tx.script(
                    f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE; "
                    f"CREATE TEMP TABLE kept_{name} ON COMMIT DROP AS SELECT * FROM {name}; "
                    f"TRUNCATE {name}; "
                    f"INSERT INTO {name} SELECT * FROM kept_{name};"
                )

        await self.transact(work)

    async def ping(self) -> None:
        ((takes_nothing,),) = await self.fetch(TAKES_NOTHING)
        if takes_nothing and not self.options.read_only:
            self._pool.give_up()  # Who asks next may find the one that does.
            raise ReadOnly(
                "Postgres takes nothing: it is a standby, or default_transaction_read_only is set"
            )

    async def close(self) -> None:
        for _ in range(WRITERS_MAX):
            await self._writing.acquire()
        try:
            while self._writers:
                await _close(self._writers.pop(), self.options.connect_timeout_seconds)
        finally:
            for _ in range(WRITERS_MAX):
                self._writing.release()
        await self._pool.close(lambda idle: _close(idle, self.options.connect_timeout_seconds))


class _Snapshot:
    """See `Database.snapshot`. What its owner fails at, who writes a file perhaps, is no error of
    the database's."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *params: Value) -> list[Row]:
        with _told_as_unavailable():
            return cast(list[Row], await self._connection.fetch(sql, *params))

    async def fetch_keys(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> list[Row]:
        with _told_as_unavailable():
            return await fetch_keys(self._connection, table, keys)


@contextmanager
def _told_as_unavailable() -> Iterator[None]:
    """Errors that mean "try again" become DatabaseUnavailable."""
    try:
        yield
    except _AWAY as error:
        raise DatabaseUnavailable(_reason(error)) from error


def _set_local(settings: Mapping[str, str]) -> str:
    return "".join(f"; SET LOCAL {name} = {value}" for name, value in settings.items())


async def _close(connection: Any, timeout_seconds: float) -> None:
    """Say goodbye to the server, or leave without."""
    try:
        async with asyncio.timeout(timeout_seconds):
            await connection.close()
    except Exception:
        connection.terminate()


def _reason(error: BaseException) -> str:
    reason = f"Postgres: {str(error) or type(error).__name__}"
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return (
            f"{reason}; raise its max_connections, start fewer workers, or give each of them fewer "
            "connections with PLUPERFECT_DATABASE_POOL_SIZE"
        )
    return reason
