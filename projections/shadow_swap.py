"""Shadow tables take the place of the live ones, in one transaction; the old ones go afterwards.

Postgres renames tables and indexes. SQLite cannot rename an index, so there the two tables keep
their names and exchange their trees: the page on which each begins, in `sqlite_master`. Both are
part of the transaction, and on both a statement that was prepared before finds the new rows.
"""

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from eventstore.database import Database, Dialect, Transaction
from eventstore.errors import DatabaseUnavailable, EventStoreError
from projections.shadow import PREFIX

T = TypeVar("T")

RETIRED = "retired_"
"""In front of the name of a table, on Postgres, that a shadow took the place of."""
VACUUM_TIMEOUT_MS = 5_000
"""How long a rebuild waits for a vacuum of a table to end; who reads or writes does not.
One that Postgres began by itself ends after `deadlock_timeout`, which is a second."""
LOCK_TIMEOUT_MS = 200
"""How long a swap waits for readers of a table, and others behind it for the swap."""
DROPPED_AT_ONCE = 500_000
"""A larger table is emptied in pieces down to so many rows before it is dropped, on SQLite: there
writers wait for it (0.3 µs a row)."""
DROPPED_ROWS = 10_000
"""Rows of such a piece (3 µs each)."""


_COMMENT = re.compile(r"--[^\n]*")


class CannotSwap(EventStoreError):
    """The shadow tables are not what the live ones are."""


class Watch:
    """How long transactions kept the writers of the log waiting."""

    def __init__(self) -> None:
        self.longest_seconds = 0.0

    async def transact(self, database: Database, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Like `Database.transact`; counts from when the transaction begins its work."""
        began: float | None = None

        async def timed(tx: Transaction) -> T:
            nonlocal began
            began = time.perf_counter()
            return await work(tx)

        try:
            return await database.transact(timed)
        finally:
            if began is not None:
                self.longest_seconds = max(self.longest_seconds, time.perf_counter() - began)


# --- The swap

_TREES = (
    "SELECT name, tbl_name, rootpage, sql FROM sqlite_master "
    "WHERE rootpage > 0 AND type IN ('table', 'index')"
)
_SET_TREE = "UPDATE sqlite_master SET rootpage = $1 WHERE name = $2"
_INDEXES_POSTGRES = (
    "SELECT indexname, tablename, indexdef FROM pg_indexes WHERE schemaname = current_schema()"
)


async def limit_waiting(tx: Transaction, dialect: Dialect) -> None:
    """Let this transaction wait for readers of tables no longer than `LOCK_TIMEOUT_MS`."""
    if dialect.name == "postgres":
        await tx.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")


async def make_way(database: Database, tables: Sequence[str]) -> None:
    """Have Postgres end the vacuums that it began by itself of these tables.

    A swap would find them in its way until they are through, minutes for a large table: they give
    way to whoever has waited for a second, and a swap waits for less.
    """
    if database.dialect.name == "sqlite":
        return

    async def wait(tx: Transaction) -> None:
        await tx.execute(f"SET LOCAL lock_timeout = {VACUUM_TIMEOUT_MS}")
        # What a vacuum holds, and no reader and no writer.
        await tx.execute(f"LOCK TABLE {', '.join(tables)} IN SHARE UPDATE EXCLUSIVE MODE")

    try:
        await database.transact(wait)
    except DatabaseUnavailable as error:
        if not is_occupied(error):
            raise


async def swap(tx: Transaction, dialect: Dialect, tables: Sequence[str]) -> None:
    """Put the shadows of these tables in their place; what was there becomes unwanted.

    Raises CannotSwap, and DatabaseUnavailable of which `is_occupied` says whether readers are why.
    """
    if dialect.name == "sqlite":
        await _exchange_trees(tx, tables)
    else:
        await _rename(tx, tables)


async def _exchange_trees(tx: Transaction, tables: Sequence[str]) -> None:
    live: dict[str, int] = {}
    shadow: dict[str, int] = {}
    expected: dict[str, str] = {}
    found: dict[str, str] = {}
    for name, table, page, sql in await tx.fetch(_TREES):
        if table in tables:
            live[name] = page
            expected[_shadow_name(name)] = _definition(sql)
        elif table.removeprefix(PREFIX) in tables:
            shadow[name] = page
            found[name] = _definition(sql)
    _require_same(expected, found)
    await tx.execute("PRAGMA writable_schema = ON")
    for name, page in live.items():
        other = _shadow_name(name)
        await tx.execute(_SET_TREE, shadow[other], name)
        await tx.execute(_SET_TREE, page, other)
    ((version,),) = await tx.fetch("PRAGMA schema_version")
    # What tells every connection, at its next statement, to read the schema again.
    await tx.execute(f"PRAGMA schema_version = {version + 1}")
    await tx.execute("PRAGMA writable_schema = RESET")
    after = {name: page for name, _, page, _ in await tx.fetch(_TREES)}
    if any(after[name] != shadow[_shadow_name(name)] for name in live):
        raise CannotSwap("this build of SQLite lets nobody write its schema (defensive mode)")


def _shadow_name(name: str) -> str:
    """What a table or index of SQLite is called beside the live one."""
    automatic = "sqlite_autoindex_"  # Of a primary key; called after its table.
    if name.startswith(automatic):
        return automatic + PREFIX + name.removeprefix(automatic)
    return PREFIX + name


async def _rename(tx: Transaction, tables: Sequence[str]) -> None:
    both = [prefix + table for table in tables for prefix in ("", PREFIX)]
    # For all of them together: who has one already keeps its readers waiting while it waits for the
    # next, and after a second Postgres ends one of the two for a deadlock.
    ((before,),) = await tx.fetch("SELECT current_setting('statement_timeout')")
    await tx.execute(f"SET LOCAL statement_timeout = {LOCK_TIMEOUT_MS}")
    await tx.execute(f"LOCK TABLE {', '.join(both)} IN ACCESS EXCLUSIVE MODE")
    await tx.execute("SELECT set_config('statement_timeout', $1, true)", before)
    found = await tx.fetch(_INDEXES_POSTGRES)
    live = {name: sql for name, table, sql in found if table in tables}
    shadow = {name: sql for name, table, sql in found if table in both and table not in tables}
    _require_same(
        {PREFIX + name: _definition(sql) for name, sql in live.items()},
        {name: _definition(sql) for name, sql in shadow.items()},
    )
    await tx.script(
        "".join(f"ALTER TABLE {PREFIX}{table} RESET (autovacuum_enabled);\n" for table in tables)
        + "".join(
            f"ALTER {kind} {name} RENAME TO {RETIRED}{name};\n"
            f"ALTER {kind} {PREFIX}{name} RENAME TO {name};\n"
            for kind, names in (("TABLE", tables), ("INDEX", sorted(live)))
            for name in names
        )
    )


def _definition(sql: str | None) -> str:
    """How something is made, be it live or a shadow: without comments, in one line."""
    return " ".join(_COMMENT.sub("", sql or "").replace(PREFIX, "").split())


def _require_same(expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    """That there are shadows of everything, and made alike. Another release may have changed an
    index meanwhile: an old tree under a new definition is a broken index."""
    every = expected.keys() | found.keys()
    different = sorted(name for name in every if expected.get(name) != found.get(name))
    if different:
        names = ", ".join(dict.fromkeys(name.replace(PREFIX, "") for name in different))
        raise CannotSwap(
            f"the schema is not the one that this release creates: see {names}; "
            "`pluperfect server database reset` creates it anew"
        )


def is_occupied(error: DatabaseUnavailable) -> bool:
    """Whether a statement failed because others held what it wanted to lock, for too long."""
    return getattr(error.__cause__, "sqlstate", None) in ("55P03", "40P01", "57014")


# --- What is no longer wanted

_LEFT_SQLITE = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'rebuild\\_%' ESCAPE '\\'"
)
_LEFT_POSTGRES = (
    "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() "
    "AND (tablename LIKE 'rebuild\\_%' OR tablename LIKE 'retired\\_%')"
)
_INDEXES_SQLITE = (
    "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = $1 AND sql IS NOT NULL"
)
_ROWS_SQLITE = (  # At most. Each for itself: both in one query would walk through the table.
    "SELECT COALESCE((SELECT max(rowid) FROM {table}) - (SELECT min(rowid) FROM {table}) + 1, 0)"
)
_WITHOUT_ROWID_SQLITE = "SELECT wr FROM pragma_table_list WHERE name = $1"


async def drop_unwanted(database: Database, watch: Watch) -> None:
    """Drop every table that a rebuild made and that is not, or no longer, a read model."""
    if database.dialect.name == "sqlite":
        for (table,) in await database.fetch(_LEFT_SQLITE):
            await _drop_in_pieces(database, table, watch)
        return
    tables = [row[0] for row in await database.fetch(_LEFT_POSTGRES)]
    if tables:
        await database.transact(_statement(f"DROP TABLE {', '.join(tables)}"))


async def _drop_in_pieces(database: Database, table: str, watch: Watch) -> None:
    for (index,) in await database.fetch(_INDEXES_SQLITE, table):
        await watch.transact(database, _leaving_what_it_frees(f"DROP INDEX {index}"))
    ((keyed,),) = await database.fetch(_WITHOUT_ROWID_SQLITE, table)
    while not keyed:  # Those without row ids are totals, of which there are few.
        ((rows,),) = await database.fetch(_ROWS_SQLITE.format(table=table))
        if rows <= DROPPED_AT_ONCE:
            break
        some = f"SELECT rowid FROM {table} NOT INDEXED LIMIT {DROPPED_ROWS}"
        piece = f"DELETE FROM {table} WHERE rowid IN ({some})"
        await watch.transact(database, _leaving_what_it_frees(piece))
    await watch.transact(database, _leaving_what_it_frees(f"DROP TABLE {table}"))


def _leaving_what_it_frees(sql: str) -> Callable[[Transaction], Awaitable[None]]:
    """What takes the place of a read model says the same, so nothing is hidden by overwriting what
    was there (`secure_delete`): that takes ten times as long, and goes through the log twice."""

    async def work(tx: Transaction) -> None:
        await tx.execute("PRAGMA secure_delete = OFF")
        try:
            await tx.execute(sql)
        finally:
            await tx.execute("PRAGMA secure_delete = ON")

    return work


def _statement(sql: str) -> Callable[[Transaction], Awaitable[None]]:
    async def work(tx: Transaction) -> None:
        await tx.execute(sql)

    return work
