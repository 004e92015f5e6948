"""Read models that an older release has folded are folded anew while this one serves already.

Until the new rows take their place the old ones answer reads; nothing is written here meanwhile,
for that would be rows of another kind. Servers of the older release write on until then. Where
there are no old ones nothing is read either: a run that is in the log would be said not to exist.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence

from eventstore import leases, log
from eventstore.codec import Codec
from eventstore.database import Database, Transaction
from eventstore.errors import DatabaseUnavailable, NothingFolded
from eventstore.leases import Holder, Report
from eventstore.log import Fence
from eventstore.store import EventStore
from projections import versions
from projections.projection import Projection
from projections.rebuild import Occupied

logger = logging.getLogger("pluperfect")

AT_ONCE_SECONDS = 1.5
"""So long nobody is served: a short log is folded before anybody notices."""
LEASE = "refolding"
LEASE_SECONDS = 15.0
"""After this another process takes over from one that is gone."""
LOOK_SECONDS = 0.5
"""How often a process looks whether another one is done."""
RETRY_SECONDS = 5.0
"""Pause after the database went away or readers were in the way."""
FAILED_AGAIN_SECONDS = 60.0
"""Pause after an error that nobody foresaw: somebody may mend what was in the way."""


class Refolding:
    """The one task of this kind in a process."""

    def __init__(
        self,
        store: EventStore,
        open_patient: Callable[[], Database] | None,
        codec: Codec,
        projections: Sequence[Projection],
    ) -> None:
        """`open_patient` opens the database for work that takes long, in another thread; without
        it there is no background, and whoever opens waits."""
        self._store = store
        self._open_patient = open_patient
        self._codec = codec
        self._projections = projections
        self._names = ""
        self._nothing_yet = False
        self._then: Callable[[], None] | None = None
        self._work: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin, if there is anything to fold; before the store is opened."""
        database = self._store.database
        old = await versions.outdated(database, self._projections)
        if old and (self._open_patient is None or (await log.head(database)).position == 0):
            await versions.bring_up_to_date(database, self._codec, self._projections)
            old = []
        if not old or self._open_patient is None:
            return
        self._names = ", ".join(sorted(one.name for one in old))
        self._nothing_yet = await versions.nothing_folded(database, self._projections)
        self._reached(0, 0)
        self._task = asyncio.create_task(self._run(self._open_patient), name="refolding")
        await asyncio.wait({self._task}, timeout=AT_ONCE_SECONDS)

    def check(self) -> None:
        """Raises NothingFolded as long as there is a log and nothing to read."""
        if self._nothing_yet:
            raise NothingFolded(self._store.releases.held)

    def then(self, call: Callable[[], None]) -> None:
        """Have something called when every read model is of this release; at once if it is so."""
        if self._store.releases.held is None:
            call()
        else:
            self._then = call

    async def close(self) -> None:
        """Stop; whoever comes next goes on with what was folded."""
        if self._work is not None:
            loop, work = self._work
            loop.call_soon_threadsafe(work.cancel)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _reached(self, position: int, until: int) -> None:
        how_far = f" ({position} of {until} events)" if until else ""
        self._store.releases.held = (
            f"all read models are being folded from the log{how_far}; until then there is nothing "
            "to be shown"
            if self._nothing_yet
            else f"read models are being folded anew for this release: {self._names}{how_far}; "
            "until then they are shown as they were"
        )

    async def _run(self, open_patient: Callable[[], Database]) -> None:
        why = "nothing of the log is folded" if self._nothing_yet else "their code has changed"
        logger.warning("folding anew, because %s: %s", why, self._names)
        while True:
            try:
                # A thread with a loop of its own: pages of thousands of events would hold up ours.
                await asyncio.to_thread(asyncio.run, self._in_thread(open_patient))
                break
            except (DatabaseUnavailable, Occupied) as error:
                logger.warning("read models are not folded anew yet: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception as error:
                logger.exception("read models cannot be folded anew; it is tried again")
                self._store.releases.held = f"read models cannot be folded anew: {error}"
                await asyncio.sleep(FAILED_AGAIN_SECONDS)
        logger.warning("folded anew: %s", self._names)
        self._nothing_yet = False
        self._store.releases.held = None
        if self._then is not None:
            self._then()

    async def _in_thread(self, open_patient: Callable[[], Database]) -> None:
        work = asyncio.create_task(self._fold(open_patient(), open_patient()))
        self._work = asyncio.get_running_loop(), work
        try:
            await work
        finally:
            self._work = None

    async def _fold(self, database: Database, renewing: Database) -> None:
        """Until everything is of this release. One process of many does it, under a lease: who
        began at the same moment would drop each other's tables."""
        try:
            while await versions.outdated(database, self._projections):
                fence = await self._acquired(database)
                if fence is None:
                    await asyncio.sleep(LOOK_SECONDS)
                    continue
                renewal = asyncio.create_task(self._renew(renewing, fence))
                try:
                    await versions.bring_up_to_date(
                        database, self._codec, self._projections, self._reached
                    )
                finally:
                    renewal.cancel()
                    await asyncio.gather(renewal, return_exceptions=True)
                    await self._hold(renewing, fence, 0)
        finally:
            await database.close()
            await renewing.close()

    async def _acquired(self, database: Database) -> Fence | None:
        holder = Holder(socket.gethostname(), os.getpid())

        async def work(tx: Transaction) -> Fence | None:
            return await leases.acquire(tx, database.dialect, LEASE, holder, LEASE_SECONDS)

        return await database.transact(work)

    async def _renew(self, database: Database, fence: Fence) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                await self._hold(database, fence, LEASE_SECONDS)
            except DatabaseUnavailable:
                pass
            except Exception:
                logger.exception("the lease on folding read models anew could not be renewed")

    async def _hold(self, database: Database, fence: Fence, seconds: float) -> None:
        async def work(tx: Transaction) -> None:
            await leases.renew(tx, database.dialect, [(fence, Report())], seconds)

        await database.transact(work)
