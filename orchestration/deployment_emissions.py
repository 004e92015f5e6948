"""What the server tells the world of deployments, as Prefect does."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from msgspec import UNSET, Struct

from orchestration.deployment_limits import ConcurrencyLimit
from orchestration.deployments import (
    DeploymentCreated,
    DeploymentDeleted,
    DeploymentStatusSet,
    DeploymentUpdated,
)

Telling: TypeAlias = DeploymentCreated | DeploymentUpdated | DeploymentStatusSet | DeploymentDeleted
TELLING = (DeploymentCreated, DeploymentUpdated, DeploymentStatusSet, DeploymentDeleted)


class Told(Struct, frozen=True):
    """The parts of an emission that follow from one event of a deployment."""

    name: str
    resource: dict[str, str]
    payload: dict[str, Any]
    related: tuple[dict[str, str], ...]


def told(event: Telling, id: str) -> Told | None:
    """What is told of the event; None for a change that nobody is told of."""
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
        "prefect.resource.id": f"prefect.deployment.{id}",
        "prefect.resource.name": event.name,
    }
    return Told(f"prefect.deployment.{what}", resource, payload, _related(event))


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


def _id(event: Telling, field: str) -> str | None:
    """As the event leaves it, or else as it was before."""
    own = "global_concurrency_limit" if field == "concurrency_limit_id" else field
    now = getattr(event, own, UNSET)
    if isinstance(now, ConcurrencyLimit):
        return now.id
    found: str | None = getattr(event.around, field) if now is UNSET else now
    return found


def _related(event: Telling) -> tuple[dict[str, str], ...]:
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
