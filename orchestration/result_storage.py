"""Where results are stored unless a flow says otherwise: the server's one default, a block."""

from collections.abc import Collection
from datetime import datetime
from typing import TypeAlias, assert_never

from msgspec import Struct
from msgspec.structs import replace

from eventstore.decider import Decider
from eventstore.events import Event
from orchestration.identifiers import Id
from orchestration.refusals import NotFound, Unsuitable

THE_DEFAULT = "results"
"""Id of the one default that there is."""
WRITES = "write-path"
"""The capability that a block needs for results to be stored with it."""

# --- events ---------------------------------------------------------------------------------------


class ResultStorageChosen(Event, frozen=True, tag="result-storage.chosen"):
    """Results go to this block from now on, unless a flow says otherwise."""

    block_document_id: str


class ResultStorageCleared(Event, frozen=True, tag="result-storage.cleared"):
    """Each client stores results where it would by itself."""

    block_document_id: str
    """The block that it was."""


ResultStorageEvent: TypeAlias = ResultStorageChosen | ResultStorageCleared

# --- commands -------------------------------------------------------------------------------------


class ResultStorageUpdate(Struct, frozen=True, kw_only=True):
    """The body of `PUT /admin/storage`."""

    default_result_storage_block_id: Id


class ChooseResultStorage(Struct, frozen=True, kw_only=True):
    """Make a block the default."""

    block_document_id: str
    capabilities: Collection[str] | None
    """Of the block; None if there is no such block."""


class ClearResultStorage(Struct, frozen=True, kw_only=True):
    """Have no default."""


ResultStorageCommand: TypeAlias = ChooseResultStorage | ClearResultStorage

# --- value ----------------------------------------------------------------------------------------


class ResultStorage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The default, if there is one. `created` and `updated` are the projection's to stamp."""

    created: datetime | None = None
    updated: datetime | None = None
    block_document_id: str


# --- decide ---------------------------------------------------------------------------------------


def decide(
    command: ResultStorageCommand, storage: ResultStorage | None
) -> list[ResultStorageEvent]:
    """What follows from a command. Raises `NotFound`, or `Unsuitable` if nothing can be stored."""
    match command:
        case ChooseResultStorage(block_document_id=id_, capabilities=capabilities):
            if capabilities is None:
                raise NotFound(f"Block document {id_}", id_)
            if WRITES not in capabilities:
                raise Unsuitable(
                    f"Block document {id_} cannot be used for result storage: "
                    f"blocks of its type do not have the capability {WRITES!r}."
                )
            if storage is not None and storage.block_document_id == id_:
                return []
            return [ResultStorageChosen(block_document_id=id_)]
        case ClearResultStorage():
            if storage is None:
                return []
            return [ResultStorageCleared(block_document_id=storage.block_document_id)]
        case _:
            assert_never(command)


# --- evolve ---------------------------------------------------------------------------------------


def evolve(storage: ResultStorage | None, event: ResultStorageEvent) -> ResultStorage | None:
    """The default after the event."""
    match event:
        case ResultStorageChosen(block_document_id=id_):
            if storage is None:
                return ResultStorage(block_document_id=id_)
            return replace(storage, block_document_id=id_)
        case ResultStorageCleared():
            return None
        case _:
            assert_never(event)


decider: Decider[ResultStorageCommand, ResultStorage, ResultStorageEvent] = Decider(decide, evolve)
