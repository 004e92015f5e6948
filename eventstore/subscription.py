"""Following the log: catch up from the database, then live from the ring, with one cursor.

    behind ──(position is in the ring)──▶ live
      ▲                                    │
      └──(reader slower than the ring)─────┘

Nothing is pushed: a reader takes the next page when it is done with the last, so a slow one falls
back to reading the database and holds up nobody, and nothing is ever dropped.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from eventstore.codec import Codec
from eventstore.database import Database
from eventstore.errors import LogCorrupted
from eventstore.log import read_rows
from eventstore.ring import Entry, Ring

PAGE_MAX = 500
"""Events handed to a reader at a time."""


async def follow(
    database: Database, codec: Codec, ring: Ring, after: int, page: int = PAGE_MAX
) -> AsyncIterator[Sequence[Entry]]:
    """Every event after position `after`, in order, for ever; a non-empty page at a time.

    Raises UnknownEvent, LogCorrupted or LogReplaced where the log cannot be read any further, and
    DatabaseUnavailable; the reader goes on from the last position it was given.
    """
    while True:
        entries: Sequence[Entry] | None = ring.after(after, page)
        if entries is None:
            rows = await read_rows(database, database.dialect, after, limit=page)
            entries = [Entry(codec.recorded(row), row) for row in rows]
            if not entries and ring.head > after:
                raise LogCorrupted(f"the events after position {after} are gone")
        if not entries:
            await ring.wait(after)
            continue
        after = entries[-1].recorded.position
        yield entries


async def read_until(
    database: Database, codec: Codec, after: int, until: int, page: int = PAGE_MAX
) -> AsyncIterator[Sequence[Any]]:
    """Every event after `after` up to and including `until`, decoded, a page at a time."""
    while after < until:
        rows = await read_rows(database, database.dialect, after, until, page)
        if not rows:
            raise LogCorrupted(f"the log ends at position {after}, before {until}")
        recorded = [codec.recorded(row) for row in rows]
        after = recorded[-1].position
        yield recorded
