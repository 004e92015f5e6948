"""Artifacts: what runs leave behind for people to look at. Those of one key are a collection."""

from datetime import datetime
from typing import Any, TypeAlias, assert_never

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import force_setattr

from eventstore.decider import Decider
from eventstore.events import Event
from orchestration import patches
from orchestration.documents import Extras, extras_field
from orchestration.identifiers import ArtifactKey, Id, Text, tidy
from orchestration.refusals import AlreadyExists, NotFound
from orchestration.states import State, has_result

METADATA_VALUE_CHARACTERS_MAX = 500
"""Longer values of an artifact's metadata are cut off, visibly."""

# --- events ---------------------------------------------------------------------------------------


class ArtifactCreated(Event, frozen=True, tag="artifact.created"):
    """An artifact was left behind. With a key it is the latest of its collection."""

    id: str
    key: str | None = None
    type: str | None = None
    description: str | None = None
    data: Any = None
    metadata_: dict[str, str] | None = None
    flow_run_id: str | None = None
    task_run_id: str | None = None
    collection_id: str | None = None
    """Of the collection of its key."""
    founds_collection: bool = False
    """The first artifact of its key."""
    extras: Extras = extras_field()


class ArtifactUpdated(Event, frozen=True, tag="artifact.updated"):
    """Some of the artifact's fields were changed; the others are unset."""

    data: Any = UNSET
    description: str | UnsetType | None = UNSET
    metadata_: dict[str, str] | UnsetType | None = UNSET
    key: str | None = None
    """Of the artifact, so that its collection can be found."""
    extras: Extras = extras_field()


class ArtifactDeleted(Event, frozen=True, tag="artifact.deleted"):
    """The artifact is gone."""

    key: str | None = None
    latest: bool = False
    """It was the latest of its collection."""
    collection_id: str | None = None
    next_latest: "Artifact | None" = None
    """The one that is the latest now; without one the collection is gone as well."""
    last: "Artifact | None" = None
    """What it was, if the collection went with it."""


ArtifactEvent: TypeAlias = ArtifactCreated | ArtifactUpdated | ArtifactDeleted

# --- commands -------------------------------------------------------------------------------------


class ArtifactCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /artifacts/`."""

    key: ArtifactKey | None = None
    type: Text | None = None
    description: str | None = None
    data: Any = None
    metadata_: dict[str, str] | None = None
    flow_run_id: Id | None = None
    task_run_id: Id | None = None
    extras: Extras = extras_field()

    def __post_init__(self) -> None:
        tidy(self, ids=("flow_run_id", "task_run_id"))
        _cut_metadata(self)


class ArtifactUpdate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `PATCH /artifacts/{id}`; what is unset stays as it is."""

    data: Any = UNSET
    description: str | UnsetType | None = UNSET
    metadata_: dict[str, str] | UnsetType | None = UNSET
    extras: Extras = extras_field()

    def __post_init__(self) -> None:
        _cut_metadata(self)


def _cut_metadata(body: ArtifactCreate | ArtifactUpdate) -> None:
    metadata, longest = body.metadata_, METADATA_VALUE_CHARACTERS_MAX
    if not isinstance(metadata, dict) or all(len(v) <= longest for v in metadata.values()):
        return
    cut = {k: v if len(v) <= longest else v[:longest] + "..." for k, v in metadata.items()}
    force_setattr(body, "metadata_", cut)


class CreateArtifact(Struct, frozen=True, kw_only=True):
    """Leave an artifact behind."""

    id: str
    body: ArtifactCreate
    collection_id: str | None = None
    """Of the collection of its key: the existing one's, or a minted one."""
    founds_collection: bool = False
    """There is no artifact of this key yet."""


class UpdateArtifact(Struct, frozen=True, kw_only=True):
    """Change an artifact."""

    id: str
    body: ArtifactUpdate


class DeleteArtifact(Struct, frozen=True, kw_only=True):
    """Remove an artifact."""

    id: str
    collection_id: str | None = None
    """Of the collection that this artifact is the latest of, if it is."""
    next_latest: "Artifact | None" = None
    """The newest of the other artifacts of its key; needed only if this is the latest."""


ArtifactCommand: TypeAlias = CreateArtifact | UpdateArtifact | DeleteArtifact

# --- value ----------------------------------------------------------------------------------------


class Artifact(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An artifact as the API shows it. `created` and `updated` are the projection's to stamp."""

    id: str
    created: datetime | None = None
    updated: datetime | None = None
    key: str | None = None
    type: str | None = None
    description: str | None = None
    data: Any = None
    metadata_: dict[str, str] | None = None
    flow_run_id: str | None = None
    task_run_id: str | None = None
    extras: Extras = extras_field()


class ArtifactCollection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The latest artifact of a key as the API shows it."""

    id: str
    created: datetime | None = None
    updated: datetime | None = None
    key: str
    latest_id: str
    type: str | None = None
    description: str | None = None
    data: Any = None
    metadata_: dict[str, str] | None = None
    flow_run_id: str | None = None
    task_run_id: str | None = None
    extras: Extras = extras_field()


# --- decide ---------------------------------------------------------------------------------------


def decide(command: ArtifactCommand, artifact: Artifact | None) -> list[ArtifactEvent]:
    """What follows from a command. Raises `AlreadyExists` and `NotFound`."""
    match command:
        case CreateArtifact(id=id, body=body):
            if artifact is not None:
                raise AlreadyExists("Artifact", id)
            return [
                ArtifactCreated(
                    id=id,
                    key=body.key,
                    type=body.type,
                    description=body.description,
                    data=body.data,
                    metadata_=body.metadata_,
                    flow_run_id=body.flow_run_id,
                    task_run_id=body.task_run_id,
                    collection_id=command.collection_id,
                    founds_collection=command.founds_collection,
                    extras=body.extras,
                )
            ]
        case UpdateArtifact(id=id, body=body):
            if artifact is None:
                raise NotFound("Artifact", id)
            wanted = {field: getattr(body, field) for field in _CHANGEABLE}
            changes = {
                field: value
                for field, value in wanted.items()
                if value is not UNSET and value != getattr(artifact, field)
            }
            if not changes and body.extras is UNSET:
                return []
            return [ArtifactUpdated(key=artifact.key, extras=body.extras, **changes)]
        case DeleteArtifact(id=id):
            if artifact is None:
                raise NotFound("Artifact", id)
            latest = command.collection_id is not None
            last_of_its_key = latest and command.next_latest is None
            return [
                ArtifactDeleted(
                    key=artifact.key,
                    latest=latest,
                    collection_id=command.collection_id,
                    next_latest=command.next_latest,
                    last=artifact if last_of_its_key else None,
                )
            ]
        case _:
            assert_never(command)


def of_result(
    state: State, flow_run_id: str | None, task_run_id: str | None
) -> "ArtifactCreate | None":
    """The artifact in which a flow run's or task run's result is shown, if its state has one.

    A client may name and describe it inside the state's data.
    """
    data = state.data
    if data is None or (isinstance(data, dict) and not has_result(data)):
        return None
    about: dict[str, Any] = {}
    if isinstance(data, dict):
        # Anything but text would make an event that cannot be read again.
        about = {
            field: value
            for key, field in _ABOUT_A_RESULT.items()
            if (value := data.get(key)) and isinstance(value, str)
        }
        data = {key: value for key, value in data.items() if key not in _ABOUT_A_RESULT}
    return ArtifactCreate(data=data, flow_run_id=flow_run_id, task_run_id=task_run_id, **about)


_ABOUT_A_RESULT = {
    "artifact_key": "key",
    "artifact_type": "type",
    "artifact_description": "description",
}
_CHANGEABLE = ("data", "description", "metadata_")

# --- evolve ---------------------------------------------------------------------------------------


def evolve(artifact: Artifact | None, event: ArtifactEvent) -> Artifact | None:
    """The artifact after the event."""
    match event:
        case ArtifactCreated():
            return patches.made(Artifact, event)
        case ArtifactUpdated():
            return artifact and patches.changed(artifact, event, _CHANGEABLE)
        case ArtifactDeleted():
            return None
        case _:
            assert_never(event)


def collection_of(artifact: Artifact, id: str, created: datetime | None) -> ArtifactCollection:
    """The collection of the artifact's key, with this artifact as the latest."""
    assert artifact.key is not None
    return ArtifactCollection(
        id=id,
        created=created,
        updated=artifact.updated,
        key=artifact.key,
        latest_id=artifact.id,
        type=artifact.type,
        description=artifact.description,
        data=artifact.data,
        metadata_=artifact.metadata_,
        flow_run_id=artifact.flow_run_id,
        task_run_id=artifact.task_run_id,
        extras=artifact.extras,
    )


decider: Decider[ArtifactCommand, Artifact, ArtifactEvent] = Decider(decide, evolve)
