"""The newest events of the log in this process's memory, and the signal that there are more.

Whoever follows the log reads from here while it keeps up, and from the database when it does not.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from eventstore.database import Row
from eventstore.errors import EventStoreError
from eventstore.events import Recorded
from eventstore.waiting import Waiting

RING_EVENTS_MAX = 10_000
RING_BYTES_MAX = 16 * 1024 * 1024
"""What the ring keeps, by count and by size of the stored data."""


class Entry(Struct, frozen=True):
    """One event, decoded and as it is stored (a row of `eventstore.codec.EVENTS`)."""

    recorded: Recorded[Any]
    row: Row


Hear = Callable[[Sequence[Entry]], None]
"""Told of entries in the moment in which they come in, or of none: then no more will. It may
neither wait nor raise, as whoever wrote the entries waits meanwhile."""


class Ring:
    """A gapless stretch of the log that ends at its newest known event."""

    def __init__(self, head: int) -> None:
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._waiting = Waiting()
        self._hearing: list[Hear] = []
        self.head = head
        """Position of the newest event known in this process."""

    @property
    def floor(self) -> int:
        """Position after which every event up to `head` is here."""
        return self.head - len(self._entries)

    def publish(self, entries: Sequence[Entry]) -> bool:
        """Take in entries in order; known ones are ignored.

        Returns False, and takes in nothing, if events before them are missing.
        """
        skipped = self.head + 1 - entries[0].recorded.position
        if skipped < 0:
            return False
        if skipped >= len(entries):
            return True
        new = entries[skipped:] if skipped else entries
        for entry in new:
            self._entries.append(entry)
            self._bytes += len(entry.row[10])
            self.head = entry.recorded.position
        while len(self._entries) > RING_EVENTS_MAX or self._bytes > RING_BYTES_MAX:
            self._bytes -= len(self._entries.popleft().row[10])
        self._waiting.wake()
        for hear in self._hearing:
            hear(new)
        return True

    def fail(self, error: EventStoreError) -> None:
        """There will be no more entries: whoever waits, or comes to wait, is told why."""
        self._waiting.fail(error)
        for hear in self._hearing:
            hear(())

    def check(self) -> None:
        """Raise what `fail` was given, if it was."""
        self._waiting.check()

    @contextmanager
    def telling(self, hear: Hear) -> Iterator[None]:
        """For as long as the block lasts, `hear` is told. It costs less than a task that waits for
        each batch, if hardly any needs more than a look."""
        self._hearing.append(hear)
        try:
            yield
        finally:
            self._hearing.remove(hear)

    def after(self, position: int, limit: int) -> list[Entry] | None:
        """Up to `limit` entries after `position`; None if they are older than the ring."""
        start = position - self.floor
        if start < 0:
            return None
        # By index: a slice would walk through the whole ring, and most readers want its end.
        entries = self._entries
        return [entries[i] for i in range(start, min(start + limit, len(entries)))]

    async def wait(self, position: int) -> None:
        """Return as soon as an event after `position` is known. Raises what `fail` was given."""
        await self._waiting.until(lambda: self.head > position)
