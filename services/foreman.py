"""The foreman: who was not heard of for too long is offline, what nobody polls is not ready.

Pulses are no events, so the foreman looks at them: when the one that is nearest to being overdue
would be, and every `look` at the latest, for somebody may have come meanwhile. What it finds is
decided upon under the lock, against what is true then.
"""

import asyncio
from datetime import datetime, timedelta

from msgspec import Struct

from eventstore.codec import from_microseconds, to_microseconds
from projections import deployments as deployment_rows
from projections import pulses, work_queues, workers
from services import deployments, work_pools
from services import workers as people
from services.shell import Clock, Origin, Shell

LOOKED_AT_MAX = 10_000
"""Workers that one look takes in: those that are overdue first. If there are more that are overdue,
the next look follows at once."""
DEPLOYMENTS_LOOKED_AT_MAX = 500
"""So it is with deployments. They are all given the same time, so that behind the first one that is
not overdue none is: fewer do, and reading 10,000 rows took longer than finding them."""
PAGE_QUEUES = 500
"""Queues that are read at a time; a look takes in all of them."""
REMEMBERED = timedelta(days=1)
"""How long the pulse of a run or deployment is kept that is not heard of any more."""
FORGET_EVERY = timedelta(hours=1)
PAUSE_SECONDS_MIN = 0.1
"""Between two looks, however soon the next one is overdue."""


class Patience(Struct, frozen=True):
    """How long the foreman waits before it says that somebody is gone."""

    look: timedelta
    """How often it looks at the least."""
    missed_heartbeats: int
    """So many of a worker's own intervals."""
    fallback_interval: timedelta
    """The interval of a worker that names none."""
    queue: timedelta
    """Since the last poll."""
    deployment: timedelta
    """Since whoever serves it, or a worker of its queue, last asked for its runs."""


class Foreman:
    """Says who is offline and what is not ready. See `services.service.Service`."""

    name = "foreman"

    def __init__(self, shell: Shell, clock: Clock, patience: Patience) -> None:
        self._shell = shell
        self._clock = clock
        self._patience = patience
        self._next: datetime | None = None
        """When the next one is overdue."""
        self._forgot: datetime | None = None
        """When old pulses were last taken away."""

    def lag_seconds(self) -> float:
        """For how long somebody has been overdue."""
        due = self._next
        return 0.0 if due is None else max(0.0, (self._clock() - due).total_seconds())

    async def run(self, origin: Origin) -> None:
        """See `services.service.Service`."""
        while True:
            self._next = None
            await self._look_at_workers(origin)
            await self._look_at_deployments(origin)
            await self._look_at_queues(origin)
            await self._forget()
            await asyncio.sleep(self._pause())

    async def _forget(self) -> None:
        now = self._clock()
        if self._forgot is not None and now - self._forgot < FORGET_EVERY:
            return
        self._forgot = now
        before = to_microseconds(now - REMEMBERED)
        await self._shell.store.database.transact(lambda tx: pulses.forget(tx, before))

    def _pause(self) -> float:
        most = self._patience.look.total_seconds()
        if self._next is not None:
            most = min(most, (self._next - self._clock()).total_seconds())
        return max(PAUSE_SECONDS_MIN, most)

    def _look_again(self, all_looked_at: bool, overdue: int) -> None:
        """At once, if there may be more of one kind than one look takes in, and some are gone."""
        if not all_looked_at and overdue:
            self._next = self._clock()

    def _overdue(self, heard: datetime, patience: timedelta) -> bool:
        due = heard + patience
        if due < self._clock():
            return True
        if self._next is None or due < self._next:
            self._next = due
        return False

    async def _look_at_workers(self, origin: Origin) -> None:
        database = self._shell.store.database
        rows = await workers.online(
            database,
            self._patience.missed_heartbeats,
            self._patience.fallback_interval.total_seconds(),
            LOOKED_AT_MAX,
        )
        overdue = 0
        for id_, heard, seconds in rows:
            interval = self._patience.fallback_interval
            if seconds is not None:
                interval = timedelta(seconds=seconds)
            silence = interval * self._patience.missed_heartbeats
            if self._overdue(from_microseconds(heard), silence):
                overdue += 1
                worker = await workers.by_id(database, id_)
                if worker is not None:
                    await people.miss(self._shell, worker, origin)
        self._look_again(len(rows) < LOOKED_AT_MAX, overdue)

    async def _look_at_deployments(self, origin: Origin) -> None:
        most, overdue = DEPLOYMENTS_LOOKED_AT_MAX, 0
        rows = await deployment_rows.ready(self._shell.store.database, most)
        for id_, heard in rows:
            polled = from_microseconds(heard)
            if not self._overdue(polled, self._patience.deployment):
                return
            overdue += 1
            await deployments.mark_not_ready(self._shell, id_, polled, origin)
        self._look_again(len(rows) < most, overdue)

    async def _look_at_queues(self, origin: Origin) -> None:
        database = self._shell.store.database
        after = ""
        while queues := await work_queues.polled(database, after, PAGE_QUEUES):
            for queue in queues:
                polled = queue.last_polled
                if queue.status != "READY" or polled is None:
                    continue
                if self._overdue(polled, self._patience.queue):
                    await work_pools.set_queue_readiness(self._shell, queue, False, origin)
            after = queues[-1].id
