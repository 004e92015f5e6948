"""Flows: given, when, then."""

import pytest
from msgspec import UNSET, ValidationError, json

from orchestration import flows
from orchestration.documents import document, parse
from orchestration.flows import (
    CreateFlow,
    DeleteFlow,
    Flow,
    FlowCreate,
    FlowCreated,
    FlowDeleted,
    FlowUpdate,
    FlowUpdated,
    UpdateFlow,
)
from orchestration.refusals import AlreadyExists, NotFound
from tests.orchestration.runs import id_
from tests.spec import spec

given = spec(flows.decider)
ID = id_(1)
CREATED = FlowCreated(id=ID, name="etl", tags=("a",), labels={"team": "data"})


def test_a_flow_is_created() -> None:
    body = FlowCreate(name="etl", tags=("a",), labels={"team": "data"})
    told = given().when(CreateFlow(id=ID, body=body))
    told.then(CREATED)
    assert told.value() == Flow(id=ID, name="etl", tags=("a",), labels={"team": "data"})


def test_a_flow_is_created_once() -> None:
    again = CreateFlow(id=ID, body=FlowCreate(name="etl"))
    given(CREATED).when(again).refused(AlreadyExists, ID)


def test_tags_are_replaced() -> None:
    told = given(CREATED).when(UpdateFlow(id=ID, body=FlowUpdate(tags=("b",))))
    told.then(FlowUpdated(name="etl", tags=("b",), labels={"team": "data"}))
    assert told.value() == Flow(id=ID, name="etl", tags=("b",), labels={"team": "data"})


@pytest.mark.parametrize("tags", [UNSET, ("a",)])
def test_setting_the_same_tags_again_records_nothing(tags: tuple[str, ...]) -> None:
    given(CREATED).when(UpdateFlow(id=ID, body=FlowUpdate(tags=tags))).then_nothing()


def test_a_flow_is_deleted_once() -> None:
    deleted = FlowDeleted(name="etl", tags=("a",), labels={"team": "data"})
    given(CREATED).when(DeleteFlow(id=ID)).then(deleted)
    given(CREATED, deleted).when(DeleteFlow(id=ID)).refused(NotFound)
    given(CREATED, deleted).when(UpdateFlow(id=ID, body=FlowUpdate())).refused(NotFound)


@pytest.mark.parametrize("name", ["", "a/b", "50%", "a&b", "<a>"])
def test_a_name_that_could_not_be_part_of_a_path_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        parse(FlowCreate, json.encode({"name": name}))


def test_a_document_shows_every_field_and_what_a_newer_client_sent() -> None:
    body = parse(FlowCreate, b'{"name":"etl","colour":"blue"}')
    flow = given().when(CreateFlow(id=ID, body=body)).value()
    assert flow is not None
    assert json.decode(document(flow)) == {
        "id": ID,
        "created": None,
        "updated": None,
        "name": "etl",
        "tags": [],
        "labels": {},
        "colour": "blue",
    }
    assert parse(Flow, document(flow)) == flow
