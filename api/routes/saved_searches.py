"""Saved searches: /saved_searches."""

from msgspec import Struct

from api.errors import there
from api.http import NO_CONTENT, Answer, Area, Call
from api.lists import array, limited
from orchestration.documents import document
from orchestration.saved_searches import SavedSearch, SavedSearchCreate
from projections import saved_searches
from projections.paging import Offset
from services import saved_searches as commands

area = Area("/saved_searches", "Saved Searches")


class SavedSearchQuery(Struct, frozen=True, kw_only=True):
    """The body of `POST /saved_searches/filter`."""

    limit: int | None = None
    offset: Offset = 0


@area.put("/", body=SavedSearchCreate, answers={200: SavedSearch, 201: SavedSearch})
async def create_saved_search(call: Call, body: SavedSearchCreate) -> Answer:
    """Save filters under a name; 200 where it replaces what the name stood for."""
    saved, new, position = await commands.save(call.server.shell, body, call.origin)
    return Answer(201 if new else 200, document(saved), position=position)


@area.get("/{id:uuid}", answers={200: SavedSearch})
async def read_saved_search(call: Call) -> Answer:
    """Read a saved search."""
    found = await saved_searches.by_id(call.server.database, call.id)
    return Answer(200, document(there(found, "Saved search not found")))


@area.post("/filter", body=SavedSearchQuery, body_optional=True, answers={200: list[SavedSearch]})
async def read_saved_searches(call: Call, body: SavedSearchQuery) -> Answer:
    """Saved searches, by name."""
    found = await saved_searches.some(call.server.database, limited(call, body.limit), body.offset)
    return array(found)


@area.delete("/{id:uuid}", answers={204: None})
async def delete_saved_search(call: Call) -> Answer:
    """Delete a saved search."""
    await commands.delete(call.server.shell, call.id, call.origin)
    return NO_CONTENT
