"""What the server itself has to say: the emissions that events of the log give rise to."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeAlias

from msgspec import Raw, json

from eventstore.events import Event, Recorded
from orchestration.artifacts import Artifact, ArtifactCreated, ArtifactDeleted
from orchestration.automation_emissions import AUTOMATION_EMITTING, of_automation
from orchestration.block_emissions import BLOCK_EMITTING, of_block
from orchestration.concurrency_limits import (
    ConcurrencyLimitCreated,
    ConcurrencyLimitDeleted,
    ConcurrencyLimitUpdated,
)
from orchestration.deployment_emissions import DEPLOYMENT_EMITTING, of_deployment
from orchestration.documents import document
from orchestration.emissions import Emission, EmissionReceived, Told
from orchestration.flow_runs import FlowRunStateSet
from orchestration.flows import FlowCreated, FlowDeleted, FlowUpdated
from orchestration.pool_emissions import POOL_EMITTING, QUEUE_EMITTING, of_pool, of_queue
from orchestration.scheduled_runs import made_by_schedule
from orchestration.states import PAUSED, FormerState, RecordedState
from orchestration.surroundings import Neighbour
from orchestration.task_runs import TaskRunReported
from orchestration.variables import VariableCreated, VariableDeleted, VariableEvent, VariableUpdated

MESSAGE_CHARACTERS_MAX = 100_000
"""Longer state messages are cut in the middle, visibly."""
TIGHT = timedelta(minutes=5)
"""Emissions of a run say which one they follow if they are no further apart than this."""

_Tell: TypeAlias = Callable[[Recorded[Any]], Emission | None]


def emission_of(recorded: Recorded[Any]) -> bytes | None:
    """The emission that an event of the log gives rise to, as JSON; None if it gives rise to none.

    `emission.received` and `task-run.reported` come back as they were sent, with `received`.
    """
    event = recorded.event
    if isinstance(event, _SENT):
        sent = bytes(event.emission).rstrip()[:-1]
        return b'%b,"received":%b}' % (sent, json.encode(recorded.recorded_at))
    tell = _TELLING.get(type(event))
    emission = None if tell is None else tell(recorded)
    return None if emission is None else document(emission)


def _of_flow_run(recorded: Recorded[Any]) -> Emission | None:
    event: FlowRunStateSet = recorded.event
    if made_by_schedule(event):
        # Nor does Prefect tell of it. Runs are made long before their time, by the hundred, and
        # what is told of one after this state would be taken for late.
        return None
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


def _of_flow(recorded: Recorded[Any]) -> Told:
    event: FlowCreated | FlowUpdated | FlowDeleted = recorded.event
    return Told(
        name=f"prefect.{event.__struct_config__.tag}",
        resource={
            "prefect.resource.id": f"prefect.flow.{_id_in(recorded)}",
            "prefect.resource.name": event.name,
        },
        payload={"name": event.name, "tags": event.tags, "labels": event.labels},
    )


def _of_variable(recorded: Recorded[Any]) -> Told:
    event: VariableEvent = recorded.event
    return Told(
        name=f"prefect.{event.__struct_config__.tag}",
        resource={
            "prefect.resource.id": f"prefect.variable.{_id_in(recorded)}",
            "prefect.resource.name": event.name,
        },
        payload={"name": event.name, "value": event.value, "tags": event.tags},
    )


def _of_limit(recorded: Recorded[Any]) -> Told:
    event: ConcurrencyLimitCreated | ConcurrencyLimitUpdated | ConcurrencyLimitDeleted
    event = recorded.event
    return Told(
        name=f"prefect.{event.__struct_config__.tag}",
        resource={
            "prefect.resource.id": f"prefect.concurrency-limit.{_id_in(recorded)}",
            "prefect.resource.name": event.name,
        },
        payload={
            "name": event.name,
            "limit": event.limit,
            "active": event.active,
            "slot_decay_per_second": event.slot_decay_per_second,
        },
    )


def _of_collection(recorded: Recorded[Any]) -> Told | None:
    event: ArtifactCreated | ArtifactDeleted = recorded.event
    shown: ArtifactCreated | Artifact | None
    match event:
        case ArtifactCreated(collection_id=str()):
            action, shown = ("created" if event.founds_collection else "updated"), event
        case ArtifactDeleted(latest=True, next_latest=Artifact() as shown):
            action = "updated"
        case ArtifactDeleted(latest=True):
            action, shown = "deleted", event.last
        case _:
            return None
    assert shown is not None
    related = [
        {"prefect.resource.id": f"prefect.artifact.{shown.id}", "prefect.resource.role": "latest"}
    ]
    for kind, id in (("flow-run", shown.flow_run_id), ("task-run", shown.task_run_id)):
        if id is not None:
            related.append(
                {"prefect.resource.id": f"prefect.{kind}.{id}", "prefect.resource.role": kind}
            )
    return Told(
        name=f"prefect.artifact-collection.{action}",
        resource={
            "prefect.resource.id": f"prefect.artifact-collection.{event.collection_id}",
            "prefect.resource.name": shown.key or "",
        },
        payload={
            "key": shown.key,
            "type": shown.type,
            "data": shown.data,
            "description": shown.description,
        },
        related=tuple(related),
    )


def _happened(told: Callable[[Recorded[Any]], Told | None]) -> _Tell:
    """An emission that happened when, and is identified as, the event that tells of it."""

    def tell(recorded: Recorded[Any]) -> Emission | None:
        said = told(recorded)
        if said is None:
            return None
        return Emission(
            occurred=recorded.recorded_at,
            event=said.name,
            resource=said.resource,
            related=said.related,
            payload=Raw(json.encode(said.payload)),
            id=recorded.event_id,
            follows=said.follows,
            received=recorded.recorded_at,
        )

    return tell


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


_SENT = (EmissionReceived, TaskRunReported)
_TELLING: Mapping[type[Event], _Tell] = {
    FlowRunStateSet: _of_flow_run,
    **dict.fromkeys((FlowCreated, FlowUpdated, FlowDeleted), _happened(_of_flow)),
    **dict.fromkeys((VariableCreated, VariableDeleted, VariableUpdated), _happened(_of_variable)),
    **dict.fromkeys(
        (ConcurrencyLimitCreated, ConcurrencyLimitUpdated, ConcurrencyLimitDeleted),
        _happened(_of_limit),
    ),
    **dict.fromkeys((ArtifactCreated, ArtifactDeleted), _happened(_of_collection)),
    **dict.fromkeys(DEPLOYMENT_EMITTING, _happened(of_deployment)),
    **dict.fromkeys(AUTOMATION_EMITTING, _happened(of_automation)),
    **dict.fromkeys(POOL_EMITTING, _happened(of_pool)),
    **dict.fromkeys(QUEUE_EMITTING, _happened(of_queue)),
    **dict.fromkeys(BLOCK_EMITTING, _happened(of_block)),
}
EMITTING: tuple[type[Event], ...] = (*_SENT, *_TELLING)
"""The types of events that `emission_of` may have something to say about."""
