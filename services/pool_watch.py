"""Watching work pools: each worker's channel of this process is told what concerns its pool.

One task follows the log for all of them, and only while there are some: a thousand workers that are
connected cost an event one look. It goes by the log, so it does not matter which process changed a
pool.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from eventstore.errors import EventStoreError
from eventstore.ring import Entry
from eventstore.store import EventStore
from orchestration.work_pools import WorkPoolDeleted, WorkPoolUpdated, shown_to_workers
from orchestration.worker_cleanups import CleanupLapsed, CleanupRequested, CleanupReturned
from projections.entities import entity_id

logger = logging.getLogger(__name__)

UPDATED = "work_pool_updated"
DELETED = "work_pool_deleted"
"""Why a worker is sent its pool anew, in the words that it knows."""


class Watch:
    """What one worker's channel is told. Never more than the last thing: it reads what is true."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self.cleanups = asyncio.Event()
        """There may be a clean-up for it."""
        self._reason = UPDATED
        self._failure: EventStoreError | None = None

    def note(self, reason: str) -> None:
        """The pool changed, or may have."""
        self._reason = reason
        self._changed.set()

    def fail(self, error: EventStoreError) -> None:
        """Nothing more will be told."""
        self._failure = error
        self._changed.set()

    async def change(self, settle_seconds: float) -> str:
        """Why the pool has to be read again, as soon as it has; what comes within the next moment
        is one with it. Raises EventStoreError once the log cannot be followed any more."""
        await self._changed.wait()
        if self._failure is None:
            await asyncio.sleep(settle_seconds)
        self._changed.clear()
        if self._failure is not None:
            raise self._failure
        return self._reason


class PoolWatch:
    """The watches of this process."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._watches: dict[str, set[Watch]] = {}
        """By pool; only pools with a watch."""
        self._following: asyncio.Task[None] | None = None

    @contextmanager
    def watching(self, pool_id: str) -> Iterator[Watch]:
        """Watch a pool. What was committed before and this process can read is not told."""
        watch = Watch()
        self._watches.setdefault(pool_id, set()).add(watch)
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow(self._store.ring.head))
        try:
            yield watch
        finally:
            watches = self._watches[pool_id]
            watches.discard(watch)
            if not watches:
                del self._watches[pool_id]
            if not self._watches and self._following is not None:
                self._following.cancel()
                self._following = None

    async def _follow(self, after: int) -> None:
        try:
            async for page in self._store.follow(after):
                self._hear(page)
        except EventStoreError as error:
            self._fail(error)
        except Exception as error:
            logger.exception("the log cannot be followed for the workers of pools")
            self._fail(EventStoreError(f"the log cannot be followed: {error!r}"))

    def _fail(self, error: EventStoreError) -> None:
        """Each channel ends and says why; with the first one that comes back it begins anew."""
        for watches in self._watches.values():
            for watch in watches:
                watch.fail(error)

    def _hear(self, page: Sequence[Entry]) -> None:
        for entry in page:
            match entry.recorded.event:
                case WorkPoolUpdated() as event if shown_to_workers(event):
                    self._note(entity_id(entry.recorded), UPDATED)
                case WorkPoolDeleted():
                    self._note(entity_id(entry.recorded), DELETED)
                case CleanupRequested() | CleanupReturned() | CleanupLapsed() as event:
                    for watch in self._watches.get(event.work_pool_id, ()):
                        watch.cleanups.set()

    def _note(self, pool_id: str, reason: str) -> None:
        for watch in self._watches.get(pool_id, ()):
            watch.note(reason)
