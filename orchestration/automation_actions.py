"""What an automation can do when it fires."""

from typing import Any, Literal, TypeAlias, get_args

from msgspec import Struct

from orchestration.states import StateType

Source: TypeAlias = Literal["selected", "inferred"]
"""Whether the action names what it is about, or takes it from the emission that it follows."""


class _Action(Struct, frozen=True, kw_only=True, tag_field="type"):
    pass


class DoNothing(_Action, frozen=True, kw_only=True, tag="do-nothing"):
    """That it fired is all."""


class _OnDeployment(_Action, frozen=True, kw_only=True):
    source: Source = "selected"
    deployment_id: str | None = None


class RunDeployment(_OnDeployment, frozen=True, kw_only=True, tag="run-deployment"):
    """Make a run of a deployment."""

    parameters: dict[str, Any] | None = None
    job_variables: dict[str, Any] | None = None
    schedule_after: float = 0.0
    """Seconds from when it fires."""


class PauseDeployment(_OnDeployment, frozen=True, kw_only=True, tag="pause-deployment"):
    """Let a deployment's schedules rest."""


class ResumeDeployment(_OnDeployment, frozen=True, kw_only=True, tag="resume-deployment"):
    """Let a deployment's schedules go on."""


class CancelFlowRun(_Action, frozen=True, kw_only=True, tag="cancel-flow-run"):
    """Cancel the flow run."""


class DeleteFlowRun(_Action, frozen=True, kw_only=True, tag="delete-flow-run"):
    """Delete the flow run."""


class ChangeFlowRunState(_Action, frozen=True, kw_only=True, tag="change-flow-run-state"):
    """Set the flow run's state."""

    name: str | None = None
    state: StateType
    message: str | None = None
    force: bool = False
    """Whatever the rules say."""


class _OnQueue(_Action, frozen=True, kw_only=True):
    source: Source = "selected"
    work_queue_id: str | None = None


class PauseWorkQueue(_OnQueue, frozen=True, kw_only=True, tag="pause-work-queue"):
    """Hand out no runs of a work queue."""


class ResumeWorkQueue(_OnQueue, frozen=True, kw_only=True, tag="resume-work-queue"):
    """Hand out runs of a work queue again."""


class SendNotification(_Action, frozen=True, kw_only=True, tag="send-notification"):
    """Tell somebody, over a notification block."""

    block_document_id: str
    subject: str = "Prefect automated notification"
    body: str


class CallWebhook(_Action, frozen=True, kw_only=True, tag="call-webhook"):
    """Call an address, over a webhook block."""

    block_document_id: str
    payload: str = ""


class _OnAutomation(_Action, frozen=True, kw_only=True):
    source: Source = "selected"
    automation_id: str | None = None


class PauseAutomation(_OnAutomation, frozen=True, kw_only=True, tag="pause-automation"):
    """Disable an automation."""


class ResumeAutomation(_OnAutomation, frozen=True, kw_only=True, tag="resume-automation"):
    """Enable an automation."""


class SuspendFlowRun(_Action, frozen=True, kw_only=True, tag="suspend-flow-run"):
    """Suspend the flow run: its process ends."""


class ResumeFlowRun(_Action, frozen=True, kw_only=True, tag="resume-flow-run"):
    """Let a paused or suspended flow run go on."""


class _OnPool(_Action, frozen=True, kw_only=True):
    source: Source = "selected"
    work_pool_id: str | None = None


class PauseWorkPool(_OnPool, frozen=True, kw_only=True, tag="pause-work-pool"):
    """Hand out no runs of a work pool."""


class ResumeWorkPool(_OnPool, frozen=True, kw_only=True, tag="resume-work-pool"):
    """Hand out runs of a work pool again."""


Action: TypeAlias = (
    DoNothing
    | RunDeployment
    | PauseDeployment
    | ResumeDeployment
    | CancelFlowRun
    | DeleteFlowRun
    | ChangeFlowRunState
    | PauseWorkQueue
    | ResumeWorkQueue
    | SendNotification
    | CallWebhook
    | PauseAutomation
    | ResumeAutomation
    | SuspendFlowRun
    | ResumeFlowRun
    | PauseWorkPool
    | ResumeWorkPool
)
ACTIONS: tuple[type[Action], ...] = get_args(Action)
"""In the order in which Prefect tries them on what a client sent."""


def type_of(action: Action) -> str:
    """What the action is called."""
    return str(action.__struct_config__.tag)
