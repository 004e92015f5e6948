"""What becomes of deployments and runs whose work queue is deleted: they stay, in no queue.

It is done before the queue goes, so that a deletion that was cut short can be asked for again, and
once more after, for what came meanwhile. Runs that have ended keep saying where they ran.
"""

import asyncio
from collections.abc import Sequence

from orchestration import deployment_decisions
from orchestration import flow_run_decisions as run_decisions
from orchestration.deployments import Deployment
from orchestration.flow_runs import FlowRun
from orchestration.surroundings import Neighbour, Surroundings
from projections import deployments, waiting_runs
from projections.deployments import DEPLOYMENTS
from projections.flow_runs import FLOW_RUNS
from projections.flows import FLOWS
from services.shell import Decided, Origin, Shell


async def vacate(shell: Shell, queue_ids: Sequence[str], origin: Origin) -> None:
    """Take the deployments, and the runs that have not ended, out of these queues."""
    reader = shell.store.database
    for queue_id in queue_ids:
        # Deployments first: after that no schedule makes a run there.
        while some := await deployments.some_of_queue(reader, queue_id):
            await asyncio.gather(*(_deployment(shell, one, queue_id, origin) for one in some))
        while some := await waiting_runs.some_of_queue(reader, queue_id):
            await asyncio.gather(*(_run(shell, one, queue_id, origin) for one in some))


async def _deployment(shell: Shell, id_: str, queue_id: str, origin: Origin) -> None:
    async def decide(deployment: Deployment | None) -> Decided[None]:
        if deployment is None:
            return Decided((), None)
        flow_id = deployment.flow_id
        _, flow = await shell.neighbour(FLOWS, f"flow:{flow_id}", flow_id)
        around = Surroundings(flow=None if flow is None else Neighbour(flow.id, flow.name))
        command = deployment_decisions.LeaveQueue(id=id_, work_queue_id=queue_id, around=around)
        return Decided(deployment_decisions.decide(command, deployment), None)

    await shell.execute(DEPLOYMENTS, "deployment", id_, decide, origin)


async def _run(shell: Shell, id_: str, queue_id: str, origin: Origin) -> None:
    command = run_decisions.LeaveQueue(id=id_, work_queue_id=queue_id)

    async def decide(run: FlowRun | None) -> Decided[None]:
        return Decided(run_decisions.decide(command, run), None)

    await shell.execute(FLOW_RUNS, "flow-run", id_, decide, origin)
