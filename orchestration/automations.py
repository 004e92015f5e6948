"""Automations: what is to be done when something happens, or does not."""

from datetime import datetime
from typing import Any, TypeAlias, assert_never

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from eventstore.decider import Decider
from eventstore.events import Event
from orchestration.automation_actions import Action, RunDeployment
from orchestration.refusals import AlreadyExists, Invalid, NotFound
from orchestration.triggers import REACTIVE, EventTrigger, Trigger, every_one_of


class Definition(Struct, frozen=True, kw_only=True):
    """What says when an automation does what.

    `AutomationCreated` and `Automation` have the same fields and write them out: fields are stored
    in their order, and there the id comes first.
    """

    name: str
    description: str = ""
    enabled: bool = True
    tags: tuple[str, ...] = ()
    trigger: Trigger
    actions: tuple[Action, ...]
    actions_on_trigger: tuple[Action, ...] = ()
    actions_on_resolve: tuple[Action, ...] = ()


# --- events ---------------------------------------------------------------------------------------


class AutomationCreated(Event, frozen=True, kw_only=True, tag="automation.created"):
    """Somebody told the server what to do, and when."""

    id: str
    name: str
    description: str = ""
    enabled: bool = True
    tags: tuple[str, ...] = ()
    trigger: Trigger
    actions: tuple[Action, ...]
    actions_on_trigger: tuple[Action, ...] = ()
    actions_on_resolve: tuple[Action, ...] = ()
    owner_resource: str | None = None
    """Of what it is a part; it goes when that is deployed anew."""


class AutomationUpdated(Definition, Event, frozen=True, kw_only=True, tag="automation.updated"):
    """The automation as it is after the change. What its triggers had seen is forgotten."""

    created: datetime | None = None
    """When the automation was."""


class AutomationDeleted(Event, frozen=True, kw_only=True, tag="automation.deleted"):
    """The automation is gone. Carries what it last was."""

    last: "Automation"


AutomationEvent: TypeAlias = AutomationCreated | AutomationUpdated | AutomationDeleted

# --- commands -------------------------------------------------------------------------------------


class AutomationBody(Definition, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client says of an automation: the body of `PUT /automations/{id}`."""


class AutomationCreate(AutomationBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /automations/`."""

    owner_resource: str | None = None


class AutomationPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `PATCH /automations/{id}`."""

    enabled: bool | UnsetType = UNSET


class CreateAutomation(Struct, frozen=True, kw_only=True):
    """Tell the server what to do, and when."""

    id: str
    body: AutomationCreate


class ReplaceAutomation(Struct, frozen=True, kw_only=True):
    """Put another definition in place of the one that is there."""

    id: str
    body: AutomationBody


class EnableAutomation(Struct, frozen=True, kw_only=True):
    """Let it fire, or not."""

    id: str
    enabled: bool


class DeleteAutomation(Struct, frozen=True, kw_only=True):
    """Forget it."""

    id: str


AutomationCommand: TypeAlias = (
    CreateAutomation | ReplaceAutomation | EnableAutomation | DeleteAutomation
)

# --- value ----------------------------------------------------------------------------------------


class Automation(Struct, frozen=True, kw_only=True):
    """An automation as the API shows it. `created` and `updated` are the projection's to stamp."""

    id: str
    created: datetime | None = None
    updated: datetime | None = None
    name: str
    description: str = ""
    enabled: bool = True
    tags: tuple[str, ...] = ()
    trigger: Trigger
    actions: tuple[Action, ...]
    actions_on_trigger: tuple[Action, ...] = ()
    actions_on_resolve: tuple[Action, ...] = ()
    owner_resource: str | UnsetType = UNSET
    """Not shown by the API."""


def deployments_of(automation: Automation) -> tuple[str, ...]:
    """The ids of the deployments that it names, to be run."""
    named = (one.deployment_id for one in automation.actions if isinstance(one, RunDeployment))
    return tuple(dict.fromkeys(id_ for id_ in named if id_ is not None))


# --- decide ---------------------------------------------------------------------------------------


def decide(command: AutomationCommand, automation: Automation | None) -> list[AutomationEvent]:
    """What follows from a command. Raises `AlreadyExists`, `Invalid` and `NotFound`."""
    if isinstance(command, CreateAutomation):
        if automation is not None:
            raise AlreadyExists("Automation", command.id)
        prevent_loops(command.body)
        body = command.body
        owner = body.owner_resource
        return [AutomationCreated(id=command.id, owner_resource=owner, **_fields(body))]
    if automation is None:
        raise NotFound("Automation", command.id)
    match command:
        case ReplaceAutomation(body=wanted):
            prevent_loops(wanted)
            return [AutomationUpdated(created=automation.created, **_fields(wanted))]
        case EnableAutomation(enabled=enabled):
            if enabled == automation.enabled:
                return []
            changed = replace(automation, enabled=enabled)
            prevent_loops(changed)
            return [AutomationUpdated(created=automation.created, **_fields(changed))]
        case DeleteAutomation():
            return [AutomationDeleted(last=automation)]
        case _:
            assert_never(command)


def _fields(defining: Definition | AutomationCreated | Automation) -> dict[str, Any]:
    return {name: getattr(defining, name) for name in Definition.__struct_fields__}


_EVERY_RUN = frozenset(
    {
        "prefect.flow-run.Scheduled",
        "prefect.flow-run.Pending",
        "prefect.flow-run.Running",
        "prefect.flow-run.*",
    }
)
"""Every run of a deployment tells of these: whoever runs one at each of them never stops."""


def prevent_loops(body: AutomationBody | Automation) -> None:
    """Raise `Invalid` for an automation that would go on making runs for ever."""
    trigger = body.trigger
    if not body.enabled or not isinstance(trigger, EventTrigger) or trigger.posture != REACTIVE:
        return
    if not _EVERY_RUN.intersection(trigger.expect):
        return
    runs = [one for one in body.actions if isinstance(one, RunDeployment)]
    if any(one.source == "inferred" for one in runs):
        raise Invalid(
            "This would run a deployment each time that a run of it changes its state, without"
            " end. Name the deployment to run, and narrow `match` or `match_related` down to"
            " flow runs that are not of it."
        )
    related = trigger.match_related
    related = (related,) if isinstance(related, dict) else related
    if (
        runs
        and every_one_of("prefect.flow-run", trigger.match)
        and any(every_one_of("prefect.flow-run", one) for one in related)
    ):
        raise Invalid(
            "This may run a deployment each time that a run of it changes its state, without end."
            " Narrow `match` or `match_related` down to flow runs that are not of this deployment."
        )


# --- evolve ---------------------------------------------------------------------------------------


def evolve(automation: Automation | None, event: AutomationEvent) -> Automation | None:
    """The automation after the event."""
    match event:
        case AutomationCreated():
            return Automation(
                id=event.id, owner_resource=event.owner_resource or UNSET, **_fields(event)
            )
        case AutomationUpdated():
            return automation and replace(automation, **_fields(event))
        case AutomationDeleted():
            return None
        case _:
            assert_never(event)


decider: Decider[AutomationCommand, Automation, AutomationEvent] = Decider(decide, evolve)
