"""Artifacts: given, when, then."""

from typing import Any

import pytest
from msgspec import ValidationError, json

from orchestration import artifacts
from orchestration.artifacts import (
    Artifact,
    ArtifactCreate,
    ArtifactCreated,
    ArtifactDeleted,
    ArtifactUpdate,
    ArtifactUpdated,
    CreateArtifact,
    DeleteArtifact,
    UpdateArtifact,
    collection_of,
    of_result,
)
from orchestration.documents import document, parse
from orchestration.refusals import AlreadyExists, NotFound
from tests.orchestration.runs import NOON, id_, state
from tests.spec import spec

given = spec(artifacts.decider)
ID, COLLECTION = id_(1), id_(2)
CREATED = ArtifactCreated(
    id=ID, key="report", type="markdown", data="# hi", collection_id=COLLECTION
)
REPORT = Artifact(id=ID, key="report", type="markdown", data="# hi")


def test_an_artifact_is_left_behind() -> None:
    body = ArtifactCreate(key="report", type="markdown", data="# hi")
    told = given().when(CreateArtifact(id=ID, body=body, collection_id=COLLECTION))
    told.then(CREATED)
    assert told.value() == REPORT


def test_an_artifact_is_created_once() -> None:
    again = CreateArtifact(id=ID, body=ArtifactCreate())
    given(CREATED).when(again).refused(AlreadyExists)


def test_only_what_was_sent_and_differs_is_recorded() -> None:
    body = parse(ArtifactUpdate, b'{"data":"# hi","description":"new"}')
    told = given(CREATED).when(UpdateArtifact(id=ID, body=body))
    told.then(ArtifactUpdated(key="report", description="new"))
    value = told.value()
    assert value is not None
    assert (value.data, value.description) == ("# hi", "new")


def test_an_update_that_changes_nothing_records_nothing() -> None:
    body = parse(ArtifactUpdate, b'{"data":"# hi"}')
    given(CREATED).when(UpdateArtifact(id=ID, body=body)).then_nothing()
    given().when(UpdateArtifact(id=ID, body=body)).refused(NotFound)


def test_data_can_be_set_to_nothing() -> None:
    body = parse(ArtifactUpdate, b'{"data":null}')
    value = given(CREATED).when(UpdateArtifact(id=ID, body=body)).value()
    assert value is not None
    assert value.data is None


def test_deleting_the_latest_says_which_is_the_latest_now() -> None:
    older = Artifact(id=id_(3), key="report")
    command = DeleteArtifact(id=ID, collection_id=COLLECTION, next_latest=older)
    expected = ArtifactDeleted(
        key="report", latest=True, collection_id=COLLECTION, next_latest=older
    )
    given(CREATED).when(command).then(expected)
    stored = json.decode(json.encode(expected), type=ArtifactDeleted)
    assert stored == expected


def test_deleting_the_last_of_a_key_says_what_it_was() -> None:
    command = DeleteArtifact(id=ID, collection_id=COLLECTION)
    given(CREATED).when(command).then(
        ArtifactDeleted(key="report", latest=True, collection_id=COLLECTION, last=REPORT)
    )
    given(CREATED).when(DeleteArtifact(id=ID)).then(ArtifactDeleted(key="report"))
    given().when(DeleteArtifact(id=ID)).refused(NotFound)


def test_long_metadata_is_cut_visibly() -> None:
    body = parse(ArtifactCreate, json.encode({"metadata_": {"a": "x" * 501, "b": "y" * 500}}))
    assert body.metadata_ == {"a": "x" * 500 + "...", "b": "y" * 500}


@pytest.mark.parametrize("body", [{"key": "Not OK"}, {"metadata_": {"a": 1}}])
def test_a_wrong_value_of_a_known_field_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parse(ArtifactCreate, json.encode(body))


def test_a_result_is_shown_as_an_artifact() -> None:
    plain = of_result(state("COMPLETED", data={"type": "reference"}), id_(5), None)
    assert plain == ArtifactCreate(data={"type": "reference"}, flow_run_id=id_(5))
    described = {"artifact_key": "k", "artifact_type": "table", "value": 1}
    assert of_result(state("COMPLETED", data=described), None, id_(6)) == ArtifactCreate(
        key="k", type="table", data={"value": 1}, task_run_id=id_(6)
    )
    assert of_result(state("COMPLETED", data={"type": "unpersisted"}), None, None) is None
    assert of_result(state("COMPLETED"), None, None) is None


def test_documents_show_every_field_in_prefects_order() -> None:
    assert ",".join(json.decode(document(REPORT))) == (
        "id,created,updated,key,type,description,data,metadata_,flow_run_id,task_run_id"
    )
    assert parse(Artifact, document(REPORT)) == REPORT
    collection = collection_of(REPORT, COLLECTION, NOON)
    assert ",".join(json.decode(document(collection))) == (
        "id,created,updated,key,latest_id,type,description,data,metadata_,flow_run_id,task_run_id"
    )
    assert collection.latest_id == ID
