"""Flow runs: one execution of a flow each, from the wish to run it to its end.

What can be asked of one, and what follows from it, is in `flow_run_decisions`.
"""

from datetime import datetime
from typing import Any, TypeAlias, assert_never

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import asdict, replace

from eventstore.events import Event
from orchestration import patches
from orchestration.documents import Extras, extras_field
from orchestration.flow_run_bodies import CreatedBy
from orchestration.identifiers import Labels
from orchestration.refusals import NotFound
from orchestration.run_clock import advance
from orchestration.run_policies import FlowRunPolicy
from orchestration.states import (
    FormerState,
    RecordedState,
    State,
    StateType,
    restored,
    with_details,
)
from orchestration.surroundings import Surroundings
from orchestration.transition import OrchestrationResult, SetStateStatus, answer

# --- events ---------------------------------------------------------------------------------------


class FlowRunCreated(Event, frozen=True, tag="flow-run.created"):
    """A run was asked for. Its first state is the next event of the stream."""

    id: str
    name: str
    flow_id: str
    deployment_id: str | None = None
    deployment_version: str | None = None
    work_queue_id: str | None = None
    work_queue_name: str | None = None
    work_pool_id: str | None = None
    work_pool_name: str | None = None
    flow_version: str | None = None
    parameters: dict[str, Any] = {}  # noqa: RUF012
    idempotency_key: str | None = None
    context: dict[str, Any] = {}  # noqa: RUF012
    empirical_policy: FlowRunPolicy = FlowRunPolicy()
    tags: tuple[str, ...] = ()
    labels: Labels = {}  # noqa: RUF012
    parent_task_run_id: str | None = None
    auto_scheduled: bool = False
    infrastructure_document_id: str | None = None
    created_by: CreatedBy | None = None
    job_variables: dict[str, Any] | None = None
    extras: Extras = extras_field()


class FlowRunUpdated(Event, frozen=True, tag="flow-run.updated"):
    """Some of the run's fields were changed; the others are unset."""

    name: str | UnsetType = UNSET
    flow_version: str | UnsetType | None = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET
    empirical_policy: FlowRunPolicy | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    infrastructure_pid: str | UnsetType | None = UNSET
    job_variables: dict[str, Any] | UnsetType | None = UNSET
    parent_task_run_id: str | UnsetType | None = UNSET
    """Set to nothing when the parent task run is deleted; so is what is next when the queue is."""
    work_queue_id: str | UnsetType | None = UNSET
    work_pool_id: str | UnsetType | None = UNSET
    work_pool_name: str | UnsetType | None = UNSET
    extras: Extras = extras_field()


class FlowRunLabelsUpdated(Event, frozen=True, tag="flow-run.labels-updated"):
    """Labels that were added or took on another value."""

    labels: Labels


class FlowRunStateSet(Event, frozen=True, tag="flow-run.state-set"):
    """The run took on a state: the one that was proposed, or one that a rule put in its place."""

    state: RecordedState
    former: FormerState | None = None
    proposed_type: StateType | None = None
    """Of the proposal, where a rule replaced it by a state of another type."""
    status: SetStateStatus = "ACCEPT"
    reason: str | None = None
    run_count: int = 0
    empirical_policy: FlowRunPolicy | None = None
    """The policy after the change, if it changed."""
    name: str = ""
    tags: tuple[str, ...] = ()
    created_by: CreatedBy | None = None
    around: Surroundings = Surroundings()


class FlowRunDeleted(Event, frozen=True, tag="flow-run.deleted"):
    """The run, its states, task runs, logs and artifacts' links are gone."""


FlowRunEvent: TypeAlias = (
    FlowRunCreated | FlowRunUpdated | FlowRunLabelsUpdated | FlowRunStateSet | FlowRunDeleted
)

# --- value ----------------------------------------------------------------------------------------


class FlowRun(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A flow run as the API shows it, without the two estimates that depend on now.

    `created` and `updated` are the projection's to stamp. `total_run_time` is in seconds.
    """

    id: str
    created: datetime | None = None
    updated: datetime | None = None
    name: str
    flow_id: str
    state_id: str | None = None
    deployment_id: str | None = None
    deployment_version: str | None = None
    work_queue_id: str | None = None
    work_queue_name: str | None = None
    flow_version: str | None = None
    parameters: dict[str, Any] = {}
    idempotency_key: str | None = None
    context: dict[str, Any] = {}
    empirical_policy: FlowRunPolicy = FlowRunPolicy()
    tags: tuple[str, ...] = ()
    labels: Labels = {}
    parent_task_run_id: str | None = None
    state_type: StateType | None = None
    state_name: str | None = None
    run_count: int = 0
    expected_start_time: datetime | None = None
    next_scheduled_start_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    total_run_time: float = 0.0
    auto_scheduled: bool = False
    infrastructure_document_id: str | None = None
    infrastructure_pid: str | None = None
    created_by: CreatedBy | None = None
    work_pool_id: str | None = None
    work_pool_name: str | None = None
    state: State | None = None
    job_variables: dict[str, Any] | None = None
    extras: Extras = extras_field()


def existing(flow_run: FlowRun | None, id: str) -> FlowRun:
    """The run, or the refusal that there is none."""
    if flow_run is None:
        raise NotFound("Flow run", id)
    return flow_run


# --- evolve ---------------------------------------------------------------------------------------


def evolve(flow_run: FlowRun | None, event: FlowRunEvent) -> FlowRun | None:
    """The run after the event."""
    match event:
        case FlowRunStateSet():
            if flow_run is None:
                return None
            policy = event.empirical_policy or flow_run.empirical_policy
            return advance(
                flow_run,
                restored(event.state),
                run_count=event.run_count,
                empirical_policy=policy,
            )
        case FlowRunCreated():
            return made_by(event)
        case FlowRunUpdated():
            return flow_run and patches.changed(flow_run, event, _CHANGEABLE)
        case FlowRunLabelsUpdated(labels=labels):
            return flow_run and replace(flow_run, labels={**flow_run.labels, **labels})
        case FlowRunDeleted():
            return None
        case _:
            assert_never(event)


def made_by(event: FlowRunCreated) -> FlowRun:
    """The run as its first event makes it."""
    return FlowRun(**asdict(event))


_CHANGEABLE = tuple(name for name in FlowRunUpdated.__struct_fields__ if name != "extras")


# --- what a recorded state tells ------------------------------------------------------------------


def answer_from(event: FlowRunStateSet) -> OrchestrationResult:
    """The answer that was given when this was recorded; for a client that repeats itself."""
    return answer(event.status, restored(event.state), event.reason)


def parent_state(event: FlowRunStateSet, flow_run_id: str, id: str, now: datetime) -> State:
    """The state that the parent task run of a subflow takes on with it, by force.

    The task run is `FlowRun.parent_task_run_id`; `id` and `now` are minted for its new state.
    """
    state = restored(event.state)
    details = with_details(state.state_details, child_flow_run_id=flow_run_id)
    return State(id, state.type, state.name, now, state.message, state.data, details, state.extras)
