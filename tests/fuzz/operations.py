"""Requests that Schemathesis makes up from our OpenAPI document, and what answers have to be."""

from collections.abc import Iterator
from typing import Any

import requests
import schemathesis
from schemathesis import APIOperation, Case, CheckFunction
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api import openapi
from api.routes import areas
from tests.fuzz.conftest import Fuzzed
from tests.fuzz.stock import REQUEST_SECONDS_MAX, Json

DOCUMENT: Json = openapi.document(areas(), title="Pluperfect", version="test", base_path="/api")
NEVER_ENDING = frozenset({"/subscriptions/stream"})
"""Answered for as long as the client listens: tests/api/test_subscriptions.py."""
WITHOUT_WAITING = {"/subscriptions/poll": {"wait": "0"}}
"""Query parameters that are given, or the answer would take a minute."""
CHECKS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]

schema = schemathesis.openapi.from_dict(DOCUMENT)


def _rank(operation: APIOperation[Any, Any, Any, Any]) -> tuple[int, str]:
    makes = operation.method == "post" and operation.path.endswith(("/", "s"))
    return (0 if makes else 2 if operation.method == "delete" else 1), operation.label


def operations() -> Iterator[APIOperation[Any, Any, Any, Any]]:
    """All operations, those first that make something, those last that delete."""
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    yield from sorted((one for one in found if one.path not in NEVER_ENDING), key=_rank)


def ask(fuzzed: Fuzzed, session: requests.Session, case: Case[Any]) -> schemathesis.Response:
    """Make a request and judge its answer.

    Raises AssertionError, or a group of Schemathesis's failures, that show the request as a line
    for curl: for an answer of 500 and above, one that the document does not know, and a refusal
    behind which events were recorded.
    """
    if case.operation.path in WITHOUT_WAITING:
        case.query = (case.query or {}) | WITHOUT_WAITING[case.operation.path]
    before = fuzzed.log.head()
    answer = case.call(base_url=fuzzed.url, session=session, timeout=REQUEST_SECONDS_MAX)
    if answer.status_code >= 400:
        recorded = fuzzed.log.asked_for_since(before)
        assert recorded == [], f"{case.as_curl_command()}\n{answer.text}\nrecorded {recorded}"
    case.validate_response(answer, checks=CHECKS)
    if answer.status_code < 300 and case.method in {"POST", "PUT"} and answer.content:
        fuzzed.stock.keep(case.operation.path, answer.json())
    return answer
