"""What the server itself has to say: the emissions that events of the log give rise to."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from msgspec import Raw, json

from eventstore.events import Event, Recorded
from orchestration import automation_emissions
from orchestration.artifacts import Artifact, ArtifactCreated, ArtifactDeleted
from orchestration.block_emissions import BLOCK_EMITTING, of_block
from orchestration.concurrency_limits import (
    ConcurrencyLimitCreated,
    ConcurrencyLimitDeleted,
    ConcurrencyLimitUpdated,
)
from orchestration.deployment_emissions import TELLING, told
from orchestration.documents import document
from orchestration.emissions import Emission, EmissionReceived
from orchestration.flow_runs import FlowRunStateSet
from orchestration.flows import FlowCreated, FlowDeleted, FlowUpdated
from orchestration.pool_emissions import POOL_EMITTING, QUEUE_EMITTING, Told, of_pool, of_queue
from orchestration.scheduled_runs import made_by_schedule
from orchestration.states import PAUSED, FormerState, RecordedState
from orchestration.surroundings import Neighbour
from orchestration.task_runs import TaskRunReported
from orchestration.variables import VariableCreated, VariableDeleted, VariableEvent, VariableUpdated

MESSAGE_CHARACTERS_MAX = 100_000
"""Longer state messages are cut in the middle, visibly."""
TIGHT = timedelta(minutes=5)
"""Emissions of a run say which one they follow if they are no further apart than this."""


def emission_of(recorded: Recorded[Any]) -> bytes | None:
    """The emission that an event of the log gives rise to, as JSON; None if it gives rise to none.

    `emission.received` and `task-run.reported` come back as they were sent, with `received`.
    """
    event = recorded.event
    match event:
        case TaskRunReported(emission=sent) | EmissionReceived(emission=sent):
            return b'%b,"received":%b}' % (
                bytes(sent).rstrip()[:-1],
                json.encode(recorded.recorded_at),
            )
        case FlowRunStateSet() if made_by_schedule(event):
            # Nor does Prefect tell of it. Runs are made long before their time, by the hundred, and
            # what is told of one after this state would be taken for late.
            return None
        case FlowRunStateSet():
            return document(_flow_run_changed(event, recorded))
        case FlowCreated() | FlowUpdated() | FlowDeleted():
            return document(_flow_changed(event, recorded))
        case VariableCreated() | VariableUpdated() | VariableDeleted():
            return document(_variable_changed(event, recorded))
        case ConcurrencyLimitCreated() | ConcurrencyLimitUpdated() | ConcurrencyLimitDeleted():
            return document(_limit_changed(event, recorded))
        case ArtifactCreated(collection_id=str()) | ArtifactDeleted(latest=True):
            return document(_collection_changed(event, recorded))
        case _ if isinstance(event, TELLING):
            said = told(event, _id_in(recorded))
            if said is None:
                return None
            return document(
                _happened(recorded, said.name, said.resource, said.payload, said.related)
            )
        case _ if isinstance(event, automation_emissions.EMITTING):
            return _told(automation_emissions.told(recorded), recorded)
        case _ if isinstance(event, POOL_EMITTING):
            return _told(of_pool(recorded), recorded)
        case _ if isinstance(event, QUEUE_EMITTING):
            return _told(of_queue(recorded), recorded)
        case _ if isinstance(event, BLOCK_EMITTING):
            return _told(of_block(recorded), recorded)
        case _:
            return None


EMITTING: tuple[type[Event], ...] = (
    EmissionReceived,
    TaskRunReported,
    FlowRunStateSet,
    FlowCreated,
    FlowUpdated,
    FlowDeleted,
    VariableCreated,
    VariableUpdated,
    VariableDeleted,
    ConcurrencyLimitCreated,
    ConcurrencyLimitUpdated,
    ConcurrencyLimitDeleted,
    ArtifactCreated,
    ArtifactDeleted,
    *TELLING,
    *automation_emissions.EMITTING,
    *POOL_EMITTING,
    *QUEUE_EMITTING,
    *BLOCK_EMITTING,
)
"""The types of events that `emission_of` may have something to say about."""


def _flow_run_changed(event: FlowRunStateSet, recorded: Recorded[Any]) -> Emission:
    state, former = event.state, event.former
    id = _id_in(recorded)
    message = shortened(state.message)
    close = former is not None and -TIGHT < state.timestamp - former.timestamp < TIGHT
    return Emission(
        occurred=state.timestamp,
        event=f"prefect.flow-run.{state.name}",
        resource={
            "prefect.resource.id": f"prefect.flow-run.{id}",
            "prefect.resource.name": event.name,
            "prefect.run-count": str(event.run_count),
            "prefect.state-message": message,
            "prefect.state-name": state.name,
            "prefect.state-timestamp": state.timestamp.isoformat(),
            "prefect.state-type": state.type,
        },
        related=_around(event),
        payload=Raw(
            json.encode(
                {
                    "intended": {"from": former and former.type, "to": state.type},
                    "initial_state": former and _essentials_of_former(former),
                    "validated_state": _essentials(state),
                }
            )
        ),
        # The state's id is the emission's: emissions of a run can be brought into order by it.
        id=state.id,
        follows=former.id if former is not None and close else None,
        received=recorded.recorded_at,
    )


def _essentials(state: RecordedState) -> dict[str, str]:
    return _essential_parts(
        state.type, state.name, state.message, state.state_details.pause_reschedule
    )


def _essentials_of_former(state: FormerState) -> dict[str, str]:
    return _essential_parts(state.type, state.name, state.message, state.pause_reschedule)


def _essential_parts(
    type: str, name: str, message: str | None, pause_reschedule: bool
) -> dict[str, str]:
    parts = {"type": type}
    if name:
        parts["name"] = name
    if message:
        parts["message"] = shortened(message)
    if type == PAUSED:
        parts["pause_reschedule"] = "true" if pause_reschedule else "false"
    return parts


_KINDS = ("flow", "deployment", "work-queue", "work-pool", "task-run")


def _around(event: FlowRunStateSet) -> tuple[dict[str, str], ...]:
    around = event.around
    neighbours: tuple[Neighbour | None, ...] = (
        around.flow,
        around.deployment,
        around.work_queue,
        around.work_pool,
        around.parent_task_run,
    )
    related: list[dict[str, str]] = []
    tags = set(event.tags)
    for kind, neighbour in zip(_KINDS, neighbours, strict=True):
        if neighbour is None:
            continue
        labels = {
            "prefect.resource.id": f"prefect.{kind}.{neighbour.id}",
            "prefect.resource.role": kind,
            "prefect.resource.name": neighbour.name,
        }
        if neighbour.type is not None:
            labels["prefect.work-pool.type"] = neighbour.type
        related.append(labels)
        tags.update(neighbour.tags)
    related.extend(
        {"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"}
        for tag in sorted(tags)
    )
    creator = event.created_by
    if creator is not None and creator.type in ("DEPLOYMENT", "AUTOMATION"):
        labels = {
            "prefect.resource.id": f"prefect.{creator.type.lower()}.{creator.id}",
            "prefect.resource.role": "creator",
        }
        if creator.display_value:
            labels["prefect.resource.name"] = creator.display_value
        related.append(labels)
    return tuple(related)


def _flow_changed(
    event: FlowCreated | FlowUpdated | FlowDeleted, recorded: Recorded[Any]
) -> Emission:
    match event:
        case FlowCreated():
            action = "created"
        case FlowUpdated():
            action = "updated"
        case FlowDeleted():
            action = "deleted"
    return _happened(
        recorded,
        f"prefect.flow.{action}",
        {
            "prefect.resource.id": f"prefect.flow.{_id_in(recorded)}",
            "prefect.resource.name": event.name,
        },
        {"name": event.name, "tags": event.tags, "labels": event.labels},
    )


def _variable_changed(event: VariableEvent, recorded: Recorded[Any]) -> Emission:
    return _happened(
        recorded,
        f"prefect.{event.__struct_config__.tag}",
        {
            "prefect.resource.id": f"prefect.variable.{_id_in(recorded)}",
            "prefect.resource.name": event.name,
        },
        {"name": event.name, "value": event.value, "tags": event.tags},
    )


def _limit_changed(
    event: ConcurrencyLimitCreated | ConcurrencyLimitUpdated | ConcurrencyLimitDeleted,
    recorded: Recorded[Any],
) -> Emission:
    return _happened(
        recorded,
        f"prefect.{event.__struct_config__.tag}",
        {
            "prefect.resource.id": f"prefect.concurrency-limit.{_id_in(recorded)}",
            "prefect.resource.name": event.name,
        },
        {
            "name": event.name,
            "limit": event.limit,
            "active": event.active,
            "slot_decay_per_second": event.slot_decay_per_second,
        },
    )


def _collection_changed(
    event: ArtifactCreated | ArtifactDeleted, recorded: Recorded[Any]
) -> Emission:
    shown: ArtifactCreated | Artifact | None
    if isinstance(event, ArtifactCreated):
        action, shown = ("created" if event.founds_collection else "updated"), event
    elif event.next_latest is not None:
        action, shown = "updated", event.next_latest
    else:
        action, shown = "deleted", event.last
    assert shown is not None
    related = [
        {"prefect.resource.id": f"prefect.artifact.{shown.id}", "prefect.resource.role": "latest"}
    ]
    for kind, id in (("flow-run", shown.flow_run_id), ("task-run", shown.task_run_id)):
        if id is not None:
            related.append(
                {"prefect.resource.id": f"prefect.{kind}.{id}", "prefect.resource.role": kind}
            )
    return _happened(
        recorded,
        f"prefect.artifact-collection.{action}",
        {
            "prefect.resource.id": f"prefect.artifact-collection.{event.collection_id}",
            "prefect.resource.name": shown.key or "",
        },
        {
            "key": shown.key,
            "type": shown.type,
            "data": shown.data,
            "description": shown.description,
        },
        tuple(related),
    )


def _told(told: Told | None, recorded: Recorded[Any]) -> bytes | None:
    if told is None:
        return None
    return document(
        _happened(
            recorded, told.name, told.resource, told.payload, told.related, follows=told.follows
        )
    )


def _happened(
    recorded: Recorded[Any],
    name: str,
    resource: dict[str, str],
    payload: Mapping[str, Any],
    related: tuple[dict[str, str], ...] = (),
    follows: str | None = None,
) -> Emission:
    """An emission that happened when, and is identified as, the event that tells of it."""
    return Emission(
        occurred=recorded.recorded_at,
        event=name,
        resource=resource,
        related=related,
        payload=Raw(json.encode(payload)),
        id=recorded.event_id,
        follows=follows,
        received=recorded.recorded_at,
    )


def _id_in(recorded: Recorded[Any]) -> str:
    return recorded.stream.partition(":")[2]


def shortened(message: str | None) -> str:
    """A message with its middle left out if it is longer than `MESSAGE_CHARACTERS_MAX`."""
    if not message:
        return ""
    if len(message) <= MESSAGE_CHARACTERS_MAX:
        return message
    half = MESSAGE_CHARACTERS_MAX // 2
    omitted = len(message) - 2 * half
    short = f"{message[:half]}...{omitted} additional characters...{message[-half:]}"
    return short if len(short) < len(message) else message
