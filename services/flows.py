"""What can be done with flows: gather the facts, let the decider decide, append."""

from contextlib import suppress
from datetime import datetime

from eventstore.database import Transaction
from eventstore.events import NewEvents
from eventstore.ids import new_id
from eventstore.log import Decision
from orchestration.flows import (
    CreateFlow,
    DeleteFlow,
    Flow,
    FlowCreate,
    FlowUpdate,
    UpdateFlow,
    decide,
)
from orchestration.refusals import NotFound
from projections import deployments, flow_runs, flows
from projections.flows import FLOWS
from services import deployments as deployment_commands
from services import flow_runs as flow_run_commands
from services.shell import Decided, Done, Origin, Shell, fresh_ids

CATEGORY = "flow"


async def create(
    shell: Shell, body: FlowCreate, now: datetime, origin: Origin
) -> tuple[bytes, bool, int | None]:
    """Register a flow under its name: its document, whether it is new, the log's position after.

    A flow that has the name already is answered as it is.
    """
    database = shell.store.database
    held = await flows.by_name(database, body.name)
    if held is not None:
        return held[1].encode(), False, None
    id_ = new_id()
    events = decide(CreateFlow(id=id_, body=body), None)
    own = NewEvents(f"{CATEGORY}:{id_}", 0, events, fresh_ids(events))

    async def decide_under_lock(tx: Transaction) -> Decision:
        taken = await tx.fetch(flows.BY_NAME, body.name)
        return Decision() if taken else Decision(appends=(own,))

    written = await shell.execute_serially(f"flow-name:{body.name}", decide_under_lock, origin)
    held = await flows.by_name(database, body.name)
    if held is None:
        return await create(shell, body, now, origin)  # Deleted again between the two.
    return held[1].encode(), bool(written.recorded), written.position


async def update(shell: Shell, id_: str, body: FlowUpdate, origin: Origin) -> Done[None]:
    """Change a flow's tags. Raises NotFound."""

    async def decide_update(flow: Flow | None) -> Decided[None]:
        return Decided(decide(UpdateFlow(id=id_, body=body), flow), None)

    return await shell.execute(FLOWS, CATEGORY, id_, decide_update, origin)


async def delete(shell: Shell, id_: str, origin: Origin) -> Done[None]:
    """Forget a flow with its runs and its deployments, these first. Raises NotFound."""

    async def decide_delete(flow: Flow | None) -> Decided[None]:
        return Decided(decide(DeleteFlow(id=id_), flow), None)

    await _delete_deployments(shell, id_, origin)
    await _delete_runs(shell, id_, origin)
    done = await shell.execute(FLOWS, CATEGORY, id_, decide_delete, origin)
    # What began while the others were deleted. No more can begin: there is no flow.
    await _delete_deployments(shell, id_, origin)
    await _delete_runs(shell, id_, origin)
    return done


async def _delete_deployments(shell: Shell, id_: str, origin: Origin) -> None:
    while ids := await deployments.some_of_flow(shell.store.database, id_):
        for deployment_id in ids:
            with suppress(NotFound):  # Somebody else may delete some of them just now.
                await deployment_commands.delete(shell, deployment_id, origin)


async def _delete_runs(shell: Shell, id_: str, origin: Origin) -> None:
    while ids := await flow_runs.some_of_flow(shell.store.database, id_):
        await flow_run_commands.delete_all(shell, ids, origin)
