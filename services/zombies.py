"""Zombies: flow runs that fell silent while they were Running are given up, if their tags say so.

A run is watched from the moment at which the log tells that it is Running, or that its process will
try it again, until the log tells anything else of it; so one that ended is not given up, however
late its heartbeats or ours are.
Silence counts only while somebody listens: a term begins with as much patience for everybody.
A run that was never heard of is left alone: its client sends no heartbeats.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from eventstore.codec import to_microseconds
from eventstore.ids import new_id
from orchestration import task_rules, task_runs
from orchestration.flow_rules import GIVEN_UP
from orchestration.flow_runs import FlowRun, FlowRunStateSet
from orchestration.states import CRASHED, TERMINAL, new_state
from orchestration.task_runs import SetTaskRunState, TaskRun
from orchestration.transition import TaskFacts
from orchestration.zombies import given_up, policy_of, silent_since, watched
from projections import pulses, waiting_runs
from projections.flow_runs import FLOW_RUNS
from projections.task_runs import TASK_RUNS
from services import flow_runs
from services.pulses import WRITE_SECONDS
from services.run_timers import RunTimers
from services.shell import Clock, Decided, Origin, Shell, untold
from services.task_runs import CATEGORY

ON_THE_WAY = timedelta(seconds=2 * WRITE_SECONDS)
"""How long a heartbeat may be known to the process alone that it came to."""
_WHY = "The flow run around it fell silent."


class Zombies(RunTimers):
    """Crashes, or starts again, flow runs that fell silent. See `services.service.Service`."""

    name = "zombies"

    def __init__(self, shell: Shell, clock: Clock, after: timedelta, retries: int) -> None:
        """`after`: how long a run may be silent; `retries`: how often it is started again."""
        super().__init__(shell, clock)
        self._patience = after + ON_THE_WAY
        self._retries = retries

    async def nearest(self, most: int) -> Iterable[tuple[str, int]]:
        """The runs that are watched: from now on, whatever was before."""
        at = to_microseconds(self._clock() + self._patience)
        found: list[tuple[str, int]] = []
        page = await waiting_runs.running(self._shell.store.database, "")
        while page and len(found) < most:
            found += ((id_, at) for id_, tags in page if policy_of(tags) is not None)
            page = await waiting_runs.running(self._shell.store.database, page[-1][0])
        retried = await waiting_runs.to_be_retried(self._shell.store.database, most)
        # Those whose time is still to come are looked at early, and then when it has come.
        found += ((id_, at) for id_, tags in retried if policy_of(tags) is not None)
        return found[:most]

    def due(self, event: FlowRunStateSet) -> datetime | None:
        """When it is silent for too long, if nothing is heard of it."""
        state = event.state
        if not watched(state.type, state.name, event.tags):
            return None
        due = state.state_details.scheduled_time or state.timestamp
        return max(due, state.timestamp, self._clock()) + self._patience

    async def see_to(self, id_: str, now: datetime, origin: Origin) -> None:
        """Give it up, if it is still silent."""
        reader = self._shell.store.database
        last = await pulses.heard(reader, pulses.FLOW_RUN + id_)
        _, run = await self._shell.load(FLOW_RUNS, f"{flow_runs.CATEGORY}:{id_}", id_)
        since = None if run is None else silent_since(run, last or now)
        if since is None:
            return
        if since + self._patience > now:
            self._timers.set(id_, to_microseconds(since + self._patience))
        elif await self._give_up(id_, last or since, now, origin):
            await self._crash_what_belongs_to(id_, now, origin)

    async def _give_up(self, id_: str, heard: datetime, now: datetime, origin: Origin) -> bool:
        async def decide(run: FlowRun | None, fresh: bool) -> Decided[None]:
            since = None if run is None else silent_since(run, heard)
            if run is None or since is None or since + self._patience > now:
                return Decided((), None)  # It ended, or began anew, meanwhile.
            wanted = given_up(run, heard, new_id(), now, self._retries)
            decided = await flow_runs.judged(self._shell, run, wanted, GIVEN_UP, now, fresh, None)
            return untold(decided)

        done = await self._shell.execute_with_facts(
            FLOW_RUNS, flow_runs.CATEGORY, id_, decide, origin
        )
        return done.written is not None

    async def _crash_what_belongs_to(self, id_: str, now: datetime, origin: Origin) -> None:
        """Its task runs, and its subflow runs that ran in the same process, with theirs."""
        reader, after = self._shell.store.database, ""
        while subflows := await waiting_runs.open_subflow_runs(reader, id_, after):
            for one in subflows:
                if await self._crash_subflow(one, now, origin):
                    await self._crash_what_belongs_to(one, now, origin)
            after = subflows[-1]
        after = ""
        while tasks := await waiting_runs.open_task_runs(reader, id_, after):
            for one in tasks:
                await self._crash_task(one, now, origin)
            after = tasks[-1]

    async def _crash_subflow(self, id_: str, now: datetime, origin: Origin) -> bool:
        async def decide(run: FlowRun | None, fresh: bool) -> Decided[None]:
            # Where a deployment started it, it has a process, and a policy, of its own.
            if run is None or run.state_type in TERMINAL or run.deployment_id is not None:
                return Decided((), None)
            wanted = new_state(CRASHED, new_id(), now, message=_WHY)
            decided = await flow_runs.judged(self._shell, run, wanted, GIVEN_UP, now, fresh, None)
            return untold(decided)

        done = await self._shell.execute_with_facts(
            FLOW_RUNS, flow_runs.CATEGORY, id_, decide, origin
        )
        return done.written is not None

    async def _crash_task(self, id_: str, now: datetime, origin: Origin) -> None:
        async def decide(run: TaskRun | None) -> Decided[None]:
            if run is None or run.state_type in TERMINAL:
                return Decided((), None)
            command = SetTaskRunState(
                id=id_,
                proposed=new_state(CRASHED, new_id(), now, message=_WHY),
                rules=task_rules.MINIMAL,
                facts=TaskFacts(now=now),
            )
            return Decided(task_runs.decide(command, run), None)

        await self._shell.execute(TASK_RUNS, CATEGORY, id_, decide, origin)
