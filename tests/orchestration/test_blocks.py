"""Block types, schemas and documents: given, when, then."""

import json
from typing import Any

import pytest

from orchestration import block_documents, block_schemas, block_types
from orchestration.block_documents import (
    BlockDocumentCreate,
    BlockDocumentCreated,
    BlockDocumentDeleted,
    BlockDocumentUpdated,
    Content,
    CreateBlockDocument,
    DeleteBlockDocument,
    DocumentNamed,
    UpdateBlockDocument,
    without_references,
)
from orchestration.block_schemas import (
    BlockSchemaCreate,
    BlockSchemaCreated,
    BlockSchemaDeleted,
    CreateBlockSchema,
    DeleteBlockSchema,
    Mentioned,
    checksum,
    fields_of_nested,
    mentioned,
    plain_definitions,
)
from orchestration.block_types import (
    BlockTypeCreate,
    BlockTypeCreated,
    BlockTypeDeleted,
    BlockTypeUpdate,
    BlockTypeUpdated,
    CreateBlockType,
    DeleteBlockType,
    TypeNamed,
    UpdateBlockType,
)
from orchestration.refusals import Conflict, Invalid, NotFound, NotNow, Protected
from tests.orchestration.runs import id_
from tests.spec import spec

TYPE, SCHEMA, DOCUMENT, OTHER = id_(1), id_(2), id_(3), id_(4)

# --- types ----------------------------------------------------------------------------------------

given_type = spec(block_types.decider)
DOOR = BlockTypeCreated(id=TYPE, name="Door", slug="door", description="a &lt; b")


def create_type(name: str = "Door", *, taken: bool = False, **more: Any) -> CreateBlockType:
    body = BlockTypeCreate(name=name, slug="door", description="a < b")
    return CreateBlockType(id=TYPE, body=body, slug_is_taken=taken, **more)


def test_the_texts_of_a_type_are_kept_as_html_shows_them() -> None:
    given_type().when(create_type()).then(DOOR)


def test_a_slug_is_given_once() -> None:
    given_type().when(create_type(taken=True)).refused(Conflict, 'with name "Door" already exists')


@pytest.mark.parametrize("name", ["Prefect", "prefect door", "PREFECTION"])
def test_names_that_begin_with_prefect_are_the_servers(name: str) -> None:
    given_type().when(create_type(name)).refused(Protected, "reserved")
    given_type().when(create_type(name, by_server=True)).then(
        BlockTypeCreated(id=TYPE, name=name, slug="door", description="a &lt; b")
    )


def test_what_is_not_mentioned_of_a_type_stays() -> None:
    change = UpdateBlockType(id=TYPE, body=BlockTypeUpdate(logo_url="l"))
    about = TypeNamed("Door", "door")
    changed = BlockTypeUpdated(logo_url="l", description="a &lt; b", about=about)
    given_type(DOOR).when(change).then(changed)


def test_a_client_that_sends_its_own_text_again_changes_nothing() -> None:
    change = UpdateBlockType(id=TYPE, body=BlockTypeUpdate(description="a < b"))
    given_type(DOOR).when(change).then_nothing()
    assert given_type(DOOR).value() is not None


def test_a_type_is_deleted_unless_it_is_protected() -> None:
    delete = DeleteBlockType(id=TYPE)
    gone = BlockTypeDeleted(name="Door", slug="door", description="a &lt; b")
    given_type(DOOR).when(delete).then(gone)
    own = BlockTypeCreated(id=TYPE, name="Secret", slug="secret", is_protected=True)
    given_type(own).when(delete).refused(Protected, "cannot be deleted")
    given_type().when(delete).refused(NotFound)


# --- schemas --------------------------------------------------------------------------------------

given_schema = spec(block_schemas.decider)
PLAIN = {"title": "Plain", "properties": {"again": {"$ref": "#/definitions/Plain"}}}
INNER = {"title": "Inner", "block_type_slug": "inner", "properties": {}}
FIELDS: dict[str, Any] = {
    "title": "Door",
    "properties": {
        "key": {"type": "string"},
        "plain": {"$ref": "#/definitions/Plain"},
        "inner": {"anyOf": [{"$ref": "#/definitions/Inner"}, {"$ref": "#/definitions/Plain"}]},
    },
    "secret_fields": ["key"],
    "block_schema_references": {
        "inner": {"block_schema_checksum": "sha256:1", "block_type_slug": "inner"}
    },
    "definitions": {"Plain": PLAIN, "Inner": INNER},
}


def test_a_schema_is_kept_without_what_other_schemas_say() -> None:
    body = BlockSchemaCreate(fields=FIELDS, block_type_id=TYPE)
    command = CreateBlockSchema(
        id=SCHEMA, body=body, checksum="c", references=(), definitions=FIELDS["definitions"]
    )
    (created,) = given_schema().when(command).events()
    assert isinstance(created, BlockSchemaCreated)
    kept = {key: value for key, value in FIELDS.items() if key != "block_schema_references"}
    assert created.fields == kept | {"definitions": {"Plain": PLAIN}}
    assert (created.version, created.checksum) == ("non-versioned", "c")


def test_a_schema_is_deleted_unless_its_type_is_protected() -> None:
    made = BlockSchemaCreated(id=SCHEMA, checksum="c", version="1", block_type_id=TYPE, fields={})
    delete = DeleteBlockSchema(id=SCHEMA, type_is_protected=False)
    given_schema(made).when(delete).then(BlockSchemaDeleted(checksum="c", version="1"))
    protected = DeleteBlockSchema(id=SCHEMA, type_is_protected=True)
    given_schema(made).when(protected).refused(Protected)
    given_schema().when(delete).refused(NotFound)


def test_a_checksum_does_not_depend_on_secrets_order_or_other_blocks() -> None:
    alike = json.loads(json.dumps(FIELDS))
    alike["secret_fields"] = []
    alike["definitions"]["Inner"] = {"title": "changed", "block_type_slug": "inner"}
    assert checksum(dict(reversed(alike.items()))) == checksum(FIELDS)
    alike["definitions"]["Plain"] = {"title": "changed"}
    assert checksum(alike) != checksum(FIELDS)


def test_a_checksum_is_the_one_that_a_client_computes() -> None:
    # What Prefect 3.8.4 answers for the same fields.
    fields = {"title": "Zürich", "properties": {"n": {"minimum": 0.5, "default": None}}}
    assert checksum(fields) == CLIENTS_CHECKSUM


CLIENTS_CHECKSUM = "sha256:991de583d94fadb7e7a4ef3d9921c56d7cabea71f85b2bd8df6eaa38a59ad423"


def test_definitions_that_refer_to_themselves_are_found_once() -> None:
    assert plain_definitions(FIELDS["properties"], FIELDS["definitions"]) == {"Plain": PLAIN}


def test_nested_schemas_are_found_among_the_definitions() -> None:
    (one,) = mentioned(FIELDS)
    assert one == Mentioned("inner", "sha256:1", "inner")
    assert fields_of_nested(FIELDS, one, FIELDS["definitions"]) == INNER
    with pytest.raises(Invalid, match="'inner'"):
        fields_of_nested(FIELDS, one, {"Plain": PLAIN})


@pytest.mark.parametrize(
    "references", [[1], {"a": 1}, {"a": {"block_type_slug": "x"}}, {"a": [None]}, "text"]
)
def test_references_of_another_form_are_refused(references: Any) -> None:
    with pytest.raises(Invalid, match="block_schema_checksum"):
        mentioned({"block_schema_references": references})


# --- documents ------------------------------------------------------------------------------------

given_document = spec(block_documents.decider)
FRONT = BlockDocumentCreated(
    id=DOCUMENT,
    name="front",
    block_type_id=TYPE,
    block_type_name="Door",
    block_schema_id=SCHEMA,
    data={"a": 1},
    secret=OTHER,
)


ABOUT = DocumentNamed("front", TYPE, "Door", SCHEMA)


def create_document(name: str | None = "front", *, taken: bool = False) -> CreateBlockDocument:
    body = BlockDocumentCreate(
        name=name, block_type_id=TYPE, block_schema_id=SCHEMA, is_anonymous=name is None
    )
    return CreateBlockDocument(
        id=DOCUMENT,
        body=body,
        block_type_name="Door",
        content=Content({"a": 1}, {}, OTHER),
        name_is_taken=taken,
    )


def update_document(data: Any, type_id: str = TYPE, schema_id: str = SCHEMA) -> UpdateBlockDocument:
    return UpdateBlockDocument(
        id=DOCUMENT,
        block_schema_id=schema_id,
        schema_type_id=type_id,
        content=Content(data, {}, OTHER),
    )


def test_a_block_is_saved_under_a_name_that_is_free() -> None:
    given_document().when(create_document()).then(FRONT)
    given_document().when(create_document(taken=True)).refused(Conflict, "already exists")


def test_an_anonymous_block_gets_a_name() -> None:
    (created,) = given_document().when(create_document(None)).events()
    assert isinstance(created, BlockDocumentCreated)
    assert (created.name, created.is_anonymous) == (f"anonymous-{DOCUMENT}", True)


def test_any_other_needs_one() -> None:
    with pytest.raises(ValueError, match="Names must be provided"):
        BlockDocumentCreate(block_type_id=TYPE, block_schema_id=SCHEMA)


def test_saving_what_is_saved_is_not_recorded() -> None:
    given_document(FRONT).when(update_document({"a": 1})).then_nothing()
    given_document(FRONT).when(update_document({"a": True})).then(
        BlockDocumentUpdated(block_schema_id=SCHEMA, data={"a": True}, secret=OTHER, about=ABOUT)
    )


def test_a_block_stays_of_its_type() -> None:
    elsewhere = update_document({}, OTHER, OTHER)
    given_document(FRONT).when(elsewhere).refused(NotNow, "same block type")


def test_a_block_that_was_made_by_the_schema_of_another_type_can_be_changed() -> None:
    """Two types may have the same fields; they share the schema then, which is the first one's."""
    changed = BlockDocumentUpdated(block_schema_id=SCHEMA, data={}, secret=OTHER, about=ABOUT)
    given_document(FRONT).when(update_document({}, OTHER)).then(changed)


def test_a_block_is_deleted_once() -> None:
    delete = DeleteBlockDocument(id=DOCUMENT)
    gone = BlockDocumentDeleted(name="front", block_type_id=TYPE, about=ABOUT, data={"a": 1})
    given_document(FRONT).when(delete).then(gone)
    given_document(FRONT, gone).when(delete).refused(NotFound)


def test_references_are_told_from_values() -> None:
    data = {"a": {"$ref": {"block_document_id": OTHER.upper()}}, "b": {"$ref2": 1}, "c": None}
    assert without_references(data) == ({"b": {"$ref2": 1}, "c": None}, {"a": OTHER})


@pytest.mark.parametrize(
    ("reference", "refusal"), [({}, NotNow), (3, NotNow), ({"block_document_id": "x"}, Invalid)]
)
def test_a_reference_names_a_document(reference: Any, refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        without_references({"a": {"$ref": reference}})
