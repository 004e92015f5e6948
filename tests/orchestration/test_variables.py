"""Variables: given, when, then."""

from typing import Any

import pytest

from orchestration import variables
from orchestration.refusals import Conflict, Invalid, NotFound
from orchestration.variables import (
    CreateVariable,
    DeleteVariable,
    UpdateVariable,
    Variable,
    VariableCreate,
    VariableCreated,
    VariableDeleted,
    VariableUpdate,
    VariableUpdated,
)
from tests.orchestration.runs import id_
from tests.spec import spec

given = spec(variables.decider)
ID = id_(1)
CREATED = VariableCreated(id=ID, name="a", value={"x": [1]}, tags=("t",))


def create(value: Any = None, *, taken: bool = False) -> CreateVariable:
    return CreateVariable(id=ID, body=VariableCreate(name="a", value=value), name_is_taken=taken)


def update(*, taken: bool = False, **changes: Any) -> UpdateVariable:
    return UpdateVariable(id=ID, body=VariableUpdate(**changes), name_is_taken=taken)


def test_a_value_is_given_a_name() -> None:
    told = given().when(create({"x": 1}))
    told.then(VariableCreated(id=ID, name="a", value={"x": 1}))
    assert told.value() == Variable(id=ID, name="a", value={"x": 1})


def test_a_name_is_given_once() -> None:
    given().when(create(taken=True)).refused(Conflict, "'a' already exists")
    given(CREATED).when(update(name="b", taken=True)).refused(Conflict, "'b' already exists")


def test_it_may_keep_its_own_name() -> None:
    given(CREATED).when(update(name="a", value=1)).then(
        VariableUpdated(name="a", value=1, tags=("t",))
    )


def test_what_is_not_mentioned_stays() -> None:
    told = given(CREATED).when(update(value=None))
    told.then(VariableUpdated(name="a", value=None, tags=("t",)))
    assert told.value() == Variable(id=ID, name="a", value=None, tags=("t",))


def test_a_change_that_changes_nothing_is_not_recorded() -> None:
    given(CREATED).when(update()).then_nothing()
    given(CREATED).when(update(value={"x": [1]}, tags=("t",))).then_nothing()


@pytest.mark.parametrize("other", [1.0, True])
def test_numbers_of_another_kind_are_other_values(other: object) -> None:
    one = VariableCreated(id=ID, name="a", value=1)
    given(one).when(update(value=other)).then(VariableUpdated(name="a", value=other))


def test_a_value_has_five_thousand_bytes_of_json_at_most() -> None:
    given().when(create("v" * 4_998)).events()
    given().when(create("v" * 4_999)).refused(Invalid, "5000")
    given(CREATED).when(update(value=["é" * 2_500])).refused(Invalid, "5000")


def test_one_that_is_deleted_says_what_it_was() -> None:
    given(CREATED).when(DeleteVariable(id=ID)).then(
        VariableDeleted(name="a", value={"x": [1]}, tags=("t",))
    )


def test_one_that_is_gone_is_neither_changed_nor_deleted() -> None:
    gone = VariableDeleted(name="a", value=1)
    given(CREATED, gone).when(update(value=1)).refused(NotFound, "not found")
    given(CREATED, gone).when(DeleteVariable(id=ID)).refused(NotFound, "not found")
