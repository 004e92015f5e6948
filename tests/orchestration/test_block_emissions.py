"""What the feed tells of blocks."""

from typing import Any

from msgspec import json

from eventstore.events import Event, Recorded
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
    decide,
    evolve,
)
from orchestration.block_emissions import BLOCK_EMITTING, DATA_CHARACTERS_MAX
from orchestration.block_secrets import OBSCURED
from orchestration.block_types import (
    KNOWN,
    BlockTypeCreated,
    BlockTypeDeleted,
    BlockTypeUpdated,
    TypeNamed,
)
from orchestration.own_emissions import EMITTING, emission_of
from tests.orchestration.runs import NOON, id_

TYPE, SCHEMA, DOCUMENT, OTHER = id_(1), id_(2), id_(3), id_(4)
ABOUT = DocumentNamed("front", TYPE, "Door", SCHEMA, ("notify",))


def told(event: Event, stream: str, actor: str = "tester") -> dict[str, Any] | None:
    recorded = Recorded(
        position=1,
        stream=stream,
        version=1,
        event_id=id_(9),
        recorded_at=NOON,
        actor=actor,
        correlation=None,
        causation=None,
        event=event,
    )
    found = emission_of(recorded)
    return None if found is None else json.decode(found)


def test_a_type_is_told_of_with_how_it_is_shown() -> None:
    shown = {"logo_url": "l", "documentation_url": None, "description": "d", "code_example": None}
    named: dict[str, Any] = {"name": "Door", "slug": "door"}
    events = {
        "created": BlockTypeCreated(id=TYPE, **named, logo_url="l", description="d"),
        "updated": BlockTypeUpdated(
            logo_url="l", description="d", about=TypeNamed("Door", "door", True)
        ),
        "deleted": BlockTypeDeleted(**named, logo_url="l", description="d"),
    }
    for what, event in events.items():
        found = told(event, f"block-type:{TYPE}")
        assert found is not None
        assert found["event"] == f"prefect.block-type.{what}"
        assert found["resource"] == {
            "prefect.resource.id": f"prefect.block-type.{TYPE}",
            "prefect.resource.name": "Door",
        }
        assert found["payload"] == {**named, **shown, "is_protected": what == "updated"}


def test_types_that_come_with_the_server_are_no_news() -> None:
    own = BlockTypeCreated(id=TYPE, name="Secret", slug="secret", is_protected=True)
    assert told(own, f"block-type:{TYPE}", KNOWN) is None


def test_a_document_is_told_of_without_what_is_secret() -> None:
    data = {"url": OBSCURED, "text": "t", "number": 1, "within": {"key": OBSCURED}, "none": None}
    events = {
        "created": BlockDocumentCreated(
            id=DOCUMENT,
            name="front",
            block_type_id=TYPE,
            block_type_name="Door",
            block_schema_id=SCHEMA,
            data=data,
            references={"frame": OTHER},
            capabilities=("notify",),
        ),
        "updated": BlockDocumentUpdated(block_schema_id=SCHEMA, data=data, about=ABOUT),
        "deleted": BlockDocumentDeleted("front", TYPE, ABOUT, data),
    }
    for what, event in events.items():
        found = told(event, f"block-document:{DOCUMENT}")
        assert found is not None
        assert found["event"] == f"prefect.block-document.{what}"
        assert found["resource"]["prefect.resource.id"] == f"prefect.block-document.{DOCUMENT}"
        assert found["payload"] == {
            "name": "front",
            "data": {"text": "t"},
            "block_schema": {
                "capabilities": ["notify"],
                "block_type": {"id": TYPE, "name": "Door"},
            },
        }
        assert found["related"] == [
            {
                "prefect.resource.id": f"prefect.block-type.{TYPE}",
                "prefect.resource.role": "block-type",
                "prefect.resource.name": "Door",
            },
            {
                "prefect.resource.id": f"prefect.block-schema.{SCHEMA}",
                "prefect.resource.role": "block-schema",
            },
        ]


def test_of_anonymous_documents_nobody_is_told() -> None:
    created = CreateBlockDocument(
        id=DOCUMENT,
        body=BlockDocumentCreate(block_type_id=TYPE, block_schema_id=SCHEMA, is_anonymous=True),
        block_type_name="Door",
        content=Content({"a": 1}, {}, None),
        name_is_taken=False,
    )
    changed = UpdateBlockDocument(
        id=DOCUMENT,
        block_schema_id=SCHEMA,
        schema_type_id=TYPE,
        content=Content({"a": 2}, {}, None),
    )
    [first] = decide(created, None)
    document = evolve(None, first)
    happened = [first, *decide(changed, document)]
    happened += decide(DeleteBlockDocument(id=DOCUMENT), document)
    assert len(happened) == 3
    assert [told(event, f"block-document:{DOCUMENT}") for event in happened] == [None] * 3


def test_of_a_large_document_what_fits_is_told() -> None:
    data = {"a": "x", "large": "y" * DATA_CHARACTERS_MAX, "b": "z"}
    found = told(BlockDocumentUpdated(block_schema_id=SCHEMA, data=data, about=ABOUT), "b:1")
    assert found is not None
    assert found["payload"]["data"] == {"a": "x", "b": "z"}


def test_changes_that_an_older_release_recorded_name_nothing_and_are_not_told() -> None:
    assert told(BlockTypeUpdated(logo_url="l"), f"block-type:{TYPE}") is None
    assert told(BlockDocumentUpdated(block_schema_id=SCHEMA), f"block-document:{DOCUMENT}") is None
    assert told(BlockDocumentDeleted("front", TYPE), f"block-document:{DOCUMENT}") is None


def test_the_feed_follows_every_event_that_may_tell_something() -> None:
    assert set(BLOCK_EMITTING) <= set(EMITTING)
