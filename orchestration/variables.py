"""Variables: values by name that flows, deployments and forms refer to."""

from datetime import datetime
from typing import Annotated, Any, TypeAlias, assert_never

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from eventstore.decider import Decider
from eventstore.events import Event
from orchestration.identifiers import Text
from orchestration.refusals import AlreadyExists, Conflict, Invalid, NotFound

NAME_CHARACTERS_MAX = 255
VALUE_BYTES_MAX = 5_000
"""Of a value as JSON."""

VariableName: TypeAlias = Annotated[
    str, Meta(pattern=r"^[a-z0-9_-]*$", max_length=NAME_CHARACTERS_MAX)
]
"""Small letters, digits, dashes and underscores."""

# --- events ---------------------------------------------------------------------------------------


class VariableCreated(Event, frozen=True, tag="variable.created"):
    """A value was given a name that was free."""

    id: str
    name: str
    value: Any
    tags: tuple[str, ...] = ()


class VariableUpdated(Event, frozen=True, tag="variable.updated"):
    """The variable as it is after the change."""

    name: str
    value: Any
    tags: tuple[str, ...] = ()


class VariableDeleted(Event, frozen=True, tag="variable.deleted"):
    """The variable is gone, its name is free. Carries what it last was."""

    name: str
    value: Any
    tags: tuple[str, ...] = ()


VariableEvent: TypeAlias = VariableCreated | VariableUpdated | VariableDeleted

# --- commands -------------------------------------------------------------------------------------


class VariableCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /variables/`. The value is any JSON."""

    name: VariableName
    value: Any
    tags: tuple[Text, ...] = ()


class VariableUpdate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `PATCH /variables/{id}`; what is unset stays as it is."""

    name: VariableName | UnsetType = UNSET
    value: Any | UnsetType = UNSET
    tags: tuple[Text, ...] | UnsetType = UNSET


class CreateVariable(Struct, frozen=True, kw_only=True):
    """Give a value a name."""

    id: str
    body: VariableCreate
    name_is_taken: bool


class UpdateVariable(Struct, frozen=True, kw_only=True):
    """Change a variable."""

    id: str
    body: VariableUpdate
    name_is_taken: bool
    """By another variable."""


class DeleteVariable(Struct, frozen=True, kw_only=True):
    """Forget a variable."""

    id: str


VariableCommand: TypeAlias = CreateVariable | UpdateVariable | DeleteVariable

# --- value ----------------------------------------------------------------------------------------


class Variable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A variable as the API shows it. `created` and `updated` are the projection's to stamp."""

    id: str
    created: datetime | None = None
    updated: datetime | None = None
    name: str
    value: Any
    tags: tuple[str, ...] = ()


# --- decide ---------------------------------------------------------------------------------------


def decide(command: VariableCommand, variable: Variable | None) -> list[VariableEvent]:
    """What follows from a command. Raises `Conflict`, `Invalid` and `NotFound`."""
    if isinstance(command, CreateVariable):
        if variable is not None:
            raise AlreadyExists("Variable", command.id)
        body = command.body
        _check_value(body.value)
        _check_name(body.name, command.name_is_taken)
        return [VariableCreated(id=command.id, name=body.name, value=body.value, tags=body.tags)]
    if variable is None:
        raise NotFound("Variable", command.id)
    match command:
        case UpdateVariable(body=changes):
            return _changed(variable, changes, command.name_is_taken)
        case DeleteVariable():
            return [VariableDeleted(name=variable.name, value=variable.value, tags=variable.tags)]
        case _:
            assert_never(command)


def _changed(
    variable: Variable, changes: VariableUpdate, name_is_taken: bool
) -> list[VariableEvent]:
    name = variable.name if changes.name is UNSET else changes.name
    value = variable.value if changes.value is UNSET else changes.value
    tags = variable.tags if changes.tags is UNSET else changes.tags
    _check_value(value)
    if name != variable.name:
        _check_name(name, name_is_taken)
    if _same(variable, name, value, tags):
        return []
    return [VariableUpdated(name=name, value=value, tags=tags)]


def _same(variable: Variable, name: str, value: Any, tags: tuple[str, ...]) -> bool:
    # As JSON: in Python 1, 1.0 and True are equal.
    return (variable.name, variable.tags) == (name, tags) and msgspec.json.encode(
        variable.value
    ) == msgspec.json.encode(value)


def _check_value(value: Any) -> None:
    if value is not None and len(msgspec.json.encode(value)) > VALUE_BYTES_MAX:
        raise Invalid(f"Variable value must be less than {VALUE_BYTES_MAX} characters", ("value",))


def _check_name(name: str, taken: bool) -> None:
    if taken:
        raise Conflict(f"A variable with the name {name!r} already exists.")


# --- evolve ---------------------------------------------------------------------------------------


def evolve(variable: Variable | None, event: VariableEvent) -> Variable | None:
    """The variable after the event."""
    match event:
        case VariableCreated():
            return Variable(id=event.id, name=event.name, value=event.value, tags=event.tags)
        case VariableUpdated():
            return variable and replace(
                variable, name=event.name, value=event.value, tags=event.tags
            )
        case VariableDeleted():
            return None
        case _:
            assert_never(event)


decider: Decider[VariableCommand, Variable, VariableEvent] = Decider(decide, evolve)
