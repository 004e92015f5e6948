"""Saved searches: filters of the browser's pages that somebody gave a name."""

from datetime import datetime
from typing import Annotated, Any, TypeAlias, assert_never

from msgspec import Meta, Struct
from msgspec.structs import replace

from eventstore.decider import Decider
from eventstore.events import Event
from orchestration.identifiers import IndexedText, Text
from orchestration.refusals import NotFound

FILTERS_MAX = 1_000
"""Of one search."""


class SearchFilter(Struct, frozen=True, kw_only=True):
    """One condition. The server keeps it for whoever made it and gives it no meaning."""

    object: Text
    property: Text
    type: Text
    operation: Text
    value: Any


# --- events ---------------------------------------------------------------------------------------


class SavedSearchCreated(Event, frozen=True, tag="saved-search.created"):
    """Filters were saved under a name that was free."""

    id: str
    name: str
    filters: tuple[SearchFilter, ...] = ()


class SavedSearchReplaced(Event, frozen=True, tag="saved-search.replaced"):
    """Other filters were saved under the name."""

    filters: tuple[SearchFilter, ...] = ()


class SavedSearchDeleted(Event, frozen=True, tag="saved-search.deleted"):
    """The search is gone, its name is free."""

    name: str


SavedSearchEvent: TypeAlias = SavedSearchCreated | SavedSearchReplaced | SavedSearchDeleted

# --- commands -------------------------------------------------------------------------------------


class SavedSearchCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `PUT /saved_searches/`."""

    name: IndexedText
    filters: Annotated[tuple[SearchFilter, ...], Meta(max_length=FILTERS_MAX)] = ()


class SaveSearch(Struct, frozen=True, kw_only=True):
    """Save filters under a name; what it stood for before is replaced."""

    id: str
    body: SavedSearchCreate


class DeleteSavedSearch(Struct, frozen=True, kw_only=True):
    """Forget a search."""

    id: str


SavedSearchCommand: TypeAlias = SaveSearch | DeleteSavedSearch

# --- value ----------------------------------------------------------------------------------------


class SavedSearch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A search as the API shows it. `created` and `updated` are the projection's to stamp."""

    id: str
    created: datetime | None = None
    updated: datetime | None = None
    name: str
    filters: tuple[SearchFilter, ...] = ()


# --- decide ---------------------------------------------------------------------------------------


def decide(command: SavedSearchCommand, search: SavedSearch | None) -> list[SavedSearchEvent]:
    """What follows from a command. Raises `NotFound`."""
    match command:
        case SaveSearch(id=id_, body=body):
            if search is None:
                return [SavedSearchCreated(id=id_, name=body.name, filters=body.filters)]
            if body.filters == search.filters:
                return []
            return [SavedSearchReplaced(filters=body.filters)]
        case DeleteSavedSearch():
            if search is None:
                raise NotFound("Saved search", command.id)
            return [SavedSearchDeleted(name=search.name)]
        case _:
            assert_never(command)


# --- evolve ---------------------------------------------------------------------------------------


def evolve(search: SavedSearch | None, event: SavedSearchEvent) -> SavedSearch | None:
    """The search after the event."""
    match event:
        case SavedSearchCreated():
            return SavedSearch(id=event.id, name=event.name, filters=event.filters)
        case SavedSearchReplaced():
            return search and replace(search, filters=event.filters)
        case SavedSearchDeleted():
            return None
        case _:
            assert_never(event)


decider: Decider[SavedSearchCommand, SavedSearch, SavedSearchEvent] = Decider(decide, evolve)
