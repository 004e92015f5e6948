"""The log: everything that was ever recorded, newest first, as it is recorded."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from api.ui import rendering
from api.ui.page import Feed, Nav, Page, Visit
from api.ui.query import CHOICES_MAX, Query
from eventstore.codec import to_microseconds
from eventstore.database import Row
from eventstore.selection import VALUE_CHARACTERS_MAX, Selection
from eventstore.subscription import position_at
from orchestration.identifiers import utc
from orchestration.refusals import Invalid
from projections import log_pages
from projections.log_pages import LogPage

TOLD_MAX = 50
"""New events that are sent as rows at a time; of more only how many."""
POSITION_DIGITS_MAX = 18
STREAM_OF_ALL = {"emission": "emissions"}
"""Kinds whose events have one stream together, by the beginning of their types."""


class Asked(Struct, frozen=True):
    """What the address of the log says."""

    selection: Selection
    actor: str
    go: str
    """A position or a time to begin at."""
    follow: bool
    """New events are shown as they come."""

    @property
    def anything(self) -> bool:
        """Whether anything is left out."""
        return bool(self.actor) or self.selection != Selection()


class Listed(Struct, frozen=True):
    """A page of the log."""

    asked: Asked
    page: LogPage
    head: int
    types: Sequence[str]
    categories: Sequence[str]
    at: int | None
    """The event that was looked for."""
    unknown: bool
    """It was asked for a place that is neither a position nor a time."""
    newest: bool
    api_url: str


def asked(query: Query) -> Asked:
    """The filters of an address. Values that mean nothing are left out."""

    def values(name: str, most: int = CHOICES_MAX) -> tuple[str, ...]:
        return tuple(query.texts(name, most, VALUE_CHARACTERS_MAX))

    return Asked(
        selection=Selection(
            category=values("category"),
            type=values("type"),
            stream=values("stream", 1),
            resource=values("resource", 1),
            correlation=values("correlation"),
        ),
        actor=query.text("actor", VALUE_CHARACTERS_MAX),
        go=query.text("go", VALUE_CHARACTERS_MAX),
        follow=query.one("follow") != "no",
    )


def position(text: str) -> int | None:
    """A position of the log from its digits, thin spaces and commas left out."""
    digits = text.replace("\u2009", "").replace(",", "").replace(" ", "")
    valid = digits.isascii() and digits.isdigit() and len(digits) <= POSITION_DIGITS_MAX
    return int(digits) if valid else None


async def _sought(visit: Visit, text: str) -> int | None:
    """The position that somebody wants to see: named, or the last one recorded by a time."""
    found = position(text)
    if found is not None:
        return found
    try:
        moment = utc(datetime.fromisoformat(text))
        return await position_at(visit.server.database, to_microseconds(moment))
    except (ValueError, OverflowError, Invalid):
        return None


async def listed(visit: Visit) -> Listed:
    """The page of the log that the address names."""
    server, query, wanted = visit.server, visit.query, asked(visit.query)
    database, head = server.database, server.store.ring.head
    after, before = position(query.one("after")), position(query.one("before"))
    at = await _sought(visit, wanted.go) if wanted.go else None
    if at is not None and after is None and before is None:
        at = max(1, min(at, head))
        # A few newer ones stand above what was looked for.
        after = at + log_pages.PAGE_EVENTS // 5
    page = await log_pages.page(
        database,
        database.dialect,
        wanted.selection,
        wanted.actor or None,
        after=after,
        before=before,
        deep=query.one("search") == "deep",
    )
    types = server.store.codec.types
    kinds = {name.partition(".")[0] for name in types}
    return Listed(
        asked=wanted,
        page=page,
        head=head,
        types=sorted({*types, *(f"{kind}.*" for kind in kinds)}),
        categories=sorted(STREAM_OF_ALL.get(kind, kind) for kind in kinds),
        at=at,
        unknown=bool(wanted.go) and at is None,
        newest=page.before is None,
        api_url=visit.api_url,
    )


def concerns(visit: Visit) -> Selection:
    """What the address selects."""
    return asked(visit.query).selection


async def news(visit: Visit, rows: Sequence[Row] | None) -> Any:
    """Rows for new events that the address means, newest first."""
    if rows is None:
        return {"missed": True}
    actor = asked(visit.query).actor
    found = [row for row in reversed(rows) if not actor or row[7] == actor]
    if not found:
        return None
    entries = [log_pages.entry(row) for row in found[:TOLD_MAX]]
    html = rendering.whole("log_rows.html", visit, {}, {"rows": entries, "at": None}).decode()
    return {"rows": html, "number": len(found)}


page = Page(
    path="/log",
    template="log.html",
    title="Log",
    view=listed,
    feeds=(Feed("tail", news, concerns),),
    nav=Nav("Log", "log", "l"),
    scripts=("live_rows.js",),
    styles=("feed.css",),
)
