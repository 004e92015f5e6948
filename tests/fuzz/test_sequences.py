"""What follows from what: ids and names in an answer are used in the requests after it.

Our document declares no links; Schemathesis finds them by the names of fields and parameters.
"""

from contextlib import suppress
from typing import Any

import hypothesis
import pytest
import requests
from hypothesis import HealthCheck, Phase
from hypothesis.errors import Flaky
from schemathesis import Case, Response

from tests.fuzz.conftest import Fuzzed
from tests.fuzz.operations import NEVER_ENDING, ask, schema

SHORT, LONG = (20, 8), (400, 20)
"""Sequences, and requests in each."""

LINKED = schema.exclude(path=sorted(NEVER_ENDING))


def _follow(fuzzed: Fuzzed, sequences_max: int, requests_max: int, *, derandomize: bool) -> None:
    with requests.Session() as session:
        followed: list[str] = []
        failures: list[Exception] = []

        class Sequences(LINKED.as_state_machine()):  # type: ignore[misc]
            def call(self, case: Case[Any], **_: Any) -> Response:
                followed.append(case.operation.label)
                try:
                    return ask(fuzzed, session, case)
                except Exception as failure:
                    failures.append(failure)
                    raise

            def validate_response(self, response: Response, case: Case[Any], **_: Any) -> None:
                """Done by `ask`."""

        # The server remembers, so that the same choices may lead elsewhere a second time.
        with suppress(Flaky):
            Sequences.run(
                settings=hypothesis.settings(
                    max_examples=sequences_max,
                    stateful_step_count=requests_max,
                    derandomize=derandomize,
                    database=None,
                    deadline=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )
            )
    assert failures == []
    assert len(followed) >= sequences_max


@pytest.mark.heavy
def test_requests_that_follow_from_answers_are_answered_as_documented(fuzzed: Fuzzed) -> None:
    _follow(fuzzed, *SHORT, derandomize=True)


@pytest.mark.long
def test_long_sequences_of_requests_are_answered_as_documented(fuzzed: Fuzzed) -> None:
    _follow(fuzzed, *LONG, derandomize=False)
