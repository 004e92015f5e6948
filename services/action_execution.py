"""Doing what automations do.

An action that is tried again after a crash does nothing twice: what it records has the invocation
as its correlation, and where that is in the log already, the first attempt is told of. A webhook
that could not be reached is called again; one that may have heard the call is not, unless the
process was killed or lost the term meanwhile. So it is with notifications.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from msgspec import Struct, json
from msgspec.structs import replace

from eventstore import log
from eventstore.events import Event
from orchestration import automation_parameters
from orchestration.automation_actions import (
    Action,
    CallWebhook,
    CancelFlowRun,
    ChangeFlowRunState,
    DeleteFlowRun,
    DoNothing,
    PauseAutomation,
    PauseDeployment,
    PauseWorkPool,
    PauseWorkQueue,
    ResumeAutomation,
    ResumeDeployment,
    ResumeFlowRun,
    ResumeWorkPool,
    ResumeWorkQueue,
    RunDeployment,
    SendNotification,
    SuspendFlowRun,
    type_of,
)
from orchestration.automation_firings import Outcome
from orchestration.deployment_bodies import DeploymentFlowRunCreate
from orchestration.flow_run_bodies import CreatedBy
from orchestration.flow_runs import FlowRunCreated, FlowRunStateSet, answer_from
from orchestration.refusals import Conflict, Invalid, NotFound, NotNow, Refusal
from orchestration.states import (
    CANCELLING,
    PAUSED,
    SCHEDULED,
    ProposedDetails,
    ProposedState,
)
from orchestration.template_sandbox import CannotRender, render
from orchestration.transition import OrchestrationResult
from orchestration.value_schemas import CannotFillIn, variables_in
from orchestration.work_pools import WorkPoolUpdate
from orchestration.work_queues import WorkQueueUpdate
from projections import deployments, variables, work_pools, work_queues
from services import (
    automations,
    deployment_runs,
    flow_runs,
    run_inputs,
    template_context,
)
from services import deployments as deployment_commands
from services import work_pools as pool_commands
from services.action_calls import call_webhook, notify
from services.action_doing import Doing, Failed
from services.pulses import Pulses
from services.shell import natural_id

SUSPENDED_FOR = timedelta(hours=1)
"""How long a run that an automation suspended may be so, as in Prefect."""


async def perform(doing: Doing, action: Action) -> Outcome:
    """Do an action. Raises NoRoom, and what is worth another try; all else is its outcome."""
    reason = None
    try:
        await _HOW[type(action)](doing, action)
    except Failed as failed:
        reason = failed.reason
        doing.details.update(failed.details)
    except Refusal as refusal:
        status = _status(refusal)
        doing.details["status_code"] = status
        reason = _reason(action, status, str(refusal))
    return Outcome(related=tuple(doing.related), details=dict(doing.details), reason=reason)


def _status(refusal: Refusal) -> int:
    for kind, status in ((NotFound, 404), (Conflict, 409), (Invalid, 422), (NotNow, 400)):
        if isinstance(refusal, kind):
            return status
    return 422


def _reason(action: Action, status: int, told: str) -> str:
    if status in (409, 422):
        return f"Validation error occurred for {type_of(action)!r} - {told}"
    return f"Unexpected status from {type_of(action)!r} action: {status} ({told})"


def _chosen(doing: Doing, action: Any, member: str, kind: str) -> str:
    """The id of what an action is about: as it says, or as the emission does."""
    if action.source == "selected":
        return str(getattr(action, member))
    called = kind.replace("-", " ")
    if doing.cause.emission is None:
        raise Failed(f"No event to infer the {called}")
    found = doing.cause.id_of(f"prefect.{kind}")
    if found is None:
        raise Failed(f"No {called} could be inferred")
    return found


async def _recorded(doing: Doing, stream: str) -> Event | None:
    """What an attempt at this action recorded in a stream before its process, or its term, ended.

    Who was only slow to say so did its work all the same, whatever has become of it since.
    """
    fired = doing.cause.firing.position
    recorded = await doing.shell.store.last_of(stream, doing.invocation, fired)
    return None if recorded is None else recorded.event


# --- flow runs


def _flow_run(doing: Doing) -> str:
    """The flow run that the firing is about."""
    kind, _, id_ = doing.cause.labels.get("prefect.resource.id", "").rpartition(".")
    found = template_context.as_id(id_) if kind == "prefect.flow-run" else None
    found = found or doing.cause.id_of("prefect.flow-run")
    if found is None:
        raise Failed("No flow run could be inferred")
    doing.note("flow-run", found)
    return found


def _by(doing: Doing) -> str:
    return f"by Automation {doing.cause.firing.triggered.automation.id}"


async def _cancel(doing: Doing, action: CancelFlowRun) -> None:
    await _set_state(doing, ProposedState(type=CANCELLING, message=f"Cancelled {_by(doing)}"))


async def _suspend(doing: Doing, action: SuspendFlowRun) -> None:
    details = ProposedDetails(
        pause_timeout=doing.clock() + SUSPENDED_FOR,
        pause_reschedule=True,
        pause_key=natural_id("pause", doing.invocation),
    )
    message = f"Suspended {_by(doing)}"
    wanted = ProposedState(type=PAUSED, name="Suspended", message=message, state_details=details)
    await _set_state(doing, wanted)


async def _change_state(doing: Doing, action: ChangeFlowRunState) -> None:
    message = action.message or f"State changed {_by(doing)}"
    wanted = ProposedState(type=action.state, name=action.name, message=message)
    await _set_state(doing, wanted, force=action.force)


async def _set_state(doing: Doing, wanted: ProposedState, *, force: bool = False) -> None:
    id_ = _flow_run(doing)
    answer = await _first_answer(doing, id_)
    written = answer is not None
    if answer is None:
        once = replace(wanted.state_details, transition_id=natural_id("state", doing.invocation))
        done = await flow_runs.set_state(
            doing.shell,
            id_,
            replace(wanted, state_details=once),
            force=force,
            now=doing.clock(),
            origin=doing.origin,
        )
        answer, written = done.answer, done.written is not None
    doing.details["status_code"] = 201 if written else 200
    if answer.status != "ACCEPT":
        raise Failed(f"Failed to set state: {_told(answer.details)}")


async def _first_answer(doing: Doing, id_: str) -> OrchestrationResult | None:
    """What this action was told when it set the state of a run, if it has done so."""
    event = await _recorded(doing, f"{flow_runs.CATEGORY}:{id_}")
    return answer_from(event) if isinstance(event, FlowRunStateSet) else None


def _told(details: Any) -> str:
    return str(getattr(details, "reason", None) or "no reason given")


async def _resume_run(doing: Doing, action: ResumeFlowRun) -> None:
    id_ = _flow_run(doing)
    answer = await _first_answer(doing, id_)
    if answer is None:
        done = await run_inputs.resume(doing.shell, id_, None, doing.clock(), doing.origin)
        answer = done.answer
    if answer.status != "ACCEPT":
        raise Failed(f"Failed to resume flow run: {_told(answer.details)}")


async def _delete_run(doing: Doing, action: DeleteFlowRun) -> None:
    id_ = _flow_run(doing)
    if await _recorded(doing, f"{flow_runs.CATEGORY}:{id_}") is None:
        await flow_runs.delete(doing.shell, id_, doing.origin)
    doing.details["status_code"] = 204


# --- deployments


async def _run_deployment(doing: Doing, action: RunDeployment) -> None:
    id_ = _chosen(doing, action, "deployment_id", "deployment")
    doing.note("deployment", id_)
    run = await _made(doing) or await _new_run(doing, action, id_)
    doing.details["status_code"] = 201
    doing.note("flow-run", run.id, "flow-run", **{"prefect.resource.name": run.name})


class _Run(Struct):
    id: str
    name: str


def _run_id(doing: Doing) -> str:
    return natural_id("automation-run", doing.invocation)


async def _made(doing: Doing) -> _Run | None:
    """The run that this action has made, if it has; there need not be one any more."""
    store, stream = doing.shell.store, f"{flow_runs.CATEGORY}:{_run_id(doing)}"
    database = store.database
    for first in await log.read_stream(database, database.dialect, store.codec, stream, limit=1):
        if isinstance(first.event, FlowRunCreated):
            return _Run(first.event.id, first.event.name)
    return None


async def _new_run(doing: Doing, action: RunDeployment, id_: str) -> _Run:
    deployment = await deployments.entity(doing.shell.store.database, id_)
    if deployment is None:
        raise NotFound("Deployment")
    automation = doing.cause.firing.triggered.automation
    due = doing.clock() + timedelta(seconds=action.schedule_after)
    body = DeploymentFlowRunCreate(
        state=ProposedState(type=SCHEDULED, state_details=ProposedDetails(scheduled_time=due)),
        parameters=await _parameters(doing, action.parameters or {}),
        job_variables=action.job_variables,
        idempotency_key=(
            f"automation {automation.id}, action {doing.index}, invocation {doing.invocation}"
        ),
    )
    created_by = CreatedBy(id=automation.id, type="AUTOMATION", display_value=automation.name)
    shown, _, _ = await deployment_runs.create(
        doing.shell, deployment, body, doing.clock, doing.origin, created_by, _run_id(doing)
    )
    return json.decode(shown, type=_Run)


async def _parameters(doing: Doing, given: Mapping[str, Any]) -> dict[str, Any]:
    if not given:
        return {}
    templates = automation_parameters.templates_in(given)
    context = await template_context.gather(
        doing.shell, doing.clock, doing.cause, templates, doing.address
    )
    database = doing.shell.store.database
    known = await variables.values_of(database, database.dialect, variables_in(dict(given)))
    try:
        return automation_parameters.rendered(given, lambda one: render(one, context), known)
    except (CannotFillIn, CannotRender) as why:
        raise Failed(f"Unable to create flow run from deployment: {why}") from None


async def _pause_deployment(doing: Doing, action: PauseDeployment | ResumeDeployment) -> None:
    id_ = _chosen(doing, action, "deployment_id", "deployment")
    doing.note("deployment", id_)
    if await _recorded(doing, f"{deployment_commands.CATEGORY}:{id_}") is None:
        paused = isinstance(action, PauseDeployment)
        await deployment_commands.pause(doing.shell, id_, paused, doing.clock, doing.origin)
    doing.details["status_code"] = 200


# --- pools, queues, automations


async def _pause_pool(doing: Doing, action: PauseWorkPool | ResumeWorkPool) -> None:
    id_ = _chosen(doing, action, "work_pool_id", "work-pool")
    done = await _recorded(doing, f"{pool_commands.POOL}:{id_}") is not None
    pool = await work_pools.by_id(doing.shell.store.database, id_)
    if pool is None and not done:
        raise Failed(f"Work pool {id_} not found")
    name = {} if pool is None else {"prefect.resource.name": pool.name}
    doing.note("work-pool", id_, **name)
    if pool is not None and not done:
        body = WorkPoolUpdate(is_paused=isinstance(action, PauseWorkPool))
        await pool_commands.update(doing.shell, pool.name, body, doing.origin)
    doing.details["status_code"] = 204


async def _pause_queue(doing: Doing, action: PauseWorkQueue | ResumeWorkQueue) -> None:
    id_ = _chosen(doing, action, "work_queue_id", "work-queue")
    doing.note("work-queue", id_)
    if await _recorded(doing, f"{pool_commands.QUEUE}:{id_}") is None:
        database = doing.shell.store.database
        queue = await work_queues.by_id(database, id_)
        if queue is None:
            raise NotFound("Work queue")
        body = WorkQueueUpdate(is_paused=isinstance(action, PauseWorkQueue))
        await pool_commands.update_queue(
            doing.shell, Pulses(database), queue, body, doing.clock(), doing.origin
        )
    doing.details["status_code"] = 204


async def _pause_automation(doing: Doing, action: PauseAutomation | ResumeAutomation) -> None:
    id_ = _chosen(doing, action, "automation_id", "automation")
    doing.note("automation", id_)
    if await _recorded(doing, f"{automations.CATEGORY}:{id_}") is None:
        enabled = isinstance(action, ResumeAutomation)
        await automations.enable(doing.shell, id_, enabled, doing.origin)
    doing.details["status_code"] = 204


async def _nothing(doing: Doing, action: DoNothing) -> None:
    pass


_HOW: Mapping[type[Action], Callable[[Doing, Any], Awaitable[None]]] = {
    DoNothing: _nothing,
    RunDeployment: _run_deployment,
    PauseDeployment: _pause_deployment,
    ResumeDeployment: _pause_deployment,
    CancelFlowRun: _cancel,
    DeleteFlowRun: _delete_run,
    ChangeFlowRunState: _change_state,
    PauseWorkQueue: _pause_queue,
    ResumeWorkQueue: _pause_queue,
    SendNotification: notify,
    CallWebhook: call_webhook,
    PauseAutomation: _pause_automation,
    ResumeAutomation: _pause_automation,
    SuspendFlowRun: _suspend,
    ResumeFlowRun: _resume_run,
    PauseWorkPool: _pause_pool,
    ResumeWorkPool: _pause_pool,
}
