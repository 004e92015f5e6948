"""Inputs of flow runs: given, when, then."""

import pytest
from msgspec import ValidationError

from orchestration import run_inputs
from orchestration.documents import accept
from orchestration.refusals import Conflict, NotFound
from orchestration.run_inputs import (
    CreateRunInput,
    DeleteRunInput,
    RunInput,
    RunInputCreate,
    RunInputCreated,
    RunInputDeleted,
)
from tests.orchestration.runs import id_
from tests.spec import spec

given = spec(run_inputs.decider)
ID, RUN = id_(1), id_(2)
CREATE = CreateRunInput(
    id=ID, flow_run_id=RUN, body=RunInputCreate(key="k-1", value="1", sender="me")
)
CREATED = RunInputCreated(id=ID, flow_run_id=RUN, key="k-1", value="1", sender="me")


def test_a_run_is_given_an_input() -> None:
    told = given().when(CREATE)
    told.then(CREATED)
    assert told.value() == RunInput(id=ID, flow_run_id=RUN, key="k-1", value="1", sender="me")


def test_a_key_is_given_once() -> None:
    given(CREATED).when(CREATE).refused(Conflict, "already exists")


def test_what_was_taken_away_can_be_given_again() -> None:
    given(CREATED).when(DeleteRunInput(id=ID)).then(RunInputDeleted())
    given(CREATED, RunInputDeleted()).when(CREATE).then(CREATED)


def test_what_is_not_there_is_not_taken_away() -> None:
    given().when(DeleteRunInput(id=ID)).refused(NotFound, "Flow run input")


@pytest.mark.parametrize("key", ["A", "a b", "a_b", "é", "x" * 561])
def test_keys_are_small_letters_digits_and_dashes(key: str) -> None:
    with pytest.raises(ValidationError):
        accept(RunInputCreate, f'{{"key": "{key}", "value": "1"}}'.encode())
