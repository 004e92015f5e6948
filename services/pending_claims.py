"""Pending claims: a flow run whose worker vanished before it started the run goes to the next one.

A worker makes a run Pending, and so it is the worker's; it gives the run labels with its own name,
makes it Submitting, starts what the run needs and says what that is. If the worker is gone before
it came to Submitting, nothing has been started: the run is scheduled again. If it was Submitting,
something may have been, so nobody starts it a second time: the run has crashed. If what was started
is known, it does without the worker, and the run is left alone.

`serve()` makes the runs of its deployments Pending as well, without saying who it is. That it is
gone tells that nobody asks for the deployment's runs any more. While somebody does, it may be
another process, and a claim ends only when nobody can be at it any more.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from eventstore.codec import to_microseconds
from eventstore.ids import new_id
from orchestration.claims import fate, worker_of
from orchestration.flow_rules import MINIMAL
from orchestration.flow_runs import FlowRun, FlowRunStateSet, existing
from orchestration.states import CRASHED, PENDING, SCHEDULED, State, new_state
from orchestration.work_pools import WorkPool
from projections import deployments, pulses, waiting_runs, work_pools, work_queues
from projections.flow_runs import FLOW_RUNS
from projections.workers import all_of_pool
from services import flow_runs
from services.run_timers import PagedRuns
from services.shell import Clock, Decided, Origin, Shell, untold
from services.worker_cleanups import WITHOUT_WORKERS

UNSIGNED = timedelta(minutes=10)
"""Within this time a worker says who it is, or what it has started. A claim that nobody has put a
name to until then is nobody's, even if there are workers."""
UNSAID = timedelta(hours=1)
"""Within this time whoever serves a deployment has started a run that it took: to fetch the code
may take long. After that the claim is nobody's, even if somebody serves the deployment."""
BEFOREHAND = timedelta(minutes=1)
"""Who takes a run because it serves the deployment has asked for its runs so shortly before."""


class PendingClaims(PagedRuns):
    """Takes runs back from workers that vanished. See `services.service.Service`."""

    name = "pending-claims"

    def __init__(self, shell: Shell, clock: Clock, after: timedelta) -> None:
        super().__init__(shell, clock)
        self._after = after

    async def page(self, after: str) -> tuple[Iterable[tuple[str, int]], str | None]:
        """The pending runs."""
        rows = await waiting_runs.pending(self._shell.store.database, after)
        patience = self._after // timedelta(microseconds=1)
        return [(row[0], row[1] + patience) for row in rows], rows[-1][0] if rows else None

    def due(self, event: FlowRunStateSet) -> datetime | None:
        """Some time after it was claimed."""
        state = event.state
        return state.timestamp + self._after if state.type == PENDING else None

    async def see_to(self, id_: str, now: datetime, origin: Origin) -> None:
        """Take it back, if its worker is gone; else look again later."""
        _, run = await self._shell.load(FLOW_RUNS, f"{flow_runs.CATEGORY}:{id_}", id_, fresh=True)
        if run is None or fate(run) is None:
            return
        if run.work_queue_id is not None:
            queue = await work_queues.by_id(self._shell.store.database, run.work_queue_id)
            pool = None if queue is None else await self._pool(queue.work_pool_id)
            if pool is None:
                return
            who, gone_since = "Its worker", await self._gone_since(run, pool)
        elif run.deployment_id is not None:
            who = "Whatever served its deployment"
            gone_since = await self._unserved_since(run, run.deployment_id)
        else:
            return  # It was made by what is to run it, and nobody else can.
        # Not at once: after a server that was away come workers that it took for gone.
        if gone_since is None or gone_since + self._after > now:
            self._timers.set(id_, to_microseconds(now + self._after))
            return
        claim = run.state_id

        async def decide(run: FlowRun | None, fresh: bool) -> Decided[None]:
            run = existing(run, id_)
            outcome = _outcome(run, who, now)
            if outcome is None or run.state_id != claim:
                return Decided((), None)
            return untold(
                await flow_runs.judged(self._shell, run, outcome, MINIMAL, now, fresh, None)
            )

        await self._shell.execute_with_facts(FLOW_RUNS, flow_runs.CATEGORY, id_, decide, origin)

    async def _pool(self, id_: str) -> WorkPool | None:
        """The pool of this id, if its runs are started by workers."""
        pool = await work_pools.by_id(self._shell.store.database, id_)
        if pool is None or pool.status is None or pool.type.endswith(WITHOUT_WORKERS):
            return None
        return pool

    async def _gone_since(self, run: FlowRun, pool: WorkPool) -> datetime | None:
        """Since when the run's worker is gone, or from when on; None if it is there, or may be."""
        name = worker_of(run)
        workers = await all_of_pool(self._shell.store.database, pool.id)
        if name is not None:
            workers = [worker for worker in workers if worker.name == name]
        # Without a name: it had not come to say who it is, so it may be any of the pool's.
        assert run.state is not None
        if any(worker.status == "ONLINE" for worker in workers):
            unsigned = name is None and fate(run) == SCHEDULED
            return run.state.timestamp + UNSIGNED if unsigned else None
        return max((one.updated for one in workers if one.updated), default=run.state.timestamp)

    async def _unserved_since(self, run: FlowRun, deployment_id: str) -> datetime:
        """Since when nobody serves the run's deployment, or from when on nobody can be at it."""
        database = self._shell.store.database
        deployment = await deployments.entity(database, deployment_id)
        asked = await pulses.heard(database, deployments.SUBJECT + deployment_id)
        assert run.state is not None
        claimed = run.state.timestamp
        served = deployment is not None and deployment.status == "READY"
        if served or asked is None or asked < claimed - BEFOREHAND:
            # Somebody serves it; or it was taken by somebody who does not, and may have.
            return claimed + UNSAID
        return max(asked, claimed)


def _outcome(run: FlowRun, who: str, now: datetime) -> State | None:
    """The state of a run when `who` had it is gone; None: the one that it is in."""
    becomes = fate(run)
    if becomes is None:
        return None
    message = f"{who} vanished before it started the run; the next one may."
    if becomes == CRASHED:
        message = (
            f"{who} vanished while the run was {run.state_name}: whether it was started is "
            "not known."
        )
    return new_state(becomes, new_id(), now, message=message)
