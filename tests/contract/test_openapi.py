"""Our OpenAPI document against the contract's: paths, parameters, bodies and answers.

Prints the operations that are still missing.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api import openapi
from api.routes import areas

CONTRACT: dict[str, Any] = msgspec.json.decode(
    (Path(__file__).parent / "openapi-3.8.4.json").read_bytes()
)
OURS = openapi.document(areas(), title="Pluperfect", version="test", base_path="/api")

LATER = (
    "/saved_searches",
    "/templates",
    "/ui/schemas",
    "/variables",
)
"""Where operations may still be missing. This list only ever shrinks."""
OUR_OWN = {
    ("/v2/concurrency_limits/{}/holders", "get"),
    ("/flow_runs/{}/explain", "get"),
    ("/docs", "get"),
    ("/openapi.json", "get"),
    ("/redoc", "get"),
    ("/subscriptions/named", "get"),
    ("/subscriptions/named", "post"),
    ("/subscriptions/named/{}", "delete"),
    ("/subscriptions/named/{}", "get"),
    ("/subscriptions/named/{}/acknowledge", "post"),
    ("/subscriptions/named/{}/seek", "post"),
    ("/subscriptions/poll", "get"),
    ("/subscriptions/stream", "get"),
}

Operation = tuple[str, str]


def _operations(document: Mapping[str, Any]) -> dict[Operation, Mapping[str, Any]]:
    return {
        (re.sub(r"\{\w+\}", "{}", path.rstrip("/")), method): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


WANTED, PRESENT = _operations(CONTRACT), _operations(OURS)
SHARED = sorted(WANTED.keys() & PRESENT.keys())


def test_only_operations_of_later_issues_are_missing(capsys: pytest.CaptureFixture[str]) -> None:
    missing = sorted(WANTED.keys() - PRESENT.keys())
    with capsys.disabled():
        sys.stdout.write(f"\n{len(PRESENT)} operations; {len(missing)} are missing:\n")
        sys.stdout.writelines(f"  {method.upper():7}{path}\n" for path, method in missing)
    assert [path for path, _ in missing if not path.startswith(LATER)] == []


def test_nothing_is_added_that_the_contract_does_not_have() -> None:
    assert PRESENT.keys() - WANTED.keys() == OUR_OWN


@pytest.mark.parametrize("operation", SHARED, ids=lambda o: f"{o[1]} {o[0]}")
def test_an_operation_takes_what_the_contract_says(operation: Operation) -> None:
    wanted, ours = WANTED[operation], PRESENT[operation]
    assert _query(wanted) <= _query(ours)
    if "requestBody" in wanted:
        assert "requestBody" in ours
        theirs = _fields(CONTRACT, _schema(wanted["requestBody"]))
        found = _fields(OURS, _schema(ours["requestBody"]))
        assert ANYTHING in found or theirs - {ANYTHING} <= found


@pytest.mark.parametrize("operation", SHARED, ids=lambda o: f"{o[1]} {o[0]}")
def test_an_operation_answers_with_what_the_contract_says(operation: Operation) -> None:
    # Which status is given when is what the scenarios are for: the contract's own document says
    # 200 where the server answers 201.
    theirs = _answered(CONTRACT, WANTED[operation])
    ours = _answered(OURS, PRESENT[operation])
    assert ANYTHING in ours or theirs - ours - ESTIMATES - {ANYTHING} == set()


def _answered(document: Mapping[str, Any], operation: Mapping[str, Any]) -> set[str]:
    return {
        name
        for status, answer in operation["responses"].items()
        if status.startswith("2")
        for name in _fields(document, _schema(answer))
    }


ANYTHING = "*"
"""Stands for the fields of an object whose names are data."""
ESTIMATES = {"estimated_run_time", "estimated_start_time_delta"}
"""In every answer, but added when a run is read: no field of the documented Struct."""


def _query(operation: Mapping[str, Any]) -> set[str]:
    return {p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"}


def _schema(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = (
        holder.get("content", {}).get("application/json", {}).get("schema", {})
    )
    return schema


def _fields(document: Mapping[str, Any], schema: Mapping[str, Any]) -> set[str]:
    """Names of the fields of an object, of each of its alternatives, or of a list's items."""
    return set(_names(document, schema))


def _names(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield from _names(document, document["components"]["schemas"][name])
    for key in ("anyOf", "allOf", "oneOf"):
        for option in schema.get(key, ()):
            yield from _names(document, option)
    if isinstance(schema.get("items"), dict):
        yield from _names(document, schema["items"])
    if "additionalProperties" in schema or schema == {"type": "object"}:
        yield ANYTHING
    yield from schema.get("properties", {})
