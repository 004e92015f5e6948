"""The loop of services that do something at times that the log tells.

Nothing is scanned for. A timer is set for each entity as the log tells of it; at first, and after
each term that another process had, the nearest ones are read from the read model.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from eventstore.codec import to_microseconds
from eventstore.errors import ContentionTimeout, EventStoreError, Overloaded, VersionConflict
from eventstore.events import Recorded
from eventstore.ring import Entry, Ring
from services.shell import Clock, Origin, Shell
from services.timers import Timers

logger = logging.getLogger(__name__)

SLEEP_SECONDS_MAX = 30.0
"""How long the clock is believed to go on as before: it may be set."""
AGAIN_SECONDS = 1.0
"""When an entity is seen to again that did not hold still, or that found the server too busy."""
FAILED_AGAIN_SECONDS = 60.0
"""When one is tried again that could not be seen to; the others do not wait for it."""
_TRY_AGAIN = (ContentionTimeout, Overloaded, VersionConflict)
_MICROSECONDS = 1_000_000


class Timed(ABC):
    """See `services.service.Service`."""

    name: str

    def __init__(self, shell: Shell, clock: Clock, *, timers_max: int, batch_max: int) -> None:
        """`timers_max` are kept in memory, the nearest ones; `batch_max` entities are seen to at
        the same time, and between two batches the log is listened to."""
        self._shell = shell
        self._clock = clock
        self._batch_max = batch_max
        self._timers = Timers(timers_max)
        """When each entity is to be seen to, in microseconds since 1970."""
        self._under_way: dict[asyncio.Task[None], str] = {}
        """Entities that are being seen to while the loop goes on: none, but see `SideBySide`."""
        self._position = 0
        """Every event of the log up to this one has been noted."""
        self._resting: asyncio.Future[None] | None = None
        """Ends the rest of the loop, while it rests."""
        self._planned: int | None = None
        """The nearest timer when it began to rest."""

    @abstractmethod
    async def load(self) -> None:
        """Fill the timers from the read model. Asked again once all of them went off."""

    @abstractmethod
    def note(self, recorded: Recorded[Any]) -> None:
        """Set or clear the timer of what an event is about."""

    @abstractmethod
    async def see_to_one(self, id_: str, now: datetime, origin: Origin) -> None:
        """Do what is to be done to this entity, if it still is. Where it raises, it is asked again
        later, and the others do not wait; unless the database is away or the term is over."""

    def lag_seconds(self) -> float:
        """For how long the entity that comes next should have been seen to."""
        due = self._timers.next
        return 0.0 if due is None else max(0.0, -self._seconds_until(due))

    async def run(self, origin: Origin) -> None:
        """See `services.service.Service`."""
        ring = self._shell.store.ring
        # First where the log is, then the rows: what happens between is seen twice, not never.
        self._position = ring.head
        with ring.telling(self._hear):
            await self.load()
            while True:
                await self._rest(ring)
                await self._catch_up(ring)
                await self._see_to_batch(origin)
                await self._read_on()

    async def _rest(self, ring: Ring) -> None:
        """Wait until there may be something to do. Raises why the log cannot be followed, if so."""
        ring.check()
        if self._position < ring.head:
            return
        self._resting = resting = asyncio.get_running_loop().create_future()
        self._planned = self._timers.next
        try:
            await asyncio.wait(
                {resting, *self._under_way},
                timeout=self._pause(),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._resting = None

    def _hear(self, entries: Sequence[Entry]) -> None:
        """Note what comes in while nothing is done, and wake up only if that brings work: most of
        what is written concerns no timer that is near, and there are ten of these services."""
        resting = self._resting
        if resting is None:
            return  # At work: see `_catch_up`.
        try:
            for entry in entries:
                self.note(entry.recorded)
        except Exception:
            wake = True  # It is noted again, by the task that has to end with this.
        else:
            if entries:
                self._position = entries[-1].recorded.position
            wake = not entries or self._timers.exhausted or self._comes_sooner()
        if wake:
            self._resting = None
            resting.set_result(None)

    def _comes_sooner(self) -> bool:
        due = self._timers.next
        return due is not None and (self._planned is None or due < self._planned)

    async def _catch_up(self, ring: Ring) -> None:
        """Note what came in while something was done."""
        while self._position < ring.head:
            page = await self._shell.store.newer(self._position)
            for entry in page:
                self.note(entry.recorded)
            self._position = page[-1].recorded.position

    async def _read_on(self) -> None:
        """Take in what did not fit, when there is room."""
        if self._timers.exhausted:
            await self.load()

    def _pause(self) -> float:
        due = self._timers.next
        if due is None:
            return SLEEP_SECONDS_MAX
        return min(max(0.0, self._seconds_until(due)), SLEEP_SECONDS_MAX)

    def _seconds_until(self, due: int) -> float:
        return (due - to_microseconds(self._clock())) / _MICROSECONDS

    async def _see_to_batch(self, origin: Origin) -> None:
        now = self._clock()
        ids = self._timers.take(to_microseconds(now), self._batch_max)
        if not ids:
            return
        done = await asyncio.gather(
            *(self.see_to_one(id_, now, origin) for id_ in ids), return_exceptions=True
        )
        fatal: BaseException | None = None
        for id_, failure in zip(ids, done, strict=True):
            if failure is not None and self._puts_all_off(id_, failure, now):
                fatal = failure
        if fatal is not None:
            raise fatal

    def _puts_all_off(self, id_: str, failure: BaseException, now: datetime) -> bool:
        """See to this entity again later; whether nobody else can be seen to either."""
        seconds = AGAIN_SECONDS
        fatal = False
        if not isinstance(failure, _TRY_AGAIN):
            seconds = FAILED_AGAIN_SECONDS
            # The database is away, or the term is over.
            fatal = isinstance(failure, EventStoreError) or not isinstance(failure, Exception)
            if not fatal:
                logger.error("service %s could not see to %s", self.name, id_, exc_info=failure)
        self._timers.set(id_, to_microseconds(now) + int(seconds * _MICROSECONDS))
        return fatal


class Paged(Timed):
    """One whose read model does not tell when: it is to look at entities again and again.

    They are read a page at a time, the next one when nothing of those before is due. So each is
    looked at, and whatever there are, few are in memory: the nearest of the timers that looking at
    them has set. When all of those have gone off and others were let go of, all are read again.
    """

    _follows: str | None = None
    """The id after which the next page begins; None: all have been read."""

    @abstractmethod
    async def page(self, after: str) -> tuple[Iterable[tuple[str, int]], str | None]:
        """The entities with the next ids, each with the time at which it is to be seen to, in
        microseconds, and where the page after it begins; None if there is none."""

    async def load(self) -> None:
        """See `Timed`."""
        self._timers.fill(())
        self._follows = ""
        await self._read_on()

    async def _read_on(self) -> None:
        if self._follows is not None:
            if self._is_due():
                return
            timers, self._follows = await self.page(self._follows)
            for id_, at in timers:
                self._timers.set(id_, at)
        elif self._timers.exhausted:
            await self.load()

    def _is_due(self) -> bool:
        due = self._timers.next
        return due is not None and self._seconds_until(due) <= 0

    def _pause(self) -> float:
        return 0.0 if self._follows is not None else super()._pause()


class SideBySide(Timed):
    """One whose entities may take long: none waits for another, and the log is listened to.

    Each is seen to in a task of its own, `batch_max` of them at a time. An entity is never seen to
    twice at the same time: what comes due meanwhile is looked at when the first look is over.
    """

    def __init__(self, shell: Shell, clock: Clock, *, timers_max: int, batch_max: int) -> None:
        super().__init__(shell, clock, timers_max=timers_max, batch_max=batch_max)
        self._due_again: set[str] = set()
        """Entities under way whose timers have gone off again."""

    async def run(self, origin: Origin) -> None:
        """See `services.service.Service`. What is under way ends with the term."""
        self._due_again.clear()
        try:
            await super().run(origin)
        finally:
            tasks, self._under_way = list(self._under_way), {}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _see_to_batch(self, origin: Origin) -> None:
        now = self._clock()
        self._take_leave(now)
        busy = set(self._under_way.values())
        room = self._batch_max - len(busy)
        for id_ in self._timers.take(to_microseconds(now), room):
            if id_ in busy:
                self._due_again.add(id_)
            else:
                task = asyncio.create_task(self.see_to_one(id_, now, origin))
                self._under_way[task] = id_

    def _take_leave(self, now: datetime) -> None:
        """Of what is done. Raises what keeps everybody from being seen to."""
        for task in [task for task in self._under_way if task.done()]:
            id_ = self._under_way.pop(task)
            if id_ in self._due_again:
                self._due_again.discard(id_)
                self._timers.set(id_, to_microseconds(now))
            failure = task.exception()
            if failure is not None and self._puts_all_off(id_, failure, now):
                raise failure

    def _pause(self) -> float:
        full = len(self._under_way) >= self._batch_max
        return SLEEP_SECONDS_MAX if full else super()._pause()
