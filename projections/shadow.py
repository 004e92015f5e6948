"""Read models beside the live ones: the same tables under other names, filled by a rebuild.

`apply` and `Rows` know nothing of it: they are given a transaction that says `rebuild_flow_runs`
wherever they say `flow_runs`, in declared tables as in SQL text. The shadow tables are created from
the same migrations as the live ones, renamed likewise; secondary indexes come last, because to
sort all entries once costs less than to insert each in its place.
"""

import re
import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import sha256

from msgspec.structs import replace

from eventstore.database import Dialect, Reader, Row, Table, Transaction, Value

PREFIX = "rebuild_"
"""In front of the name of a shadow table, and of its indexes."""

COPIED_ROWS_MIN = 64
"""Fewer rows are not worth a savepoint."""
UNIQUE_VIOLATION = "23505"

_NAMED = r"(?:IF\s+(?:NOT\s+)?EXISTS\s+)?(\w+)"
_TABLE = re.compile(rf"^\s*(?:CREATE|ALTER)\s+TABLE\s+{_NAMED}", re.MULTILINE)
_INDEX = re.compile(rf"^\s*CREATE\s+(?:UNIQUE\s+)?INDEX\s+{_NAMED}\s+ON\s+(\w+)", re.MULTILINE)
_DROPPED = re.compile(rf"^\s*DROP\s+INDEX\s+{_NAMED}", re.MULTILINE)
_COMMENT = re.compile(r"--[^\n]*")


class Shadows:
    """The shadow tables of some read models."""

    def __init__(self, dialect: Dialect, migrations: Sequence[str], tables: Iterable[str]) -> None:
        """`migrations` are the SQL texts that make all read models, `tables` the ones to shadow.

        Raises ValueError for a statement of which it is not clear what it means for a shadow.
        """
        self.dialect = dialect
        self.tables = tuple(tables)
        self.replaced: set[str] = set()
        """Tables of which a row was written that was there before. The others, histories above all,
        only grow, and Postgres takes rows that can only be new in half the time (COPY)."""
        self._tables: list[str] = []
        self._indexes: list[str] = []
        names: set[str] = set()
        found: list[tuple[list[str], str, str]] = []
        indexes: dict[str, tuple[str, str]] = {}
        for statement in _statements(migrations):
            table, index = _TABLE.search(statement), _INDEX.search(statement)
            if table is not None:
                names.add(table[1])
                found.append((self._tables, table[1], statement))
            elif index is not None:
                names.update((index[1], index[2]))
                indexes[index[1]] = index[2], statement
            elif (dropped := _DROPPED.search(statement)) is not None:
                indexes.pop(dropped[1], None)
            else:
                raise ValueError(f"neither a table nor an index: {statement}")
        found += [(self._indexes, *one) for one in indexes.values()]
        self._name = re.compile(rf"\b(?:{'|'.join(sorted(names))})\b")
        for kind, name, statement in found:
            if name in self.tables:
                kind.append(self.renamed(statement))

    def renamed(self, sql: str) -> str:
        """An SQL text about shadows instead of the live tables."""
        return self._name.sub(lambda name: PREFIX + name[0], sql)

    async def create(self, tx: Transaction) -> None:
        """Create the tables, empty, with no other index than their primary key."""
        for statement in self._tables:
            await tx.execute(statement)
        if self.dialect.name == "postgres":
            # Nothing in them is worth a vacuum before the swap, which it would be in the way of.
            for table in self.tables:
                await tx.execute(f"ALTER TABLE {PREFIX}{table} SET (autovacuum_enabled = false)")

    @property
    def indexes(self) -> Sequence[str]:
        """The statements that create the secondary indexes that are not there yet."""
        return self._indexes

    @property
    def fingerprint(self) -> str:
        """Of how the shadows are made, indexes included."""
        return sha256("\n".join((*self._tables, *self._indexes)).encode()).hexdigest()[:12]

    def over(self, tx: Transaction) -> Transaction:
        """A transaction that reads and writes the shadows."""
        return _Renaming(self, tx)

    def reading(self, reader: Reader) -> Reader:
        """A reader of the shadows."""
        return _Reading(self, reader)


def _statements(migrations: Sequence[str]) -> Iterable[str]:
    statement = ""
    for line in "\n".join(migrations).splitlines(keepends=True):
        statement += _COMMENT.sub("", line)
        if sqlite3.complete_statement(statement):
            if statement.strip(" \n;"):
                yield statement.strip()
            statement = ""


@lru_cache(maxsize=256)
def shadow_of(table: Table) -> Table:
    """The declaration of a table's shadow."""
    return replace(table, name=PREFIX + table.name)


class _Reading:
    """See `eventstore.database.Reader`."""

    def __init__(self, shadows: Shadows, reader: Reader) -> None:
        self._shadows = shadows
        self._reader = reader

    async def fetch(self, sql: str, *params: Value) -> list[Row]:
        return await self._reader.fetch(self._shadows.renamed(sql), *params)

    async def fetch_keys(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> list[Row]:
        return await self._reader.fetch_keys(shadow_of(table), keys)


class _Renaming(_Reading):
    """See `eventstore.database.Transaction`."""

    def __init__(self, shadows: Shadows, tx: Transaction) -> None:
        super().__init__(shadows, tx)
        self._tx = tx

    async def execute(self, sql: str, *params: Value) -> None:
        await self._tx.execute(self._shadows.renamed(sql), *params)

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        await self._tx.insert(shadow_of(table), rows)

    async def upsert(
        self,
        table: Table,
        rows: Sequence[Row],
        new: Sequence[Row] = (),
        before: Sequence[Row | None] = (),
    ) -> None:
        rows = [*rows, *new] if new else rows
        if not (self._may_be_new(table, rows) and await self._copied(table, rows)):
            await self._tx.upsert(shadow_of(table), rows)

    async def add(self, table: Table, rows: Sequence[Row]) -> None:
        await self._tx.add(shadow_of(table), rows)

    def _may_be_new(self, table: Table, rows: Sequence[Row]) -> bool:
        shadows = self._shadows
        return (
            shadows.dialect.name == "postgres"
            and len(rows) >= COPIED_ROWS_MIN
            and table.name not in shadows.replaced
        )

    async def _copied(self, table: Table, rows: Sequence[Row]) -> bool:
        """Insert rows by COPY; False, and nothing done, if one of them was there before."""
        await self._tx.execute("SAVEPOINT before_copy")
        try:
            await self._tx.insert(shadow_of(table), rows)
        except Exception as error:
            if getattr(error, "sqlstate", None) != UNIQUE_VIOLATION:
                raise
            await self._tx.execute("ROLLBACK TO SAVEPOINT before_copy")
            self._shadows.replaced.add(table.name)
            return False
        return True

    async def delete(self, table: Table, keys: Sequence[tuple[Value, ...]]) -> None:
        await self._tx.delete(shadow_of(table), keys)

    async def script(self, sql: str) -> None:
        await self._tx.script(self._shadows.renamed(sql))
