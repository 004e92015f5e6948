"""Flows: the named pieces of work that runs are runs of."""

from datetime import datetime
from typing import TypeAlias, assert_never

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from eventstore.decider import Decider
from eventstore.events import Event
from orchestration.documents import Extras, extras_field
from orchestration.identifiers import Labels, Name
from orchestration.refusals import AlreadyExists, NotFound

# --- events ---------------------------------------------------------------------------------------


class FlowCreated(Event, frozen=True, tag="flow.created"):
    """Somebody registered a flow under a name that was free."""

    id: str
    name: str
    tags: tuple[str, ...] = ()
    labels: Labels | None = {}  # noqa: RUF012 - msgspec copies it for each event
    extras: Extras = extras_field()


class FlowUpdated(Event, frozen=True, tag="flow.updated"):
    """The flow as it is after the change."""

    name: str
    tags: tuple[str, ...] = ()
    labels: Labels | None = {}  # noqa: RUF012


class FlowDeleted(Event, frozen=True, tag="flow.deleted"):
    """The flow is gone, and its runs with it. Carries what it last was."""

    name: str
    tags: tuple[str, ...] = ()
    labels: Labels | None = {}  # noqa: RUF012


FlowEvent: TypeAlias = FlowCreated | FlowUpdated | FlowDeleted

# --- commands -------------------------------------------------------------------------------------


class FlowCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /flows/`."""

    name: Name
    tags: tuple[str, ...] = ()
    labels: Labels | None = {}
    extras: Extras = extras_field()


class FlowUpdate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `PATCH /flows/{id}`."""

    tags: tuple[str, ...] | UnsetType = UNSET
    extras: Extras = extras_field()


class CreateFlow(Struct, frozen=True, kw_only=True):
    """Register a flow. That its name is free is the caller's to find out."""

    id: str
    body: FlowCreate


class UpdateFlow(Struct, frozen=True, kw_only=True):
    """Change a flow's tags."""

    id: str
    body: FlowUpdate


class DeleteFlow(Struct, frozen=True, kw_only=True):
    """Forget a flow."""

    id: str


FlowCommand: TypeAlias = CreateFlow | UpdateFlow | DeleteFlow

# --- value ----------------------------------------------------------------------------------------


class Flow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A flow as the API shows it. `created` and `updated` are the projection's to stamp."""

    id: str
    created: datetime | None = None
    updated: datetime | None = None
    name: str
    tags: tuple[str, ...] = ()
    labels: Labels | None = {}
    extras: Extras = extras_field()


# --- decide ---------------------------------------------------------------------------------------


def decide(command: FlowCommand, flow: Flow | None) -> list[FlowEvent]:
    """What follows from a command. Raises `AlreadyExists` and `NotFound`."""
    match command:
        case CreateFlow(id=id, body=body):
            if flow is not None:
                raise AlreadyExists("Flow", id)
            return [
                FlowCreated(
                    id=id, name=body.name, tags=body.tags, labels=body.labels, extras=body.extras
                )
            ]
        case UpdateFlow(id=id, body=body):
            if flow is None:
                raise NotFound("Flow", id)
            if body.tags is UNSET or body.tags == flow.tags:
                return []
            return [FlowUpdated(name=flow.name, tags=body.tags, labels=flow.labels)]
        case DeleteFlow(id=id):
            if flow is None:
                raise NotFound("Flow", id)
            return [FlowDeleted(name=flow.name, tags=flow.tags, labels=flow.labels)]
        case _:
            assert_never(command)


# --- evolve ---------------------------------------------------------------------------------------


def evolve(flow: Flow | None, event: FlowEvent) -> Flow | None:
    """The flow after the event."""
    match event:
        case FlowCreated():
            return Flow(
                id=event.id,
                name=event.name,
                tags=event.tags,
                labels=event.labels,
                extras=event.extras,
            )
        case FlowUpdated():
            return flow and replace(flow, tags=event.tags)
        case FlowDeleted():
            return None
        case _:
            assert_never(event)


decider: Decider[FlowCommand, Flow, FlowEvent] = Decider(decide, evolve)
