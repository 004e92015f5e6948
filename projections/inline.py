"""Inline projections: folded in the append transaction, so that a read sees what was acknowledged.

The rows of the last batches stay in memory. They are trusted under the lock only if no other
process has appended since, and none has folded read models anew: then the head stands where our own
last batch left it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from eventstore.database import Row, Transaction
from eventstore.events import Recorded
from eventstore.log import Appended, Head
from eventstore.ring import Entry
from projections.projection import Key, Model, Projection, Rows, fold

V = TypeVar("V")

RECENT_ROWS_MAX = 20_000
"""Rows (and stream versions) remembered per process."""


class Recent(Struct, frozen=True):
    """A row as our newest batch left it; `value` None: deleted."""

    value: Any
    row: Row | None


class InlineProjector:
    """Folds batches for the committer and remembers what they made."""

    def __init__(self, projections: Sequence[Projection]) -> None:
        self._projections = projections
        self._position = -1
        """The head's position up to which `_rows` is known to be right."""
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
                    rows.hold(*key, held.value)
        await rows.load(tx, wanted)
        for fact in recorded:
            fold(self._projections, rows, fact)
        written = await rows.write(tx)
        self._cascades = rows.cascaded
        self._pending = {
            (model, key): Recent(value, written.get((model, key)))
            for model, key, value in rows.touched()
            if model.remembered
        }

    def committed(self, appended: Appended) -> None:
        """Remember what the batch made; called on the event loop, after the commit."""
        unknown = (
            self._position != appended.before.position
            or self._generation != appended.before.generation
        )
        if unknown or self._cascades:
            self._rows = {}
            self._versions = {}
        self._generation = appended.after.generation
        self._position = appended.after.position
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
        """Another process appended, or (no entries) folded read models anew: what we remember may
        be old.
        """
        self._rows = {}
        self._versions = {}
        self._position = entries[-1].recorded.position if entries else -1

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
    while len(remembered) > RECENT_ROWS_MAX:
        del remembered[next(iter(remembered))]
