"""An event of the log as others are shown it: versioned, documented, apart from how it is stored.

Within one schema fields may be added; anything else makes it the next schema.
"""

from datetime import datetime

import msgspec
from msgspec import Raw, Struct

from eventstore.codec import from_microseconds
from eventstore.database import Row
from eventstore.events import category

SCHEMA = 1
"""Version of the envelope below. What is in `data` is versioned by `type` and `type_version`."""


class PublicEvent(Struct, frozen=True, kw_only=True):
    """One event of the log."""

    schema: int
    """Version of this envelope: 1."""
    position: int
    """Place in the log: 1, 2, 3 … without gaps, in the order of commits."""
    recorded_at: datetime
    """When it was recorded, UTC; strictly increases with position."""
    stream: str
    """The entity's stream: category, a colon, id. Emissions have one together: `emissions`."""
    category: str
    """Kind of the entity: the part of `stream` before the colon."""
    version: int
    """Place in its stream: 1, 2, 3 …"""
    type: str
    """What happened. Names are for ever."""
    type_version: int
    """Shape of `data`; the shapes of one type are listed below."""
    event_id: str
    """UUID of the event; the same if its cause was repeated."""
    actor: str
    """Who asked: `anonymous`, `basic-auth`, the name of a service."""
    correlation: str | None
    """Shared by everything that one request brought about."""
    causation: int | None
    """Position of the event that this one answers, if any."""
    data: Raw
    """The event itself, exactly as it was recorded."""


_encode = msgspec.json.Encoder().encode


def public(row: Row) -> bytes:
    """A row of `eventstore.codec.EVENTS` as JSON; its data is not decoded on the way."""
    stream = row[1]
    return _encode(
        PublicEvent(
            schema=SCHEMA,
            position=row[0],
            recorded_at=from_microseconds(row[5]),
            stream=stream,
            category=category(stream),
            version=row[2],
            type=row[3],
            type_version=row[4],
            event_id=row[6],
            actor=row[7],
            correlation=row[8],
            causation=row[9],
            data=Raw(row[10].encode()),
        )
    )
