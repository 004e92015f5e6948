"""What can be done with flow runs: gather the facts, let the decider decide, append."""

import secrets
from datetime import datetime

from eventstore.database import Transaction
from eventstore.errors import AlreadyRecorded
from eventstore.events import Event, NewEvents
from eventstore.ids import new_id
from eventstore.log import Decision
from orchestration import task_rules, task_runs
from orchestration.flow_rules import policy_for
from orchestration.flow_runs import (
    CreateFlowRun,
    DeleteFlowRun,
    FlowRun,
    FlowRunCreate,
    FlowRunStateSet,
    FlowRunUpdate,
    OrphanFlowRun,
    SetFlowRunState,
    UpdateFlowRun,
    UpdateFlowRunLabels,
    answer_from,
    decide,
    existing,
    parent_state,
    settle,
)
from orchestration.flows import Flow
from orchestration.identifiers import Labels
from orchestration.names import slug
from orchestration.refusals import MissingReference
from orchestration.states import (
    PENDING,
    ProposedState,
    State,
    new_state,
    proposed,
)
from orchestration.surroundings import Neighbour, Surroundings
from orchestration.transition import FlowFacts, OrchestrationResult, TaskFacts
from projections import flow_runs, log_lines
from projections.flow_runs import FLOW_RUNS
from projections.flows import FLOWS
from projections.task_runs import TASK_RUNS
from services.shell import Decided, Done, Origin, Shell, fresh_ids, natural_id

CATEGORY = "flow-run"


def run_name() -> str:
    """A name for a run that was given none."""
    return slug(secrets.randbits(32))


async def create(
    shell: Shell, body: FlowRunCreate, now: datetime, origin: Origin
) -> tuple[bytes, bool, int | None]:
    """Create a flow run: its shown form, whether it is new, and the log's position after it.

    A run that exists under the same idempotency key is answered as it is. Raises MissingReference
    if the flow does not exist.
    """
    database = shell.store.database
    if body.idempotency_key is not None:
        held = await flow_runs.by_idempotency_key(database, body.flow_id, body.idempotency_key, now)
        if held is not None:
            return held, False, None
    id_, events, more = await _created(shell, body, now)
    if body.idempotency_key is None:
        done = await shell.create(FLOW_RUNS, CATEGORY, id_, events, origin, more)
    else:
        done = await _create_once(shell, body, id_, events, more, origin)
        if done.written is None or not done.written.recorded:
            # Somebody else was quicker; if that run is gone again already, this is a new one.
            return await create(shell, body, now, origin)
    if done.row is None:
        shown = await flow_runs.by_id(database, id_, now)
        return shown or b"null", True, done.position
    return flow_runs.shown_row(done.row, now), True, done.position


async def _created(
    shell: Shell, body: FlowRunCreate, now: datetime
) -> tuple[str, list[Event], list[NewEvents]]:
    _, flow = await shell.load(FLOWS, f"flow:{body.flow_id}", body.flow_id)
    around = await _around(shell, flow, body.parent_task_run_id)
    if body.parent_task_run_id is not None and around.parent_task_run is None:
        raise MissingReference("Task run", body.parent_task_run_id)
    id_ = new_id()
    command = CreateFlowRun(
        id=id_,
        body=body,
        state=_first_state(body.state, now),
        name=run_name(),
        around=around,
        flow_labels=(flow.labels or {}) if flow else {},
    )
    events: list[Event] = [*decide(command, None)]
    more = await _mirrored(shell, id_, body.parent_task_run_id, events[-1], now)
    return id_, events, more


def _first_state(wanted: ProposedState | None, now: datetime) -> State:
    if wanted is None:
        return new_state(PENDING, new_id(), now)
    return proposed(wanted, new_id(), now)


async def _create_once(
    shell: Shell,
    body: FlowRunCreate,
    id_: str,
    events: list[Event],
    more: list[NewEvents],
    origin: Origin,
) -> Done[None]:
    """Create the run unless its idempotency key was taken meanwhile: then nothing is recorded."""
    key = body.idempotency_key
    own = NewEvents(f"{CATEGORY}:{id_}", 0, events, fresh_ids(events))

    async def decide_under_lock(tx: Transaction) -> Decision:
        if await tx.fetch(flow_runs.ID_BY_IDEMPOTENCY_KEY, key, body.flow_id):
            return Decision()
        return Decision(appends=(own, *more))

    written = await shell.execute_serially(
        f"flow-run-key:{body.flow_id}:{key}", decide_under_lock, origin
    )
    return Done(None, written, shell.recent_row(FLOW_RUNS, id_))


async def set_state(
    shell: Shell,
    id_: str,
    wanted: ProposedState,
    *,
    force: bool,
    now: datetime,
    origin: Origin,
) -> Done[OrchestrationResult]:
    """Ask for another state of a flow run. A repeated transition gets its first answer.

    Raises NotFound.
    """
    state = proposed(wanted, new_id(), now)
    transition_id = state.state_details.transition_id
    facts = FlowFacts(now=now, pause_key=state.id)
    rules = policy_for(force)

    async def decide_state(run: FlowRun | None) -> Decided[OrchestrationResult]:
        run = existing(run, id_)
        _, flow = await shell.load(FLOWS, f"flow:{run.flow_id}", run.flow_id)
        around = await _around(shell, flow, run.parent_task_run_id)
        settled = settle(
            SetFlowRunState(id=id_, proposed=state, rules=rules, facts=facts, around=around), run
        )
        if settled.event is None:
            return Decided((), settled.answer)
        more = await _mirrored(shell, id_, run.parent_task_run_id, settled.event, now)
        event_ids = None if transition_id is None else (natural_id(id_, transition_id),)
        return Decided((settled.event,), settled.answer, event_ids, more)

    try:
        return await shell.execute(FLOW_RUNS, CATEGORY, id_, decide_state, origin)
    except AlreadyRecorded as repeat:
        recorded = await shell.store.read_position(repeat.position)
        return Done(answer_from(recorded.event), None)


async def _around(shell: Shell, flow: Flow | None, parent_task_run_id: str | None) -> Surroundings:
    """The entities that an emission of this run names. Deployments and pools join here later."""
    parent: Neighbour | None = None
    if parent_task_run_id is not None:
        _, task_run = await shell.load(
            TASK_RUNS, f"task-run:{parent_task_run_id}", parent_task_run_id
        )
        if task_run is not None:
            parent = Neighbour(task_run.id, task_run.name, task_run.tags)
    return Surroundings(
        flow=None if flow is None else Neighbour(flow.id, flow.name, flow.tags),
        parent_task_run=parent,
    )


async def _mirrored(
    shell: Shell, id_: str, parent_task_run_id: str | None, event: Event, now: datetime
) -> list[NewEvents]:
    """The parent task run of a subflow takes on the same state, in the same transaction."""
    if parent_task_run_id is None or not isinstance(event, FlowRunStateSet):
        return []
    stream = f"task-run:{parent_task_run_id}"
    version, task_run = await shell.load(TASK_RUNS, stream, parent_task_run_id)
    if task_run is None:
        return []
    command = task_runs.SetTaskRunState(
        id=parent_task_run_id,
        proposed=parent_state(event, id_, new_id(), now),
        rules=task_rules.MINIMAL,
        facts=TaskFacts(now=now),
    )
    events = task_runs.decide(command, task_run)
    return [NewEvents(stream, version, events, fresh_ids(events))]


async def update(shell: Shell, id_: str, body: FlowRunUpdate, origin: Origin) -> Done[None]:
    """Change some of a flow run's fields. Raises NotFound and NotNow."""
    command = UpdateFlowRun(id=id_, body=body, name=run_name())

    async def decide_update(run: FlowRun | None) -> Decided[None]:
        return Decided(decide(command, run), None)

    return await shell.execute(FLOW_RUNS, CATEGORY, id_, decide_update, origin)


async def update_labels(shell: Shell, id_: str, labels: Labels, origin: Origin) -> Done[None]:
    """Add labels to a flow run, or change their values. Raises NotFound."""
    command = UpdateFlowRunLabels(id=id_, labels=labels)

    async def decide_labels(run: FlowRun | None) -> Decided[None]:
        return Decided(decide(command, run), None)

    return await shell.execute(FLOW_RUNS, CATEGORY, id_, decide_labels, origin)


async def delete(shell: Shell, id_: str, origin: Origin) -> Done[None]:
    """Forget a flow run, its task runs, its states and its log lines. Raises NotFound.

    Subflow runs stay, without their parent.
    """
    orphans = await flow_runs.children(shell.store.database, id_)
    for orphan in orphans:
        await _orphan(shell, orphan, origin)

    async def decide_delete(run: FlowRun | None) -> Decided[None]:
        events = decide(DeleteFlowRun(id=id_), run)
        return Decided(events, None, effects=(log_lines.deletion(id_),))

    return await shell.execute(FLOW_RUNS, CATEGORY, id_, decide_delete, origin)


async def _orphan(shell: Shell, id_: str, origin: Origin) -> None:
    async def decide_orphan(run: FlowRun | None) -> Decided[None]:
        return Decided(decide(OrphanFlowRun(id=id_), run), None)

    await shell.execute(FLOW_RUNS, CATEGORY, id_, decide_orphan, origin)
