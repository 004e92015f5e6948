"""Where results are stored by default: given, when, then."""

import pytest

from orchestration import result_storage
from orchestration.refusals import NotFound, Unsuitable
from orchestration.result_storage import (
    WRITES,
    ChooseResultStorage,
    ClearResultStorage,
    ResultStorage,
    ResultStorageChosen,
    ResultStorageCleared,
)
from tests.orchestration.runs import id_
from tests.spec import spec

given = spec(result_storage.decider)
BLOCK, OTHER = id_(1), id_(2)
CHOSEN = ResultStorageChosen(block_document_id=BLOCK)


def choose(block: str, *capabilities: str) -> ChooseResultStorage:
    return ChooseResultStorage(block_document_id=block, capabilities=capabilities)


def test_a_block_that_can_be_written_to_is_chosen() -> None:
    told = given().when(choose(BLOCK, "read-path", WRITES))
    told.then(CHOSEN)
    assert told.value() == ResultStorage(block_document_id=BLOCK)


def test_choosing_it_again_records_nothing_and_another_one_takes_its_place() -> None:
    given(CHOSEN).when(choose(BLOCK, WRITES)).then_nothing()
    told = given(CHOSEN).when(choose(OTHER, WRITES))
    told.then(ResultStorageChosen(block_document_id=OTHER))
    assert told.value() == ResultStorage(block_document_id=OTHER)


@pytest.mark.parametrize("capabilities", [(), ("read-path",)])
def test_a_block_that_nothing_can_be_written_to_is_refused(capabilities: tuple[str, ...]) -> None:
    given().when(choose(BLOCK, *capabilities)).refused(Unsuitable, "cannot be used for result")


def test_a_block_that_does_not_exist_is_refused() -> None:
    unknown = ChooseResultStorage(block_document_id=BLOCK, capabilities=None)
    given(CHOSEN).when(unknown).refused(NotFound, f"Block document {BLOCK} not found")


def test_the_default_is_cleared_once() -> None:
    given(CHOSEN).when(ClearResultStorage()).then(ResultStorageCleared(block_document_id=BLOCK))
    given().when(ClearResultStorage()).then_nothing()
