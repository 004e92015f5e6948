"""Read models: artifacts, and the latest artifact of each key.

Tables: migrations/0002.read-models.sql. Which artifact is the latest of its key is decided under
the log's lock and said by the events, so that folding them never has to search for a row.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, assert_never, get_args

from eventstore.database import Reader, Row, Table
from eventstore.events import Recorded
from orchestration.artifacts import (
    Artifact,
    ArtifactCollection,
    ArtifactCreated,
    ArtifactDeleted,
    ArtifactEvent,
    ArtifactUpdated,
    collection_of,
    evolve,
)
from orchestration.documents import document, parse
from projections.columns import micros
from projections.entities import entity_id, evolved
from projections.projection import Key, Model, Projection, Rows

ARTIFACTS_TABLE = Table(
    "artifacts",
    {
        "id": "text",
        "created": "bigint",
        "updated": "bigint",
        "key": "text",
        "type": "text",
        "flow_run_id": "text",
        "task_run_id": "text",
        "document": "text",
    },
)

COLLECTIONS_TABLE = Table(
    "artifact_collections",
    {
        "key": "text",
        "id": "text",
        "latest_id": "text",
        "created": "bigint",
        "updated": "bigint",
        "type": "text",
        "flow_run_id": "text",
        "task_run_id": "text",
        "document": "text",
    },
    key=("key",),
)


def render(artifact: Artifact) -> Row:
    """The artifact's row."""
    return (
        artifact.id,
        micros(artifact.created),
        micros(artifact.updated),
        artifact.key,
        artifact.type,
        artifact.flow_run_id,
        artifact.task_run_id,
        document(artifact).decode(),
    )


def from_row(row: Row) -> Artifact:
    """The artifact of a row."""
    return parse(Artifact, row[-1])


def render_collection(collection: ArtifactCollection) -> Row:
    """The collection's row."""
    return (
        collection.key,
        collection.id,
        collection.latest_id,
        micros(collection.created),
        micros(collection.updated),
        collection.type,
        collection.flow_run_id,
        collection.task_run_id,
        document(collection).decode(),
    )


def collection_from_row(row: Row) -> ArtifactCollection:
    """The collection of a row."""
    return parse(ArtifactCollection, row[-1])


# Not remembered: an artifact may be a table of megabytes, and is hardly ever touched again.
ARTIFACTS = Model(ARTIFACTS_TABLE, render, from_row)
COLLECTIONS = Model(COLLECTIONS_TABLE, render_collection, collection_from_row)


def reads(recorded: Recorded[Any]) -> Iterable[tuple[Model[Any], Key]]:
    """The artifact, its collection, and the one that takes its place as the latest."""
    event: ArtifactEvent = recorded.event
    yield ARTIFACTS, (entity_id(recorded),)
    if event.key is not None:
        yield COLLECTIONS, (event.key,)
    if isinstance(event, ArtifactDeleted) and event.next_latest is not None:
        yield ARTIFACTS, (event.next_latest.id,)


def apply(rows: Rows, recorded: Recorded[Any]) -> None:
    """Fold an event into its artifact, and into the collection of the artifact's key."""
    event: ArtifactEvent = recorded.event
    artifact = evolved(rows, ARTIFACTS, evolve, recorded)
    if event.key is None:
        return
    collection = rows.get(COLLECTIONS, event.key)
    was_latest = collection is not None and collection.latest_id == entity_id(recorded)
    match event:
        case ArtifactCreated():
            _show(rows, artifact, collection, event.collection_id)
        case ArtifactUpdated():
            if was_latest:
                _show(rows, artifact, collection)
        case ArtifactDeleted():
            if was_latest:
                _fall_back(rows, event, collection)
        case _:
            assert_never(event)


def _fall_back(rows: Rows, event: ArtifactDeleted, collection: ArtifactCollection | None) -> None:
    if event.next_latest is None:
        rows.delete(COLLECTIONS, event.key)
        return
    # Its row, not the event's copy: it may have been updated in the same batch.
    latest = rows.get(ARTIFACTS, event.next_latest.id)
    if latest is not None:
        _show(rows, latest, collection, created=latest.created)


def _show(
    rows: Rows,
    latest: Artifact | None,
    collection: ArtifactCollection | None,
    new_id: str | None = None,
    created: datetime | None = None,
) -> None:
    """Let the collection, which may be a new one, show this artifact.

    A collection is as old as its first artifact; after the latest was deleted, as in Prefect, as
    old as the one that it falls back to.
    """
    if latest is None or latest.key is None:
        return
    if collection is not None:
        shown = collection_of(latest, collection.id, created or collection.created)
    else:
        shown = collection_of(latest, new_id or latest.id, latest.created)
    rows.put(COLLECTIONS, (shown.key,), shown)


projection = Projection(
    name="artifacts",
    version=1,
    mode="inline",
    models=(ARTIFACTS, COLLECTIONS),
    handles=frozenset(get_args(ArtifactEvent)),
    apply=apply,
    reads=reads,
)


async def by_id(reader: Reader, id: str) -> str | None:
    """Document of one artifact."""
    rows = await reader.fetch_keys(ARTIFACTS_TABLE, [(id,)])
    return rows[0][-1] if rows else None


async def latest_by_key(reader: Reader, key: str) -> ArtifactCollection | None:
    """The collection of this key."""
    rows = await reader.fetch_keys(COLLECTIONS_TABLE, [(key,)])
    return collection_from_row(rows[0]) if rows else None


COLLECTION_ID = "SELECT id, latest_id FROM artifact_collections WHERE key = $1"


async def collection_id(reader: Reader, key: str) -> tuple[str, str] | None:
    """Id of the collection of this key, and of the artifact that it shows."""
    rows = await reader.fetch(COLLECTION_ID, key)
    return (rows[0][0], rows[0][1]) if rows else None


NEXT_LATEST = (
    "SELECT document FROM artifacts WHERE key = $1 AND id <> $2 ORDER BY created DESC LIMIT 1"
)


async def next_latest(reader: Reader, key: str, id: str) -> Artifact | None:
    """The newest artifact of this key but one: what becomes the latest when that is deleted."""
    rows = await reader.fetch(NEXT_LATEST, key, id)
    return parse(Artifact, rows[0][0]) if rows else None
