"""Events that arrived before those that precede them, held back for a moment.

Processes tell of their commits after the commit, each at its own pace: the second may well be heard
before the first. To wait a few hundredths of a second for it is cheaper than to ask the database.
"""

import time
from collections.abc import Sequence

from eventstore.ring import Entry

HELD_BATCHES_MAX = 256
"""Commits held back; more, and the log is read instead."""

_Commit = tuple[Sequence[Entry], bool]
"""Its entries, and whether this process made it."""


class Held:
    """Commits that wait for earlier ones, in order of position."""

    def __init__(self) -> None:
        self._batches: dict[int, _Commit] = {}
        self._until = 0.0

    def hold(self, entries: Sequence[Entry], own: bool, patience_seconds: float) -> bool:
        """Hold a commit; `own` if this process made it. False if that is not worth the while."""
        if not patience_seconds or len(self._batches) >= HELD_BATCHES_MAX:
            return False
        if not self._batches:
            self._until = time.monotonic() + patience_seconds
        self._batches.setdefault(entries[0].recorded.position, (entries, own))
        return True

    def all(self) -> list[_Commit]:
        """What is held, in order of position."""
        return [self._batches[first] for first in sorted(self._batches)]

    def forget(self, head: int) -> None:
        """Everything up to position `head` has come."""
        left = {
            first: held
            for first, held in self._batches.items()
            if held[0][-1].recorded.position > head
        }
        self._batches = left

    @property
    def overdue(self) -> bool:
        """Whether what is missing does not seem to come any more."""
        return bool(self._batches) and time.monotonic() >= self._until

    def seconds_left(self) -> float | None:
        """How long to wait before the log is looked at; None if nothing is held."""
        return max(0.0, self._until - time.monotonic()) if self._batches else None
