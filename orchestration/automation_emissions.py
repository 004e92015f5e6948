"""What the server tells the world of automations, as Prefect does."""

from typing import Any

from msgspec import UNSET, Struct, json
from msgspec.structs import replace

from eventstore.events import Event, Recorded
from orchestration.automation_firings import (
    AutomationActionExecuted,
    AutomationActionFailed,
    AutomationActionTriggered,
    AutomationTriggered,
    Performed,
    posture_of,
)
from orchestration.automations import (
    Automation,
    AutomationBody,
    AutomationCreated,
    AutomationDeleted,
    AutomationUpdated,
)
from orchestration.emissions import Told

AUTOMATION_EMITTING: tuple[type[Event], ...] = (
    AutomationCreated,
    AutomationUpdated,
    AutomationDeleted,
    AutomationTriggered,
    AutomationActionTriggered,
    AutomationActionExecuted,
    AutomationActionFailed,
)


def of_automation(recorded: Recorded[Any]) -> Told:
    """What is told of an event in `AUTOMATION_EMITTING`."""
    event, id_ = recorded.event, recorded.stream.partition(":")[2]
    match event:
        case AutomationDeleted(last=last):
            return _changed("deleted", last)
        case AutomationCreated():
            return _changed("created", _as_it_is(event, id_, recorded))
        case AutomationTriggered():
            return _triggered(event)
        case AutomationActionTriggered(action=action):
            return _performed(action, "triggered", {}, action.emission_id, follows=action.follows)
        case AutomationActionExecuted(action=action, details=details):
            return _performed(action, "executed", details, action.tried_id)
        case AutomationActionFailed(action=action, reason=reason, details=details):
            return _performed(action, "failed", {"reason": reason, **details}, action.tried_id)
        case _:
            assert isinstance(event, AutomationUpdated)
            return _changed("updated", _as_it_is(event, id_, recorded))


def _resource(id_: str, name: str) -> dict[str, str]:
    return {
        "prefect.resource.id": f"prefect.automation.{id_}",
        "prefect.resource.name": name,
    }


def _emission(id_: str, role: str) -> dict[str, str]:
    return {"prefect.resource.id": f"prefect.event.{id_}", "prefect.resource.role": role}


class _Identified(Struct):
    id: str


_identified = json.Decoder(_Identified)


def _triggered(event: AutomationTriggered) -> Told:
    automation, sent = event.automation, event.sent
    resource = _resource(automation.id, automation.name)
    posture = posture_of(automation)
    if posture is not None:
        resource["prefect.posture"] = posture
    related: tuple[dict[str, str], ...] = ()
    if sent is not None:
        related = (_emission(_identified.decode(sent).id, "triggering-event"),)
    return Told(
        name="prefect.automation.triggered",
        resource=resource,
        related=related,
        payload={"triggering_labels": event.firing.labels, "triggering_event": sent},
    )


def _performed(
    action: Performed, what: str, more: dict[str, Any], before: str | None, *, follows: bool = True
) -> Told:
    resource = _resource(action.automation_id, action.automation_name)
    resource["prefect.trigger-type"] = action.trigger_type
    if action.posture is not None:
        resource["prefect.posture"] = action.posture
    related = (*action.related, _emission(action.triggered_id, "automation-triggered-event"))
    if action.emission_id is not None:
        related = (*related, _emission(action.emission_id, "triggering-event"))
    payload = {
        "action_index": action.index,
        "action_type": action.type,
        "invocation": action.invocation,
    }
    return Told(
        name=f"prefect.automation.action.{what}",
        resource=resource,
        related=related,
        payload={**payload, **more},
        follows=before if follows else None,
    )


def _as_it_is(
    event: AutomationCreated | AutomationUpdated, id_: str, recorded: Recorded[Any]
) -> Automation:
    created = event.created if isinstance(event, AutomationUpdated) else None
    fields = {name: getattr(event, name) for name in AutomationBody.__struct_fields__}
    return Automation(
        id=id_,
        created=created or recorded.recorded_at,
        updated=recorded.recorded_at,
        **fields,
    )


def _changed(what: str, automation: Automation) -> Told:
    shown = replace(automation, owner_resource=UNSET)
    return Told(
        name=f"prefect.automation.{what}",
        resource={
            "prefect.resource.id": f"prefect.automation.{automation.id}",
            "prefect.resource.name": automation.name,
        },
        payload=json.decode(json.encode(shown)),
    )
