"""Doing what automations do.

An action that is tried again after a crash does nothing twice: what it records has the invocation
as its correlation, and where that is in the log already, the first attempt is told of. A webhook
that could not be reached is called again; one that may have heard the call is not, unless the
process was killed or lost the term meanwhile. So it is with notifications.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from msgspec import Struct, ValidationError, convert, json
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
from orchestration.automation_firings import Details, Labels, Outcome
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
from projections import block_documents, deployments, variables, work_pools, work_queues
from projections.block_documents import ShownDocument
from services import (
    automations,
    deployment_runs,
    flow_runs,
    notifications,
    run_inputs,
    template_context,
    webhooks,
)
from services import deployments as deployment_commands
from services import work_pools as pool_commands
from services.notification_blocks import Message
from services.notifications import NotSent
from services.pulses import Pulses
from services.shell import Clock, Origin, Shell, natural_id
from services.template_context import Cause
from services.vault import Vault
from services.webhooks import CallFailed, Webhook

SUSPENDED_FOR = timedelta(hours=1)
"""How long a run that an automation suspended may be so, as in Prefect."""


WEBHOOK = "webhook"
"""Slug of the type of the blocks that `call-webhook` calls."""
NOTIFY = "notify"
"""The capability of blocks that notifications are sent through."""
ANSWER_CHARACTERS_MAX = 1_000
"""Of what a webhook answered, so much is told."""
_UNTOLD = (
    "authorization",
    "set-cookie",
    "traceparent",
    "via",
    "x-b3",
    "x-cloud-trace",
    "x-envoy",
    "x-forwarded",
    "x-prefect",
)
"""Headers of the answer that are not told begin like this."""


class Failed(Exception):
    """An action cannot be done, and could not be if it were tried again."""

    def __init__(self, reason: str, **details: Any) -> None:
        super().__init__(reason)
        self.reason, self.details = reason, details


class NoRoom(Exception):
    """As many addresses of others' are being called as may be: the action is to be done later."""


class Doing(Struct, frozen=True, kw_only=True):
    """One action that is to be done, and by what means."""

    shell: Shell
    vault: Vault
    clock: Clock
    calls: asyncio.Semaphore
    """How many more addresses of others' may be called at the same time."""
    origin: Origin
    address: str
    """Of the pages, for links in templates."""
    cause: Cause
    invocation: str
    """UUID of this action of this firing."""
    index: int
    related: list[Labels]
    """What the action had to do with; grows while it is done."""
    details: Details
    """What came of it; grows as well."""

    def note(self, kind: str, id_: str, role: str = "target", **more: str) -> None:
        """The action had to do with this."""
        labels = {"prefect.resource.id": f"prefect.{kind}.{id_}"}
        self.related.append({**labels, "prefect.resource.role": role, **more})


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
    recorded = await doing.shell.store.last_of(stream, doing.invocation)
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


# --- blocks


async def _block(doing: Doing, id_: str) -> tuple[ShownDocument, list[Any]]:
    """A block with its secrets; and the secrets by themselves, those of blocks within it too."""
    database = doing.shell.store.database
    found = await block_documents.by_id(database, id_)
    if found is None:
        raise NotFound("Block document")
    gathered = await block_documents.gathered(database, [found])
    opened = await doing.vault.open_all(database, gathered.secrets)
    (block,) = gathered.shown(opened)
    doing.note("block-document", block.id, "block", **{"prefect.resource.name": block.name})
    if block.block_type is not None:
        doing.note("block-type", block.block_type.slug, "block-type")
    return block, [value for values in opened.values() for _, value in values]


@asynccontextmanager
async def _calling(doing: Doing) -> AsyncIterator[None]:
    """While an address of somebody else's is called. Raises NoRoom.

    Nobody waits here: whoever does would keep actions waiting that call nobody.
    """
    if doing.calls.locked():
        raise NoRoom
    async with doing.calls:
        yield


async def _call_webhook(doing: Doing, action: CallWebhook) -> None:
    block, _ = await _block(doing, action.block_document_id)
    if block.block_type is None or block.block_type.slug != WEBHOOK:
        raise Failed("The referenced block was not a webhook block")
    try:
        webhook = convert(block.data, Webhook)
    except ValidationError as error:
        raise Failed(f"The webhook block was invalid: {error}") from None
    (payload,) = await _rendered(doing, action.payload)
    try:
        async with _calling(doing):
            called = await webhooks.call(webhook, payload)
    except CallFailed as failed:
        raise Failed(f"Webhook call failed: {failed}") from None
    doing.details["status_code"] = called.status
    doing.details["response_body"] = _shortened(called.body)
    doing.details["response_headers"] = {
        name: value for name, value in called.headers.items() if not name.startswith(_UNTOLD)
    }


def _shortened(text: str) -> str:
    if len(text) <= ANSWER_CHARACTERS_MAX:
        return text
    return f"{text[: ANSWER_CHARACTERS_MAX - 1]}…"


async def _rendered(doing: Doing, *texts: str) -> list[str]:
    templates = [text for text in texts if automation_parameters.is_template(text)]
    if not templates:
        return list(texts)
    context = await template_context.gather(
        doing.shell, doing.clock, doing.cause, templates, doing.address
    )
    return [_rendering(text, context) if text in templates else text for text in texts]


def _rendering(template: str, context: Mapping[str, Any]) -> str:
    try:
        return render(template, context)
    except CannotRender as why:
        told = {"template_error": str(why), "template_source": template}
        raise Failed(f"Template rendering failed: {why}", **told) from None


async def _notify(doing: Doing, action: SendNotification) -> None:
    block, secrets = await _block(doing, action.block_document_id)
    schema, kind = block.block_schema, block.block_type
    if schema is None or kind is None or NOTIFY not in schema.capabilities:
        raise Failed("The referenced block was not a notification block")
    message = Message(*await _rendered(doing, action.subject, action.body))
    try:
        async with _calling(doing):
            await notifications.send(kind.slug, block.data, secrets, message)
    except NotSent as why:
        raise Failed(f"Notification failed: {why}", **why.details) from None


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
    SendNotification: _notify,
    CallWebhook: _call_webhook,
    PauseAutomation: _pause_automation,
    ResumeAutomation: _pause_automation,
    SuspendFlowRun: _suspend,
    ResumeFlowRun: _resume_run,
    PauseWorkPool: _pause_pool,
    ResumeWorkPool: _pause_pool,
}
