"""A single-stream projection: one entity, one row, folded by the entity's own `evolve`."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from eventstore.events import Event, Recorded
from projections.projection import Key, Model, Projection, Rows

E = TypeVar("E", bound=Event)


class Entity(Protocol):
    """What the projection stamps: when the first and the last event were recorded."""

    @property
    def created(self) -> datetime | None: ...
    @property
    def updated(self) -> datetime | None: ...


V = TypeVar("V", bound=Struct)


def entity_id(recorded: Recorded[Any]) -> str:
    """The part of the stream's name after its category."""
    return recorded.stream.partition(":")[2]


def own_row(model: Model[Any]) -> Callable[[Recorded[Any]], Iterable[tuple[Model[Any], Key]]]:
    """A `reads` for projections that look at the row of the event's own entity."""

    def reads(recorded: Recorded[Any]) -> Iterable[tuple[Model[Any], Key]]:
        return ((model, (entity_id(recorded),)),)

    return reads


def stamped(entity: V, recorded: Recorded[Any]) -> V:
    """The entity with its times: created once, updated by every event."""
    created = getattr(entity, "created", None) or recorded.recorded_at
    return replace(entity, created=created, updated=recorded.recorded_at)


def evolved(
    rows: Rows,
    model: Model[V],
    evolve: Callable[[V | None, Any], V | None],
    recorded: Recorded[Any],
) -> V | None:
    """Fold one event into its entity's row; the entity after it, None if it is gone."""
    id_ = entity_id(recorded)
    entity = evolve(rows.get(model, id_), recorded.event)
    if entity is None:
        rows.delete(model, id_)
        return None
    entity = stamped(entity, recorded)
    rows.put(model, (id_,), entity)
    return entity


def entity_projection(
    name: str,
    version: int,
    model: Model[V],
    events: Iterable[type[Event]],
    evolve: Callable[[V | None, Any], V | None],
) -> Projection:
    """An inline projection that is nothing but the fold of its entity."""

    def apply(rows: Rows, recorded: Recorded[Any]) -> None:
        evolved(rows, model, evolve, recorded)

    return Projection(
        name=name,
        version=version,
        mode="inline",
        models=(model,),
        handles=frozenset(events),
        apply=apply,
        reads=own_row(model),
        own=model,
    )
