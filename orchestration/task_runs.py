"""Task runs: one execution of a task each, orchestrated over REST or, mostly, by the client.

A client of Prefect 3 changes the states of its task runs by itself and reports each change as an
emission. Reports come in bursts, twice, and in the wrong order: the one with the newest state
timestamp says what the task run is; an older one only adds a state to its history.
"""

from datetime import datetime
from typing import TypeAlias, assert_never
from uuid import UUID

from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from eventstore.decider import Decider
from eventstore.events import Event
from orchestration.documents import Extras, extras_field
from orchestration.identifiers import Id, KeyPart, Labels, Text, tidy
from orchestration.names import slug
from orchestration.refusals import AlreadyExists, Invalid, NotFound
from orchestration.run_clock import advance, timestamp_after
from orchestration.run_policies import RETRY_DELAYS_MAX, TaskRunPolicy, current_names
from orchestration.states import (
    RUNNING,
    ProposedState,
    RecordedState,
    State,
    StateType,
    recorded,
    restored,
    with_details,
)
from orchestration.task_inputs import Inputs
from orchestration.task_run_reports import Report, read_report
from orchestration.transition import (
    BelongsToAttempt,
    CacheResult,
    Judgement,
    OrchestrationResult,
    Policy,
    SetStateStatus,
    TakeSlots,
    TaskFacts,
    Transition,
    answer,
    judge,
)

# --- events ---------------------------------------------------------------------------------------


class TaskRunCreated(Event, frozen=True, tag="task-run.created"):
    """A task run was made known over REST. Its first state is the next event of the stream."""

    id: str
    name: str
    task_key: str
    dynamic_key: str
    flow_run_id: str | None = None
    cache_key: str | None = None
    cache_expiration: datetime | None = None
    task_version: str | None = None
    empirical_policy: TaskRunPolicy = TaskRunPolicy()
    tags: tuple[str, ...] = ()
    labels: Labels = {}  # noqa: RUF012
    task_inputs: Inputs = {}  # noqa: RUF012
    extras: Extras = extras_field()


class TaskRunUpdated(Event, frozen=True, tag="task-run.updated"):
    """The task run has another name."""

    name: str


class TaskRunStateSet(Event, frozen=True, tag="task-run.state-set"):
    """The task run took on a state over REST: the proposed one, or one that a rule put there."""

    state: RecordedState
    status: SetStateStatus = "ACCEPT"
    reason: str | None = None
    run_count: int = 0
    flow_run_run_count: int = 0
    cached: bool = False
    """The state can be found under its cache key from now on."""


class TaskRunReported(Event, frozen=True, tag="task-run.reported"):
    """A client told of a state that its task run took on. The emission is as it came."""

    emission: Raw
    canonical_id: str | None = None
    """The task run that has the keys of the reported one, if that is another."""


class TaskRunDeleted(Event, frozen=True, tag="task-run.deleted"):
    """The task run and its states are gone."""


TaskRunEvent: TypeAlias = (
    TaskRunCreated | TaskRunUpdated | TaskRunStateSet | TaskRunReported | TaskRunDeleted
)

# --- commands -------------------------------------------------------------------------------------


class TaskRunCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /task_runs/`."""

    id: Id | None = None
    state: ProposedState | None = None
    name: Text | None = None
    flow_run_id: Id | None = None
    task_key: KeyPart
    dynamic_key: KeyPart
    cache_key: Text | None = None
    cache_expiration: datetime | None = None
    task_version: str | None = None
    empirical_policy: TaskRunPolicy = TaskRunPolicy()
    tags: tuple[str, ...] = ()
    labels: Labels | None = {}
    task_inputs: Inputs = {}
    extras: Extras = extras_field()

    def __post_init__(self) -> None:
        tidy(self, ids=("id", "flow_run_id"), times=("cache_expiration",))


class TaskRunUpdate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `PATCH /task_runs/{id}`."""

    name: Text | UnsetType | None = UNSET
    extras: Extras = extras_field()


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

# --- value ----------------------------------------------------------------------------------------


class TaskRun(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task run as the API shows it, without the two estimates that depend on now.

    `created` and `updated` are the projection's to stamp. `total_run_time` is in seconds.
    """

    id: str
    created: datetime | None = None
    updated: datetime | None = None
    name: str
    flow_run_id: str | None = None
    task_key: str
    dynamic_key: str
    cache_key: str | None = None
    cache_expiration: datetime | None = None
    task_version: str | None = None
    empirical_policy: TaskRunPolicy = TaskRunPolicy()
    tags: tuple[str, ...] = ()
    labels: Labels | None = {}
    state_id: str | None = None
    task_inputs: Inputs = {}
    state_type: StateType | None = None
    state_name: str | None = None
    run_count: int = 0
    flow_run_run_count: int = 0
    expected_start_time: datetime | None = None
    next_scheduled_start_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    total_run_time: float = 0.0
    state: State | None = None
    extras: Extras = extras_field()


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


class Settled(Struct, frozen=True):
    """What becomes of a proposed state: what the client is told, and what is recorded."""

    answer: OrchestrationResult
    event: TaskRunStateSet | None = None
    takes_slots: bool = False
    """Whether the slots that the facts found free have to be taken with it."""


def settle(command: SetTaskRunState, task_run: TaskRun | None) -> Settled:
    """Judge a proposed state. Raises `NotFound` if there is no such task run."""
    run = existing(task_run, command.id)
    current = run.state
    judgement = judge(command.rules, Transition(current, command.proposed, run), command.facts)
    if judgement.state is None:
        told = answer(judgement.status, current, judgement.reason, judgement.delay_seconds)
        return Settled(told)
    state = _in_its_place(judgement.state, run)
    return Settled(
        answer(judgement.status, state, judgement.reason),
        _state_set(state, judgement),
        TakeSlots() in judgement.afterwards,
    )


def answer_from(event: TaskRunStateSet) -> OrchestrationResult:
    """The answer that was given when this was recorded; for a client that repeats itself."""
    return answer(event.status, restored(event.state), event.reason)


def existing(task_run: TaskRun | None, id: str) -> TaskRun:
    """The task run, or the refusal that there is none."""
    if task_run is None:
        raise NotFound("Task run", id)
    return task_run


def _in_its_place(state: State, run: TaskRun) -> State:
    """The state with its references to the task run, at a time of its own."""
    return State(
        state.id,
        state.type,
        state.name,
        timestamp_after(run.state, state.timestamp),
        state.message,
        state.data,
        with_details(state.state_details, flow_run_id=run.flow_run_id, task_run_id=run.id),
        state.extras,
    )


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
    event = settle(first, _created(created)).event
    return [created] if event is None else [created, event]


def check(body: TaskRunCreate, cache_key_characters_max: int) -> None:
    """Raise `Invalid` for a key, a list or a number that is out of bounds."""
    if body.cache_key and len(body.cache_key) > cache_key_characters_max:
        raise Invalid(
            f"The cache key is longer than {cache_key_characters_max} characters.", ("cache_key",)
        )
    delays, jitter = body.empirical_policy.retry_delay, body.empirical_policy.retry_jitter_factor
    if jitter is not None and jitter < 0:
        raise Invalid(
            "A jitter factor is not negative.", ("empirical_policy", "retry_jitter_factor")
        )
    if isinstance(delays, tuple) and len(delays) > RETRY_DELAYS_MAX:
        raise Invalid(
            f"There are more than {RETRY_DELAYS_MAX} retry delays.",
            ("empirical_policy", "retry_delay"),
        )


# --- evolve ---------------------------------------------------------------------------------------


def evolve(task_run: TaskRun | None, event: TaskRunEvent) -> TaskRun | None:
    """The task run after the event; the very same object if the event came too late to matter."""
    match event:
        case TaskRunReported():
            return with_report(task_run, report_of(event))
        case TaskRunStateSet():
            return task_run and advance(
                task_run,
                restored(event.state),
                run_count=event.run_count,
                flow_run_run_count=event.flow_run_run_count,
            )
        case TaskRunCreated():
            return _created(event)
        case TaskRunUpdated(name=name):
            return task_run and replace(task_run, name=name)
        case TaskRunDeleted():
            return None
        case _:
            assert_never(event)


def report_of(event: TaskRunReported) -> Report:
    """What was reported, for the run's history as well."""
    return read_report(event.emission, event.canonical_id)


def with_report(task_run: TaskRun | None, report: Report) -> TaskRun:
    """The task run after a report; the very same object if it knows something newer."""
    state = report.state
    if task_run is None:
        # A report need not name its task run, and chance has no place here: the id decides.
        named = "name" in report.changes
        name = "" if named else slug(UUID(report.task_run_id).int)
        task_run = TaskRun(id=report.task_run_id, name=name, task_key="", dynamic_key="")
    elif task_run.state is not None and state.timestamp <= task_run.state.timestamp:
        return task_run
    return replace(
        task_run,
        state=state,
        state_id=state.id,
        state_type=state.type,
        state_name=state.name,
        **report.changes,
    )


def _created(event: TaskRunCreated) -> TaskRun:
    return TaskRun(
        id=event.id,
        name=event.name,
        flow_run_id=event.flow_run_id,
        task_key=event.task_key,
        dynamic_key=event.dynamic_key,
        cache_key=event.cache_key,
        cache_expiration=event.cache_expiration,
        task_version=event.task_version,
        empirical_policy=event.empirical_policy,
        tags=event.tags,
        labels=event.labels,
        task_inputs=event.task_inputs,
        extras=event.extras,
    )


decider: Decider[TaskRunCommand, TaskRun, TaskRunEvent] = Decider(decide, evolve)
