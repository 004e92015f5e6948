"""Task runs: one execution of a task each, orchestrated over REST or, mostly, by the client.

A client of Prefect 3 changes the states of its task runs by itself and reports each change as an
emission. Reports come in bursts, twice, and in the wrong order: the one with the newest state
timestamp says what the task run is; an older one only adds a state to its history.

What can be asked of one, and what follows from it, is in `task_run_decisions`.
"""

from datetime import datetime
from typing import TypeAlias, assert_never
from uuid import UUID

from msgspec import Raw, Struct
from msgspec.structs import asdict, replace

from eventstore.events import Event
from orchestration.documents import Extras, extras_field
from orchestration.identifiers import Labels
from orchestration.names import slug
from orchestration.refusals import NotFound
from orchestration.run_clock import advance
from orchestration.run_policies import TaskRunPolicy
from orchestration.states import RecordedState, State, StateType, restored
from orchestration.task_inputs import Inputs
from orchestration.task_run_reports import Report, read_report
from orchestration.transition import OrchestrationResult, SetStateStatus, answer

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


def existing(task_run: TaskRun | None, id: str) -> TaskRun:
    """The task run, or the refusal that there is none."""
    if task_run is None:
        raise NotFound("Task run", id)
    return task_run


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
            return made_by(event)
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


def made_by(event: TaskRunCreated) -> TaskRun:
    """The task run as its first event makes it."""
    return TaskRun(**asdict(event))


# --- what a recorded state tells ------------------------------------------------------------------


def answer_from(event: TaskRunStateSet) -> OrchestrationResult:
    """The answer that was given when this was recorded; for a client that repeats itself."""
    return answer(event.status, restored(event.state), event.reason)
