"""What can be done with flow runs: gather the facts, let the decider decide, append."""

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from eventstore.committer import Written
from eventstore.database import Reader
from eventstore.errors import AlreadyRecorded
from eventstore.events import Event, NewEvents
from eventstore.ids import new_id
from orchestration import task_rules, task_run_decisions
from orchestration.deployments import Deployment, labels_of
from orchestration.flow_rules import MARK_LATE, policy_for
from orchestration.flow_run_bodies import CreatedBy, FlowRunCreate, FlowRunUpdate
from orchestration.flow_run_decisions import (
    CreateFlowRun,
    DeleteFlowRun,
    OrphanFlowRun,
    SetFlowRunState,
    UpdateFlowRun,
    UpdateFlowRunLabels,
    decide,
    settle,
)
from orchestration.flow_runs import (
    FlowRun,
    FlowRunEvent,
    FlowRunStateSet,
    answer_from,
    existing,
    parent_state,
)
from orchestration.flows import Flow
from orchestration.identifiers import Labels
from orchestration.names import slug
from orchestration.refusals import Conflict, MissingReference, NotFound
from orchestration.states import (
    LATE,
    SCHEDULED,
    ProposedState,
    State,
    StateDetails,
    first_state,
    may_be_late,
    new_state,
    proposed,
)
from orchestration.surroundings import Neighbour, Surroundings
from orchestration.task_runs import TaskRun
from orchestration.transition import FlowFacts, OrchestrationResult, Policy, TaskFacts
from orchestration.work_queues import DEFAULT
from projections import deployments, flow_runs, log_lines, work_pools, work_queues
from projections.flow_runs import FLOW_RUNS
from projections.flows import FLOWS
from projections.task_runs import TASK_RUNS
from services import artifacts, deployment_slots, slots, task_slots
from services.deployment_slots import STANDARD, Outlook, SlotTerms
from services.shell import (
    Clock,
    Decided,
    Done,
    Once,
    Origin,
    Shell,
    fresh_ids,
    natural_id,
    unchanged,
    untold,
)
from services.work_pools import no_pool, no_queue

CATEGORY = "flow-run"
MOVED_ON = "it has moved on since"
"""Why a run keeps its state: it is in another one than whoever asks has seen."""

ORPHANS_PER_COMMIT_MAX = 500
"""Subflow runs that lose their parent in one transaction."""


def run_name() -> str:
    """A name for a run that was given none."""
    return slug(random.getrandbits(32))  # Not the system's chance: a call of 60 µs per run.


class Under(Struct, frozen=True, kw_only=True):
    """The deployment that a new run is a run of, with what the run has from it."""

    deployment: Neighbour
    version: str | None
    labels: Labels
    work_queue: Neighbour | None
    work_pool: Neighbour | None = None


async def create(
    shell: Shell,
    body: FlowRunCreate,
    clock: Clock,
    origin: Origin,
    under: Under | None = None,
    created_by: CreatedBy | None = None,
    id_: str | None = None,
) -> tuple[bytes, bool, int | None]:
    """Create a flow run: its shown form, whether it is new, and the log's position after it.

    A run that exists under the same idempotency key is answered as it is. `id_` is for one whose
    maker has to find it again; None: it gets a new one. Raises MissingReference
    if the flow or the parent task run does not exist, NotFound if the work pool or its queue does
    not.
    """
    database = shell.store.database
    queue, pool = None, None
    if body.work_pool_name:
        queue, pool = await _place(database, body.work_pool_name, body.work_queue_name)
    id_ = id_ or new_id()
    once: Once | None = None
    if body.idempotency_key is not None:
        held = await flow_runs.by_idempotency_key(
            database, body.flow_id, body.idempotency_key, clock()
        )
        if held is not None:
            return held, False, None
        once = Once(
            f"flow-run-key:{body.flow_id}:{body.idempotency_key}",
            flow_runs.ID_BY_IDEMPOTENCY_KEY,
            (body.idempotency_key, body.flow_id),
        )
    now = clock()
    name, state = run_name(), first_state(body.state, new_id(), now)
    named_in_body: Deployment | None = None
    if under is None and body.deployment_id is not None:
        named_in_body = await deployments.entity(database, body.deployment_id)

    async def decide_first(run: FlowRun | None, fresh: bool) -> Decided[None]:
        around = await _around(shell, body.flow_id, body.parent_task_run_id, fresh)
        if body.parent_task_run_id is not None and around.parent is None:
            raise MissingReference("Task run", body.parent_task_run_id)
        named, labels = around.named, (around.flow.labels or {}) if around.flow else {}
        if queue is not None:
            named = replace(named, work_queue=queue, work_pool=pool)
        if named_in_body is not None:
            labels = labels_of(named_in_body)
            its = Neighbour(named_in_body.id, named_in_body.name, named_in_body.tags)
            named = replace(named, deployment=its)
        if under is not None:
            labels = under.labels
            named = replace(
                named,
                deployment=under.deployment,
                work_queue=under.work_queue,
                work_pool=under.work_pool,
            )
        command = CreateFlowRun(
            id=id_,
            body=body,
            state=state,
            name=name,
            around=named,
            flow_labels=labels,
            created_by=created_by,
            deployment_version=None if under is None else under.version,
        )
        events = decide(command, run)
        return Decided(events, None, more=await _with_it(shell, around, id_, events[-1], now))

    done = await shell.create(FLOW_RUNS, CATEGORY, id_, decide_first, origin, once)
    if done is None:
        # Somebody else was quicker; if that run is gone again already, this is a new one.
        return await create(shell, body, clock, origin, under, created_by, id_)
    if done.row is None:
        shown = await flow_runs.by_id(database, id_, clock())
        if shown is None:
            raise NotFound("Flow run", id_)  # Deleted within the last milliseconds.
        return shown, True, done.position
    return flow_runs.shown_row(done.row, clock()), True, done.position


async def _place(
    reader: Reader, pool_name: str, queue_name: str | None
) -> tuple[Neighbour, Neighbour]:
    """The queue of this name, or the default one, of the pool of that name; and the pool."""
    pool = await work_pools.by_name(reader, pool_name)
    if pool is None:
        raise no_pool(pool_name)
    queue = (
        await work_queues.by_name(reader, pool.id, queue_name)
        if queue_name
        else await work_queues.by_id(reader, pool.default_queue_id)
    )
    if queue is None:
        raise no_queue(pool_name, queue_name or DEFAULT)
    return Neighbour(queue.id, queue.name), Neighbour(pool.id, pool.name, type=pool.type)


async def set_state(
    shell: Shell,
    id_: str,
    wanted: ProposedState,
    *,
    force: bool,
    now: datetime,
    origin: Origin,
    terms: SlotTerms = STANDARD,
    instead_of: str | None = None,
) -> Done[OrchestrationResult]:
    """Ask for another state of a flow run. A repeated transition gets its first answer.

    `instead_of`: the id of the state that it has to be in. Raises NotFound, and Conflict if it is
    in another one.
    """
    state = proposed(wanted, new_id(), now)
    transition_id = state.state_details.transition_id

    async def decide_state(run: FlowRun | None, fresh: bool) -> Decided[OrchestrationResult]:
        run = existing(run, id_)
        if instead_of is not None and run.state_id != instead_of:
            raise Conflict(MOVED_ON)
        event_ids = None if transition_id is None else (natural_id(id_, transition_id),)
        return await judged(shell, run, state, policy_for(force), now, fresh, event_ids, terms)

    try:
        return await shell.execute_with_facts(FLOW_RUNS, CATEGORY, id_, decide_state, origin)
    except AlreadyRecorded as repeat:
        recorded = await shell.store.read_position(repeat.position)
        assert recorded is not None
        return Done(answer_from(recorded.event), Written([recorded], repeat.position))


async def mark_late(
    shell: Shell, id_: str, due_before: datetime, now: datetime, origin: Origin
) -> bool:
    """Make a flow run Late that should have started at or before `due_before` and did not.

    Returns whether it was; any other is left as it is. Raises NotFound.
    """

    async def decide_late(run: FlowRun | None, fresh: bool) -> Decided[None]:
        run = existing(run, id_)
        due = run.next_scheduled_start_time
        if not may_be_late(run.state) or due is None or due > due_before:
            return Decided((), None)
        details = StateDetails(scheduled_time=due)
        late = new_state(SCHEDULED, new_id(), now, name=LATE, details=details)
        decided = await judged(shell, run, late, MARK_LATE, now, fresh, None)
        return untold(decided)

    done = await shell.execute_with_facts(FLOW_RUNS, CATEGORY, id_, decide_late, origin)
    return done.written is not None


async def judged(
    shell: Shell,
    run: FlowRun,
    state: State,
    rules: Policy,
    now: datetime,
    fresh: bool,
    event_ids: Sequence[str] | None,
    terms: SlotTerms = STANDARD,
) -> Decided[OrchestrationResult]:
    """What the rules say to a state of a run, and what is recorded with it."""
    database = shell.store.database
    around = await _around(shell, run.flow_id, run.parent_task_run_id, fresh)
    around = replace(around, places=await shell.places.of(run, now))
    needed = await deployment_slots.needed(database, run, rules, state, terms)
    lease_id = new_id()

    async def by(outlook: Outlook) -> tuple[Decided[OrchestrationResult], bool]:
        facts = FlowFacts(
            now=now,
            pause_key=state.id,
            slot=None if needed is None else needed.facts(outlook, lease_id),
            deployment_gone=needed is not None and needed.gone,
        )
        command = SetFlowRunState(
            id=run.id, proposed=state, rules=rules, facts=facts, around=around.named
        )
        settled = settle(command, run)
        if settled.event is None:
            return Decided((), settled.answer), False
        more = await _with_it(shell, around, run.id, settled.event, now)
        ends = await deployment_slots.let_go(database, run, settled.event.state)
        more += [slots.ended(lease) for lease in ends]
        effects = [slots.forgotten(lease.id) for lease in ends]
        events = (settled.event,)
        decided = Decided(events, settled.answer, event_ids, more, effects)
        return decided, settled.takes_slots

    if needed is None or needed.seen is None:
        return (await by("full"))[0]
    if rules is MARK_LATE:
        return (await by("free" if needed.seen.has_free(1, now) else "full"))[0]
    free, takes = await by("free")
    outlooks: dict[Outlook, Decided[OrchestrationResult]] = {
        "free": free,
        "full": (await by("full"))[0],
        "held": (await by("held"))[0],
    }
    return deployment_slots.choosing(
        needed, run, lease_id, outlooks, takes, terms, database.dialect, now
    )


class _Around(Struct, frozen=True):
    """The entities that a flow run's events mention, as they were loaded."""

    flow_stream: tuple[str, int]
    flow: Flow | None
    parent_stream: tuple[str, int]
    parent: TaskRun | None
    places: Surroundings = Surroundings()

    @property
    def named(self) -> Surroundings:
        """What an emission says about them."""
        flow, parent = self.flow, self.parent
        return replace(
            self.places,
            flow=None if flow is None else Neighbour(flow.id, flow.name, flow.tags),
            parent_task_run=(
                None if parent is None else Neighbour(parent.id, parent.name, parent.tags)
            ),
        )


async def _around(
    shell: Shell, flow_id: str, parent_task_run_id: str | None, fresh: bool
) -> _Around:
    stream = f"flow:{flow_id}"
    version, flow = await shell.neighbour(FLOWS, stream, flow_id, fresh=fresh)
    if parent_task_run_id is None:
        return _Around((stream, version), flow, ("", 0), None)
    parent_stream = f"task-run:{parent_task_run_id}"
    parent_version, parent = await shell.load(
        TASK_RUNS, parent_stream, parent_task_run_id, fresh=fresh
    )
    return _Around((stream, version), flow, (parent_stream, parent_version), parent)


async def _with_it(
    shell: Shell, around: _Around, id_: str, event: FlowRunEvent, now: datetime
) -> list[NewEvents]:
    """What is recorded together with a new state: that the flow is still what it was, the artifact
    of a result, and the same state for the task run that a subflow run belongs to."""
    more: list[NewEvents] = []
    if around.flow is not None:
        more.append(unchanged(*around.flow_stream))
    if not isinstance(event, FlowRunStateSet):
        return more
    database = shell.store.database
    more += await artifacts.of_state(database, event.state, id_, None)
    if around.parent is not None:
        command = task_run_decisions.SetTaskRunState(
            id=around.parent.id,
            proposed=parent_state(event, id_, new_id(), now),
            rules=task_rules.MINIMAL,
            facts=TaskFacts(now=now),
        )
        events = task_run_decisions.decide(command, around.parent)
        more.append(NewEvents(*around.parent_stream, events, fresh_ids(events)))
        more += await task_slots.let_go(database, around.parent, event.state.type)
        more += await artifacts.of_state(
            database, command.proposed, around.parent.flow_run_id, around.parent.id
        )
    return more


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


async def delete(
    shell: Shell, id_: str, origin: Origin, *, only_waiting: bool = False
) -> Done[None]:
    """Forget a flow run, its task runs, its states and its log lines. Raises NotFound.

    Subflow runs stay, without their parent. With `only_waiting` a run that somebody has claimed
    meanwhile stays as well.
    """
    database = shell.store.database
    children = await flow_runs.children(database, id_)
    while len(children) > ORPHANS_PER_COMMIT_MAX:
        # Too many for one transaction; these know of no parent a moment before it is gone.
        some, children = children[:ORPHANS_PER_COMMIT_MAX], children[ORPHANS_PER_COMMIT_MAX:]
        await asyncio.gather(*(_orphan(shell, child, origin) for child in some))

    async def decide_delete(run: FlowRun | None, fresh: bool) -> Decided[None]:
        if only_waiting and run is not None and run.state_type != SCHEDULED:
            return Decided((), None)
        events = decide(DeleteFlowRun(id=id_), run)
        left = await flow_runs.children(database, id_) if fresh else children
        more = await orphaned(shell, left, fresh)
        if run is not None:
            more += await deployment_slots.freed_by(database, run)
        return Decided(events, None, more=more, effects=(log_lines.deletion(id_),))

    return await shell.execute_with_facts(FLOW_RUNS, CATEGORY, id_, decide_delete, origin)


async def delete_all(
    shell: Shell, ids: Sequence[str], origin: Origin, *, only_waiting: bool = False
) -> list[str]:
    """Forget flow runs, and say which of them were there to be forgotten. See `delete`."""
    done = await asyncio.gather(
        *(_delete_if_there(shell, id_, origin, only_waiting) for id_ in ids)
    )
    return [id_ for id_, deleted in zip(ids, done, strict=True) if deleted]


async def _delete_if_there(shell: Shell, id_: str, origin: Origin, only_waiting: bool) -> bool:
    try:
        done = await delete(shell, id_, origin, only_waiting=only_waiting)
    except NotFound:
        return False
    return done.written is not None


async def orphaned(shell: Shell, ids: Sequence[str], fresh: bool) -> list[NewEvents]:
    """What makes subflow runs forget their parent task run, to go with the parent's deletion."""
    more: list[NewEvents] = []
    for id_ in ids:
        stream = f"{CATEGORY}:{id_}"
        version, run = await shell.load(FLOW_RUNS, stream, id_, fresh=fresh)
        events: list[FlowRunEvent] = decide(OrphanFlowRun(id=id_), run)
        if events:
            more.append(NewEvents(stream, version, events, fresh_ids(events)))
    return more


async def _orphan(shell: Shell, id_: str, origin: Origin) -> None:
    async def decide_orphan(run: FlowRun | None) -> Decided[None]:
        events: list[Event] = [*decide(OrphanFlowRun(id=id_), run)]
        return Decided(events, None)

    await shell.execute(FLOW_RUNS, CATEGORY, id_, decide_orphan, origin)
