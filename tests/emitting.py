"""Emissions as clients send them, for tests."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import json

Json = dict[str, Any]

STATES = {"PENDING": "Pending", "RUNNING": "Running", "COMPLETED": "Completed", "FAILED": "Failed"}
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """A moment, seconds after a certain noon."""
    return NOON + timedelta(seconds=seconds)


def emission(**changes: Any) -> Json:
    """Something that happened to a thing."""
    return {
        "occurred": datetime.now(UTC).isoformat(),
        "event": "thing.happened",
        "resource": {"prefect.resource.id": "thing.1"},
        "related": [],
        "payload": {},
        "id": str(uuid.uuid4()),
        "follows": None,
    } | changes


def report(
    task_run_id: str,
    type: str,
    occurred: datetime,
    *,
    flow_run_id: str | None = None,
    dynamic_key: str | None = None,
    **changes: Any,
) -> Json:
    """A client's report of a state of its task run."""
    related = []
    if flow_run_id is not None:
        related = [
            {
                "prefect.resource.id": f"prefect.flow-run.{flow_run_id}",
                "prefect.resource.role": "flow-run",
            }
        ]
    name = STATES[type]
    return (
        emission(
            occurred=occurred.isoformat(),
            event=f"prefect.task-run.{name}",
            resource={
                "prefect.resource.id": f"prefect.task-run.{task_run_id}",
                "prefect.orchestration": "client",
            },
            related=related,
            payload={
                "validated_state": {"type": type, "name": name, "state_details": {}},
                "task_run": {
                    "name": "task",
                    "task_key": "task-1",
                    "dynamic_key": dynamic_key or task_run_id,
                    "run_count": list(STATES).index(type),
                },
            },
        )
        | changes
    )


def wire(sent: Json) -> bytes:
    """As it is sent."""
    return json.encode(sent)
