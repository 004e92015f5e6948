"""Decisions about task runs: what can be asked of one, and the events that follow."""

from typing import TypeAlias, assert_never

from msgspec import UNSET, Raw, Struct

from eventstore.decider import Decider
from orchestration.identifiers import Labels
from orchestration.refusals import AlreadyExists
from orchestration.run_policies import current_names
from orchestration.settling import Settled, settled
from orchestration.states import RUNNING, State, recorded
from orchestration.task_run_bodies import TaskRunCreate, TaskRunUpdate, check
from orchestration.task_run_reports import read_report
from orchestration.task_runs import (
    TaskRun,
    TaskRunCreated,
    TaskRunDeleted,
    TaskRunEvent,
    TaskRunReported,
    TaskRunStateSet,
    TaskRunUpdated,
    evolve,
    existing,
    made_by,
)
from orchestration.transition import (
    BelongsToAttempt,
    CacheResult,
    Judgement,
    Policy,
    TakeSlots,
    TaskFacts,
    Transition,
    judge,
)

# --- commands -------------------------------------------------------------------------------------


class CreateTaskRun(Struct, frozen=True, kw_only=True):
    """Make a task run known. That its keys are new in its flow run is the caller's to know."""

    id: str
    body: TaskRunCreate
    state: State
    name: str
    """For a body without a name: see `names.slug`."""
    rules: Policy
    facts: TaskFacts
    flow_run_labels: Labels = {}


class UpdateTaskRun(Struct, frozen=True, kw_only=True):
    """Give a task run another name."""

    id: str
    body: TaskRunUpdate
    name: str
    """For a body that sets the name to nothing."""


class SetTaskRunState(Struct, frozen=True, kw_only=True):
    """Ask for another state. `rules` is one of the policies of `task_rules`."""

    id: str
    proposed: State
    rules: Policy
    facts: TaskFacts


class ReportTaskRun(Struct, frozen=True, kw_only=True):
    """Take note of what a client says about its task run.

    Goes to the stream of `canonical_id` if there is one, else of the id in the emission.
    """

    emission: Raw
    canonical_id: str | None = None
    """The task run that has the reported keys in the same flow run, if it has another id."""


class DeleteTaskRun(Struct, frozen=True, kw_only=True):
    """Forget a task run."""

    id: str


TaskRunCommand: TypeAlias = (
    CreateTaskRun | UpdateTaskRun | SetTaskRunState | ReportTaskRun | DeleteTaskRun
)

# --- decide ---------------------------------------------------------------------------------------


def decide(command: TaskRunCommand, task_run: TaskRun | None) -> list[TaskRunEvent]:
    """What follows from a command. Raises refusals; a rule's no is a verdict, not a refusal."""
    match command:
        case ReportTaskRun(emission=emission, canonical_id=canonical_id):
            read_report(emission, canonical_id)
            return [TaskRunReported(emission=emission, canonical_id=canonical_id)]
        case SetTaskRunState():
            event = settle(command, task_run).event
            return [event] if event is not None else []
        case CreateTaskRun():
            return _create(command, task_run)
        case UpdateTaskRun(id=id, body=body):
            run = existing(task_run, id)
            name = body.name if body.name is UNSET or body.name else command.name
            return [] if name is UNSET or name == run.name else [TaskRunUpdated(name=name)]
        case DeleteTaskRun(id=id):
            existing(task_run, id)
            return [TaskRunDeleted()]
        case _:
            assert_never(command)


def settle(command: SetTaskRunState, task_run: TaskRun | None) -> Settled[TaskRunStateSet]:
    """Judge a proposed state. Raises `NotFound` if there is no such task run."""
    run = existing(task_run, command.id)
    judgement = judge(command.rules, Transition(run.state, command.proposed, run), command.facts)
    references = {"flow_run_id": run.flow_run_id, "task_run_id": run.id}
    return settled(judgement, run.state, references, lambda state: _state_set(state, judgement))


def _state_set(state: State, judgement: Judgement[TaskRun]) -> TaskRunStateSet:
    run = judgement.run
    attempt, cached = run.flow_run_run_count, False
    for wish in judgement.afterwards:
        match wish:
            case BelongsToAttempt(run_count):
                attempt = run_count
            case CacheResult():
                cached = True
            case TakeSlots():
                pass
            case _:
                raise AssertionError(f"{wish} is not for task runs")
    return TaskRunStateSet(
        state=recorded(state),
        status=judgement.status,
        reason=judgement.reason,
        run_count=run.run_count + (state.type == RUNNING),
        flow_run_run_count=attempt,
        cached=cached,
    )


def _create(command: CreateTaskRun, task_run: TaskRun | None) -> list[TaskRunEvent]:
    if task_run is not None:
        raise AlreadyExists("Task run", command.id)
    body = command.body
    around = {} if body.flow_run_id is None else {"prefect.flow-run.id": body.flow_run_id}
    check(body, command.facts.cache_key_characters_max)
    created = TaskRunCreated(
        id=command.id,
        name=body.name or command.name,
        task_key=body.task_key,
        dynamic_key=body.dynamic_key,
        flow_run_id=body.flow_run_id,
        cache_key=body.cache_key,
        cache_expiration=body.cache_expiration,
        task_version=body.task_version,
        empirical_policy=current_names(body.empirical_policy),
        tags=body.tags,
        labels={**command.flow_run_labels, **around, **(body.labels or {})},
        task_inputs=body.task_inputs,
        extras=body.extras,
    )
    first = SetTaskRunState(
        id=command.id, proposed=command.state, rules=command.rules, facts=command.facts
    )
    event = settle(first, made_by(created)).event
    return [created] if event is None else [created, event]


decider: Decider[TaskRunCommand, TaskRun, TaskRunEvent] = Decider(decide, evolve)
