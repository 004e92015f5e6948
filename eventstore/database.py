"""The seam between this product and its two engines.

Everything above speaks one SQL: `$1` placeholders, TEXT, BIGINT, DOUBLE PRECISION, BOOLEAN as 0/1
BIGINT, times as BIGINT microseconds since 1970 (UTC), ids as dashed lower-case UUID text, JSON as
text. The few places where the engines must differ are the methods and fragments named here.

Methods of `Transaction` are coroutines, but on SQLite they never suspend: a transaction's function
is run to its end on the writer thread, without an event loop. So nothing else can be awaited while
the log is locked, on either engine.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol, TypeVar

from msgspec import Struct

from eventstore.errors import DatabaseUnavailable

Value = str | int | float | bytes | None
Row = Sequence[Any]
T = TypeVar("T")

ColumnType = Literal["text", "bigint", "float", "json", "bytes"]
OnConflict = Literal["fail", "replace", "add"]
"""What becomes of a row whose primary key is taken."""


class Table(Struct, frozen=True):
    """A table as its owner declares it; a test compares it with the migrated one."""

    name: str
    columns: dict[str, ColumnType]
    key: tuple[str, ...] = ("id",)
    """Primary key columns, in order."""

    def __eq__(self, other: object) -> bool:
        # Of everything, the order of columns included, which dicts of themselves do not compare:
        # one table can be declared twice, with other columns or another key, and statements
        # remembered for one must not be taken for the other.
        if not isinstance(other, Table):
            return NotImplemented
        return (self.name, [*self.columns.items()], self.key) == (
            other.name,
            [*other.columns.items()],
            other.key,
        )

    def __hash__(self) -> int:
        return hash(self.name)

    def on_conflict(self, what: OnConflict, changed: Sequence[str] | None = None) -> str:
        """The end of an INSERT, in either engine's SQL.

        `changed` are the columns in which a row may differ from that in its way; None: in any.
        """
        if what == "fail":
            return ""
        new = "excluded.{0}" if what == "replace" else f"{self.name}.{{0}} + excluded.{{0}}"
        columns = self.columns if changed is None else changed
        changes = [f"{c}={new.format(c)}" for c in columns if c not in self.key]
        action = f"UPDATE SET {','.join(changes)}" if changes else "NOTHING"
        return f" ON CONFLICT ({','.join(self.key)}) DO {action}"


class Reader(Protocol):
    """Whatever can answer a query."""

    async def fetch(self, sql: str, *params: Value) -> list[Row]:
        """All rows of one statement."""
        ...

    async def fetch_keys(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> list[Row]:
        """The rows of `table` with these primary keys, all columns in declared order."""
        ...


class Transaction(Reader, Protocol):
    """One write transaction. Lock order is head, streams, read models."""

    async def execute(self, sql: str, *params: Value) -> None:
        """One statement without an answer."""
        ...

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert rows, all columns in declared order; an existing key is an error."""
        ...

    async def upsert(
        self,
        table: Table,
        rows: Sequence[Row],
        new: Sequence[Row] = (),
        before: Sequence[Row | None] = (),
    ) -> None:
        """Insert rows or replace the ones with the same primary key. No key twice.

        That there are none with the keys of `new` is known: to find one may be an error. `before`,
        if given, is for each of `rows` what stands in its place, None where that is not known:
        what is equal in both need not be written.
        """
        ...

    async def add(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert rows or add their numbers to those of the rows with the same primary key, whose
        other columns are all numbers. No key twice in `rows`."""
        ...

    async def delete(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> None:
        """Delete rows by primary key; absent ones are ignored."""
        ...

    async def script(self, sql: str) -> None:
        """Several statements without parameters, for example a migration's."""
        ...


class Dialect(Protocol):
    """In what the engines' SQL differs: fragments, which take and give SQL text, and errors."""

    name: Literal["sqlite", "postgres"]
    place: str
    """The column of every table that says where a row is. It holds for one statement: whoever
    changes the row may put it elsewhere."""

    def placed(self, table: str, places: str) -> str:
        """A row of `table` is at one of the places that the subquery `places` gives."""
        ...

    def holds(self, expression: str, placeholder: str) -> str:
        """`expression` has the text bound at `placeholder` in it, letter by letter."""
        ...

    def in_list(self, expression: str, placeholder: str) -> str:
        """`expression` is one of the strings of the JSON array bound at `placeholder`."""
        ...

    def strings(self, placeholder: str) -> str:
        """A subquery: a row `value` for each string of the JSON array bound at `placeholder`."""
        ...

    def spans(self, placeholder: str) -> str:
        """A subquery: a row `since`, `until`, `gains`, `loses` for each four whole numbers of the
        JSON array of arrays that is bound at `placeholder`."""
        ...

    def ilike(self, expression: str, placeholder: str) -> str:
        """Case-insensitive LIKE with backslash as the escape character."""
        ...

    def is_taken(self, error: Exception) -> bool:
        """Whether a unique index refused a row: there is one with the same key."""
        ...


class Database(Reader, Protocol):
    """One engine, opened. Reads go to a pool; writes to one connection, one transaction a time."""

    @property
    def dialect(self) -> Dialect:
        """How this engine says what the other says differently."""
        ...

    async def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` in one durable write transaction; an exception rolls it back.

        Raises CommitUnknown if the connection was lost while committing, any other
        DatabaseUnavailable if nothing was written. Cancelled, it may have been written or not.
        """
        ...

    def snapshot(self) -> AbstractAsyncContextManager[Reader]:
        """A reader that sees the database as it is now, however long it reads.

        Uses a connection of its own; nobody waits for it, but it keeps old row versions alive.
        """
        ...

    async def changed(self) -> None:
        """Return when another connection may have committed (or after a poll interval)."""
        ...

    async def remove_traces(self, tables: Sequence[Table]) -> None:
        """Make rows that were deleted from these small tables unreadable in the files as well.

        On SQLite deleted bytes are overwritten at once (`secure_delete`), and what is left is in
        the write-ahead log, which is emptied. On Postgres the tables are written anew; its own
        write-ahead log, and copies of it, are not reached from here. Raises DatabaseUnavailable
        while somebody is in the way.
        """
        ...

    async def ping(self) -> None:
        """Raise DatabaseUnavailable unless the database answers; ReadOnly if it lets nobody write
        at present, although it was not opened read-only."""
        ...

    async def close(self) -> None:
        """Finish what is being written, then close every connection."""
        ...


class CommitUnknown(DatabaseUnavailable):
    """The connection broke while committing: the transaction may or may not be in the log."""
