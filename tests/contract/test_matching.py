"""The scenario matcher is strict: what it lets through is what a client would not notice."""

from typing import Any

import pytest

from tests.contract.scenario import Names, differences

SHAPES: dict[str, dict[str, Any]] = {"thing": {"id": "$uuid", "size": "$int"}}
ID = "01a20526-b07d-7e22-b797-bf376f3eefbe"


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({"a": 1}, {"a": 1}),
        ({"a": 2}, {"a": 2.0}),
        ({"a": "$time?"}, {"a": None}),
        ({"a": "$time"}, {"a": "2026-01-01T00:00:00.5Z"}),
        ({"a": 1, "$more": True}, {"a": 1, "b": 2}),
        ({"$shape": "thing", "size": 3}, {"id": ID, "size": 3}),
        ({"$set": [1, 2]}, [2, 1]),
        ({"$has": 2}, [1, 2]),
        ({"$each": "$int"}, [1, 2]),
    ],
)
def test_what_matches_has_no_differences(expected: Any, actual: Any) -> None:
    assert list(differences(expected, actual, SHAPES)) == []


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "b": None}, {"a": 1}),
        ({"a": 1}, {"a": True}),
        ({"a": None}, {"a": False}),
        ({"a": "$time"}, {"a": None}),
        ({"a": "$time"}, {"a": "2026-01-01T00:00:00+00:00"}),
        ({"a": "$int"}, {"a": True}),
        ({"$shape": "thing", "size": 3}, {"id": ID, "size": 4}),
        ({"$shape": "thing"}, {"id": ID, "size": 4, "more": 1}),
        ([1, 2], [2, 1]),
        ([1], [1, 1]),
        ({"$set": [1]}, [1, 1]),
        ({"$has": 2}, [1]),
        ({"$each": "$int"}, ["x"]),
    ],
)
def test_what_does_not_match_is_told(expected: Any, actual: Any) -> None:
    assert list(differences(expected, actual, SHAPES)) != []


def test_a_lone_placeholder_keeps_its_type_and_others_become_text() -> None:
    names = Names(n=3, id=ID)
    assert names.fill({"{id}": ["{n}", "n={n}"]}) == {ID: [3, "n=3"]}


def test_a_minted_id_stays_the_same_for_its_name() -> None:
    names = Names()
    assert names.value("uuid.a") == names.value("uuid.a") != names.value("uuid.b")
