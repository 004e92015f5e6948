"""Run inputs: what a flow run is sent while it runs, or asks for while it is paused, by key.

A run that pauses for input leaves the schema of what it wants under one key of its keyset; whoever
resumes it has the answer checked against that schema, and it is left under another key.
"""

from datetime import datetime
from typing import Annotated, TypeAlias, assert_never

from msgspec import Meta, Struct

from eventstore.decider import Decider
from eventstore.events import Event
from orchestration.identifiers import INDEXED_CHARACTERS_MAX, Text
from orchestration.refusals import Conflict, NotFound

KEY_CHARACTERS_MAX = INDEXED_CHARACTERS_MAX - 40
"""A key stands in an index together with the run's id."""

InputKey: TypeAlias = Annotated[str, Meta(pattern=r"^[a-z0-9-]*$", max_length=KEY_CHARACTERS_MAX)]
"""Small letters, digits and dashes."""

# --- events ---------------------------------------------------------------------------------------


class RunInputCreated(Event, frozen=True, tag="flow-run-input.created"):
    """A flow run was given something under a key. The value is text, usually JSON."""

    id: str
    flow_run_id: str
    key: str
    value: str
    sender: str | None = None
    """Who sent it, for example another flow run: `prefect.flow-run.…`."""


class RunInputDeleted(Event, frozen=True, tag="flow-run-input.deleted"):
    """An input was taken away again; its key is free."""


RunInputEvent: TypeAlias = RunInputCreated | RunInputDeleted

# --- commands -------------------------------------------------------------------------------------


class RunInputCreate(Struct, frozen=True, kw_only=True):
    """The body of `POST /flow_runs/{id}/input`."""

    key: InputKey
    value: Text
    sender: Text | None = None


class CreateRunInput(Struct, frozen=True, kw_only=True):
    """Give a run, which exists, something under a key."""

    id: str
    """The key's own in this run: the same one whenever it is asked for."""
    flow_run_id: str
    body: RunInputCreate


class DeleteRunInput(Struct, frozen=True, kw_only=True):
    """Take an input away."""

    id: str


RunInputCommand: TypeAlias = CreateRunInput | DeleteRunInput

# --- value ----------------------------------------------------------------------------------------


class RunInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An input as the API shows it. `created` and `updated` are the projection's to stamp."""

    id: str
    created: datetime | None = None
    updated: datetime | None = None
    flow_run_id: str
    key: str
    value: str
    sender: str | None = None


# --- decide ---------------------------------------------------------------------------------------


def decide(command: RunInputCommand, run_input: RunInput | None) -> list[RunInputEvent]:
    """What follows from a command. Raises refusals."""
    match command:
        case CreateRunInput(body=body):
            if run_input is not None:
                raise Conflict("A flow run input with this key already exists.")
            return [
                RunInputCreated(
                    id=command.id,
                    flow_run_id=command.flow_run_id,
                    key=body.key,
                    value=body.value,
                    sender=body.sender,
                )
            ]
        case DeleteRunInput():
            if run_input is None:
                raise NotFound("Flow run input", command.id)
            return [RunInputDeleted()]
        case _:
            assert_never(command)


# --- evolve ---------------------------------------------------------------------------------------


def evolve(run_input: RunInput | None, event: RunInputEvent) -> RunInput | None:
    """The input after the event."""
    match event:
        case RunInputCreated():
            return RunInput(
                id=event.id,
                flow_run_id=event.flow_run_id,
                key=event.key,
                value=event.value,
                sender=event.sender,
            )
        case RunInputDeleted():
            return None
        case _:
            assert_never(event)


decider: Decider[RunInputCommand, RunInput, RunInputEvent] = Decider(decide, evolve)
