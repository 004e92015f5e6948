"""Zombies: flow runs that fell silent while they were Running are given up, if their tags say so.

A run is watched from the moment at which the log tells that it is Running, or that its process will
try it again, until the log tells anything else of it; so one that ended is not given up, however
late its heartbeats or ours are.
Silence counts only while somebody listens: a term begins with as much patience for everybody.
A run that was never heard of is left alone: its client sends no heartbeats.
What belongs to a run that was given up follows from the log as well: whoever has the next term goes
on where the last one was killed.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from eventstore.codec import to_microseconds
from eventstore.events import Recorded
from eventstore.ids import new_id
from orchestration.flow_rules import GIVEN_UP
from orchestration.flow_runs import FlowRun, FlowRunStateSet
from orchestration.states import CRASHED, SCHEDULED, TERMINAL, new_state
from orchestration.zombies import given_up, policy_of, silent_since, watched
from projections import pulses, waiting_runs
from projections.entities import entity_id
from projections.flow_runs import FLOW_RUNS
from services import flow_runs, task_runs
from services.pulses import WRITE_SECONDS
from services.run_timers import PagedRuns
from services.shell import Clock, Decided, Origin, Shell, untold

ON_THE_WAY = timedelta(seconds=2 * WRITE_SECONDS)
"""How long a heartbeat may be known to the process alone that it came to."""
LOOK_BACK = timedelta(days=1)
"""How long ago a run may have been given up whose task runs were left open by a killed service."""
_RUNNING, _RETRIED, _GIVEN_UP = "1:", "2:", "3:"
"""What pages are of; before the id after which they begin."""
_WHY = "The flow run around it fell silent."


class Zombies(PagedRuns):
    """Crashes, or starts again, flow runs that fell silent. See `services.service.Service`."""

    name = "zombies"

    def __init__(
        self,
        shell: Shell,
        clock: Clock,
        after: timedelta,
        retries: int,
        *,
        untagged: bool = False,
    ) -> None:
        """`after`: how long a run may be silent; `retries`: how often it is started again;
        `untagged`: whether runs whose tags say nothing are crashed as well."""
        super().__init__(shell, clock)
        self._patience = after + ON_THE_WAY
        self._retries = retries
        self._untagged = untagged
        self._listening = clock()
        """Since when this process has the term: from then on silence counts."""

    async def run(self, origin: Origin) -> None:
        """See `services.service.Service`."""
        self._listening = self._clock()
        await super().run(origin)

    async def page(self, after: str) -> tuple[Iterable[tuple[str, int]], str | None]:
        """The runs that are watched, and those that were given up and have open task runs."""
        reader, at = self._shell.store.database, to_microseconds(self._listening + self._patience)
        kind, after = after[:2] or _RUNNING, after[2:]
        if kind == _GIVEN_UP:
            since = to_microseconds(self._clock() - LOOK_BACK)
            ids = await waiting_runs.crashed_with_open_task_runs(reader, since, after)
            now = to_microseconds(self._clock())
            return [(id_, now) for id_ in ids], (_GIVEN_UP + ids[-1]) if ids else None
        if kind == _RUNNING:
            rows, following = await waiting_runs.running(reader, after), _RETRIED
        else:
            # Those whose time is still to come are looked at early, and then when it has come.
            rows, following = await waiting_runs.to_be_retried(reader, after), _GIVEN_UP
        found = [(id_, at) for id_, tags in rows if policy_of(tags, untagged=self._untagged)]
        return found, (kind + rows[-1][0]) if rows else following

    def note(self, recorded: Recorded[Any]) -> None:
        """See `Timed`. What this service gave up is seen to once more: by what belongs to it."""
        super().note(recorded)
        if recorded.actor == self.name and type(recorded.event) is FlowRunStateSet:
            self._timers.set(entity_id(recorded), to_microseconds(self._clock()))

    def due(self, event: FlowRunStateSet) -> datetime | None:
        """When it is silent for too long, if nothing is heard of it."""
        state = event.state
        if not watched(state.type, state.name, event.tags, untagged=self._untagged):
            return None
        due = state.state_details.scheduled_time or state.timestamp
        return max(due, state.timestamp, self._clock()) + self._patience

    async def see_to(self, id_: str, now: datetime, origin: Origin) -> None:
        """Give it up, if it is still silent."""
        reader = self._shell.store.database
        last = await pulses.heard(reader, pulses.FLOW_RUN + id_)
        _, run = await self._shell.load(FLOW_RUNS, f"{flow_runs.CATEGORY}:{id_}", id_)
        since = None if run is None else self._silent_since(run, last or now)
        if since is None:
            if run is not None and await self._gave_up(run):
                await self._crash_what_belongs_to(id_, now, origin)
        elif since + self._patience > now:
            self._timers.set(id_, to_microseconds(since + self._patience))
        else:
            await self._give_up(id_, last or since, now, origin)

    def _silent_since(self, run: FlowRun, heard: datetime) -> datetime | None:
        return silent_since(run, heard, untagged=self._untagged)

    async def _gave_up(self, run: FlowRun) -> bool:
        """Whether it was this service that brought the run into the state that it is in."""
        if run.state_type not in (CRASHED, SCHEDULED):
            return False
        actor = await waiting_runs.actor_of_state(self._shell.store.database, run.id)
        return actor == self.name

    async def _give_up(self, id_: str, heard: datetime, now: datetime, origin: Origin) -> None:
        async def decide(run: FlowRun | None, fresh: bool) -> Decided[None]:
            since = None if run is None else self._silent_since(run, heard)
            if run is None or since is None or since + self._patience > now:
                return Decided((), None)  # It ended, or began anew, meanwhile.
            wanted = given_up(run, heard, new_id(), now, self._retries)
            decided = await flow_runs.judged(self._shell, run, wanted, GIVEN_UP, now, fresh, None)
            return untold(decided)

        await self._shell.execute_with_facts(FLOW_RUNS, flow_runs.CATEGORY, id_, decide, origin)

    async def _crash_what_belongs_to(self, id_: str, now: datetime, origin: Origin) -> None:
        """Its task runs, and its subflow runs that ran in the same process; with theirs when the
        log tells of these."""
        reader, after = self._shell.store.database, ""
        while subflows := await waiting_runs.open_subflow_runs(reader, id_, after):
            for one in subflows:
                await self._crash_subflow(one, now, origin)
            after = subflows[-1]
        after = ""
        while tasks := await waiting_runs.open_task_runs(reader, id_, after):
            for one in tasks:
                await task_runs.end(self._shell, one, CRASHED, _WHY, now, origin)
            after = tasks[-1]

    async def _crash_subflow(self, id_: str, now: datetime, origin: Origin) -> None:
        async def decide(run: FlowRun | None, fresh: bool) -> Decided[None]:
            # Where a deployment started it, it has a process, and a policy, of its own.
            if run is None or run.state_type in TERMINAL or run.deployment_id is not None:
                return Decided((), None)
            wanted = new_state(CRASHED, new_id(), now, message=_WHY)
            decided = await flow_runs.judged(self._shell, run, wanted, GIVEN_UP, now, fresh, None)
            return untold(decided)

        await self._shell.execute_with_facts(FLOW_RUNS, flow_runs.CATEGORY, id_, decide, origin)
