"""What the server tells the world of automations, as Prefect does."""

from typing import Any

from msgspec import UNSET, json
from msgspec.structs import replace

from eventstore.events import Event, Recorded
from orchestration.automations import (
    Automation,
    AutomationBody,
    AutomationCreated,
    AutomationDeleted,
    AutomationUpdated,
)
from orchestration.pool_emissions import Told

EMITTING: tuple[type[Event], ...] = (AutomationCreated, AutomationUpdated, AutomationDeleted)


def told(recorded: Recorded[Any]) -> Told:
    """What is told of an event in `EMITTING`."""
    event, id_ = recorded.event, recorded.stream.partition(":")[2]
    match event:
        case AutomationDeleted(last=last):
            return _changed("deleted", last)
        case AutomationCreated():
            return _changed("created", _as_it_is(event, id_, recorded))
        case _:
            assert isinstance(event, AutomationUpdated)
            return _changed("updated", _as_it_is(event, id_, recorded))


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
