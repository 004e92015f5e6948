"""Cancellation: what belongs to a cancelled flow run is cancelled with it, and no run is being
cancelled for ever.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec.structs import replace

from eventstore.codec import to_microseconds
from eventstore.ids import new_id
from orchestration.flow_rules import CORE, MINIMAL
from orchestration.flow_runs import FlowRun, FlowRunStateSet, existing
from orchestration.states import (
    CANCELLED,
    CANCELLING,
    TERMINAL,
    State,
    StateType,
    new_state,
)
from orchestration.transition import Policy
from projections import waiting_runs
from projections.flow_runs import FLOW_RUNS
from services import flow_runs, task_runs
from services.run_timers import NearestRuns
from services.shell import Clock, Decided, Origin, Shell, untold
from services.worker_cleanups import tear_down

LOOK_BACK = timedelta(days=1)
"""How old a cancellation may be that nobody has seen to, because no service ran."""
LOOK_AGAIN_AFTER_MIN = timedelta(seconds=1)
"""How soon a cancelled run is looked at again at the earliest."""
_WHY = "The flow run around it was cancelled."


class CancelledRuns(NearestRuns):
    """Cancels the task runs and subflow runs of cancelled flow runs.

    Not at once: what a client reports of its task runs' ends may still be on its way. And not only
    once: a process that nobody could end goes on making them. A run is looked at again whenever the
    time since it was cancelled has doubled, for a day.
    """

    name = "cancelled-runs"

    def __init__(self, shell: Shell, clock: Clock, after: timedelta) -> None:
        super().__init__(shell, clock)
        self._after = after
        self._loaded: tuple[int, str] | None = None
        """The last cancelled run of this term that was loaded, if there may be more."""

    async def run(self, origin: Origin) -> None:
        """See `services.service.Service`."""
        self._loaded = None  # What was loaded in an earlier term may not have been seen to.
        await super().run(origin)

    async def nearest(self, most: int) -> Iterable[tuple[str, int]]:
        """The runs that were cancelled, in the order in which they were."""
        since, id_ = self._loaded or (to_microseconds(self._clock() - LOOK_BACK), "")
        rows = await waiting_runs.cancelled_after(self._shell.store.database, since, id_, most)
        self._loaded = (rows[-1][1], rows[-1][0]) if len(rows) == most else None
        after = self._after // timedelta(microseconds=1)
        return [(row[0], row[1] + after) for row in rows]

    def due(self, event: FlowRunStateSet) -> datetime | None:
        """Some time after it was cancelled."""
        state = event.state
        return state.timestamp + self._after if state.type == CANCELLED else None

    async def see_to(self, id_: str, now: datetime, origin: Origin) -> None:
        """Cancel what belongs to it, if it is cancelled."""
        database = self._shell.store.database
        _, run = await self._shell.load(FLOW_RUNS, f"{flow_runs.CATEGORY}:{id_}", id_)
        if run is None or run.state_type != CANCELLED:
            return
        after = ""
        # Subflows first: each takes the task run that it belongs to with it.
        while subflows := await waiting_runs.open_subflow_runs(database, id_, after):
            for one in subflows:
                await self._cancel_subflow(one, now, origin)
            after = subflows[-1]
        after = ""
        while tasks := await waiting_runs.open_task_runs(database, id_, after):
            for one in tasks:
                await task_runs.end(self._shell, one, CANCELLED, _WHY, now, origin)
            after = tasks[-1]
        assert run.state is not None
        since = now - run.state.timestamp
        if since < LOOK_BACK:
            again = now + max(since, self._after, LOOK_AGAIN_AFTER_MIN)
            self._timers.set(id_, to_microseconds(again))

    async def _cancel_subflow(self, id_: str, now: datetime, origin: Origin) -> None:
        async def decide(run: FlowRun | None, fresh: bool) -> Decided[None]:
            if run is None or run.state_type in TERMINAL:
                return Decided((), None)
            # Where a deployment started it, somebody has to end what runs for it.
            kind: StateType = CANCELLED if run.deployment_id is None else CANCELLING
            if run.state_type == kind:
                return Decided((), None)
            wanted = new_state(kind, new_id(), now, message=_WHY)
            # By force: the rules keep a paused run from being cancelled by and by.
            return await _judged(self._shell, run, wanted, MINIMAL, now, fresh)

        await self._shell.execute_with_facts(FLOW_RUNS, flow_runs.CATEGORY, id_, decide, origin)


class CancellingRuns(NearestRuns):
    """Makes flow runs Cancelled that are being cancelled for too long: nobody says it any more."""

    name = "cancelling-runs"

    def __init__(self, shell: Shell, clock: Clock, after: timedelta) -> None:
        super().__init__(shell, clock)
        self._after = after

    async def nearest(self, most: int) -> Iterable[tuple[str, int]]:
        """The runs that are being cancelled."""
        rows = await waiting_runs.cancelling_first(self._shell.store.database, most)
        after = self._after // timedelta(microseconds=1)
        return [(row[0], row[1] + after) for row in rows]

    def due(self, event: FlowRunStateSet) -> datetime | None:
        """Some time after that began."""
        state = event.state
        return state.timestamp + self._after if state.type == CANCELLING else None

    async def see_to(self, id_: str, now: datetime, origin: Origin) -> None:
        """Cancel it, if it still is being cancelled."""

        async def decide(run: FlowRun | None, fresh: bool) -> Decided[None]:
            run = existing(run, id_)
            state = run.state
            if state is None or state.type != CANCELLING or state.timestamp + self._after > now:
                return Decided((), None)
            message = "The run was being cancelled for too long; nobody reported its end."
            wanted = new_state(CANCELLED, new_id(), now, message=message)
            decided = await _judged(self._shell, run, wanted, CORE, now, fresh)
            if not decided.events:
                return decided
            # Nobody reported its end, so something may still run for it.
            rest = await tear_down(self._shell.store.database, run, wanted.id)
            return replace(decided, more=(*decided.more, *rest))

        await self._shell.execute_with_facts(FLOW_RUNS, flow_runs.CATEGORY, id_, decide, origin)


async def _judged(
    shell: Shell, run: FlowRun, wanted: State, rules: Policy, now: datetime, fresh: bool
) -> Decided[None]:
    decided = await flow_runs.judged(shell, run, wanted, rules, now, fresh, None)
    return untold(decided)
