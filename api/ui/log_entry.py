"""One event of the log: envelope, data, its place in the chain, and what stands around it."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from api.ui import linked
from api.ui.event import JSON_CHARACTERS_SHOWN, pretty
from api.ui.log import position
from api.ui.page import Missing, Page, Visit
from eventstore.chain import GENESIS, chained
from projections import emission_pages, log_pages
from projections.log_pages import Entry


class Whole(Struct, frozen=True):
    """An event of the log."""

    entry: Entry
    type_version: int
    event_id: str
    data: str
    cut: int
    """Characters of the data that are not shown."""
    hash: str
    previous_hash: str
    sound: bool | None
    """Whether its hash follows from what is recorded; None if the one before it is missing."""
    versions: int
    stream_before: int | None
    stream_after: int | None
    newer: int | None
    """Position of the next event of the log."""
    together: Sequence[Entry]
    page: str | None
    """Path of the page about what it happened to."""
    emission: tuple[str, datetime] | None
    emission_path: str | None


async def whole(visit: Visit) -> Whole:
    """The event at the position of the address."""
    server = visit.server
    database, at = server.database, position(visit.parameters["position"])
    found = None if at is None else await log_pages.whole(database, database.dialect, at)
    if found is None or at is None:
        head = server.store.ring.head
        raise Missing(f"The log has no event at this place; it ends at position {head}")
    row = found.row
    previous = GENESIS if at == 1 else found.previous_hash
    data = pretty(row[10])
    emission = await emission_pages.at(database, at)
    return Whole(
        entry=log_pages.entry(row),
        type_version=row[4],
        event_id=row[6],
        data=data[:JSON_CHARACTERS_SHOWN],
        cut=max(0, len(data) - JSON_CHARACTERS_SHOWN),
        hash=bytes(row[11]).hex(),
        previous_hash="" if previous is None else previous.hex(),
        sound=None if previous is None else chained(previous, row[:11]) == bytes(row[11]),
        versions=found.versions,
        stream_before=found.stream_before,
        stream_after=found.stream_after,
        newer=at + 1 if at < server.store.ring.head else None,
        together=found.together,
        page=linked.page_of(row[1]),
        emission=emission,
        emission_path=None if emission is None else linked.event_path(*emission),
    )


page = Page(
    path="/log/{position:str}",
    template="log_entry.html",
    title="Log",
    section="/log",
    view=whole,
    styles=("feed.css",),
)
