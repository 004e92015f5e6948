"""Forms made from schemas: what is shown is read again, what is wrong is told at its field."""

from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from api.server import Server
from api.ui import rendering, schema_form
from api.ui.page import Visit
from api.ui.query import Query
from api.ui.schema_form import read
from tests.examples import examples

SCHEMA = {
    "type": "object",
    "required": ["name", "count"],
    "properties": {
        "name": {"type": "string", "title": "Name", "position": 1},
        "count": {"type": "integer", "minimum": 1, "position": 0},
        "share": {"type": "number", "default": 0.5},
        "full": {"type": "boolean", "default": False},
        "dry": {"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": None},
        "size": {"enum": ["small", "large", 3]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
        "anything": {},
        "place": {"$ref": "#/$defs/Place"},
        "places": {"type": "array", "items": {"$ref": "#/$defs/Place"}, "default": []},
        "key": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"$ref": "#/$defs/Place"}]},
    },
    "$defs": {
        "Place": {
            "type": "object",
            "title": "Place",
            "required": ["city"],
            "properties": {
                "city": {"type": "string"},
                "zip/code|~": {"type": "integer"},
                "inner": {"$ref": "#/$defs/Place"},
            },
        }
    },
}


class _Sent(HTMLParser):
    """What a browser sends of a form that nobody touched."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.pairs: list[tuple[str, str]] = []
        self._templates = 0
        self._area: str | None = None
        self._text = ""
        self._select = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = {name: value or "" for name, value in attrs}
        if tag == "template":
            self._templates += 1
        if self._templates:
            return
        if tag == "input" and about.get("name"):
            ticked = about["type"] not in ("checkbox", "radio") or "checked" in about
            if ticked:
                self.pairs.append((about["name"], about.get("value", "")))
        elif tag == "textarea":
            self._area, self._text = about["name"], ""
        elif tag == "select":
            self._select = about["name"]
        elif tag == "option" and "selected" in about:
            self.pairs.append((self._select, about["value"]))

    def handle_endtag(self, tag: str) -> None:
        if tag == "template":
            self._templates -= 1
        elif tag == "textarea" and self._area is not None:
            self.pairs.append((self._area, self._text.removeprefix("\n").replace("\n", "\r\n")))
            self._area = None

    def handle_data(self, data: str) -> None:
        self._text += data


# Fields look at nothing of the server.
VISIT = Visit(cast(Server, None), "/runs", {}, Query([]), datetime.now(UTC), "")


def _sent(schema: dict[str, Any], value: Any = UNSET, *, partial: bool = False) -> Query:
    made = schema_form.form(schema, value, partial=partial)
    return Query(_Sent(rendering.macro("schema_form.html", "inside", VISIT, made)).pairs)


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1, max_size=9)
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
_CITY: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"city": _TEXT}, optional={"zip/code|~": st.integers(-9, 9)}
)
_PLACE: st.SearchStrategy[Any] = st.recursive(
    _CITY,
    lambda inner: st.fixed_dictionaries({"city": _TEXT, "inner": inner}),
    max_leaves=9,
)
_VALUE = st.fixed_dictionaries(
    {"name": _TEXT, "count": st.integers(1, 2**60)},
    optional={
        "share": st.floats(-1e9, 1e9) | st.integers(-9, 9),
        "full": st.booleans(),
        "dry": st.booleans(),
        "size": st.sampled_from(["small", "large", 3]),
        "tags": st.lists(_TEXT, max_size=3),
        "env": st.dictionaries(_TEXT, st.text(st.characters(codec="utf-8"), max_size=5)),
        "anything": _ANYTHING,
        "place": _PLACE,
        "places": st.lists(_PLACE, max_size=2),
        "key": _TEXT | st.integers(-9, 9) | _PLACE,
        "beyond the schema": _ANYTHING,
    },
)


@settings(deadline=None, max_examples=examples(50))
@given(_VALUE)
def test_a_form_that_nobody_touched_sends_what_it_was_made_of(value: dict[str, Any]) -> None:
    found = read(SCHEMA, _sent(SCHEMA, value))
    assert found.errors == {}
    defaults = {"share": 0.5, "full": False, "places": []}
    assert found.value == {**defaults, **value}


def test_without_a_value_the_form_shows_the_defaults_and_asks_for_the_rest() -> None:
    found = read(SCHEMA, _sent(SCHEMA))
    assert found.value == {"share": 0.5, "full": False, "places": []}
    assert found.errors == {
        "value/name": "This is required.",
        "value/count": "This is required.",
    }
    assert read(SCHEMA, _sent(SCHEMA, partial=True), partial=True).errors == {}


_NUMBER = "This has to be a whole number."
_ITEM = {"value/places~item": "7"}


@pytest.mark.parametrize(
    ("sent", "name", "told"),
    [
        ({"value/count": "many"}, "value/count", _NUMBER),
        ({"value/count": "1.5"}, "value/count", _NUMBER),
        ({"value/count": "0"}, "value/count", "0 is less than the minimum of 1"),
        ({"value/share": "nan"}, "value/share", "This has to be a number."),
        ({"value/size": '"huge"'}, "value/size", "This is none of the choices."),
        ({"value/anything~json": "{"}, "value/anything~json", "This is not JSON"),
        ({"value/anything~json": "[" * 9000}, "value/anything~json", "nested too deeply"),
        ({"value/place~given": "1"}, "value/place/city", "This is required."),
        ({**_ITEM, "value/places/7/zip~1code~2~0": "x"}, "value/places/7/zip~1code~2~0", _NUMBER),
        ({**_ITEM, "value/places/7/inner~json": "[]"}, "value/places/7/inner~json", "'object'"),
        ({"value/env~row": "0", "value/env~value0": "x"}, "value/env~key0", "needs a name"),
        ({"value/key~kind": "1", "value/key|1": "x"}, "value/key|1", _NUMBER),
        ({"value/key~kind": "2"}, "value/key|2/city", "This is required."),
        ({"value~as": "json", "value~raw": "[]"}, "value~raw", "has to be a JSON object"),
        (
            {"value~as": "json", "value~raw": '{"name": "x", "count": "y"}'},
            "value~raw",
            "count: 'y' is not of type 'integer'",
        ),
    ],
)
def test_what_is_wrong_is_told_at_the_input(sent: dict[str, str], name: str, told: str) -> None:
    rest = {"value/name": "x", "value/count": "1", "value/places/7/city": "y"}
    given = {"value/env~given": "1", "value/places~given": "1"}
    found = read(SCHEMA, Query(list({**rest, **given, **sent}.items())))
    assert set(found.errors) == {name}
    assert told in found.errors[name]


def test_a_field_that_may_be_null_is_null_where_its_default_would_hold_otherwise() -> None:
    nullable = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    schema = {
        "type": "object",
        "required": ["needed"],
        "properties": {
            "needed": nullable,
            "usual": {**nullable, "default": "x"},
            "free": {**nullable, "default": None},
        },
    }
    assert read(schema, Query([])).value == {"needed": None, "usual": None}


def test_a_moment_is_of_the_zone_that_it_was_filled_in_in() -> None:
    schema = {"type": "object", "properties": {"at": {"type": "string", "format": "date-time"}}}
    sent = Query([("value/at", "2026-11-26T12:30"), ("clock", "Europe/Berlin")])
    assert read(schema, sent).value == {"at": "2026-11-26T12:30:00+01:00"}
    unknown = Query([("value/at", "2026-11-26T12:30"), ("clock", "../etc/passwd")])
    assert read(schema, unknown).value == {"at": "2026-11-26T12:30:00+00:00"}
    shown = read(schema, _sent(schema, {"at": "2026-11-26T12:30:00+01:00"}))
    assert shown.value == {"at": "2026-11-26T11:30:00+00:00"}


@pytest.mark.parametrize(
    "odd",
    [
        {"$ref": "#/$defs/Missing"},
        {"$ref": "https://example.com/schema"},
        {"allOf": [{"type": "string"}, {"maxLength": 3}]},
        {"type": "array"},
        {"type": "array", "prefixItems": [{"type": "integer"}]},
        {"type": "object"},
        {"anyOf": [{"const": number} for number in range(9)]},
        True,
    ],
)
def test_what_has_no_field_of_its_own_is_filled_in_as_json(odd: Any) -> None:
    schema = {"type": "object", "properties": {"odd": odd}}
    form = schema_form.form(schema)
    assert [field.kind for field in form.root.fields] == ["json"]


def test_a_member_is_called_by_its_own_name_not_by_that_of_what_it_refers_to() -> None:
    labels = {field.name: field.label for field in schema_form.form(SCHEMA).root.fields}
    assert labels["value/name"] == "Name"
    assert labels["value/place"] == "Place"
    schema = {
        "type": "object",
        "properties": {"home_town": {"$ref": "#/$defs/Place"}, "": {"type": "string"}},
        "$defs": SCHEMA["$defs"],
    }
    assert [field.label for field in schema_form.form(schema).root.fields] == ["Home town", ""]


def test_a_value_that_its_field_cannot_show_is_shown_as_json() -> None:
    value = {"name": 3, "count": True, "tags": "x", "size": "huge", "place": [], "share": "{{ x }}"}
    form = schema_form.form(SCHEMA, value)
    odd = {field.name for field in form.root.fields if field.kind == "json"}
    assert {f"value/{name}" for name in value} <= odd


# --- secrets that are not shown -------------------------------------------------------------------

HIDDEN = "********"
WITH_SECRETS = {
    "type": "object",
    "required": ["password"],
    "properties": {
        "user": {"type": "string"},
        "password": {
            "type": "string",
            "format": "password",
            "writeOnly": True,
            "minLength": 20,
        },
        "token": {
            "anyOf": [{"type": "string", "format": "password", "writeOnly": True}, {"type": "null"}]
        },
        "value": {"anyOf": [{"type": "string", "writeOnly": True}, {"type": "integer"}]},
    },
}
STORED = {"user": "anna", "password": HIDDEN, "token": HIDDEN, "value": HIDDEN}


def _html_with_secrets(value: dict[str, Any]) -> str:
    made = schema_form.form(WITH_SECRETS, value, hidden=HIDDEN)
    return rendering.macro("schema_form.html", "inside", VISIT, made)


def test_a_secret_that_nobody_touched_stays_as_it_is() -> None:
    sent = Query(_Sent(_html_with_secrets(STORED)).pairs)
    found = read(WITH_SECRETS, sent, hidden=HIDDEN)
    assert (found.errors, found.value) == ({}, STORED)


def test_a_secret_is_typed_anew_checked_or_removed() -> None:
    sent = Query(_Sent(_html_with_secrets(STORED)).pairs)
    typed = sent.changed(**{"value/password": "p" * 20, "value/token~forget": "1"})
    found = read(WITH_SECRETS, typed, hidden=HIDDEN)
    assert found.errors == {}
    assert found.value["password"] == "p" * 20
    assert "token" not in found.value
    short = read(WITH_SECRETS, sent.changed(**{"value/password": "short"}), hidden=HIDDEN)
    assert "value/password" in short.errors


def test_without_a_secret_that_is_kept_an_empty_field_is_an_empty_field() -> None:
    sent = Query(_Sent(_html_with_secrets({"user": "anna"})).pairs)
    found = read(WITH_SECRETS, sent, hidden=HIDDEN)
    assert found.errors == {"value/password": "This is required."}
    assert found.value == {"user": "anna"}


def test_a_secret_that_has_to_be_there_cannot_be_removed() -> None:
    html = _html_with_secrets(STORED)
    assert "value/token~forget" in html
    assert "value/password~forget" not in html
    assert HIDDEN not in html.partition('class="as-raw"')[0]


def test_what_asterisks_in_json_stand_for_is_said_where_they_are() -> None:
    schema = {
        "type": "object",
        "properties": {"keys": {"type": "array", "items": {"type": "string"}}, "map": {}},
    }
    stored = {"keys": HIDDEN, "map": {"of": [{"key": HIDDEN}]}}
    for value, said in ((stored, 2), ({"keys": ["a"], "map": {"of": "*"}}, 0)):
        html = rendering.macro(
            "schema_form.html", "inside", VISIT, schema_form.form(schema, value, hidden=HIDDEN)
        )
        assert html.count("Asterisks stand for a secret") == said
        found = read(schema, Query(_Sent(html).pairs), hidden=HIDDEN)
        assert (found.errors, found.value) == ({}, value)
