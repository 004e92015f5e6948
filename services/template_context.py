"""What the templates of an automation are given: the emission, and the entities that it names."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct, json

from eventstore.codec import from_microseconds
from orchestration.automation_firings import OpenFiring
from orchestration.documents import document
from orchestration.own_emissions import emission_of
from orchestration.template_sandbox import ADDRESS, names_in
from orchestration.template_values import Labels, Thing, alive, emission
from orchestration.trigger_fold import Firing, all_of
from projections import (
    concurrency_limits,
    deployments,
    flow_runs,
    flows,
    task_runs,
    variables,
    work_pools,
    work_queues,
)
from services.shell import Clock, Shell

EMISSIONS_MAX = 100
"""Emissions of a firing that templates are given."""
VARIABLES_MAX = 200
"""Variables that templates are given, by name."""
_STATE = ("message", "name", "timestamp", "type")


class Cause(Struct, frozen=True, kw_only=True):
    """Why an action is to be done."""

    firing: OpenFiring
    emission: Mapping[str, Any] | None
    """What made it fire, as JSON says it."""

    @property
    def labels(self) -> Mapping[str, str]:
        """What the trigger tells apart, and of which of them it fired."""
        return self.firing.triggered.firing.labels

    @property
    def resources(self) -> Sequence[Mapping[str, str]]:
        """What the emission is about, and what else it names."""
        shown = self.emission
        return () if shown is None else (shown["resource"], *shown.get("related", ()))

    def first(self, kind: str) -> Mapping[str, str] | None:
        """The first resource of a kind, for example `prefect.flow-run`."""
        of_kind = (one for one in self.resources if _split(one)[0] == kind)
        return next(of_kind, None)

    def id_of(self, kind: str) -> str | None:
        """The id of the first resource of a kind, if it is one."""
        found = self.first(kind)
        return None if found is None else as_id(_split(found)[1])


def _split(resource: Mapping[str, str]) -> tuple[str, str]:
    kind, _, id_ = resource["prefect.resource.id"].rpartition(".")
    return kind, id_


def as_id(text: str) -> str | None:
    """A UUID in its one form; None if it is none."""
    try:
        return str(UUID(text))
    except ValueError:
        return None


async def gather(
    shell: Shell, clock: Clock, cause: Cause, templates: list[str], address: str
) -> dict[str, Any]:
    """What these templates may refer to. Entities are read only if they do."""
    triggered = cause.firing.triggered
    automation = json.decode(document(triggered.automation))
    shown = None if cause.emission is None else emission(cause.emission)
    names = names_in(templates)
    firings = list(all_of(triggered.firing))
    context: dict[str, Any] = {
        ADDRESS: address,
        "automation": Thing("prefect.automation", alive(automation)),
        "event": shown,
        "labels": Labels(triggered.firing.labels),
        "firing": _firing(triggered.firing, cause),
        "firings": [_firing(one, cause) for one in firings],
        "events": [] if shown is None else [shown],
    }
    if "events" in names and len(firings) > 1:
        context["events"] = await _emissions(shell, firings)
    if "variables" in names:
        context["variables"] = await _variables(shell)
    for name, (kind, read) in _ENTITIES.items():
        if name in names:
            context[name] = await _entity(shell, clock(), cause, kind, read)
    return context


def _firing(firing: Firing, cause: Cause) -> Thing:
    members = {
        "id": firing.id,
        "trigger": {"id": firing.trigger},
        "trigger_states": ["Triggered"],
        "triggered": from_microseconds(firing.at),
        "triggering_labels": dict(firing.labels),
        "triggering_event": None if cause.emission is None else emission(cause.emission),
    }
    return Thing("prefect.firing", members)


async def _emissions(shell: Shell, firings: Sequence[Firing]) -> list[Thing]:
    positions = dict.fromkeys(one.position for one in firings if one.position is not None)
    found: list[Thing] = []
    for position in list(positions)[:EMISSIONS_MAX]:
        recorded = await shell.store.read_position(position)
        told = None if recorded is None else emission_of(recorded)
        if told is not None:
            found.append(emission(json.decode(told)))
    return found


async def _variables(shell: Shell) -> dict[str, Any]:
    database = shell.store.database
    found = await variables.some(database, database.dialect, None, "NAME_ASC", VARIABLES_MAX, 0)
    return {one["name"]: one["value"] for one in map(json.decode, found)}


_Read = Callable[[Shell, str, datetime], Any]


async def _flow(shell: Shell, id_: str, now: datetime) -> Any:
    return await flows.by_id(shell.store.database, id_)


async def _flow_run(shell: Shell, id_: str, now: datetime) -> Any:
    return await flow_runs.by_id(shell.store.database, id_, now)


async def _task_run(shell: Shell, id_: str, now: datetime) -> Any:
    return await task_runs.by_id(shell.store.database, id_, now)


async def _deployment(shell: Shell, id_: str, now: datetime) -> Any:
    return await deployments.by_id(shell.store.database, id_)


async def _pool(shell: Shell, id_: str, now: datetime) -> Any:
    found = await work_pools.by_id(shell.store.database, id_)
    return None if found is None else document(found)


async def _queue(shell: Shell, id_: str, now: datetime) -> Any:
    found = await work_queues.by_id(shell.store.database, id_)
    return None if found is None else document(found)


async def _limit(shell: Shell, id_: str, now: datetime) -> Any:
    found = await concurrency_limits.by_id(shell.store.database, id_)
    return None if found is None else document(found.limit)


_ENTITIES: Mapping[str, tuple[str, _Read]] = {
    "flow": ("prefect.flow", _flow),
    "flow_run": ("prefect.flow-run", _flow_run),
    "task_run": ("prefect.task-run", _task_run),
    "deployment": ("prefect.deployment", _deployment),
    "work_pool": ("prefect.work-pool", _pool),
    "work_queue": ("prefect.work-queue", _queue),
    "concurrency_limit": ("prefect.concurrency-limit", _limit),
}
"""What templates call entities, and how they are read."""


async def _entity(
    shell: Shell, now: datetime, cause: Cause, kind: str, read: _Read
) -> Thing | None:
    resource = cause.first(kind)
    id_ = None if resource is None else as_id(_split(resource)[1])
    found = None if id_ is None else await read(shell, id_, now)
    if found is None or resource is None:
        return None
    thing = Thing(kind, alive(json.decode(found)))
    if all(f"prefect.state-{name}" in resource for name in _STATE):
        # The run may have another state by now; this is about the one that it had.
        told = {name: resource[f"prefect.state-{name}"] for name in _STATE}
        thing["state"] = alive({**(thing.get("state") or {}), **told})
    elif isinstance(thing.get("state"), dict):
        thing["state"] = alive(thing["state"])
    return thing
