"""A transaction on SQLite, and the statements that many rows go through at once."""

import sqlite3
import threading
from collections.abc import Awaitable, Coroutine, Sequence
from functools import lru_cache
from itertools import chain, compress
from operator import ne
from typing import Any, TypeVar, cast

from eventstore.database import OnConflict, Row, Table, Value
from eventstore.errors import DatabaseUnavailable
from eventstore.sqlite_dialect import native

T = TypeVar("T")

ROWS_PER_STATEMENT = (256, 64, 16, *range(8, 0, -1))
"""Rows bound to one INSERT: not any number, so that prepared statements are reused, but a batch of
a few goes in at once."""
KEYS_PER_STATEMENT = (64, 16, 4)
"""Keys bound to one SELECT; fewer are looked up one at a time."""


class SqliteTransaction:
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
        return self._connection.execute(native(sql), params).fetchall()

    async def fetch_keys(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> list[Row]:
        return fetch_keys(self._connection, table, keys)

    async def execute(self, sql: str, *params: Value) -> None:
        self._stop_if_abandoned()
        self._connection.execute(native(sql), params)

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        self._write(table, rows, "fail")

    async def upsert(
        self,
        table: Table,
        rows: Sequence[Row],
        new: Sequence[Row] = (),
        before: Sequence[Row | None] = (),
    ) -> None:
        self._write(table, rows, "replace", _changed(table, rows, before))
        self._write(table, new, "fail")

    async def add(self, table: Table, rows: Sequence[Row]) -> None:
        self._write(table, rows, "add")

    def _write(
        self,
        table: Table,
        rows: Sequence[Row],
        conflict: OnConflict,
        changed: tuple[str, ...] | None = None,
    ) -> None:
        # Many rows in one statement: the interpreter lock is given up once per statement, and a
        # busy event loop would otherwise get a turn between any two rows.
        done, total = 0, len(rows)
        for size in ROWS_PER_STATEMENT:
            while total - done >= size:
                sql = _insert_sql(table, size, conflict, changed)
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


@lru_cache(maxsize=1024)
def _insert_sql(
    table: Table, rows: int, conflict: OnConflict, changed: tuple[str, ...] | None
) -> str:
    one = "(" + ",".join("?" * len(table.columns)) + ")"
    names, values = ",".join(table.columns), ",".join([one] * rows)
    # What fails ends the transaction: SQLite need not remember, page by page, what it would take to
    # undo the statement alone.
    insert = "INSERT OR FAIL INTO" if conflict == "fail" else "INSERT INTO"
    return f"{insert} {table.name} ({names}) VALUES {values}{table.on_conflict(conflict, changed)}"


def _changed(
    table: Table, rows: Sequence[Row], before: Sequence[Row | None]
) -> tuple[str, ...] | None:
    """The columns in which any of the rows differs from what was before; None: that is not known.

    SQLite takes a row's entry out of an index and puts it in again if a column of it is set, even
    to what it is. Of a flow run that is set another state most indexes stay as they are.
    """
    known = [was for was in before if was is not None]
    if len(known) < len(rows):
        return None
    changed: set[str] = set()
    for row, was in zip(rows, known, strict=True):
        changed.update(compress(table.columns, map(ne, row, was)))
    return tuple(name for name in table.columns if name in changed)


def fetch_keys(
    connection: sqlite3.Connection, table: Table, keys: Sequence[tuple[Value, ...]]
) -> list[Row]:
    """See `eventstore.database.Reader.fetch_keys`."""
    done, total = 0, len(keys)
    rows: list[Row] = []
    if len(table.key) == 1:
        # Many keys in one statement, as rows are written: see `SqliteTransaction._write`.
        for size in KEYS_PER_STATEMENT:
            while total - done >= size:
                some = list(chain(*keys[done : done + size]))
                rows += connection.execute(_select_keys_sql(table, size), some).fetchall()
                done += size
    sql = select_key_sql(table)
    found = (connection.execute(sql, key).fetchone() for key in keys[done:])
    rows += (row for row in found if row is not None)
    return rows


@lru_cache(maxsize=256)
def _select_keys_sql(table: Table, keys: int) -> str:
    among = ",".join("?" * keys)
    return f"SELECT {','.join(table.columns)} FROM {table.name} WHERE {table.key[0]} IN ({among})"


@lru_cache(maxsize=256)
def select_key_sql(table: Table) -> str:
    """One row by its primary key."""
    condition = " AND ".join(f"{column}=?" for column in table.key)
    return f"SELECT {','.join(table.columns)} FROM {table.name} WHERE {condition}"


def run_to_end(work: Awaitable[T]) -> T:
    """Run a coroutine that never suspends, without an event loop."""
    coroutine = cast(Coroutine[Any, Any, T], work)
    try:
        coroutine.send(None)
    except StopIteration as finished:
        return cast(T, finished.value)
    coroutine.close()
    raise RuntimeError("a transaction awaited something other than its own statements")
