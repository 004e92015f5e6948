"""What the feed tells of work pools and their queues."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec import json

from eventstore.events import Event, Recorded
from orchestration import work_pools, work_queues
from orchestration.own_emissions import EMITTING, emission_of
from orchestration.surroundings import Neighbour
from orchestration.work_pools import (
    CreateWorkPool,
    DeleteWorkPool,
    Preceding,
    SetWorkPoolReadiness,
    UpdateWorkPool,
    WorkPoolCreate,
    WorkPoolUpdate,
)
from orchestration.work_queues import (
    CreateWorkQueue,
    DeleteWorkQueue,
    MoveWorkQueue,
    SetWorkQueueReadiness,
    UpdateWorkQueue,
    WorkQueueCreate,
    WorkQueueUpdate,
)
from tests.orchestration.runs import NOON, id_
from tests.spec import spec

POOL, QUEUE, BLOCK = id_(1), id_(2), id_(3)
OF = Neighbour(POOL, "here", type="process")
CREATE_POOL = CreateWorkPool(
    id=POOL, default_queue_id=QUEUE, body=WorkPoolCreate(name="here", type="process")
)
CREATE_QUEUE = CreateWorkQueue(
    id=QUEUE, body=WorkQueueCreate(name="fast"), work_pool=OF, priority=1
)
of_pools = spec(work_pools.decider)
of_queues = spec(work_queues.decider)
POOL_LABELS = {
    "prefect.resource.id": f"prefect.work-pool.{POOL}",
    "prefect.resource.name": "here",
    "prefect.work-pool.type": "process",
}
QUEUE_LABELS = {
    "prefect.resource.id": f"prefect.work-queue.{QUEUE}",
    "prefect.resource.name": "fast",
    "prefect.resource.role": "work-queue",
}
AS_POOL = {"prefect.resource.role": "work-pool"}


def told(event: Event, stream: str) -> dict[str, Any] | None:
    recorded = Recorded(
        position=1,
        stream=stream,
        version=1,
        event=event,
        recorded_at=NOON,
        event_id=id_(99),
        actor="anonymous",
    )
    assert isinstance(event, EMITTING)
    emission = emission_of(recorded)
    return None if emission is None else json.decode(emission)


def pool_tells(command: Any, *before: Any) -> list[dict[str, Any] | None]:
    created = of_pools().when(CREATE_POOL).events()
    events = of_pools(*created, *before).when(command).events()
    return [told(event, f"work-pool:{POOL}") for event in events]


def queue_tells(command: Any, *before: Any) -> list[dict[str, Any] | None]:
    [created] = of_queues().when(CREATE_QUEUE).events()
    events = of_queues(created, *before).when(command).events()
    return [told(event, f"work-queue:{QUEUE}") for event in events]


def essence(emission: dict[str, Any] | None) -> dict[str, Any]:
    assert emission is not None
    same = {"occurred": "2026-03-01T12:00:00Z", "id": id_(99), "received": "2026-03-01T12:00:00Z"}
    assert emission | same == emission
    return {name: value for name, value in emission.items() if name not in same}


def test_a_new_pool_is_told_with_what_belongs_to_it() -> None:
    body = WorkPoolCreate(
        name="here",
        type="process",
        storage_configuration=work_pools.StorageConfiguration(
            default_result_storage_block_id=BLOCK
        ),
    )
    command = CreateWorkPool(id=POOL, default_queue_id=QUEUE, body=body)
    event, status = of_pools().when(command).events()
    assert essence(told(status, f"work-pool:{POOL}"))["event"] == "prefect.work-pool.not-ready"
    assert essence(told(event, f"work-pool:{POOL}")) == {
        "event": "prefect.work-pool.created",
        "resource": POOL_LABELS | AS_POOL,
        "related": [
            {
                "prefect.resource.id": f"prefect.work-queue.{QUEUE}",
                "prefect.resource.role": "default-queue",
            },
            {
                "prefect.resource.id": f"prefect.block-document.{BLOCK}",
                "prefect.resource.role": "result-storage",
            },
        ],
        "payload": {},
        "follows": None,
    }


def test_a_pool_that_is_deleted_is_told_with_what_belonged_to_it() -> None:
    [deleted] = pool_tells(DeleteWorkPool(id=POOL))
    assert essence(deleted) == {
        "event": "prefect.work-pool.deleted",
        "resource": POOL_LABELS | AS_POOL,
        "related": [
            {
                "prefect.resource.id": f"prefect.work-queue.{QUEUE}",
                "prefect.resource.role": "default-queue",
            }
        ],
        "payload": {},
        "follows": None,
    }


@pytest.mark.parametrize(
    ("before", "follows"),
    [
        (None, None),
        (Preceding(id_(5), NOON - timedelta(minutes=9)), id_(5)),
        (Preceding(id_(5), NOON - timedelta(minutes=11)), None),
    ],
)
def test_a_status_follows_the_one_before_it_if_that_was_lately(
    before: Preceding | None, follows: str | None
) -> None:
    [ready] = pool_tells(SetWorkPoolReadiness(id=POOL, ready=True, preceding=before))
    assert essence(ready) == {
        "event": "prefect.work-pool.ready",
        "resource": POOL_LABELS,
        "related": [],
        "payload": {},
        "follows": follows,
    }


def test_a_pool_that_is_paused_and_changed_tells_both() -> None:
    body = WorkPoolUpdate(is_paused=True, concurrency_limit=3, description="d")
    command = UpdateWorkPool(id=POOL, body=body, workers_online=False)
    updated, paused = pool_tells(command)
    assert essence(updated) | {"related": []} == {
        "event": "prefect.work-pool.updated",
        "resource": POOL_LABELS | AS_POOL,
        "related": [],
        "payload": {
            "updated_fields": ["description", "concurrency_limit"],
            "updates": {
                "description": {"from": None, "to": "d"},
                "concurrency_limit": {"from": None, "to": 3},
            },
        },
        "follows": None,
    }
    assert essence(paused)["event"] == "prefect.work-pool.paused"


def test_that_a_pool_is_paused_is_told_once() -> None:
    command = UpdateWorkPool(id=POOL, body=WorkPoolUpdate(is_paused=True), workers_online=False)
    updated, paused = pool_tells(command)
    assert updated is None
    assert essence(paused)["event"] == "prefect.work-pool.paused"


def test_a_queue_is_told_with_its_pool() -> None:
    [created] = of_queues().when(CREATE_QUEUE).events()
    common = {
        "resource": QUEUE_LABELS,
        "related": [POOL_LABELS | AS_POOL],
        "payload": {},
        "follows": None,
    }
    assert essence(told(created, f"work-queue:{QUEUE}")) == common | {
        "event": "prefect.work-queue.created"
    }
    [ready] = queue_tells(SetWorkQueueReadiness(id=QUEUE, ready=True, work_pool=OF))
    assert essence(ready) == common | {"event": "prefect.work-queue.ready"}
    [gone] = queue_tells(DeleteWorkQueue(id=QUEUE, is_default=False, work_pool=OF))
    assert essence(gone) == common | {"event": "prefect.work-queue.deleted"}


def test_a_queue_that_is_renamed_is_told_by_its_new_name() -> None:
    body = WorkQueueUpdate(name="slow", is_paused=True)
    command = UpdateWorkQueue(id=QUEUE, body=body, polled_lately=False, work_pool=OF)
    updated, paused = queue_tells(command)
    renamed = QUEUE_LABELS | {"prefect.resource.name": "slow"}
    assert essence(updated)["resource"] == essence(paused)["resource"] == renamed
    assert essence(updated)["payload"] == {
        "updated_fields": ["name"],
        "updates": {"name": {"from": "fast", "to": "slow"}},
    }


def test_a_queue_that_makes_room_for_another_is_not_told() -> None:
    assert queue_tells(MoveWorkQueue(id=QUEUE, priority=2)) == [None]


def test_events_of_before_they_said_whose_they_are_tell_nothing() -> None:
    pool = work_pools.WorkPoolStatusChanged(status="READY")
    queue = work_queues.WorkQueueStatusChanged(status="READY")
    assert told(pool, f"work-pool:{POOL}") is told(queue, f"work-queue:{QUEUE}") is None
