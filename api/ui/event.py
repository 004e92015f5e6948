"""One event of the feed: what it says, whole, and what it is about."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from api.ui import linked
from api.ui.page import Missing, Page, Visit
from projections import emission_pages
from projections.emission_conditions import RESOURCE_ID, ROLE

JSON_CHARACTERS_SHOWN = 200_000
"""Longer ones are cut off, visibly; the API has them whole."""
NAME = "prefect.resource.name"


class Resource(Struct, frozen=True):
    """A thing that the event names."""

    id: str
    name: str
    role: str
    kind: str
    page: str | None
    stream: str | None
    labels: Mapping[str, str]
    """The others that it has."""


class _Emission(Struct, frozen=True):
    occurred: datetime
    event: str
    resource: dict[str, str]
    id: str
    related: tuple[dict[str, str], ...] = ()
    follows: str | None = None
    received: datetime | None = None


class Whole(Struct, frozen=True):
    """An event."""

    position: int
    said: _Emission
    subject: Resource
    related: Sequence[Resource]
    json: str
    cut: int
    """Characters of the JSON that are not shown."""
    follows: str | None
    """Path of the event that it follows, if that is in the feed."""


_decode = msgspec.json.Decoder(_Emission).decode


def pretty(text: bytes | str) -> str:
    """JSON as people read it; what is none stays as it is."""
    try:
        formatted = msgspec.json.format(text, indent=2)
    except msgspec.DecodeError:
        formatted = text
    return formatted.decode() if isinstance(formatted, bytes) else formatted


def _resource(labels: Mapping[str, str]) -> Resource:
    id = labels[RESOURCE_ID]
    return Resource(
        id,
        labels.get(NAME, labels.get("prefect.name", "")),
        labels.get(ROLE, ""),
        linked.kind_of(id),
        linked.page_of(id),
        linked.stream_of(id),
        {k: v for k, v in labels.items() if v and k not in (RESOURCE_ID, ROLE, NAME)},
    )


async def whole(visit: Visit) -> Whole:
    """The event of the address. The day in it is only there to be read."""
    database = visit.server.database
    found = await emission_pages.one(database, visit.id)
    if found is None:
        raise Missing("This event is not in the feed, or not any more")
    said = _decode(found.document)
    text = pretty(found.document)
    follows = None
    if said.follows is not None:
        former = await emission_pages.one(database, said.follows)
        if former is not None:
            follows = linked.event_path(said.follows, _decode(former.document).occurred)
    return Whole(
        position=found.position,
        said=said,
        subject=_resource(said.resource),
        related=[_resource(labels) for labels in said.related],
        json=text[:JSON_CHARACTERS_SHOWN],
        cut=max(0, len(text) - JSON_CHARACTERS_SHOWN),
        follows=follows,
    )


page = Page(
    path="/events/event/{date:str}/{id:uuid}",
    template="event.html",
    title="Event",
    section="/events",
    view=whole,
    styles=("feed.css",),
)
