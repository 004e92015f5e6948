"""What the server tells the world of deployments, as Prefect does."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from msgspec import UNSET

from eventstore.events import Event, Recorded
from orchestration.deployment_limits import ConcurrencyLimit
from orchestration.deployments import (
    DeploymentCreated,
    DeploymentDeleted,
    DeploymentStatusSet,
    DeploymentUpdated,
)
from orchestration.emissions import Told

DeploymentEvent: TypeAlias = (
    DeploymentCreated | DeploymentUpdated | DeploymentStatusSet | DeploymentDeleted
)
DEPLOYMENT_EMITTING: tuple[type[Event], ...] = (
    DeploymentCreated,
    DeploymentUpdated,
    DeploymentStatusSet,
    DeploymentDeleted,
)


def of_deployment(recorded: Recorded[Any]) -> Told | None:
    """What is told of an event of a deployment; None for a change that nobody is told of."""
    event: DeploymentEvent = recorded.event
    payload: dict[str, Any] = {}
    match event:
        case DeploymentCreated():
            what = "created"
        case DeploymentUpdated(before=before):
            changes = {_NAMES.get(name, name): _change(event, name) for name in before}
            # A limit of its own that is another now has the same id: that is the limit's to tell.
            updates = {name: it for name, it in changes.items() if it["from"] != it["to"]}
            if not updates:
                return None
            what = "updated"
            payload = {"updated_fields": list(updates), "updates": updates}
        case DeploymentStatusSet(status=status):
            what = status.lower().replace("_", "-")
        case DeploymentDeleted():
            what = "deleted"
    resource = {
        "prefect.resource.id": f"prefect.deployment.{recorded.stream.partition(':')[2]}",
        "prefect.resource.name": event.name,
    }
    return Told(
        name=f"prefect.deployment.{what}",
        resource=resource,
        payload=payload,
        related=_related(event),
    )


_NAMES: Mapping[str, str] = {
    "job_variables": "infra_overrides",
    "global_concurrency_limit": "concurrency_limit_id",
}
"""Fields that Prefect calls by another name here."""


def _change(event: DeploymentUpdated, name: str) -> dict[str, Any]:
    now = getattr(event, name)
    if isinstance(now, ConcurrencyLimit):
        now = now.id
    return {"from": event.before[name], "to": now}


_BY_ID = (
    ("storage_document_id", "block-document", "storage"),
    ("infrastructure_document_id", "block-document", "infrastructure"),
    ("concurrency_limit_id", "concurrency-limit", "concurrency-limit"),
)
"""What is told of by id alone: the field, the kind and the role."""


def _id(event: DeploymentEvent, field: str) -> str | None:
    """As the event leaves it, or else as it was before."""
    own = "global_concurrency_limit" if field == "concurrency_limit_id" else field
    now = getattr(event, own, UNSET)
    if isinstance(now, ConcurrencyLimit):
        return now.id
    found: str | None = getattr(event.around, field) if now is UNSET else now
    return found


def _related(event: DeploymentEvent) -> tuple[dict[str, str], ...]:
    around = event.around
    related: list[dict[str, str]] = []
    named = {"flow": around.flow, "work-queue": around.work_queue, "work-pool": around.work_pool}
    for kind, neighbour in named.items():
        if neighbour is None:
            continue
        labels = {
            "prefect.resource.id": f"prefect.{kind}.{neighbour.id}",
            "prefect.resource.name": neighbour.name,
        }
        if neighbour.type is not None:
            labels["prefect.work-pool.type"] = neighbour.type
        related.append(labels | {"prefect.resource.role": kind})
    for field, kind, role in _BY_ID:
        id = _id(event, field)
        if id is not None:
            named_by_id = {"prefect.resource.id": f"prefect.{kind}.{id}"}
            related.append(named_by_id | {"prefect.resource.role": role})
    return tuple(related)
