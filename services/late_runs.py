"""Late runs: a flow run that is scheduled and has not started some time after its time is Late."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from orchestration.flow_runs import FlowRunStateSet
from orchestration.states import may_be_late
from projections import flow_runs as flow_run_rows
from services import flow_runs
from services.run_timers import NearestRuns
from services.shell import Clock, Origin, Shell


class LateRuns(NearestRuns):
    """Marks flow runs late."""

    name = "late-runs"

    def __init__(self, shell: Shell, clock: Clock, after: timedelta) -> None:
        super().__init__(shell, clock)
        self._after = after

    async def nearest(self, most: int) -> Iterable[tuple[str, int]]:
        """The runs that wait for their time."""
        rows = await flow_run_rows.scheduled_first(self._shell.store.database, most)
        after = self._after // timedelta(microseconds=1)
        return [(row[0], row[1] + after) for row in rows]

    def due(self, event: FlowRunStateSet) -> datetime | None:
        """Some time after its time."""
        state = event.state
        due = state.state_details.scheduled_time if may_be_late(state) else None
        return None if due is None else due + self._after

    async def see_to(self, id_: str, now: datetime, origin: Origin) -> None:
        """Mark it, if it has not started."""
        await flow_runs.mark_late(self._shell, id_, now - self._after, now, origin)
