"""What the server tells the world of deployments, as Prefect does."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from msgspec import Struct

from orchestration.deployment_limits import ConcurrencyLimit
from orchestration.deployments import (
    DeploymentCreated,
    DeploymentDeleted,
    DeploymentStatusSet,
    DeploymentUpdated,
)
from orchestration.surroundings import Surroundings

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
            if not before:
                return None
            what = "updated"
            updates = {_NAMES.get(name, name): _change(event, name) for name in before}
            payload = {"updated_fields": list(updates), "updates": updates}
        case DeploymentStatusSet(status=status):
            what = status.lower().replace("_", "-")
        case DeploymentDeleted():
            what = "deleted"
    resource = {
        "prefect.resource.id": f"prefect.deployment.{id}",
        "prefect.resource.name": event.name,
    }
    return Told(f"prefect.deployment.{what}", resource, payload, _related(event.around))


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


def _related(around: Surroundings) -> tuple[dict[str, str], ...]:
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
    return tuple(related)
