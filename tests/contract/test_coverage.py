"""Which operations and websockets of the contract the scenarios compare with a real server."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import UNSET

from tests.contract.scenario import Scenario, Step, load_scenarios

DOCUMENT = Path(__file__).parent / "openapi-3.8.4.json"

NEVER_GOOD = {
    ("GET", "/csrf-token"),  # A real server protects itself only if told to; so does ours.
}
"""Operations that refuse everything on a server as the scenarios find it."""
WEBSOCKETS = (
    "/events/in",
    "/events/out",
    "/logs/out",
    "/task_runs/subscriptions/scheduled",
    "/work_pools/{}/workers/connect",
)
"""The contract's document names none of them."""

Operation = tuple[str, str]


def operations() -> dict[Operation, re.Pattern[str]]:
    """Each operation by method and path, with the pattern of its paths in scenarios; those with
    fewer parameters first, which a server takes before others."""
    document: dict[str, Any] = json.loads(DOCUMENT.read_text())
    found = [
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    ]
    found.sort(key=lambda operation: operation[1].count("{"))
    return {operation: _pattern(operation[1]) for operation in found}


def _pattern(path: str) -> re.Pattern[str]:
    fixed = re.split(r"\{\w+\}", path.rstrip("/"))
    return re.compile("[^/]+".join(map(re.escape, fixed)) + "/?")


def steps(scenario: Scenario) -> Iterator[Step]:
    """All steps, those that are taken while a socket is open included."""
    for step in scenario.steps:
        yield step
        for frame in step.frames:
            if frame.meanwhile is not None:
                yield frame.meanwhile


OPERATIONS = operations()
STEPS = [step for scenario in load_scenarios() for step in steps(scenario)]


def operation_of(step: Step) -> Operation | None:
    """The operation that a step asks for; None where there is none."""
    method, _, path = step.do.partition(" ")
    path = path.partition("?")[0]
    for operation, pattern in OPERATIONS.items():
        if operation[0] == method and pattern.fullmatch(path):
            return operation
    # The scenarios follow links that an answer holds: only events' pages have them.
    return ("GET", "/events/filter/next") if (method, path) == ("GET", "{next}") else None


def says_what_comes_back(step: Step) -> bool:
    """Whether the operation was carried out and its answer is written down."""
    told = step.json is not UNSET or step.text is not UNSET or step.status == 204
    return step.status < 400 and told


def test_every_operation_is_compared_with_a_real_server() -> None:
    compared = {operation_of(step) for step in STEPS if says_what_comes_back(step)}
    assert sorted(OPERATIONS.keys() - compared - NEVER_GOOD) == []


def test_operations_that_refuse_everything_are_compared_as_well() -> None:
    assert {operation_of(step) for step in STEPS} >= NEVER_GOOD


def test_every_websocket_is_compared_with_a_real_server() -> None:
    spoken = {step.do.removeprefix("WS ") for step in STEPS if step.do.startswith("WS ")}
    for path in WEBSOCKETS:
        pattern = re.compile(re.escape(path).replace(r"\{\}", "[^/]+"))
        assert any(pattern.fullmatch(one) for one in spoken), path
