"""Decisions about flow runs: what can be asked of one, and the events that follow."""

from typing import Any, TypeAlias, assert_never

from msgspec import UNSET, Struct
from msgspec.structs import replace

from eventstore.decider import Decider
from orchestration.flow_run_bodies import CreatedBy, FlowRunCreate, FlowRunUpdate
from orchestration.flow_runs import (
    FlowRun,
    FlowRunCreated,
    FlowRunDeleted,
    FlowRunEvent,
    FlowRunLabelsUpdated,
    FlowRunStateSet,
    FlowRunUpdated,
    evolve,
    existing,
    made_by,
)
from orchestration.identifiers import Labels
from orchestration.refusals import AlreadyExists, MissingReference, NotNow
from orchestration.run_policies import current_names
from orchestration.settling import Settled, in_its_place, settled
from orchestration.states import (
    RUNNING,
    SCHEDULED,
    TERMINAL,
    State,
    StateType,
    former,
    recorded,
)
from orchestration.surroundings import Surroundings
from orchestration.transition import (
    FlowFacts,
    Judgement,
    PauseSeen,
    Policy,
    Resuming,
    TakeSlots,
    Transition,
    judge,
)

# --- commands -------------------------------------------------------------------------------------


class CreateFlowRun(Struct, frozen=True, kw_only=True):
    """Create a run in a first state. That its idempotency key is new is the caller's to know."""

    id: str
    body: FlowRunCreate
    state: State
    name: str
    """For a body without a name: see `names.slug`."""
    around: Surroundings
    """`around.flow` is None if there is no such flow."""
    flow_labels: Labels = {}
    """Of the flow, or of the deployment; the run inherits them."""
    created_by: CreatedBy | None = None
    auto_scheduled: bool = False
    deployment_version: str | None = None


class UpdateFlowRun(Struct, frozen=True, kw_only=True):
    """Change some of a run's fields."""

    id: str
    body: FlowRunUpdate
    name: str
    """For a body that sets the name to nothing."""


class UpdateFlowRunLabels(Struct, frozen=True, kw_only=True):
    """Add labels to a run, or change their values."""

    id: str
    labels: Labels


class SetFlowRunState(Struct, frozen=True, kw_only=True):
    """Ask for another state. `rules` is one of the policies of `flow_rules`."""

    id: str
    proposed: State
    rules: Policy
    facts: FlowFacts
    around: Surroundings = Surroundings()


class DeleteFlowRun(Struct, frozen=True, kw_only=True):
    """Forget a run."""

    id: str


class OrphanFlowRun(Struct, frozen=True, kw_only=True):
    """The parent task run of a subflow run is gone; the run stays."""

    id: str


class LeaveQueue(Struct, frozen=True, kw_only=True):
    """The work queue that a run waits in is gone, or about to be; the run stays."""

    id: str
    work_queue_id: str


FlowRunCommand: TypeAlias = (
    CreateFlowRun
    | UpdateFlowRun
    | UpdateFlowRunLabels
    | SetFlowRunState
    | DeleteFlowRun
    | OrphanFlowRun
    | LeaveQueue
)

# --- decide ---------------------------------------------------------------------------------------


def decide(command: FlowRunCommand, flow_run: FlowRun | None) -> list[FlowRunEvent]:
    """What follows from a command. Raises refusals; a rule's no is a verdict, not a refusal."""
    match command:
        case SetFlowRunState():
            event = settle(command, flow_run).event
            return [event] if event is not None else []
        case CreateFlowRun():
            return _create(command, flow_run)
        case UpdateFlowRun():
            return _update(command, existing(flow_run, command.id))
        case UpdateFlowRunLabels(labels=labels):
            labelled = existing(flow_run, command.id).labels
            changed = {k: v for k, v in labels.items() if k not in labelled or labelled[k] != v}
            return [FlowRunLabelsUpdated(labels=changed)] if changed else []
        case DeleteFlowRun():
            existing(flow_run, command.id)
            return [FlowRunDeleted()]
        case OrphanFlowRun():
            is_child = flow_run is not None and flow_run.parent_task_run_id is not None
            return [FlowRunUpdated(parent_task_run_id=None)] if is_child else []
        case LeaveQueue(work_queue_id=left):
            if flow_run is None or flow_run.work_queue_id != left:
                return []
            return [FlowRunUpdated(work_queue_id=None, work_pool_id=None, work_pool_name=None)]
        case _:
            assert_never(command)


def settle(command: SetFlowRunState, flow_run: FlowRun | None) -> Settled[FlowRunStateSet]:
    """Judge a proposed state. Raises `NotFound` if there is no such run."""
    run = existing(flow_run, command.id)
    proposed = command.proposed
    judgement = judge(command.rules, Transition(run.state, proposed, run), command.facts)
    return settled(
        judgement,
        run.state,
        _references(run),
        lambda state: _state_set(run, state, judgement, proposed.type, command.around),
    )


def _references(run: FlowRun) -> dict[str, str]:
    parent = run.parent_task_run_id
    return {"flow_run_id": run.id} | ({} if parent is None else {"task_run_id": parent})


def _state_set(
    run: FlowRun,
    state: State,
    judgement: Judgement[FlowRun],
    proposed_type: StateType,
    around: Surroundings,
) -> FlowRunStateSet:
    kind = state.type
    policy = judgement.run.empirical_policy
    run_count = judgement.run.run_count
    if kind == RUNNING and not policy.resuming:
        run_count += 1
    if policy.resuming and (kind == RUNNING or kind in TERMINAL):
        policy = replace(policy, resuming=False)
    for wish in judgement.afterwards:
        match wish:
            case PauseSeen(key):
                seen = {*(policy.pause_keys or ()), key}
                policy = replace(policy, pause_keys=tuple(sorted(seen)))
            case Resuming():
                policy = replace(policy, resuming=True)
            case TakeSlots():
                pass
            case _:
                raise AssertionError(f"{wish} is not for flow runs")
    unchanged = policy is run.empirical_policy or policy == run.empirical_policy
    return FlowRunStateSet(
        state=recorded(state),
        former=former(run.state),
        proposed_type=None if kind == proposed_type else proposed_type,
        status=judgement.status,
        reason=judgement.reason,
        run_count=run_count,
        empirical_policy=None if unchanged else policy,
        name=run.name,
        tags=run.tags,
        created_by=run.created_by,
        around=around,
    )


_NO_RULES = Policy.of()


def _create(command: CreateFlowRun, flow_run: FlowRun | None) -> list[FlowRunEvent]:
    if flow_run is not None:
        raise AlreadyExists("Flow run", command.id)
    body, around = command.body, command.around
    if around.flow is None:
        raise MissingReference("Flow", body.flow_id)
    created = FlowRunCreated(
        id=command.id,
        name=body.name or command.name,
        flow_id=body.flow_id,
        deployment_id=body.deployment_id,
        deployment_version=command.deployment_version,
        work_queue_id=around.work_queue.id if around.work_queue else None,
        work_queue_name=around.work_queue.name if around.work_queue else body.work_queue_name,
        work_pool_id=around.work_pool.id if around.work_pool else None,
        work_pool_name=around.work_pool.name if around.work_pool else None,
        flow_version=body.flow_version,
        parameters=body.parameters,
        idempotency_key=body.idempotency_key,
        context=body.context,
        empirical_policy=current_names(body.empirical_policy),
        tags=body.tags,
        labels={**command.flow_labels, "prefect.flow.id": body.flow_id, **(body.labels or {})},
        parent_task_run_id=body.parent_task_run_id,
        auto_scheduled=command.auto_scheduled,
        infrastructure_document_id=body.infrastructure_document_id,
        created_by=command.created_by,
        job_variables=body.job_variables or {},
        extras=body.extras,
    )
    run = made_by(created)
    # No rule has anything to say about the first state of a run that is just being created.
    judgement = judge(
        _NO_RULES,
        Transition(None, command.state, run),
        FlowFacts(now=command.state.timestamp, pause_key=command.state.id),
    )
    state = in_its_place(command.state, run.state, _references(run))
    return [created, _state_set(run, state, judgement, state.type, around)]


def _update(command: UpdateFlowRun, run: FlowRun) -> list[FlowRunEvent]:
    body = command.body
    if body.job_variables is not UNSET and body.job_variables is not None:
        _may_change_job_variables(run)
    name = body.name if body.name is UNSET or body.name else command.name
    policy = body.empirical_policy
    wanted = {
        "name": name,
        "flow_version": body.flow_version,
        "parameters": body.parameters,
        "empirical_policy": policy if policy is UNSET else current_names(policy),
        "tags": body.tags,
        "infrastructure_pid": body.infrastructure_pid,
        "job_variables": body.job_variables,
    }
    changes: dict[str, Any] = {
        field: value
        for field, value in wanted.items()
        if value is not UNSET and value != getattr(run, field)
    }
    if body.extras is not UNSET:
        changes["extras"] = body.extras
    return [FlowRunUpdated(**changes)] if changes else []


def _may_change_job_variables(run: FlowRun) -> None:
    if run.state is None:
        raise NotNow("The flow run has no state yet; its job variables cannot be changed")
    if run.state.type != SCHEDULED:
        raise NotNow(
            f"Job variables can be changed while a flow run is SCHEDULED; it is {run.state.type}"
        )
    if run.deployment_id is None:
        raise NotNow("The flow run has no deployment that job variables could be for")


decider: Decider[FlowRunCommand, FlowRun, FlowRunEvent] = Decider(decide, evolve)
