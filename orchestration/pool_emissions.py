"""What the log has to say, as emissions, about work pools and their queues.

Of workers there is nothing: that they started, stopped or took a run they tell themselves.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeAlias

from msgspec import UNSET, Struct, json

from eventstore.events import Event, Recorded
from orchestration.documents import document
from orchestration.emissions import Told
from orchestration.surroundings import Neighbour
from orchestration.work_pools import (
    Status,
    WorkPoolCreated,
    WorkPoolDeleted,
    WorkPoolStatusChanged,
    WorkPoolUpdated,
)
from orchestration.work_queues import (
    WorkQueueCreated,
    WorkQueueDeleted,
    WorkQueueStatusChanged,
    WorkQueueUpdated,
)

RECENT = timedelta(minutes=10)
"""A change of a pool's status says which one it follows if they are no further apart than this."""

PoolEvent: TypeAlias = WorkPoolCreated | WorkPoolUpdated | WorkPoolStatusChanged | WorkPoolDeleted
QueueEvent: TypeAlias = (
    WorkQueueCreated | WorkQueueUpdated | WorkQueueStatusChanged | WorkQueueDeleted
)
POOL_EMITTING: tuple[type[Event], ...] = (
    WorkPoolCreated,
    WorkPoolUpdated,
    WorkPoolStatusChanged,
    WorkPoolDeleted,
)
QUEUE_EMITTING: tuple[type[Event], ...] = (
    WorkQueueCreated,
    WorkQueueUpdated,
    WorkQueueStatusChanged,
    WorkQueueDeleted,
)

Labels: TypeAlias = dict[str, str]


_STATUSES: Mapping[Status, str] = {
    "READY": "ready",
    "NOT_READY": "not-ready",
    "PAUSED": "paused",
}
_POOL_TOLD = ("description", "base_job_template", "concurrency_limit", "storage_configuration")
_QUEUE_TOLD = ("name", "description", "concurrency_limit", "priority")
"""The fields whose changes are told; that something is paused is told as its status."""


def of_pool(recorded: Recorded[Any]) -> Told | None:
    """What is told of an event of a work pool; None if nothing is."""
    event: PoolEvent = recorded.event
    match event:
        case WorkPoolCreated():
            block = event.storage_configuration.default_result_storage_block_id
            return Told(
                name="prefect.work-pool.created",
                resource=_pool(Neighbour(event.id, event.name, type=event.type), role=True),
                related=_belonging(event.default_queue_id, block),
            )
        case WorkPoolDeleted(about=Neighbour() as about):
            return Told(
                name="prefect.work-pool.deleted",
                resource=_pool(about, role=True),
                related=_belonging(event.default_queue_id, event.default_result_storage_block_id),
            )
        case WorkPoolUpdated(about=Neighbour() as about):
            updates = _updates(event, event.former, _POOL_TOLD)
            if not updates:
                return None
            return Told(
                name="prefect.work-pool.updated",
                resource=_pool(about, role=True),
                payload=_payload(updates),
            )
        case WorkPoolStatusChanged(about=Neighbour() as about):
            before = event.preceding
            close = before is not None and recorded.recorded_at - before.at < RECENT
            return Told(
                name=f"prefect.work-pool.{_STATUSES[event.status]}",
                resource=_pool(about, role=False),
                follows=before.id if before is not None and close else None,
            )
        case _:
            return None


def of_queue(recorded: Recorded[Any]) -> Told | None:
    """What is told of an event of a work queue; None if nothing is."""
    event: QueueEvent = recorded.event
    related = () if event.work_pool is None else (_pool(event.work_pool, role=True),)
    match event:
        case WorkQueueCreated():
            return Told(
                name="prefect.work-queue.created",
                resource=_queue(event.id, event.name),
                related=related,
            )
        case WorkQueueDeleted():
            return Told(
                name="prefect.work-queue.deleted",
                resource=_queue(recorded.stream.partition(":")[2], event.name),
                related=related,
            )
        case WorkQueueUpdated(about=Neighbour() as about):
            updates = _updates(event, event.former, _QUEUE_TOLD)
            if not updates:
                return None
            return Told(
                name="prefect.work-queue.updated",
                resource=_queue(about.id, about.name),
                related=related,
                payload=_payload(updates),
            )
        case WorkQueueStatusChanged(about=Neighbour() as about):
            return Told(
                name=f"prefect.work-queue.{_STATUSES[event.status]}",
                resource=_queue(about.id, about.name),
                related=related,
            )
        case _:
            return None


def _updates(
    event: WorkPoolUpdated | WorkQueueUpdated,
    former: Mapping[str, Any] | None,
    told: tuple[str, ...],
) -> dict[str, dict[str, Any]]:
    """What a change says of the fields that are told: `{field: {from, to}}`."""
    return {
        name: {"from": (former or {}).get(name), "to": _plain(value)}
        for name in told
        if (value := getattr(event, name)) is not UNSET
    }


def _plain(value: Any) -> Any:
    return json.decode(document(value)) if isinstance(value, Struct) else value


def _payload(updates: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"updated_fields": list(updates), "updates": updates}


def _pool(pool: Neighbour, *, role: bool) -> Labels:
    labels = {
        "prefect.resource.id": f"prefect.work-pool.{pool.id}",
        "prefect.resource.name": pool.name,
        "prefect.work-pool.type": pool.type or "",
    }
    if role:
        labels["prefect.resource.role"] = "work-pool"
    return labels


def _queue(id: str, name: str) -> Labels:
    return {
        "prefect.resource.id": f"prefect.work-queue.{id}",
        "prefect.resource.name": name,
        "prefect.resource.role": "work-queue",
    }


def _belonging(queue_id: str | None, block_id: str | None) -> tuple[Labels, ...]:
    parts = (
        ("work-queue", queue_id, "default-queue"),
        ("block-document", block_id, "result-storage"),
    )
    return tuple(
        {"prefect.resource.id": f"prefect.{kind}.{id}", "prefect.resource.role": role}
        for kind, id, role in parts
        if id is not None
    )
