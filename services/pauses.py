"""Pauses: a flow run that nobody resumes before its pause times out has failed."""

from collections.abc import Iterable
from datetime import datetime
from heapq import nsmallest

from eventstore.codec import to_microseconds
from eventstore.ids import new_id
from orchestration.flow_rules import MINIMAL
from orchestration.flow_runs import FlowRun, FlowRunStateSet, existing
from orchestration.states import FAILED, PAUSED, State, new_state
from projections import waiting_runs
from projections.flow_runs import FLOW_RUNS
from services import flow_runs
from services.run_timers import NearestRuns
from services.shell import Decided, Origin, untold


class PauseTimeouts(NearestRuns):
    """Fails flow runs whose pause has timed out."""

    name = "pause-timeouts"

    async def nearest(self, most: int) -> Iterable[tuple[str, int]]:
        """The paused runs."""
        found: list[tuple[int, str]] = []
        page = await waiting_runs.paused(self._shell.store.database, "")
        while page:
            found += ((to_microseconds(at), run.id) for run in page if (at := _ends(run.state)))
            found = nsmallest(most, found)
            page = await waiting_runs.paused(self._shell.store.database, page[-1].id)
        return [(id_, at) for at, id_ in found]

    def due(self, event: FlowRunStateSet) -> datetime | None:
        """When its pause times out."""
        return _ends(event.state)

    async def see_to(self, id_: str, now: datetime, origin: Origin) -> None:
        """Fail it, if it is still paused."""

        async def decide(run: FlowRun | None, fresh: bool) -> Decided[None]:
            run = existing(run, id_)
            ends = _ends(run.state)
            if ends is None or ends > now:
                return Decided((), None)
            message = "The run was paused and nobody resumed it in time."
            failed = new_state(FAILED, new_id(), now, message=message)
            decided = await flow_runs.judged(self._shell, run, failed, MINIMAL, now, fresh, None)
            return untold(decided)

        await self._shell.execute_with_facts(FLOW_RUNS, flow_runs.CATEGORY, id_, decide, origin)


def _ends(state: State | None) -> datetime | None:
    """When the pause of a run in this state times out; None if it is in none, or it never does."""
    return state.state_details.pause_timeout if state and state.type == PAUSED else None
