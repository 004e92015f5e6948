"""What can be done with saved searches. Names are unique, so commands are decided one by one."""

from eventstore.database import Transaction
from eventstore.ids import new_id
from eventstore.log import Decision
from orchestration.refusals import NotFound
from orchestration.saved_searches import (
    DeleteSavedSearch,
    SavedSearch,
    SavedSearchCommand,
    SavedSearchCreate,
    SaveSearch,
    decide,
)
from projections import saved_searches
from services.shell import Origin, Shell, appended

CATEGORY = "saved-search"
_CONTENTION = "saved-search-names"


async def save(
    shell: Shell, body: SavedSearchCreate, origin: Origin
) -> tuple[SavedSearch, bool, int]:
    """Save filters under a name: the search, whether the name is new, the log's position after."""
    id_, known = new_id(), False

    async def decide_under_lock(tx: Transaction) -> Decision:
        nonlocal id_, known
        search = await saved_searches.by_name(tx, body.name)
        known = search is not None
        id_ = search.id if search is not None else id_
        return _decided(SaveSearch(id=id_, body=body), search)

    written = await shell.execute_serially(_CONTENTION, decide_under_lock, origin)
    saved = await saved_searches.by_id(shell.store.database, id_)
    if saved is None:  # Deleted within the last milliseconds.
        raise NotFound("Saved search", id_)
    return saved, not known, written.position


async def delete(shell: Shell, id_: str, origin: Origin) -> None:
    """Forget a search. Raises NotFound."""

    async def decide_under_lock(tx: Transaction) -> Decision:
        return _decided(DeleteSavedSearch(id=id_), await saved_searches.by_id(tx, id_))

    await shell.execute_serially(_CONTENTION, decide_under_lock, origin)


def _decided(command: SavedSearchCommand, search: SavedSearch | None) -> Decision:
    own = appended(CATEGORY, command.id, decide(command, search))
    return Decision(appends=(own,))
