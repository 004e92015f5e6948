"""The event feed: what clients and this server told the world, newest first, and how much when."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from msgspec import Struct

from api.ui import rendering, window
from api.ui.linked import PAGES, thing
from api.ui.page import Feed, Nav, Page, Region, Visit
from api.ui.window import Window
from eventstore.database import Row
from eventstore.events import type_name
from eventstore.selection import Selection
from orchestration.own_emissions import EMITTING, emission_of
from projections import emission_pages, emission_totals
from projections.emission_conditions import predicate
from projections.emission_pages import Density, FeedPage, Part, Shown, Wanted
from projections.emissions import glimpse
from projections.text_search import QUERY_LENGTH_MAX

CHOICES_MAX = 20
"""Values of one filter."""
TEXT_CHARACTERS_MAX = 300
NAMES_OFFERED = 200
"""Names of events that the filter knows; the most frequent of the window."""
FRESH_SECONDS = 0.25
"""How long a page waits for the feed to have taken in what is recorded already."""
TOLD_MAX = 50
"""New events that are sent as rows at a time; of more only how many."""
LOOKED_AT_MAX = 1_000
"""Events of the log that are looked at for one message; of a longer burst a page is told as of what
it missed."""
FEED = "emissions"
KINDS = (
    *PAGES,
    "deployment",
    "work-pool",
    "work-queue",
    "automation",
    "artifact-collection",
    "block-document",
    "variable",
    "concurrency-limit",
)
"""What a bare id may be the id of."""


class Asked(Struct, frozen=True):
    """What the address of the feed says."""

    window: Window
    names: Sequence[str]
    """Beginnings of names."""
    resource: str
    part: Part
    text: str
    follow: bool
    """New events are shown as they come."""

    @property
    def anything(self) -> bool:
        """Whether anything but the window leaves something out."""
        return bool(self.names or self.resource or self.text)

    @property
    def wanted(self) -> Wanted:
        """The same for the queries."""
        bins = self.window.bins
        return Wanted(
            first=bins.first,
            until=bins.until,
            prefixes=[name.removesuffix("*") for name in self.names],
            resources=_ids(self.resource),
            part=self.part,
            text=self.text,
        )


class Listed(Struct, frozen=True):
    """A page of the feed."""

    asked: Asked
    page: FeedPage
    names: Sequence[str]
    """Those that are there."""
    ranges: Sequence[str]
    behind: int
    """Events of the log that the feed has not taken in yet."""
    newest: bool
    """This is the first page, where new events are shown."""
    api_url: str


class Over(Struct, frozen=True):
    """The feed over time."""

    asked: Asked
    counts: Density
    looked_at: int
    """How many emissions at most, where they have to be looked through."""


def _ids(resource: str) -> list[str]:
    try:
        id = str(UUID(resource))
    except ValueError:
        return [resource] if resource else []
    return [id, *(f"prefect.{kind}.{id}" for kind in KINDS)]


def asked(visit: Visit) -> Asked:
    """The filters of an address. Values that mean nothing are left out."""
    query = visit.query
    names = [name.strip() for text in query.all("event") for name in text.split(",")]
    part = query.one("as")
    resource = query.text("resource", TEXT_CHARACTERS_MAX)
    return Asked(
        window=window.asked(query, visit.now),
        names=[name[:TEXT_CHARACTERS_MAX] for name in names if name.strip("*")][:CHOICES_MAX],
        resource=resource,
        part=part if resource and part in ("subject", "related") else "any",  # type: ignore[arg-type]
        text=query.text("q", QUERY_LENGTH_MAX),
        follow=query.one("follow") != "no",
    )


async def listed(visit: Visit) -> Listed:
    """The page of the feed that the address names."""
    server, wanted = visit.server, asked(visit)
    projector = server.runner.projectors[FEED]
    await projector.reached(server.store.ring.head, FRESH_SECONDS)
    database, query = server.database, visit.query
    after, before = (emission_pages.place(query.one(name)) for name in ("after", "before"))
    page = await emission_pages.page(
        database,
        database.dialect,
        wanted.wanted,
        after=after,
        before=before,
        deep=query.one("search") == "deep",
    )
    bins = wanted.window.bins
    names = await emission_totals.names(
        database, database.dialect, bins.first, bins.until, limit=NAMES_OFFERED
    )
    behind = max(0, server.store.ring.head - projector.position)
    newest = after is None and (before is None or page.before is None)
    offered = sorted(name for name, _ in names)
    return Listed(wanted, page, offered, tuple(window.RANGES), behind, newest, visit.api_url)


async def over_time(visit: Visit) -> Over:
    """How dense the feed is."""
    database, wanted = visit.server.database, asked(visit)
    counts = await emission_pages.density(
        database, database.dialect, wanted.wanted, wanted.window.bins
    )
    return Over(wanted, counts, emission_pages.SEARCHED_MAX)


TYPES = tuple(type_name(event) for event in EMITTING)


def concerns(visit: Visit) -> Selection:
    """What gives rise to emissions; of a resource with an id, what names that id. Other resources,
    such as tags, may be called otherwise in the log."""
    resource = asked(visit).resource
    has_id = thing(resource) is not None or len(_ids(resource)) > 1
    return Selection(type=TYPES, resource=(resource,) if has_id else ())


def dense(visit: Visit) -> Selection:
    """The same, and that the feed was trimmed."""
    selection = concerns(visit)
    return selection if selection.resource else Selection(type=(*TYPES, "feed.trimmed"))


async def news(visit: Visit, rows: Sequence[Row] | None) -> Any:
    """Rows for new emissions that the address means, newest first."""
    wanted = asked(visit)
    if rows is None or len(rows) > LOOKED_AT_MAX:
        return {"missed": True}
    # A window that ends now goes on with the clock: what is new is always in it.
    holds = predicate(wanted.wanted.filter(windowless=bool(wanted.window.range)))
    codec = visit.server.store.codec
    found: list[Shown] = []
    number = 0
    for row in reversed(rows):
        recorded = codec.recorded(row)
        document = emission_of(recorded)
        if document is None:
            continue
        seen = glimpse(document)
        if not holds(seen):
            continue
        number += 1
        if len(found) < TOLD_MAX:
            found.append(emission_pages.shown(row[0], seen))
    if not number:
        return None
    html = rendering.whole("event_rows.html", visit, {}, {"rows": found}).decode()
    return {"rows": html, "number": number}


page = Page(
    path="/events",
    template="events.html",
    title="Events",
    view=listed,
    regions=(
        Region(
            "density", over_time, dense, derived=(FEED,), moves=lambda visit: asked(visit).window
        ),
    ),
    feeds=(Feed("feed", news, concerns),),
    nav=Nav("Events", "events", "e"),
    scripts=("dates.js", "run_bars.js", "live_rows.js"),
    styles=("charts.css", "feed.css"),
)
