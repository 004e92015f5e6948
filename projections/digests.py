"""The fingerprint of a table: equal exactly if its rows are, on any engine and in any order.

Rows are hashed one by one and the hashes added up, so that the order in which an engine sorts text
does not matter; a primary key keeps rows apart.
"""

from collections.abc import AsyncIterator
from hashlib import sha256

import msgspec

from eventstore.database import Reader, Row, Table

PAGE = 2_000
"""Rows read at a time."""
_MODULUS = 1 << 256
_encode = msgspec.json.Encoder().encode


def row_digest(row: Row) -> int:
    """The fingerprint of one row: its columns as a JSON array, hashed."""
    return int.from_bytes(sha256(_encode(tuple(row))).digest(), "big")


async def table_digest(reader: Reader, table: Table) -> str:
    """The fingerprint of a whole table, read a page at a time along its primary key."""
    total = 0
    async for rows in pages(reader, table):
        total = (total + sum(map(row_digest, rows))) % _MODULUS
    return f"{total:064x}"


async def pages(reader: Reader, table: Table) -> AsyncIterator[list[Row]]:
    """All rows of a table, in the engine's order of its primary key."""
    names, key = ", ".join(table.columns), ", ".join(table.key)
    places = [list(table.columns).index(name) for name in table.key]
    after = ", ".join(f"${n}" for n in range(2, len(places) + 2))
    first = f"SELECT {names} FROM {table.name} ORDER BY {key} LIMIT $1"
    rest = f"SELECT {names} FROM {table.name} WHERE ({key}) > ({after}) ORDER BY {key} LIMIT $1"
    rows = await reader.fetch(first, PAGE)
    while rows:
        yield rows
        rows = await reader.fetch(rest, PAGE, *(rows[-1][place] for place in places))
