"""Following the log: catch up from the database, then live from the ring, with one cursor.

    behind ──(position is in the ring)──▶ live
      ▲                                    │
      └──(reader slower than the ring)─────┘

Nothing is pushed: a reader takes the next page when it is done with the last, so a slow one falls
back to reading the database and holds up nobody, and nothing is ever dropped.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

from msgspec import Struct

from eventstore.codec import Codec
from eventstore.database import Database, Reader, Row, Table
from eventstore.errors import LogCorrupted
from eventstore.log import head, read_rows
from eventstore.ring import Entry, Ring
from eventstore.selection import Matches
from eventstore.token import HASH_BYTES, Gone, InvalidToken, Token

PAGE_MAX = 500
"""Events handed to a reader at a time."""
PAGE_FIRST = 32
PAGE_BYTES = 4 * 1024 * 1024
"""What a reader from outside is read at a time begins small and grows while its events are small:
one event may be as large as a thousand others."""
BOOKMARK_EVENTS = 1_000
BOOKMARK_SECONDS = 5.0
"""A reader for whom nothing matched is told where it is after this many events or this long."""
HEARTBEAT_SECONDS = 15.0
"""A reader for whom nothing happened at all hears something this often, so that both sides and
the proxies between them know that the other is there."""


async def follow(
    database: Database, codec: Codec, ring: Ring, after: int, page: int = PAGE_MAX
) -> AsyncIterator[Sequence[Entry]]:
    """Every event after position `after`, in order, for ever; a non-empty page at a time.

    Raises UnknownEvent, LogCorrupted or LogReplaced where the log cannot be read any further, and
    DatabaseUnavailable; the reader goes on from the last position it was given.
    """
    while True:
        entries = await newer(database, codec, ring, after, page)
        if not entries:
            await ring.wait(after)
            continue
        after = entries[-1].recorded.position
        yield entries


async def newer(
    database: Database, codec: Codec, ring: Ring, after: int, page: int = PAGE_MAX
) -> Sequence[Entry]:
    """The next events after a position, a page at most; none if the ring knows of none.

    Raises what `follow` raises.
    """
    entries = ring.after(after, page)
    if entries is not None:
        return entries
    rows = await read_rows(database, database.dialect, after, limit=page)
    if not rows and ring.head > after:
        raise LogCorrupted(f"the events after position {after} are gone")
    return [Entry(codec.recorded(row), row) for row in rows]


class Scanned(Struct, frozen=True):
    """A stretch of the log that was looked at, up to and including `position`."""

    position: int
    rows: Sequence[Row]
    """Rows of `eventstore.codec.EVENTS` in it that match. Without any it is a bookmark, or, where
    the position is that of the last stretch, a heartbeat."""
    hash: bytes = b""
    """Of the event at `position`; empty if nothing was looked at."""


async def scan(
    database: Database, ring: Ring, matches: Matches, after: int
) -> AsyncIterator[Scanned]:
    """Every matching event after position `after`, in order, for ever, with bookmarks between.

    Nothing is decoded, so a type from a newer release is handed on like any other. Raises what
    `follow` raises, but UnknownEvent only where the ring has ended for it.
    """
    clock = asyncio.get_running_loop().time
    told, told_at = after, clock()
    newest = b""
    pages = _Pages(database, ring)
    while True:
        rows = await pages.after(after)
        if rows:
            after, newest = _place(rows[-1])
            found = [row for row in rows if matches(row)]
            due = after - told >= BOOKMARK_EVENTS or clock() - told_at >= BOOKMARK_SECONDS
            if not found and not due:
                await asyncio.sleep(0)  # Others have a turn, also while all is in the ring.
                continue
        else:
            found = []
            pause = BOOKMARK_SECONDS if after > told else HEARTBEAT_SECONDS
            try:
                async with asyncio.timeout_at(told_at + pause):
                    await ring.wait(after)
                continue
            except TimeoutError:
                pass
        yield Scanned(after, found, newest)
        told, told_at = after, clock()


async def take(
    database: Database, ring: Ring, matches: Matches, after: int, limit: int, wait_seconds: float
) -> Scanned:
    """Up to `limit` matching events after `after`; without any, what was looked at meanwhile.

    Waits for the first one, but no longer than `wait_seconds`. Raises what `scan` raises.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + wait_seconds
    pages = _Pages(database, ring)
    began, size = after, 0
    newest = b""
    found: list[Row] = []
    while True:
        rows = await pages.after(after)
        if rows:
            after, newest = _place(rows[-1])
            found += (row for row in rows if matches(row))
            size += _bytes(rows)
            enough = size >= PAGE_BYTES or after - began >= BOOKMARK_EVENTS
            if len(found) > limit:
                position, hash_ = _place(found[limit - 1])
                return Scanned(position, found[:limit], hash_)
            if (found and (enough or len(found) == limit)) or clock() >= deadline:
                return Scanned(after, found, newest)
            await asyncio.sleep(0)
            continue
        if found:
            return Scanned(after, found, newest)
        try:
            async with asyncio.timeout_at(deadline):
                await ring.wait(after)
        except TimeoutError:
            return Scanned(after, found, newest)


def _place(row: Row) -> tuple[int, bytes]:
    """Position and hash of an event."""
    return row[0], bytes(row[-1])


class _Pages:
    """Rows for one reader, as many at a time as are good for it."""

    def __init__(self, database: Database, ring: Ring) -> None:
        self._database = database
        self._ring = ring
        self._limit = PAGE_FIRST

    async def after(self, position: int) -> Sequence[Row]:
        """The next rows after a position; none if the ring knows of none."""
        entries = self._ring.after(position, PAGE_MAX)
        if entries is not None:
            return [entry.row for entry in entries]
        rows = await read_rows(self._database, self._database.dialect, position, limit=self._limit)
        if not rows:
            raise LogCorrupted(f"the events after position {position} are gone")
        if _bytes(rows) > PAGE_BYTES:
            self._limit = max(1, self._limit // 2)
        else:
            self._limit = min(PAGE_MAX, self._limit * 2)
        return rows


def _bytes(rows: Sequence[Row]) -> int:
    """Size of the data, the part without a bound."""
    return sum(len(row[10]) for row in rows)


_TIMES = Table("events", {"recorded_at": "bigint", "position": "bigint"}, key=("position",))
"""The log seen as a list of times."""
FIRST = "SELECT MIN(position) FROM events"


async def recorded_at(reader: Reader, position: int) -> int | None:
    """When the event at a position was recorded, in microseconds since 1970; None if none was."""
    rows = await reader.fetch_keys(_TIMES, [(position,)])
    return int(rows[0][0]) if rows else None


_HASHES = Table("events", {"hash": "bytes", "position": "bigint"}, key=("position",))


async def hash_at(reader: Reader, position: int) -> bytes:
    """The hash of the event at a position; empty if there is none."""
    rows = await reader.fetch_keys(_HASHES, [(position,)])
    return bytes(rows[0][0]) if rows else b""


async def position_at(reader: Reader, time: int) -> int:
    """The position after which come the events recorded at `time` (microseconds) or later.

    Times strictly increase with position: some twenty looks by primary key find it among millions.
    """
    low, high = 0, (await head(reader)).position
    while low < high:
        middle = (low + high + 1) // 2
        at = await recorded_at(reader, middle)
        if at is None or at < time:
            low = middle
        else:
            high = middle - 1
    return low


async def is_of_this_log(reader: Reader, token: Token) -> bool:
    """Whether the event that the token names is that at its position, as far as both are known.

    What was recorded after a log was set back has the same positions and the same epoch.
    """
    if not token.hash:
        return True
    here = await hash_at(reader, token.position)
    return not here or here[:HASH_BYTES] == token.hash


async def resume(reader: Reader, token: Token, fingerprint: bytes) -> int:
    """The position to go on from.

    Raises InvalidToken for a token of another selection, and Gone if this log is not the one it was
    given for, or does not have what comes next.
    """
    if token.fingerprint != fingerprint:
        raise InvalidToken("the token belongs to a subscription with another filter")
    now = await head(reader)
    if token.epoch != now.epoch:
        raise Gone("replaced", "the log was erased or restored since; begin anew")
    if token.position > now.position:
        raise Gone("ahead", f"the log ends at {now.position}, before {token.position}; begin anew")
    if not await is_of_this_log(reader, token):
        raise Gone(
            "replaced",
            f"the log was restored from a backup since, and has another event at {token.position}; "
            "begin anew",
        )
    rows = await reader.fetch(FIRST)
    first = rows[0][0] or 1
    if token.position + 1 < first:
        raise Gone("too-old", f"the log begins at {first}; what came before is gone; begin anew")
    return token.position
