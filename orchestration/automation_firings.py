"""Firings of automations, and what became of their actions. Each firing is a stream.

triggered ──▶ (action triggered ──▶ action executed | action failed) for each action, in order
"""

from collections.abc import Sequence
from typing import Any, TypeAlias, assert_never

from msgspec import UNSET, Raw, Struct, UnsetType, field
from msgspec.structs import replace

from eventstore.decider import Decider
from eventstore.events import Event
from orchestration.automation_actions import Action
from orchestration.automations import Automation
from orchestration.refusals import Conflict, NotFound
from orchestration.trigger_fold import Firing
from orchestration.triggers import EventTrigger

Labels: TypeAlias = dict[str, str]
Details: TypeAlias = dict[str, Any]
"""What a payload says of what came of an action."""

_NULL = b"null"


def _nothing() -> Raw:
    return Raw(_NULL)


# --- events ---------------------------------------------------------------------------------------


class AutomationTriggered(Event, frozen=True, kw_only=True, tag="automation.triggered"):
    """An automation has fired. Carries all that its actions go by."""

    id: str
    automation: Automation
    """As it was then."""
    firing: Firing
    emission: Raw = field(default_factory=_nothing)
    """What made it fire, or was the last one before; null if there was none."""
    depth: int = 0
    """How many firings led to it, one after the other: each by what told of the one before."""

    @property
    def sent(self) -> Raw | None:
        """The emission, if there was one."""
        return None if bytes(self.emission) == _NULL else self.emission


class AutomationActionTriggered(
    Event, frozen=True, kw_only=True, tag="automation-action.triggered"
):
    """An action was tried. What came of it is the next event."""

    action: "Performed"


class AutomationActionExecuted(Event, frozen=True, kw_only=True, tag="automation-action.executed"):
    """An action did what it is for."""

    action: "Performed"
    details: Details = field(default_factory=dict)


class AutomationActionFailed(Event, frozen=True, kw_only=True, tag="automation-action.failed"):
    """An action could not do what it is for, and is not tried any more."""

    action: "Performed"
    reason: str
    details: Details = field(default_factory=dict)


FiringEvent: TypeAlias = (
    AutomationTriggered
    | AutomationActionTriggered
    | AutomationActionExecuted
    | AutomationActionFailed
)


class Performed(Struct, frozen=True, kw_only=True):
    """Which action of which firing, and what it had to do with."""

    automation_id: str
    automation_name: str
    trigger_type: str
    posture: str | None = None
    invocation: str
    index: int
    type: str
    related: tuple[Labels, ...] = ()
    triggered_id: str
    """The emission that told of the firing."""
    tried_id: str
    """The emission that tells that the action was tried."""
    emission_id: str | None = None
    """The emission that made it fire, if it was one."""
    follows: bool = False
    """Whether that was shortly before."""
    depth: int | UnsetType = UNSET
    """Of the firing, if others led to it."""


def depth_of(event: Any) -> int:
    """How many firings led to what an event tells; 0 for all that tells of none."""
    match event:
        case AutomationTriggered(depth=depth):
            return depth + 1
        case (
            AutomationActionTriggered(action=action)
            | AutomationActionExecuted(action=action)
            | AutomationActionFailed(action=action)
        ):
            return (action.depth or 0) + 1
        case _:
            return 0


# --- commands -------------------------------------------------------------------------------------


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of an action."""

    related: tuple[Labels, ...] = ()
    details: Details = field(default_factory=dict)
    reason: str | None = None
    """Why it failed, if it did."""


class RecordOutcome(Struct, frozen=True, kw_only=True):
    """Say what came of the action that is next."""

    performed: Performed
    outcome: Outcome


FiringCommand: TypeAlias = RecordOutcome

# --- value ----------------------------------------------------------------------------------------


class OpenFiring(Struct, frozen=True, kw_only=True):
    """A firing with actions that are still to be done."""

    id: str
    triggered: AutomationTriggered
    position: int = 0
    """In the log."""
    done: int = 0
    """How many of its actions are."""


def actions_of(automation: Automation) -> Sequence[Action]:
    """What an automation does when it fires, in order."""
    return (*automation.actions, *automation.actions_on_trigger)


# --- decide ---------------------------------------------------------------------------------------


def decide(command: FiringCommand, firing: OpenFiring | None) -> list[FiringEvent]:
    """What follows from a command. Raises `NotFound` and `Conflict`."""
    performed, outcome = command.performed, command.outcome
    if firing is None:
        raise NotFound("Firing")
    if performed.index != firing.done:
        raise Conflict(f"Action {performed.index} is not the next one: that is {firing.done}.")
    performed = replace(performed, related=(*outcome.related, *performed.related))
    tried = AutomationActionTriggered(action=performed)
    if outcome.reason is not None:
        failed = AutomationActionFailed(
            action=performed, reason=outcome.reason, details=outcome.details
        )
        return [tried, failed]
    return [tried, AutomationActionExecuted(action=performed, details=outcome.details)]


# --- evolve ---------------------------------------------------------------------------------------


def evolve(firing: OpenFiring | None, event: FiringEvent) -> OpenFiring | None:
    """The firing after the event; None when nothing is to be done any more."""
    match event:
        case AutomationTriggered():
            opened = OpenFiring(id=event.id, triggered=event)
            return opened if actions_of(event.automation) else None
        case AutomationActionTriggered():
            return firing
        case AutomationActionExecuted() | AutomationActionFailed():
            if firing is None:
                return None
            done = firing.done + 1
            every = len(actions_of(firing.triggered.automation))
            return replace(firing, done=done) if done < every else None
        case _:
            assert_never(event)


decider: Decider[FiringCommand, OpenFiring, FiringEvent] = Decider(decide, evolve)


def posture_of(automation: Automation) -> str | None:
    """Whether it reacts; None for triggers that consist of others."""
    trigger = automation.trigger
    return trigger.posture if isinstance(trigger, EventTrigger) else None


def trigger_type(automation: Automation) -> str:
    """`event`, `compound` or `sequence`."""
    return str(automation.trigger.__struct_config__.tag)
