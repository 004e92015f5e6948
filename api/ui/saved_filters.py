"""Filters of the runs page that somebody gave a name.

They are kept as saved searches in the shape that Prefect's own pages keep theirs in: conditions on
`flowRun`, of which each has a property and a value. What those pages know (`state` by names, `tag`,
`flow` and `deployment` by ids, `workPool`, `range`) has their properties, so that either shows what
was saved in the other; what they do not know has properties of our own, which they leave alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Struct

from api.ui import run_filters
from api.ui.page import Action, Ask, Deed, Region, Said, Undo, Visit
from api.ui.query import Query
from api.ui.run_filters import RANGES, Asked, asked
from api.ui.shown import iso
from eventstore.selection import Selection
from orchestration.identifiers import canonical
from orchestration.refusals import Invalid, NotFound
from orchestration.saved_searches import SavedSearch, SavedSearchCreate, SearchFilter
from orchestration.states import NAMES, STATE_TYPES
from projections import saved_searches as rows
from services import saved_searches

SHOWN_MAX = 100
"""Saved filters in the menu."""
NAME_CHARACTERS_MAX = 100
OBJECT = "flowRun"

Pairs: TypeAlias = Sequence[tuple[str, str]]


class Choice(Struct, frozen=True):
    """A saved filter in the menu."""

    id: str
    name: str
    query: Query | None
    """Parameters of the runs page; None: it filters by what this page cannot."""
    current: bool


class Saved(Struct, frozen=True):
    """The menu."""

    choices: Sequence[Choice]
    filter: str
    """What is filtered by now, as a query; empty: nothing."""
    current: str
    """Name of the saved filter that is in force."""


# --- filters and what is kept of them -------------------------------------------------------------


def kept(wanted: Asked) -> tuple[SearchFilter, ...]:
    """The filters of the runs page as conditions."""
    return tuple(
        SearchFilter(object=OBJECT, property=name, type="", operation="", value=value)
        for name, value in _properties(wanted)
        if value not in ("", [], None)
    )


def _properties(wanted: Asked) -> Iterator[tuple[str, Any]]:
    yield "state", [name for kind in wanted.states for name in NAMES[kind]] + list(wanted.names)
    yield "tag", list(wanted.tags)
    yield "workPool", [wanted.pool] if wanted.pool else []
    yield ("flow", [wanted.flow]) if _is_id(wanted.flow) else ("flowName", wanted.flow)
    one = wanted.deployment
    yield ("deployment", [one]) if _is_id(one) else ("deploymentName", one)
    if wanted.range:
        seconds = -int(RANGES[wanted.range].total_seconds())
        yield "range", {"type": "span", "seconds": seconds}
    elif wanted.since and wanted.until:
        start, end = iso(wanted.since), iso(wanted.until)
        yield "range", {"type": "range", "startDate": start, "endDate": end}
    elif wanted.since or wanted.until:
        yield "since", iso(wanted.since) if wanted.since else ""
        yield "until", iso(wanted.until) if wanted.until else ""
    yield "name", wanted.text
    yield "subflows", "no" if wanted.no_subflows else ""
    yield "sort", wanted.sort


def _is_id(text: str) -> bool:
    try:
        return bool(UUID(text))
    except ValueError:
        return False


def query_of(filters: Sequence[SearchFilter]) -> Query | None:
    """What the runs page is asked to filter like this; None if it cannot be."""
    pairs: list[tuple[str, str]] = []
    for one in filters:
        found = _pairs(one.property, one.value) if one.object == OBJECT else None
        if found is None:
            return None
        pairs += found
    return Query(pairs)


_TEXTS: Mapping[str, str] = {
    "flowName": "flow",
    "deploymentName": "deployment",
    "name": "q",
    "subflows": "subflows",
    "sort": "sort",
    "since": "since",
    "until": "until",
}
"""Parameters by the properties that have a text."""
_SINGLE: Mapping[str, str] = {"flow": "flow", "deployment": "deployment", "workPool": "pool"}
"""Of these the page takes one; Prefect's pages may have kept several."""


def _pairs(property: str, value: Any) -> Pairs | None:
    if property in _TEXTS:
        return [(_TEXTS[property], value)] if isinstance(value, str) else None
    if property == "range":
        return _range(value)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return None
    match property:
        case "state":
            return _states(texts)
        case "tag":
            return [("tag", ",".join(texts))]
        case "flow" | "deployment" | "workPool":
            return [(_SINGLE[property], text) for text in texts] if len(texts) < 2 else None
        case _:
            return None if texts else []


def _states(names: Sequence[str]) -> Pairs:
    """Types whose every name is meant, and the other names."""
    left = list(dict.fromkeys(_NAMES_BY_LOWER.get(name.lower(), name) for name in names))
    pairs: list[tuple[str, str]] = []
    for kind in STATE_TYPES:
        if all(name in left for name in NAMES[kind]):
            pairs.append(("state", kind))
            left = [name for name in left if name not in NAMES[kind]]
    return pairs + [("name", name) for name in left]


_NAMES_BY_LOWER = {name.lower(): name for kind in STATE_TYPES for name in NAMES[kind]}
"""Prefect's pages once kept them in small letters."""


def _range(value: Any) -> Pairs | None:
    match value:
        case {"type": "span", "seconds": int(seconds)}:
            named = [name for name, one in RANGES.items() if one.total_seconds() == -seconds]
            return [("range", named[0])] if named else None
        case {"type": "range", "startDate": str(since), "endDate": str(until)}:
            if _is_moment(since) and _is_moment(until):
                return [("since", since), ("until", until)]
    return None


def _is_moment(text: str) -> bool:
    try:
        return bool(datetime.fromisoformat(text))
    except ValueError:
        return False


# --- the menu -------------------------------------------------------------------------------------


async def saved(visit: Visit) -> Saved:
    """The saved filters, and whether one of them is in force."""
    wanted = asked(visit.query)
    now = kept(wanted)
    documents = await rows.some(visit.server.database, SHOWN_MAX, 0)
    found = [msgspec.json.decode(text, type=SavedSearch) for text in documents]
    choices = [_choice(one, now) for one in found]
    current = next((one.name for one in choices if one.current), "")
    text = str(visit.query.changed(after=None, before=None, tab=None, run=None))
    return Saved(choices, text if now else "", current)


def _choice(one: SavedSearch, now: Sequence[SearchFilter]) -> Choice:
    query = query_of(one.filters)
    same = query is not None and bool(now) and kept(asked(query)) == tuple(now)
    return Choice(one.id, one.name, query, same)


region = Region("saved", saved, lambda _: Selection(category=("saved-search",)))
"""In the template: `{% include "saved_filters.html" %}`."""


# --- actions --------------------------------------------------------------------------------------


async def ask_save(deed: Deed) -> Ask | None:
    """How the filter shall be called."""
    if "set" in deed.form:
        return None
    return Ask(
        title="Save this filter",
        text="It is kept for everybody who uses this server. A name that is taken already will "
        "stand for this filter from then on.",
        button="Save the filter",
        fields=(("name", ""),),
    )


def _filters(deed: Deed) -> tuple[SearchFilter, ...]:
    """What is to be saved: as conditions, or as a query of the runs page. Raises Invalid."""
    raw = deed.form.one("filters")
    if raw:
        try:
            return msgspec.json.decode(raw, type=tuple[SearchFilter, ...])
        except msgspec.MsgspecError:
            raise Invalid("These are no filters.") from None
    found = kept(run_filters.asked(Query.parse(deed.form.one("filter"))))
    if not found:
        raise Invalid("There is no filter to save: filter the list first.")
    return found


def _as_undo(name: str, filters: Sequence[SearchFilter]) -> Undo:
    text = msgspec.json.encode(filters).decode()
    return Undo("runs/actions/save-filter", [("set", "1"), ("name", name), ("filters", text)])


async def save(deed: Deed) -> Said:
    """Give the filter a name."""
    server, name = deed.visit.server, deed.form.one("name").strip()
    if not name or len(name) > NAME_CHARACTERS_MAX:
        raise Invalid(f"A name is needed, of at most {NAME_CHARACTERS_MAX} characters.")
    before = await rows.by_name(server.database, name)
    body = SavedSearchCreate(name=name, filters=_filters(deed))
    made, new, _ = await saved_searches.save(server.shell, body, deed.origin)
    if new or before is None:
        return Said(
            f"Saved the filter {name}.", Undo("runs/actions/forget-filter", [("id", made.id)])
        )
    return Said(f"The filter {name} is now this one.", _as_undo(name, before.filters))


async def forget(deed: Deed) -> Said:
    """Forget a saved filter."""
    server = deed.visit.server
    try:
        id_ = canonical(deed.form.one("id"))
    except ValueError:
        raise Invalid("Choose a saved filter first.") from None
    found = await rows.by_id(server.database, id_)
    if found is None:
        raise NotFound("Saved filter", id_)
    await saved_searches.delete(server.shell, id_, deed.origin)
    return Said(f"Deleted the saved filter {found.name}.", _as_undo(found.name, found.filters))


ACTIONS = (
    Action("/runs/actions/save-filter", save, ask_save),
    Action("/runs/actions/forget-filter", forget),
)
