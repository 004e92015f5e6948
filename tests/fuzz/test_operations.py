"""Whatever fits our OpenAPI document, or nearly does: no failure, no answer that the document does
not know, nothing recorded by what is refused."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import hypothesis
import pytest
import requests
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode

from tests.fuzz.conftest import Fuzzed
from tests.fuzz.operations import ask, operations

Operation = APIOperation[Any, Any, Any, Any]

OPERATIONS = list(operations())
SHORT, LONG = 6, 150
"""Requests to each operation that fit, and as many that nearly do."""


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """One connection for all requests."""
    with requests.Session() as session:
        yield session


@pytest.mark.heavy
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.label)
def test_an_operation_answers_as_documented(
    fuzzed: Fuzzed, session: requests.Session, operation: Operation
) -> None:
    # Always the same requests: what breaks here was broken by the change under test.
    _try(fuzzed, session, operation, SHORT, derandomize=True)


@pytest.mark.long
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.label)
def test_an_operation_answers_as_documented_whatever_else_is_made_up(
    fuzzed: Fuzzed, session: requests.Session, operation: Operation
) -> None:
    _try(fuzzed, session, operation, LONG, derandomize=False)


def _try(
    fuzzed: Fuzzed,
    session: requests.Session,
    operation: Operation,
    requests_max: int,
    *,
    derandomize: bool,
) -> None:
    path = fuzzed.stock.parameters(operation.path, _path_parameters(operation))
    for mode in GenerationMode:
        fitting = path if mode is GenerationMode.POSITIVE else path | st.none()
        cases = fitting.flatmap(partial(_cases, operation, mode))

        @hypothesis.settings(
            max_examples=requests_max,
            derandomize=derandomize,
            database=None,
            deadline=None,
            # The server remembers: a request that is made again need not be answered the same.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(case=cases)
        def asked(case: Any) -> None:
            ask(fuzzed, session, case)

        try:
            asked()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE, "nothing fits the document"


def _cases(
    operation: Operation, mode: GenerationMode, path: dict[str, Any] | None
) -> st.SearchStrategy[Case[Any]]:
    return operation.as_strategy(mode, path_parameters=path)


def _path_parameters(operation: Operation) -> dict[str, dict[str, Any]]:
    return {
        parameter["name"]: parameter["schema"]
        for parameter in operation.definition.raw.get("parameters", ())
        if parameter["in"] == "path"
    }
