"""Reads by key that are asked for at the same moment, as one.

Whoever sees to fifty entities at a time asks for fifty rows one by one. A round trip to Postgres
costs as much as finding twenty rows, for us and for the server.
"""

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from eventstore.database import Reader, Row, Table, Value

Key = tuple[Value, ...]


class _Asked(Struct):
    """What is about to be read of one table."""

    keys: dict[Key, None]
    answer: asyncio.Task[dict[Key, Row]]


class Together:
    """See `eventstore.database.Reader`; what is read by other means than keys is read at once."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._asked: dict[Table, _Asked] = {}

    async def fetch(self, sql: str, *params: Value) -> list[Row]:
        return await self._reader.fetch(sql, *params)

    async def fetch_keys(self, table: Table, keys: Sequence[Key]) -> list[Row]:
        asked = self._asked.get(table)
        if asked is None:
            asked = self._asked[table] = _Asked({}, asyncio.create_task(self._read(table)))
        asked.keys.update(dict.fromkeys(keys))
        # Who gives up waiting does not take the answer from the others.
        found = await asyncio.shield(asked.answer)
        return [found[key] for key in keys if key in found]

    async def _read(self, table: Table) -> dict[Key, Row]:
        await asyncio.sleep(0)  # Whoever is about to ask does so first.
        asked = self._asked.pop(table)
        rows = await self._reader.fetch_keys(table, list(asked.keys))
        at = [list(table.columns).index(name) for name in table.key]
        return {tuple(row[i] for i in at): row for row in rows}
