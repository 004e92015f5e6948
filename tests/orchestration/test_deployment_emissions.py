"""What the world is told of deployments, in the words of a real server."""

from datetime import UTC, datetime
from typing import Any

from msgspec import json

from eventstore.events import Event, Recorded
from orchestration.deployment_decisions import PauseDeployment, SetStatus, decide
from orchestration.deployment_limits import ConcurrencyLimit
from orchestration.deployments import (
    Deployment,
    DeploymentCreated,
    DeploymentDeleted,
    DeploymentStatusSet,
    DeploymentUpdated,
)
from orchestration.own_emissions import emission_of
from orchestration.surroundings import Neighbour, Surroundings
from tests.orchestration.runs import NOON, id_

AROUND = Surroundings(
    flow=Neighbour(id_(1), "f", ("t",)),
    work_queue=Neighbour(id_(2), "q"),
    work_pool=Neighbour(id_(3), "p", type="process"),
)
RELATED = [
    {
        "prefect.resource.id": f"prefect.flow.{id_(1)}",
        "prefect.resource.name": "f",
        "prefect.resource.role": "flow",
    },
    {
        "prefect.resource.id": f"prefect.work-queue.{id_(2)}",
        "prefect.resource.name": "q",
        "prefect.resource.role": "work-queue",
    },
    {
        "prefect.resource.id": f"prefect.work-pool.{id_(3)}",
        "prefect.resource.name": "p",
        "prefect.work-pool.type": "process",
        "prefect.resource.role": "work-pool",
    },
]
DEPLOYMENT = Deployment(id=id_(9), name="d", flow_id=id_(1), tags=("a",))


def told(event: Event) -> Any:
    recorded = Recorded(
        position=1,
        stream=f"deployment:{id_(9)}",
        version=1,
        event=event,
        recorded_at=NOON,
        event_id=id_(99),
        actor="anonymous",
    )
    emission = emission_of(recorded)
    return None if emission is None else json.decode(emission)


def test_a_deployment_is_told_of_with_what_is_around_it() -> None:
    created = told(DeploymentCreated(id=id_(9), name="d", flow_id=id_(1), around=AROUND))
    assert created == {
        "occurred": "2026-03-01T12:00:00Z",
        "event": "prefect.deployment.created",
        "resource": {
            "prefect.resource.id": f"prefect.deployment.{id_(9)}",
            "prefect.resource.name": "d",
        },
        "related": RELATED,
        "payload": {},
        "id": id_(99),
        "follows": None,
        "received": "2026-03-01T12:00:00Z",
    }
    gone = told(DeploymentDeleted(name="d", flow_id=id_(1), around=AROUND))
    assert (gone["event"], gone["related"]) == ("prefect.deployment.deleted", RELATED)


def test_what_a_deployment_is_made_with_is_told_by_id() -> None:
    limit = ConcurrencyLimit(id=id_(7), created=NOON, updated=NOON, name="l", limit=3)
    by_id = [
        {
            "prefect.resource.id": f"prefect.block-document.{id_(5)}",
            "prefect.resource.role": "storage",
        },
        {
            "prefect.resource.id": f"prefect.concurrency-limit.{id_(7)}",
            "prefect.resource.role": "concurrency-limit",
        },
    ]
    created = DeploymentCreated(
        id=id_(9),
        name="d",
        flow_id=id_(1),
        storage_document_id=id_(5),
        global_concurrency_limit=limit,
    )
    assert told(created)["related"] == by_id
    around = Surroundings(storage_document_id=id_(5), concurrency_limit_id=id_(7))
    assert told(DeploymentStatusSet(status="READY", name="d", around=around))["related"] == by_id
    before = {"global_concurrency_limit": id_(7)}
    taken = DeploymentUpdated(name="d", global_concurrency_limit=None, before=before, around=around)
    assert told(taken)["related"] == by_id[:1]


def test_that_somebody_asks_for_its_runs_is_told_as_its_status() -> None:
    names = {
        status: told(DeploymentStatusSet(status=status, name="d"))["event"]
        for status in ("READY", "NOT_READY")
    }
    assert names == {
        "READY": "prefect.deployment.ready",
        "NOT_READY": "prefect.deployment.not-ready",
    }


def test_changes_are_told_with_what_was_before() -> None:
    command = PauseDeployment(id=id_(9), paused=True, now=NOON, around=AROUND)
    [event] = decide(command, DEPLOYMENT)
    said = told(event)
    assert said["event"] == "prefect.deployment.updated"
    assert said["payload"] == {
        "updated_fields": ["paused"],
        "updates": {"paused": {"from": False, "to": True}},
    }
    limit = ConcurrencyLimit(id=id_(7), created=NOON, updated=NOON, name="l", limit=3)
    changed = DeploymentUpdated(
        name="d",
        job_variables={"image": "i"},
        global_concurrency_limit=limit,
        before={"job_variables": {}, "global_concurrency_limit": None},
    )
    assert told(changed)["payload"]["updates"] == {
        "infra_overrides": {"from": {}, "to": {"image": "i"}},
        "concurrency_limit_id": {"from": None, "to": id_(7)},
    }


def test_of_schedules_nobody_is_told() -> None:
    assert told(DeploymentUpdated(name="d", schedules=())) is None


def test_a_status_is_written_when_it_changes() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert decide(SetStatus(id=id_(9), status="NOT_READY", polled=now), DEPLOYMENT) == []
    [event] = decide(SetStatus(id=id_(9), status="READY", polled=now), DEPLOYMENT)
    assert event == DeploymentStatusSet(status="READY", last_polled=now, name="d")


def test_that_the_limit_of_a_deployment_is_another_is_the_limits_to_tell() -> None:
    limit = ConcurrencyLimit(id=id_(7), created=NOON, updated=NOON, name="l", limit=3)
    before: dict[str, Any] = {"global_concurrency_limit": id_(7)}
    raised = DeploymentUpdated(name="d", global_concurrency_limit=limit, before=before)
    assert told(raised) is None
    more = DeploymentUpdated(
        name="d", path="/x", global_concurrency_limit=limit, before=before | {"path": None}
    )
    assert told(more)["payload"]["updated_fields"] == ["path"]
