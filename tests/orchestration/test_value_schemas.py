"""What people fill in is made and checked, as Prefect's forms have it."""

from typing import Any

import pytest

from orchestration.schema_size import SCHEMA_BYTES_MAX
from orchestration.value_schemas import (
    COMPLAINT_CHARACTERS_MAX,
    KIND,
    TEMPLATE_CHARACTERS_MAX,
    CannotCheck,
    CannotFillIn,
    Problem,
    complaint,
    filled_in,
    nested,
    tried,
    variables_in,
)

VARIABLES = {"region": "eu", "sizes": [1, 2]}


def kind(name: str, **fields: Any) -> dict[str, Any]:
    return {"__prefect_kind": name, **fields}


@pytest.mark.parametrize(
    ("value", "made"),
    [
        ({"a": 1, "b": [True, None]}, {"a": 1, "b": [True, None]}),
        ({"a": kind("json", value="[1, 2]")}, {"a": [1, 2]}),
        ({"a": kind("json", value=[1])}, {"a": [1]}),
        ({"a": kind("json"), "b": [kind("json"), 1]}, {"b": [1]}),
        (kind("json"), {}),
        ({"a": kind("none", value={"b": kind("json", value="1")})}, {"a": {"b": 1}}),
        ({"a": kind("jinja", template="x{{ 'y' | upper }}")}, {"a": "xY"}),
        ({"a": kind("json", value=kind("jinja", template="[{{ '7' }}]"))}, {"a": [7]}),
        ({"a": kind("workspace_variable", variable_name="region")}, {"a": "eu"}),
        ({"a": kind("workspace_variable")}, {}),
        ({"a": kind("unheard-of", value=4)}, {"a": 4}),
    ],
)
def test_values_are_made(value: Any, made: Any) -> None:
    assert filled_in(value, VARIABLES) == made


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (kind("json", value="{"), "Invalid JSON"),
        (kind("none"), "Missing 'value'"),
        (kind("jinja"), "Missing 'template'"),
        (kind("jinja", template="{{"), "Invalid jinja"),
        (kind("jinja", template="{% for i in range(9999) %}x{% endfor %}"), "For is not allowed"),
        (kind("jinja", template="{{ 'x' * 99999999 }}"), "Mul is not allowed"),
        (kind("jinja", template="{{ 'x'.format(1) }}"), "Call is not allowed"),
        (kind("jinja", template="{{ 'x' | center(99999999) }}"), "center is not allowed"),
        (kind("jinja", template="{% include 'x' %}"), "Include is not allowed"),
        (kind("jinja", template="x" * (TEMPLATE_CHARACTERS_MAX + 1)), "at most"),
        (kind("jinja", template=5), "template is text"),
        (kind("workspace_variable", variable_name="no"), "Variable 'no' not found"),
    ],
)
def test_what_cannot_be_made_is_said(value: Any, why: str) -> None:
    with pytest.raises(CannotFillIn, match=why):
        filled_in({"a": [value]}, VARIABLES)


OBJECT = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "optional": {"type": "string"},
        "pair": {"type": "array", "items": [{"type": "integer"}, {"type": "string"}]},
        "part": {"$ref": "#/definitions/Part"},
    },
    "required": ["n"],
    "definitions": {"Part": {"type": "object", "properties": {"m": {"type": "string"}}}},
}


@pytest.mark.parametrize(
    "value",
    [
        {"n": 1},
        {"n": 1, "optional": None, "pair": None},
        {"n": 1, "pair": [1, "a"], "part": {"m": None}, "more": 1},
    ],
)
def test_what_keeps_to_the_schema_is_fine(value: Any) -> None:
    assert complaint(value, OBJECT) is None


@pytest.mark.parametrize(
    ("value", "schema", "words"),
    [
        ({}, OBJECT, "Validation failed. Failure reason: 'n' is a required property"),
        ({"n": "x"}, OBJECT, "Validation failed for field 'n'. Failure reason: 'x' is not"),
        ({"n": 1, "pair": ["a"]}, OBJECT, "for field 'pair[0]'"),
        ({"n": 1, "part": {"m": 3}}, OBJECT, "for field 'part.m'"),
        ({}, {"type": "no such type"}, "Invalid schema: "),
        ({}, {"$ref": "#"}, "circular references"),
        ({}, {"$ref": "https://example.invalid/schema.json"}, "Failure reason: "),
    ],
)
def test_what_does_not_is_complained_about(value: Any, schema: Any, words: str) -> None:
    assert words in (complaint(value, schema) or "")


def test_a_complaint_about_something_large_is_short() -> None:
    said = complaint({"n": "x" * 100_000}, OBJECT)
    assert said is not None and len(said) == COMPLAINT_CHARACTERS_MAX + 1


ENDLESS = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
ENDLESS["d40"] = {"type": "integer"}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("value", "schema", "words"),
    [
        ("a" * 40 + "b", {"pattern": "^(a+)+$"}, "does not match"),
        ({"a" * 40 + "b": 1}, {"patternProperties": {"^(a+)+$": False}}, None),
        (
            {"a" * 40 + "b": 1},
            {"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False},
            "Additional properties are not allowed",
        ),
        ("x", {"$defs": ENDLESS, "$ref": "#/$defs/d0"}, "steps to check"),
        ([{"a": n} for n in range(5_000)], {"uniqueItems": True}, "steps to check"),
        (list(range(3_000)), {"items": {"enum": ["x"] * 3_000}}, "steps to check"),
        ({}, {"description": "x" * SCHEMA_BYTES_MAX}, "Invalid schema: A schema may have"),
    ],
)
def test_nothing_makes_a_check_take_for_ever(value: Any, schema: Any, words: str | None) -> None:
    said = complaint(value, schema)
    assert said is None if words is None else words in (said or "")


@pytest.mark.parametrize(
    ("value", "fine"),
    [
        ({"key-1": 1}, True),
        ({"key-1": "x"}, False),
        ({"other": 1}, False),
        ({"known": "x"}, True),
    ],
)
def test_properties_are_known_by_name_or_by_pattern(value: Any, fine: bool) -> None:
    schema = {
        "properties": {"known": {"type": "string"}},
        "patternProperties": {"^key-[0-9]+$": {"type": "integer"}},
        "additionalProperties": False,
    }
    assert (complaint(value, schema) is None) is fine


def test_a_pattern_that_only_backtracking_can_match_is_left_to_the_flow() -> None:
    assert complaint("anything", {"pattern": "^(?!x)"}) is None
    assert complaint("x", {"pattern": "^[a-z0-9]+(-[a-z0-9]+)*$"}) is None


def test_large_values_of_ordinary_schemas_are_checked_to_the_end() -> None:
    row = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    rows: list[dict[str, Any]] = [{"a": n} for n in range(10_000)]
    schema = {"type": "array", "items": row, "uniqueItems": False}
    assert complaint(rows, schema) is None
    assert "[9999].a'" in (complaint([*rows[:-1], {"a": "x"}], schema) or "")


def test_the_variables_that_a_value_refers_to_are_found() -> None:
    variable = {KIND: "workspace_variable", "variable_name": "one"}
    named = {KIND: "json", "value": '"two"'}
    value = {"a": [variable, {"b": {**variable, "variable_name": named}}], "c": "three"}
    assert variables_in(value) == {"one", "two"}
    assert variables_in({KIND: "workspace_variable"}) == frozenset()


def test_a_part_that_cannot_be_filled_in_is_told_of_once() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    value = {"a": {KIND: "json", "value": "{"}}
    (problem,) = tried(value, schema, {})
    assert problem.path == ("a",)
    assert problem.message.startswith("Invalid JSON")


def test_a_template_fits_everywhere_for_it_may_turn_into_anything() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert tried({"a": {KIND: "jinja", "template": "{{ x }}"}}, schema, {}) == []


def test_a_schema_that_is_none_checks_nothing() -> None:
    with pytest.raises(CannotCheck, match="Invalid schema"):
        tried({}, {"type": "nonsense"}, {})


def test_problems_of_parts_are_inside_of_those_of_their_whole() -> None:
    found = [
        Problem(("a", 1, "b"), "first"),
        Problem((), "whole"),
        Problem(("a", 1, "b"), "second"),
        Problem(("a",), "list"),
    ]
    part = {"index": 1, "errors": [{"property": "b", "errors": ["first", "second"]}]}
    assert nested(found) == [{"property": "a", "errors": [part, "list"]}, "whole"]
