"""Whether this release may still write, where a newer one may have been at work on the same log.

While servers are replaced one after the other two releases share a log. The older one must write no
more from the moment on that the newer one has changed the schema, folded read models anew in its
own way, or recorded an event that the older one cannot read: rows of two kinds in one table, or a
decision made without knowing an event, would be worse than no writing. It still answers reads.

Each of the three raises the generation of the log's head in its own transaction. Whoever appends
reads that under the lock, so nobody is ever late to notice, and to notice nothing costs nothing.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from eventstore import checkpoints, migrate
from eventstore.codec import Codec
from eventstore.database import Dialect, Reader, Table, Transaction
from eventstore.errors import OtherRelease
from eventstore.events import Recorded
from eventstore.log import Head

logger = logging.getLogger(__name__)

EVENT_TYPES = Table("event_types", {"type": "text", "version": "bigint"}, key=("type",))
"""The newest version of every type of event that was ever recorded."""
ALL_TYPES = "SELECT type, version FROM event_types"
APPLIED = "SELECT migration_id FROM _yoyo_migration"


class Releases:
    """What this process knows of the releases that work on its log."""

    def __init__(self, dialect: Dialect, codec: Codec, versions: Mapping[str, int]) -> None:
        """`versions` are those of the read models that this release folds while it appends."""
        self.refusal: str | None = None
        """Why this release may not write to the log."""
        self.held: str | None = None
        """Why it does not write yet; for whoever prepares read models to set."""
        self._dialect = dialect
        self._codec = codec
        self._versions = versions
        self._generation = -1
        self._noted: dict[str, int] = {}
        self._said: str | None = None

    @property
    def reason(self) -> str | None:
        """Why nothing is written here; None if it is."""
        return self.held or self.refusal

    def check(self) -> None:
        """Raises OtherRelease if nothing is written here."""
        if self.reason is not None:
            raise OtherRelease(self.reason)

    async def look(self, reader: Reader, generation: int) -> None:
        """Find out whether another release was at work, unless that is known of this generation."""
        if generation == self._generation:
            return
        self.refusal = await self._refusal(reader)
        self._generation = generation
        self._say()

    def stop(self, why: str) -> None:
        """This process cannot follow the log any further: it writes no more."""
        self.refusal = self.refusal or why
        self._say()

    def _say(self) -> None:
        if self.held is None and self.refusal != self._said:
            if self.refusal is not None:
                logger.error("nothing is written here any more, reads go on: %s", self.refusal)
            else:
                logger.warning("what was in the way is gone: this process writes again")
            self._said = self.refusal

    async def admit(self, tx: Transaction, before: Head, recorded: Sequence[Recorded[Any]]) -> bool:
        """Let these events into the log, whose head is locked. Raises OtherRelease.

        The first of a type is noted, for older releases to find; true if that is so, and the
        generation therefore to be raised.
        """
        await self.look(tx, before.generation)
        self.check()
        new: dict[str, int] = {}
        for fact in recorded:
            name, version = fact.event.__struct_config__.tag, fact.event.type_version
            if self._noted.get(name, 0) < version:
                new[name] = version
        if new:
            # Not remembered here: if this commits, the next generation has us look.
            await tx.upsert(EVENT_TYPES, list(new.items()))
        return bool(new)

    async def _refusal(self, reader: Reader) -> str | None:
        known = migrate.known(self._dialect.name)
        applied = {row[0] for row in await reader.fetch(APPLIED)}
        if newer := sorted(applied.difference(known)):
            return (
                f"a newer release has changed the schema ({newer[-1]} is not known here); "
                "upgrade this server"
            )
        self._noted = {row[0]: row[1] for row in await reader.fetch(ALL_TYPES)}
        for name, version in sorted(self._noted.items()):
            event = self._codec.types.get(name)
            if event is None or event.type_version < version:
                return (
                    f"a newer release has recorded an event of type {name!r} version {version}, "
                    "which cannot be read here; upgrade this server"
                )
        for one in await checkpoints.load_all(reader):
            ours = self._versions.get(one.name, one.version)
            if one.version > ours:
                return (
                    f"read model {one.name} was folded by a newer release (version {one.version}, "
                    f"here {ours}); upgrade this server, or go back for good with its own "
                    "`pluperfect server database downgrade`"
                )
            if one.version < ours:
                return (
                    f"read model {one.name} is not as this release folds it (version {one.version},"
                    f" here {ours}); start this server again, or run its own "
                    "`pluperfect server database downgrade`: both fold it anew"
                )
        return None
