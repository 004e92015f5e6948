"""Artifacts and the latest ones of each key: /artifacts."""

from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from api.errors import not_found, there
from api.http import NO_CONTENT, Answer, Area, Call
from api.lists import number, some
from orchestration.artifacts import (
    Artifact,
    ArtifactCollection,
    ArtifactCreate,
    ArtifactUpdate,
)
from orchestration.documents import document
from orchestration.refusals import NotFound
from projections import artifacts
from projections.filters import (
    ArtifactCollectionFilter,
    ArtifactFilter,
    DeploymentFilter,
    Filters,
    FlowFilter,
    FlowRunFilter,
    TaskRunFilter,
)
from projections.paging import Offset
from projections.sorting import ArtifactCollectionSort, ArtifactSort
from services import artifacts as commands

area = Area("/artifacts", "Artifacts")


class _Related(Struct, frozen=True, kw_only=True):
    flow_runs: FlowRunFilter | None = None
    task_runs: TaskRunFilter | None = None
    flows: FlowFilter | None = None
    deployments: DeploymentFilter | None = None


class ArtifactCounting(_Related, frozen=True, kw_only=True):
    """The body of `POST /artifacts/count`."""

    artifacts: ArtifactFilter | None = None

    def filters(self) -> Filters:
        """What it asks for."""
        return Filters(
            artifacts=self.artifacts,
            flow_runs=self.flow_runs,
            task_runs=self.task_runs,
            flows=self.flows,
            deployments=self.deployments,
        )


class ArtifactQuery(ArtifactCounting, frozen=True, kw_only=True):
    """The body of `POST /artifacts/filter`."""

    sort: ArtifactSort | None = None
    limit: int | None = None
    offset: Offset | None = None


class LatestCounting(_Related, frozen=True, kw_only=True):
    """The body of `POST /artifacts/latest/count`. Its `artifacts` are collections."""

    artifacts: ArtifactCollectionFilter | None = None

    def filters(self) -> Filters:
        """What it asks for."""
        return Filters(
            artifact_collections=self.artifacts,
            flow_runs=self.flow_runs,
            task_runs=self.task_runs,
            flows=self.flows,
            deployments=self.deployments,
        )


class LatestQuery(LatestCounting, frozen=True, kw_only=True):
    """The body of `POST /artifacts/latest/filter`."""

    sort: ArtifactCollectionSort | None = None
    limit: int | None = None
    offset: Offset | None = None


@contextmanager
def _prefects_words() -> Iterator[None]:
    """Here Prefect ends its sentence with a full stop."""
    try:
        yield
    except NotFound:
        raise not_found("Artifact not found.") from None


@area.post("/", body=ArtifactCreate, answers={201: Artifact})
async def create_artifact(call: Call, body: ArtifactCreate) -> Answer:
    """Keep an artifact. With a key it becomes the latest of that key."""
    shown, position = await commands.create(call.server.shell, body, call.origin)
    return Answer(201, shown, position=position)


@area.get("/{id:uuid}", answers={200: Artifact})
async def read_artifact(call: Call) -> Answer:
    """Read an artifact."""
    with _prefects_words():
        found = await artifacts.by_id(call.server.database, call.id)
        if found is None:
            raise NotFound("Artifact", call.id)
    return Answer(200, found.encode())


@area.patch("/{id:uuid}", body=ArtifactUpdate, answers={204: None})
async def update_artifact(call: Call, body: ArtifactUpdate) -> Answer:
    """Change an artifact's data, description or metadata."""
    with _prefects_words():
        await commands.update(call.server.shell, call.id, body, call.origin)
    return NO_CONTENT


@area.delete("/{id:uuid}", answers={204: None})
async def delete_artifact(call: Call) -> Answer:
    """Delete an artifact; the one before becomes the latest of its key."""
    with _prefects_words():
        await commands.delete(call.server.shell, call.id, call.origin)
    return NO_CONTENT


@area.get("/{key:str}/latest", answers={200: Artifact})
async def read_latest_artifact(call: Call) -> Answer:
    """Read the latest artifact of a key, under the id of their collection."""
    found = await artifacts.latest_by_key(call.server.database, call.path["key"])
    return Answer(200, document(_as_artifact(there(found, "Artifact not found."))))


def _as_artifact(collection: ArtifactCollection) -> Artifact:
    return Artifact(**{name: getattr(collection, name) for name in Artifact.__struct_fields__})


@area.post("/filter", body=ArtifactQuery, body_optional=True, answers={200: list[Artifact]})
async def read_artifacts(call: Call, body: ArtifactQuery) -> Answer:
    """Artifacts that match."""
    sort = body.sort or "ID_DESC"
    return await some(call, "artifacts", body.filters(), sort, body.limit, body.offset)


@area.post("/count", body=ArtifactCounting, body_optional=True, answers={200: int})
async def count_artifacts(call: Call, body: ArtifactCounting) -> Answer:
    """How many artifacts match."""
    return await number(call, "artifacts", body.filters())


@area.post(
    "/latest/filter",
    body=LatestQuery,
    body_optional=True,
    answers={200: list[ArtifactCollection]},
)
async def read_latest_artifacts(call: Call, body: LatestQuery) -> Answer:
    """The latest artifacts of their keys that match."""
    sort = body.sort or "ID_DESC"
    return await some(call, "artifact_collections", body.filters(), sort, body.limit, body.offset)


@area.post("/latest/count", body=LatestCounting, body_optional=True, answers={200: int})
async def count_latest_artifacts(call: Call, body: LatestCounting) -> Answer:
    """How many keys have a latest artifact that matches."""
    return await number(call, "artifact_collections", body.filters())
