"""What is to be done when: the nearest of many timers, in memory; the rest is looked up later."""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush, nsmallest


class Timers:
    """One timer per key. The latest ones are let go of if there are too many: see `exhausted`.

    Times are whole numbers of whatever unit the caller counts in.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._at: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []
        """Every timer of `_at`, and ones that have been moved or cleared since."""
        self._until: int | None = None
        """Before this time every timer is here; None: all of them are."""

    def fill(self, timers: Iterable[tuple[str, int]]) -> None:
        """Take in the nearest timers, nearest first; as many as fit mean that there may be more."""
        self._at = dict(timers)
        self._heap = [(at, key) for key, at in self._at.items()]
        heapify(self._heap)
        full = len(self._at) >= self.most
        self._until = max(self._at.values()) if full else None

    def set(self, key: str, at: int) -> None:
        """Start a timer, or move it."""
        if self._until is not None and at >= self._until:
            self.clear(key)
            return
        if self._at.get(key) != at:
            self._at[key] = at
            heappush(self._heap, (at, key))
            if len(self._heap) > 2 * self.most:
                self._tidy()

    def clear(self, key: str) -> None:
        """Stop a timer; there need not be one."""
        self._at.pop(key, None)

    @property
    def next(self) -> int | None:
        """When the nearest timer goes off; None if there is none."""
        heap = self._heap
        while heap and self._at.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else None

    def take(self, now: int, limit: int) -> list[str]:
        """The keys of up to `limit` timers that have gone off, nearest first; they are over."""
        taken: list[str] = []
        while len(taken) < limit and (at := self.next) is not None and at <= now:
            key = heappop(self._heap)[1]
            del self._at[key]
            taken.append(key)
        return taken

    @property
    def exhausted(self) -> bool:
        """Whether none is left here although there are more: fill it again."""
        return self._until is not None and self.next is None

    def _tidy(self) -> None:
        """Forget timers that are over, and the latest ones if there are still too many."""
        if len(self._at) > self.most:
            nearest = nsmallest(self.most, ((at, key) for key, at in self._at.items()))
            self._at = {key: at for at, key in nearest}
            self._until = nearest[-1][0]
        self._heap = [(at, key) for key, at in self._at.items()]
        heapify(self._heap)
