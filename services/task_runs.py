"""What can be done with task runs over REST: gather the facts, let the decider decide, append.

Most task runs are reported by their clients instead; see `orchestration/task_run_reports.py`.
"""

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from eventstore.committer import Written
from eventstore.errors import AlreadyRecorded
from eventstore.ids import new_id
from orchestration.flow_runs import FlowRun
from orchestration.refusals import Conflict, MissingReference, NotFound
from orchestration.states import (
    RUNNING,
    TERMINAL,
    ProposedState,
    State,
    StateType,
    first_state,
    new_state,
    proposed,
)
from orchestration.task_rules import MINIMAL, policy_for
from orchestration.task_run_bodies import TaskRunCreate, TaskRunUpdate, check
from orchestration.task_run_decisions import (
    CreateTaskRun,
    DeleteTaskRun,
    SetTaskRunState,
    UpdateTaskRun,
    decide,
    settle,
)
from orchestration.task_runs import TaskRun, TaskRunStateSet, answer_from, existing
from orchestration.transition import EnclosingFlowRun, OrchestrationResult, TaskFacts
from projections import flow_runs, log_lines, task_runs
from projections.flow_runs import FLOW_RUNS
from projections.task_keys import column
from projections.task_runs import TASK_RUNS
from services import artifacts, task_queue, task_slots
from services.flow_runs import MOVED_ON, orphaned, run_name
from services.shell import Clock, Decided, Done, Once, Origin, Shell, natural_id, unchanged

CATEGORY = "task-run"
SLOT_WAIT_SECONDS = 10.0
"""How long a task run waits at most before it asks again for slots, unless the settings say so."""


async def create(
    shell: Shell, body: TaskRunCreate, clock: Clock, origin: Origin, *, cache_key_max: int
) -> tuple[bytes, bool, int | None]:
    """Make a task run known: its shown form, whether it is new, and the log's position after it.

    One that has the same keys in the same flow run is answered as it is. `cache_key_max` is in
    characters. Raises MissingReference if the flow run does not exist, AlreadyExists if the id is
    taken, Invalid.
    """
    check(body, cache_key_max)
    database = shell.store.database
    held = await _held(shell, body, clock())
    if held is not None:
        return held, False, None
    id_, name = body.id or new_id(), run_name()
    now = clock()
    state = first_state(body.state, new_id(), now)

    async def decide_first(run: TaskRun | None, fresh: bool) -> Decided[None]:
        around, more = None, []
        if body.flow_run_id is not None:
            stream = f"flow-run:{body.flow_run_id}"
            version, around = await shell.load(FLOW_RUNS, stream, body.flow_run_id, fresh=fresh)
            if around is None:
                raise MissingReference("Flow run", body.flow_run_id)
            # Its labels are inherited, and it must not be deleted meanwhile.
            more.append(unchanged(stream, version))
        command = CreateTaskRun(
            id=id_,
            body=body,
            state=state,
            name=name,
            # The first state is nobody's to refuse.
            rules=policy_for(state, force=True),
            facts=TaskFacts(
                now=now,
                flow_run=_enclosing(around),
                cached=await _cached(shell, state, now),
                chance=random.random(),
                cache_key_characters_max=cache_key_max,
            ),
            flow_run_labels={} if around is None else around.labels,
        )
        events = decide(command, run)
        if isinstance(events[-1], TaskRunStateSet):
            database = shell.store.database
            more += await artifacts.of_state(database, events[-1].state, body.flow_run_id, id_)
            more += task_queue.queued(id_, body.task_key, body.flow_run_id, events[-1].state)
        return Decided(events, None, more=more)

    done = await shell.create(TASK_RUNS, CATEGORY, id_, decide_first, origin, _once(body))
    if done is None:
        # Somebody else was quicker; if that run is gone again already, this is a new one.
        return await create(shell, body, clock, origin, cache_key_max=cache_key_max)
    if done.row is None:
        shown = await task_runs.by_id(database, id_, clock())
        if shown is None:
            raise NotFound("Task run", id_)  # Deleted within the last milliseconds.
        return shown, True, done.position
    return task_runs.shown_row(done.row, clock()), True, done.position


async def _held(shell: Shell, body: TaskRunCreate, now: datetime) -> bytes | None:
    held = await task_runs.by_keys(
        shell.store.database, body.flow_run_id, body.task_key, body.dynamic_key, now
    )
    return None if held is None else held[1]


def _once(body: TaskRunCreate) -> Once:
    keys = column(body.task_key), column(body.dynamic_key)
    name = f"task-run-key:{body.flow_run_id}:{keys[0]}:{keys[1]}"
    if body.flow_run_id is None:
        return Once(name, task_runs.BY_KEYS_OUTSIDE, keys)
    return Once(name, task_runs.BY_KEYS, (body.flow_run_id, *keys))


async def set_state(
    shell: Shell,
    id_: str,
    wanted: ProposedState,
    *,
    force: bool,
    now: datetime,
    origin: Origin,
    cache_key_max: int,
    slot_wait_seconds: float = SLOT_WAIT_SECONDS,
    instead_of: str | None = None,
) -> Done[OrchestrationResult]:
    """Ask for another state of a task run. A repeated transition gets its first answer.

    `cache_key_max` is in characters; `slot_wait_seconds` is how long a run waits at most before it
    asks again for slots of the limits on its tags; `instead_of` is the id of the state that it has
    to be in. Raises NotFound, of the task run or of its flow run, and Conflict if it is in another.
    """
    state = proposed(wanted, new_id(), now)
    transition_id = state.state_details.transition_id
    rules = policy_for(state, force)
    chance = random.random()

    event_ids = None if transition_id is None else (natural_id(id_, transition_id),)
    database = shell.store.database

    async def decide_state(run: TaskRun | None) -> Decided[OrchestrationResult]:
        run = existing(run, id_)
        if instead_of is not None and run.state_id != instead_of:
            raise Conflict(MOVED_ON)
        facts = TaskFacts(
            now=now,
            flow_run=await _flow_run_facts(shell, run, state),
            cached=await _cached(shell, state, now),
            chance=chance,
            cache_key_characters_max=cache_key_max,
        )
        needed = await task_slots.wanted(database, database.dialect, run, rules, state)
        if needed is None:
            return (await judged(run, facts))[0]
        full = needed.facts(False, slot_wait_seconds, chance)
        denied, _ = await judged(run, replace(facts, slots=full))
        if not needed.are_free(now):
            return denied
        granted, takes = await judged(run, replace(facts, slots=replace(full, free=True)))
        if not takes:
            return granted
        return task_slots.taking(needed, id_, granted, denied, database.dialect, now)

    async def judged(run: TaskRun, facts: TaskFacts) -> tuple[Decided[OrchestrationResult], bool]:
        settled = settle(SetTaskRunState(id=id_, proposed=state, rules=rules, facts=facts), run)
        if settled.event is None:
            return Decided((), settled.answer), False
        more = await artifacts.of_state(database, settled.event.state, run.flow_run_id, id_)
        more += task_queue.queued(id_, run.task_key, run.flow_run_id, settled.event.state)
        more += await task_slots.let_go(database, run, settled.event.state.type)
        return Decided((settled.event,), settled.answer, event_ids, more), settled.takes_slots

    try:
        return await shell.execute(TASK_RUNS, CATEGORY, id_, decide_state, origin)
    except AlreadyRecorded as repeat:
        recorded = await shell.store.read_position(repeat.position)
        assert recorded is not None
        return Done(answer_from(recorded.event), Written([recorded], repeat.position))


async def end(
    shell: Shell, id_: str, kind: StateType, message: str, now: datetime, origin: Origin
) -> None:
    """Have a task run end in a state of this kind with the flow run around it, whatever the rules
    say. One that has ended, or is gone, stays so."""

    async def decide_end(run: TaskRun | None) -> Decided[None]:
        if run is None or run.state_type in TERMINAL:
            return Decided((), None)
        state = new_state(kind, new_id(), now, message=message)
        facts = TaskFacts(now=now)
        command = SetTaskRunState(id=id_, proposed=state, rules=MINIMAL, facts=facts)
        freed = await task_slots.let_go(shell.store.database, run, kind)
        return Decided(decide(command, run), None, more=freed)

    await shell.execute(TASK_RUNS, CATEGORY, id_, decide_end, origin)


async def _flow_run_facts(shell: Shell, run: TaskRun, state: State) -> EnclosingFlowRun | None:
    """The flow run around a task run, if the rules will ask about it.

    Past what this process remembers: another one may just have set the flow run running, and its
    task must not be refused for that.
    """
    ended = run.state is not None and run.state.type in TERMINAL
    if run.flow_run_id is None or not (state.type == RUNNING or ended):
        return None
    stream = f"flow-run:{run.flow_run_id}"
    _, around = await shell.load(FLOW_RUNS, stream, run.flow_run_id, fresh=True)
    return _enclosing(around)


def _enclosing(run: FlowRun | None) -> EnclosingFlowRun | None:
    if run is None:
        return None
    details = None if run.state is None else run.state.state_details
    return EnclosingFlowRun(
        id=run.id,
        run_count=run.run_count,
        state_type=run.state_type,
        pause_timeout=None if details is None else details.pause_timeout,
        pause_reschedule=details is not None and details.pause_reschedule,
    )


async def _cached(shell: Shell, state: State, now: datetime) -> State | None:
    """The state that is cached under the proposal's key, if the rules will ask for it."""
    details = state.state_details
    if state.type != RUNNING or not details.cache_key or details.refresh_cache:
        return None
    return await task_runs.cached_state(shell.store.database, details.cache_key, now)


async def update(shell: Shell, id_: str, body: TaskRunUpdate, origin: Origin) -> Done[None]:
    """Give a task run another name. Raises NotFound."""
    command = UpdateTaskRun(id=id_, body=body, name=run_name())

    async def decide_update(run: TaskRun | None) -> Decided[None]:
        return Decided(decide(command, run), None)

    return await shell.execute(TASK_RUNS, CATEGORY, id_, decide_update, origin)


async def delete(shell: Shell, id_: str, origin: Origin) -> Done[None]:
    """Forget a task run, its states and its log lines. Raises NotFound.

    The subflow run that it stood for stays, without its parent.
    """

    async def decide_delete(run: TaskRun | None, fresh: bool) -> Decided[None]:
        events = decide(DeleteTaskRun(id=id_), run)
        children = await flow_runs.children_of_task_run(shell.store.database, id_)
        more = await orphaned(shell, children, fresh)
        more += await task_slots.freed_by(shell.store.database, id_)
        effects = (log_lines.deletion_of_task_run(id_),)
        return Decided(events, None, more=more, effects=effects)

    return await shell.execute_with_facts(TASK_RUNS, CATEGORY, id_, decide_delete, origin)


async def delete_all(shell: Shell, ids: Sequence[str], origin: Origin) -> int:
    """Forget task runs, and say how many of them were there to be forgotten. See `delete`."""
    return sum(await asyncio.gather(*(_delete_if_there(shell, id_, origin) for id_ in ids)))


async def _delete_if_there(shell: Shell, id_: str, origin: Origin) -> bool:
    try:
        done = await delete(shell, id_, origin)
    except NotFound:
        return False
    return done.written is not None
