"""Inline projections: folded in the append transaction, so that a read sees what was acknowledged.

The rows of the last batches stay in memory. What other processes append is heard of a moment later,
and what it touches is forgotten. Under the lock our rows are trusted only if every event up to the
head is our own or was heard of, and nobody has folded read models anew.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from msgspec import Struct

from eventstore.database import Row, Transaction
from eventstore.events import Recorded
from eventstore.log import Appended, Head
from eventstore.ring import Entry
from projections.entities import entity_id
from projections.projection import Key, Model, Projection, Rows, fold

V = TypeVar("V")

RECENT_ROWS_MAX = 20_000
"""Rows (and stream versions) remembered per process."""
FORGOTTEN_ROWS = 1_000
"""The oldest of them, at once when there are too many. A dict looks for its first entry where all
were that are gone from it: to forget one at a time takes 7 µs each, so 0.2."""
AHEAD_MAX = 256
"""Own batches remembered that came after some of other processes that were not heard of yet."""


class Recent(Struct, frozen=True):
    """A row as our newest batch left it; `value` None: deleted."""

    value: Any
    row: Row | None
    position: int
    """Every event up to this one is in it."""


class InlineProjector:
    """Folds batches for the committer and remembers what they made."""

    def __init__(self, projections: Sequence[Projection]) -> None:
        self._projections = projections
        self._position = -1
        """Every event up to this one is our own or was heard of; -1: nothing is known."""
        self._ahead: deque[tuple[int, int]] = deque()
        """Our own batches after that, each as the positions before and after it."""
        self._generation = -1
        """The head's generation that our rows are of."""
        self._rows: dict[tuple[Model[Any], Key], Recent] = {}
        self._versions: dict[str, int] = {}
        self._pending: dict[tuple[Model[Any], Key], Recent] | None = None
        self._cascades = False

    async def fold(self, tx: Transaction, before: Head, recorded: Sequence[Recorded[Any]]) -> None:
        """The committer's inline hook: fold a batch and write its rows."""
        rows = Rows()
        wanted = [
            key
            for fact in recorded
            for projection in self._projections
            if type(fact.event) in projection.handles
            for key in projection.reads(fact)
        ]
        if self._is_newest(before):
            recent = self._rows
            for key in wanted:
                held = recent.get(key)
                if held is not None:
                    rows.hold(*key, held.value, held.row)
        for fact in recorded:
            if fact.version == 1:
                self._hold_new(rows, fact)
        await rows.load(tx, wanted)
        for fact in recorded:
            fold(self._projections, rows, fact)
        written = await rows.write(tx)
        self._cascades = rows.cascaded
        assert not self._cascades or any(map(self._cascading, recorded)), "see Projection.cascades"
        self._pending = {
            (model, key): Recent(value, written.get((model, key)), recorded[-1].position)
            for model, key, value in rows.touched()
            if model.remembered
        }

    def _hold_new(self, rows: Rows, first: Recorded[Any]) -> None:
        """There is no row yet for what begins with this event."""
        for projection in self._projections:
            if projection.own is not None and type(first.event) in projection.handles:
                rows.hold(projection.own, (entity_id(first),), None)

    def committed(self, appended: Appended) -> None:
        """Remember what the batch made; called on the event loop, after the commit."""
        before, after = appended.before, appended.after
        if self._generation != before.generation or self._position < 0:
            self._forget(after.position)
        elif after.position == before.position:
            pass  # Log lines, leases.
        elif before.position <= self._position <= after.position:
            # Some or all of it may have been heard of already, as if others had made it.
            self._position = after.position
        elif self._position < before.position:
            self._ahead.append((before.position, after.position))
            if len(self._ahead) > AHEAD_MAX:
                self._forget(-1)
        else:
            # Others appended after it, and were heard of first: its rows may be old already.
            self._forget(-1)
        if self._cascades:
            self._rows = {}
        self._generation = after.generation
        if self._pending is not None and appended.recorded:
            for key, recent in self._pending.items():
                self._rows.pop(key, None)
                self._rows[key] = recent
            _trim(self._rows)
        for stream, version in appended.versions.items():
            self._versions.pop(stream, None)
            self._versions[stream] = version
        _trim(self._versions)
        self._pending = None

    def rolled_back(self) -> None:
        """The transaction came to nothing."""
        self._pending = None

    def foreign(self, entries: Sequence[Entry]) -> None:
        """Another process appended, or (no entries) folded read models anew.

        Entries are in order and follow those before them, own ones in between left out or not.
        """
        unknown = not entries or self._position < 0
        if unknown or any(self._cascading(entry.recorded) for entry in entries):
            self._forget(entries[-1].recorded.position if entries else -1)
            return
        for entry in entries:
            fact = entry.recorded
            for projection in self._projections:
                if type(fact.event) in projection.handles:
                    for key in projection.reads(fact):
                        held = self._rows.get(key)
                        if held is not None and held.position < fact.position:
                            del self._rows[key]
            known = self._versions.get(fact.stream)
            if known is not None:
                self._versions[fact.stream] = max(known, fact.version)
        self._advance(entries[-1].recorded.position)

    def _advance(self, position: int) -> None:
        self._position = max(self._position, position)
        while self._ahead and self._ahead[0][0] <= self._position:
            self._position = max(self._position, self._ahead.popleft()[1])

    def _forget(self, position: int) -> None:
        self._rows, self._versions = {}, {}
        self._ahead.clear()
        self._position = position

    def _cascading(self, fact: Recorded[Any]) -> bool:
        return any(type(fact.event) in projection.cascades for projection in self._projections)

    @property
    def versions(self) -> Mapping[str, int]:
        """The version in which each read model is written here."""
        return {one.name: one.version for one in self._projections}

    def stream_versions(self, head: Head) -> Mapping[str, int]:
        """The versions of streams that are remembered, if the log ends where our own last batch
        left it; empty if not. To be asked under the lock."""
        return self._versions if self._is_newest(head) else {}

    def version(self, stream: str) -> int | None:
        """The stream's version as our newest batch left it, if remembered."""
        return self._versions.get(stream)

    def recent(self, model: Model[Any], *key: Any) -> Recent | None:
        """A row as our newest batch left it, if remembered. Another process may know better."""
        return self._rows.get((model, key))

    def _is_newest(self, head: Head) -> bool:
        return self._position == head.position and self._generation == head.generation


def _trim(remembered: dict[Any, Any]) -> None:
    if len(remembered) > RECENT_ROWS_MAX:
        for oldest in list(islice(remembered, FORGOTTEN_ROWS)):
            del remembered[oldest]
