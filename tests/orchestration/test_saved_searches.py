"""Saved searches: given, when, then."""

from orchestration import saved_searches
from orchestration.refusals import NotFound
from orchestration.saved_searches import (
    DeleteSavedSearch,
    SavedSearch,
    SavedSearchCreate,
    SavedSearchCreated,
    SavedSearchDeleted,
    SavedSearchReplaced,
    SaveSearch,
    SearchFilter,
)
from tests.orchestration.runs import id_
from tests.spec import spec

given = spec(saved_searches.decider)
ID = id_(1)
FILTER = SearchFilter(
    object="flow_run", property="state", type="string", operation="equals", value=["FAILED"]
)
CREATED = SavedSearchCreated(id=ID, name="broken", filters=(FILTER,))


def save(*filters: SearchFilter) -> SaveSearch:
    return SaveSearch(id=ID, body=SavedSearchCreate(name="broken", filters=filters))


def test_filters_are_saved_under_a_name() -> None:
    told = given().when(save(FILTER))
    told.then(CREATED)
    assert told.value() == SavedSearch(id=ID, name="broken", filters=(FILTER,))


def test_the_name_stands_for_what_was_saved_last() -> None:
    given(CREATED).when(save()).then(SavedSearchReplaced(filters=()))
    given(CREATED).when(save(FILTER)).then_nothing()


def test_one_that_is_gone_is_not_deleted_again() -> None:
    deleted = SavedSearchDeleted(name="broken")
    given(CREATED).when(DeleteSavedSearch(id=ID)).then(deleted)
    given(CREATED, deleted).when(DeleteSavedSearch(id=ID)).refused(NotFound, "not found")
