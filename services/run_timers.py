"""Services that do something to a flow run at a time that its state tells.

Nothing is scanned for. A timer is set for each run as the log tells of its state; at first, and
after each term that another process had, the nearest ones are read from the read model. When one
goes off the run is decided upon like by anybody else, by the rules and against what it is then; so
a run that went on meanwhile, or that somebody else saw to, is left alone.
"""

from abc import abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any

from eventstore.codec import to_microseconds
from eventstore.events import Recorded
from orchestration.flow_runs import FlowRunDeleted, FlowRunStateSet
from orchestration.refusals import NotFound
from projections.entities import entity_id
from services.shell import Clock, Origin, Shell
from services.timed import Paged, Timed

TIMERS_MAX = 10_000
"""Runs whose timers are kept in memory, the nearest ones; the others wait in the read model."""
BATCH_RUNS_MAX = 200
"""Runs that are seen to at the same time; together they fit into one transaction."""


class RunTimers(Timed):
    """What such services have in common. See `services.service.Service`."""

    def __init__(self, shell: Shell, clock: Clock) -> None:
        super().__init__(shell, clock, timers_max=TIMERS_MAX, batch_max=BATCH_RUNS_MAX)

    @abstractmethod
    def due(self, event: FlowRunStateSet) -> datetime | None:
        """When a run that has just taken on this state is to be seen to; None: never."""

    @abstractmethod
    async def see_to(self, id_: str, now: datetime, origin: Origin) -> None:
        """Do what is to be done to this run, if it still is. Raises what commands raise."""

    def note(self, recorded: Recorded[Any]) -> None:
        """See `Timed`."""
        event = recorded.event
        kind = type(event)  # Every service is told of every event: this is the cheapest question.
        if kind is FlowRunStateSet:
            due = self.due(event)
            if due is None:
                self._timers.clear(entity_id(recorded))
            else:
                self._timers.set(entity_id(recorded), to_microseconds(due))
        elif kind is FlowRunDeleted:
            self._timers.clear(entity_id(recorded))

    async def see_to_one(self, id_: str, now: datetime, origin: Origin) -> None:
        """See `Timed`."""
        with suppress(NotFound):  # It was deleted.
            await self.see_to(id_, now, origin)


class NearestRuns(RunTimers):
    """One whose read model tells when: a run that was seen to does not wait any more."""

    @abstractmethod
    async def nearest(self, most: int) -> Iterable[tuple[str, int]]:
        """Ids and times, in microseconds, of up to `most` runs that wait, nearest first.

        Asked again once all of them were seen to.
        """

    async def load(self) -> None:
        """See `Timed`."""
        self._timers.fill(await self.nearest(self._timers.most))


class PagedRuns(RunTimers, Paged):
    """One that looks at runs that may wait on: see `Paged`."""
