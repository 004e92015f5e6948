"""The database seam on Postgres: asyncpg, two writing connections and a small pool for reads.

Tables live in a schema of their own, found through `search_path`, so that the log can share a
database with something else. Several rows go in as one array per column (`unnest`), so the text of
a statement, and its plan, do not depend on how many there are; many go in by COPY.

Behind PgBouncer (`pgbouncer=True`) nothing may depend on the session: no prepared statements, and
each transaction sets its own `search_path`.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeVar, cast

import asyncpg
from msgspec import Struct

from eventstore.database import CommitUnknown, OnConflict, Reader, Row, Table, Transaction, Value
from eventstore.errors import DatabaseUnavailable, ReadOnly
from eventstore.postgres_pool import Pool

T = TypeVar("T")

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.05
"""How often to look whether another process committed."""
IDLE_SECONDS_MAX = 60.0
"""Who hangs within a transaction is thrown out by the server after this time. A writer, which may
have the log locked, is given no more than the time that its work may take as a whole, if that is
less: everybody waits for it, and it may have been stopped, or its network may be gone."""
COPY_ROWS_MIN = 64
"""So many rows are sent by COPY: 1,600 log lines cost 8 ms of processor time instead of 12.6 (ours
1.3 instead of 4.6, the server's 6.7 instead of 8). Fewer are not worth its second round trip."""
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
ROLLBACK_TIMEOUT_SECONDS = 1.0
"""A connection that does not roll back within this time is thrown away."""

_ARRAY = {
    "text": "text[]",
    "bigint": "bigint[]",
    "float": "float8[]",
    "json": "text[]",
    "bytes": "bytea[]",
}

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


class PostgresDialect:
    """See `eventstore.database.Dialect`."""

    name: Literal["sqlite", "postgres"] = "postgres"

    def holds(self, expression: str, placeholder: str) -> str:
        return f"strpos({expression}, {placeholder}) > 0"

    def in_list(self, expression: str, placeholder: str) -> str:
        wanted = f"SELECT json_array_elements_text({placeholder}::text::json)"
        return f"{expression} = ANY(ARRAY({wanted}))"

    def strings(self, placeholder: str) -> str:
        return f"(SELECT json_array_elements_text({placeholder}::text::json) AS value)"

    def spans(self, placeholder: str) -> str:
        since, until = "CAST(value->>0 AS BIGINT)", "CAST(value->>1 AS BIGINT)"
        pairs = f"json_array_elements({placeholder}::text::json)"
        return f"(SELECT {since} AS since, {until} AS until FROM {pairs})"

    def ilike(self, expression: str, placeholder: str) -> str:
        return f"{expression} ILIKE {placeholder} ESCAPE '\\'"

    def is_taken(self, error: Exception) -> bool:
        return isinstance(error, asyncpg.UniqueViolationError)


@lru_cache(maxsize=256)
def _insert_sql(table: Table, conflict: OnConflict) -> Callable[[int], str]:
    values = ",".join(
        f"r.{name}::json" if kind == "json" else f"r.{name}" for name, kind in table.columns.items()
    )
    names = ",".join(table.columns)

    def sql(first: int) -> str:
        arrays = ",".join(
            f"${i}::{_array_type(kind)}"
            for i, kind in enumerate(table.columns.values(), start=first)
        )
        return (
            f"INSERT INTO {table.name} ({names}) "
            f"SELECT {values} FROM unnest({arrays}) AS r({names}){table.on_conflict(conflict)}"
        )

    return sql


@lru_cache(maxsize=256)
def _insert_row_sql(table: Table, conflict: OnConflict) -> Callable[[int], str]:
    """For one row, which most batches of one caller have for a table."""
    names = ",".join(table.columns)

    def sql(first: int) -> str:
        values = ",".join(f"${i}" for i in range(first, first + len(table.columns)))
        return f"INSERT INTO {table.name} ({names}) VALUES ({values}){table.on_conflict(conflict)}"

    return sql


@lru_cache(maxsize=256)
def _together(parts: tuple[tuple[Callable[[int], str], int], ...]) -> str:
    """One statement of several; each part with the number of its arguments."""
    texts, first = [], 1
    for sql, number in parts:
        texts.append(sql(first))
        first += number
    *others, last = texts
    if not others:
        return last
    return f"WITH {','.join(f'w{i} AS ({sql})' for i, sql in enumerate(others))} {last}"


def _array_type(kind: str) -> str:
    return _ARRAY[kind]


@lru_cache(maxsize=256)
def _key_sql(table: Table, names: str) -> str:
    key = " AND ".join(f"{name} = ${i}" for i, name in enumerate(table.key, start=1))
    return f"SELECT {names} FROM {table.name} WHERE {key}"


@lru_cache(maxsize=256)
def _keys_sql(table: Table, verb: str) -> str:
    arrays = ",".join(
        f"${i}::{_array_type(table.columns[name])}" for i, name in enumerate(table.key, start=1)
    )
    key = ",".join(table.key)
    if len(table.key) == 1:
        return f"{verb} FROM {table.name} WHERE {key} = ANY({arrays})"
    return f"{verb} FROM {table.name} WHERE ({key}) IN (SELECT * FROM unnest({arrays}))"


async def _fetch_keys(
    connection: Any, table: Table, keys: Sequence[tuple[Value, ...]]
) -> list[Row]:
    names = _names(table)
    if len(keys) == 1:
        # By far the most frequent; without arrays it costs a third less.
        return cast(list[Row], await connection.fetch(_key_sql(table, names), *keys[0]))
    return cast(
        list[Row], await connection.fetch(_keys_sql(table, f"SELECT {names}"), *_columns(keys))
    )


@lru_cache(maxsize=256)
def _names(table: Table) -> str:
    return ",".join(
        f"{name}::text" if kind == "json" else name for name, kind in table.columns.items()
    )


def _columns(rows: Sequence[Row]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


class _Write(NamedTuple):
    """One statement that changes a table and answers nothing."""

    table: str
    sql: Callable[[int], str]
    """The statement, its arguments numbered from this number on."""
    arguments: Sequence[Any]


def _write(table: Table, conflict: OnConflict, rows: Sequence[Row]) -> _Write:
    if len(rows) == 1:
        # To write one to each of five tables takes 0.18 ms of processor time instead of 0.26, ours
        # 0.04 instead of 0.09: asyncpg asks each value of an array whether it is an array itself.
        return _Write(table.name, _insert_row_sql(table, conflict), rows[0])
    return _Write(table.name, _insert_sql(table, conflict), _columns(rows))


class _PostgresTransaction:
    """See `eventstore.database.Transaction`.

    Writes are held back until something is asked that might see them, at the latest until the
    commit, and sent as one statement: a round trip costs as much as writing one row. The parts of
    one statement do not see each other, so each is about a table of its own.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._held: dict[str, _Write] = {}

    async def flush(self) -> None:
        """Send what is held back."""
        if not self._held:
            return
        writes = tuple(self._held.values())
        self._held.clear()
        await self._connection.execute(
            _together(tuple((write.sql, len(write.arguments)) for write in writes)),
            *(argument for write in writes for argument in write.arguments),
        )

    async def _hold(self, write: _Write) -> None:
        if write.table in self._held:
            await self.flush()
        self._held[write.table] = write

    async def fetch(self, sql: str, *params: Value) -> list[Row]:
        await self.flush()
        return cast(list[Row], await self._connection.fetch(sql, *params))

    async def fetch_keys(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> list[Row]:
        if table.name in self._held:
            await self.flush()
        return await _fetch_keys(self._connection, table, keys)

    async def execute(self, sql: str, *params: Value) -> None:
        await self.flush()
        await self._connection.execute(sql, *params)

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        if len(rows) < COPY_ROWS_MIN:
            await self._hold(_write(table, "fail", rows))
        else:
            await self._copy(table, rows)

    async def _copy(self, table: Table, rows: Sequence[Row]) -> None:
        if table.name in self._held:
            await self.flush()
        await self._connection.copy_records_to_table(
            table.name, records=rows, columns=list(table.columns)
        )

    async def upsert(self, table: Table, rows: Sequence[Row], new: Sequence[Row] = ()) -> None:
        if len(new) >= COPY_ROWS_MIN:
            # To look for a row in the way of each costs as much again as to insert it.
            await self._copy(table, new)
        elif new:
            rows = [*rows, *new]
        if rows:
            await self._hold(_write(table, "replace", rows))

    async def add(self, table: Table, rows: Sequence[Row]) -> None:
        await self._hold(_write(table, "add", rows))

    async def delete(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> None:
        # Other tables' rows may go with these; what is written next may depend on that.
        await self.flush()
        await self._connection.execute(_keys_sql(table, "DELETE"), *_columns(keys))

    async def script(self, sql: str) -> None:
        await self.flush()
        await self._connection.execute(sql)


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

    async def fetch(self, sql: str, *params: Value) -> list[Row]:
        async with self._reading() as connection:
            return cast(list[Row], await connection.fetch(sql, *params))

    async def fetch_keys(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> list[Row]:
        async with self._reading() as connection:
            return await _fetch_keys(connection, table, keys)

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
                    transaction = _PostgresTransaction(connection)
                    result = await work(transaction)
                    await transaction.flush()
                    committing = True
                    await connection.execute("COMMIT")
                self._writers.append(connection)
                return result
            except BaseException as error:
                await self._abandon(connection)
                if isinstance(error, (asyncpg.QueryCanceledError, TimeoutError)):
                    await self._throw_out_the_hung()
                if isinstance(error, _AWAY):
                    kind = CommitUnknown if committing else DatabaseUnavailable
                    raise kind(_reason(error)) from error
                raise

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
        try:
            connection = await self._connect()
            try:
                settings = self._begin_reading.removeprefix("BEGIN READ ONLY")
                await connection.execute(
                    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" + settings
                )
                yield _PostgresTransaction(connection)
            finally:
                await _close(connection, self.options.connect_timeout_seconds)
        except _AWAY as error:
            raise DatabaseUnavailable(_reason(error)) from error

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
        await self.fetch("SELECT 1")

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
    return f"Postgres: {str(error) or type(error).__name__}"
