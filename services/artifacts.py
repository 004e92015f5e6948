"""What can be done with artifacts: gather the facts, let the decider decide, append.

Which artifact is the latest of its key is decided under the lock, one command per key and batch.
"""

from collections.abc import Sequence

from eventstore.committer import Written
from eventstore.database import Reader, Transaction
from eventstore.events import NewEvents
from eventstore.ids import new_id
from eventstore.log import Decision
from orchestration.artifacts import (
    Artifact,
    ArtifactCreate,
    ArtifactEvent,
    ArtifactUpdate,
    CreateArtifact,
    DeleteArtifact,
    UpdateArtifact,
    decide,
    evolve,
    of_result,
)
from orchestration.documents import document
from orchestration.refusals import NotFound
from orchestration.states import State
from projections import artifacts
from projections.artifacts import ARTIFACTS
from projections.entities import stamped
from services.shell import Decided, Done, Origin, Shell, appended, fresh_ids

CATEGORY = "artifact"


async def create(shell: Shell, body: ArtifactCreate, origin: Origin) -> tuple[bytes, int]:
    """Keep an artifact: its document, and the log's position after it."""
    id_, key = new_id(), body.key
    if key is None:

        async def decide_first(artifact: Artifact | None, fresh: bool) -> Decided[None]:
            return Decided(decide(CreateArtifact(id=id_, body=body), artifact), None)

        done = await shell.create(ARTIFACTS, CATEGORY, id_, decide_first, origin)
        assert done is not None and done.written is not None
        return _as_recorded(done.written)

    async def decide_under_lock(tx: Transaction) -> Decision:
        return Decision(appends=(await _founding(tx, id_, body, key),))

    return _as_recorded(await shell.execute_serially(_contention(key), decide_under_lock, origin))


def _contention(key: str) -> str:
    return f"artifact-key:{key}"


async def _founding(reader: Reader, id_: str, body: ArtifactCreate, key: str) -> NewEvents:
    """The first event of an artifact with a key, which may be the first of that key."""
    known = await artifacts.collection_id(reader, key)
    command = CreateArtifact(
        id=id_,
        body=body,
        collection_id=new_id() if known is None else known[0],
        founds_collection=known is None,
    )
    return _stream(id_, 0, decide(command, None))


def _stream(id_: str, expected: int, events: Sequence[ArtifactEvent]) -> NewEvents:
    return NewEvents(f"{CATEGORY}:{id_}", expected, events, fresh_ids(events))


def _as_recorded(written: Written) -> tuple[bytes, int]:
    """The artifact as its first event left it; nobody needs to read the row back for that."""
    recorded = written.recorded[0]
    artifact = evolve(None, recorded.event)
    assert artifact is not None
    return document(stamped(artifact, recorded)), written.position


async def of_state(
    reader: Reader, state: State | None, flow_run_id: str | None, task_run_id: str | None
) -> list[NewEvents]:
    """What to record together with a run's new state: the artifact that shows its result, if any.

    For states that the server orchestrates, as in Prefect: task runs that a client reports leave
    no such artifact. Almost no result names a key; of two that name the same new key at the same
    moment, both may be announced as its first.
    """
    body = None if state is None else of_result(state, flow_run_id, task_run_id)
    if body is None:
        return []
    id_ = new_id()
    if body.key is not None:
        return [await _founding(reader, id_, body, body.key)]
    return [_stream(id_, 0, decide(CreateArtifact(id=id_, body=body), None))]


async def update(shell: Shell, id_: str, body: ArtifactUpdate, origin: Origin) -> Done[None]:
    """Change an artifact. Raises NotFound."""

    async def decide_update(artifact: Artifact | None) -> Decided[None]:
        return Decided(decide(UpdateArtifact(id=id_, body=body), artifact), None)

    return await shell.execute(ARTIFACTS, CATEGORY, id_, decide_update, origin)


async def delete(shell: Shell, id_: str, origin: Origin) -> None:
    """Forget an artifact; the collection of its key shows the one before. Raises NotFound."""
    _, artifact = await shell.load(ARTIFACTS, f"{CATEGORY}:{id_}", id_)
    if artifact is None:
        raise NotFound("Artifact", id_)
    contention = id_ if artifact.key is None else _contention(artifact.key)

    async def decide_under_lock(tx: Transaction) -> Decision:
        rows = await tx.fetch_keys(ARTIFACTS.table, [(id_,)])
        artifact = ARTIFACTS.parse(rows[0]) if rows else None
        events = decide(await _deletion(tx, id_, artifact), artifact)
        # An update that is earlier in the same batch is no reason not to delete it.
        return Decision(appends=(appended(CATEGORY, id_, events),))

    await shell.execute_serially(contention, decide_under_lock, origin)


async def _deletion(tx: Transaction, id_: str, artifact: Artifact | None) -> DeleteArtifact:
    if artifact is None or artifact.key is None:
        return DeleteArtifact(id=id_)
    known = await artifacts.collection_id(tx, artifact.key)
    if known is None or known[1] != id_:
        return DeleteArtifact(id=id_)
    return DeleteArtifact(
        id=id_,
        collection_id=known[0],
        next_latest=await artifacts.next_latest(tx, artifact.key, id_),
    )
