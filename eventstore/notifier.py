"""How the processes on one log tell each other what they have committed.

What is told is a matter of speed and never of truth: it may come late, twice, in another order or
not at all. Whoever hears it goes by positions alone and asks the log for what is missing
(`eventstore.store`).
"""

from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import Struct

from eventstore.database import Database


class Batch(Struct, frozen=True, array_like=True):
    """One commit, as it is told."""

    epoch: str
    """Identity of the log."""
    until: int
    """Position of the log after the commit."""
    lines: int
    """Run log lines that were ever written, after the commit."""
    rows: Sequence[tuple[Any, ...]] = ()
    """Its events as rows of `eventstore.codec.EVENTS`, the last one at `until`; none if they are
    too large to be told, or if there are only lines."""


class Notifier(Protocol):
    """Tells other processes, and hears them."""

    @property
    def patience_seconds(self) -> float:
        """How long events that seem to be missing may still be on their way; 0: look at once."""
        ...

    def open(self, epoch: str) -> None:
        """Begin. Needs a running event loop; does not wait and does not fail."""
        ...

    def tell(self, batch: Batch) -> None:
        """This process has committed. Neither waits nor fails."""
        ...

    async def heard(self) -> Batch | None:
        """What another process (or this one) has told, or None: look at the log's head now.

        Returns from time to time whatever happens. Can be cancelled without losing anything.
        """
        ...

    async def close(self) -> None:
        """Tell what is still to be told, if that is quick, and end."""
        ...


class DatabaseNotifier:
    """Asks the database itself: SQLite's change counter, or a short poll of Postgres."""

    patience_seconds = 0.0

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, epoch: str) -> None:
        """Nothing to prepare."""

    def tell(self, batch: Batch) -> None:
        """The commit itself is what others see."""

    async def heard(self) -> Batch | None:
        await self._database.changed()
        return None

    async def close(self) -> None:
        """Nothing to end."""
