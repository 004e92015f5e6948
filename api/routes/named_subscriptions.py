"""Subscriptions that the server remembers by name: /subscriptions/named.

They are consumed like any other, with `name` in place of a filter; see `api.routes.subscriptions`.
"""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from api.http import NO_CONTENT, Answer, Area, Call, ok
from api.routes.subscriptions import Problem, spoken
from eventstore.codec import from_microseconds
from eventstore.named import Named
from eventstore.selection import Selection
from services.named_subscriptions import REDELIVER_SECONDS, NamedSubscriptions
from services.subscriptions import begin

area = Area("/subscriptions/named", "Subscriptions")


class NamedCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A subscription to be remembered."""

    name: str
    filter: Selection = Selection()
    after: str | None = None
    """A token of the same filter."""
    start: str | None = msgspec.field(default=None, name="from")
    """`beginning`, `now` (the default) or a time."""
    redeliver_seconds: float = REDELIVER_SECONDS


class Acknowledgement(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything up to this token is done with."""

    token: str


class Seek(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to go on: `from` as at the beginning, or `after` a token."""

    start: str | None = msgspec.field(default=None, name="from")
    after: str | None = None
    """A token of the same filter, as a reader without a name has it."""


class NamedShown(Struct, frozen=True, kw_only=True):
    """A named subscription, and how far it is behind."""

    name: str
    filter: Selection
    position: int
    """Everything up to and including it is acknowledged."""
    redeliver_seconds: float
    created: datetime
    acknowledged: datetime
    """When it was last acknowledged or moved."""
    lag_events: Annotated[int, Meta(ge=0)]
    """Events of any kind after its position."""
    lag_since: datetime | None
    """When the first of them was recorded."""


def _subscriptions(call: Call) -> NamedSubscriptions:
    return NamedSubscriptions(call.server.store)


async def _shown(call: Call, it: Named) -> NamedShown:
    lag = await _subscriptions(call).lag(it)
    return NamedShown(
        name=it.name,
        filter=it.selection,
        position=it.position,
        redeliver_seconds=it.redeliver_seconds,
        created=from_microseconds(it.created),
        acknowledged=from_microseconds(it.updated),
        lag_events=lag.events,
        lag_since=None if lag.since is None else from_microseconds(lag.since),
    )


@area.post(
    "/",
    body=NamedCreate,
    answers={201: NamedShown, 200: NamedShown, 400: Problem, 409: Problem, 410: Problem},
)
async def create_named_subscription(call: Call, body: NamedCreate) -> Answer:
    """Remember a subscription. One that is there with the same filter is left as it is: 200."""
    server = call.server

    async def create() -> tuple[Named, bool]:
        place = await begin(server.database, body.filter, after=body.after, start=body.start)
        return await _subscriptions(call).create(
            body.name, body.filter, place.position, body.redeliver_seconds, server.now()
        )

    it, is_new = await spoken(create())
    return ok(await _shown(call, it), 201 if is_new else 200)


@area.get("/", answers={200: list[NamedShown]})
async def read_named_subscriptions(call: Call) -> Answer:
    """Every named subscription."""
    return ok([await _shown(call, it) for it in await _subscriptions(call).all()])


@area.get("/{name:str}", answers={200: NamedShown, 404: Problem})
async def read_named_subscription(call: Call) -> Answer:
    """One named subscription and its lag."""
    return ok(await _shown(call, await spoken(_subscriptions(call).get(call.path["name"]))))


@area.delete("/{name:str}", answers={204: None, 404: Problem})
async def delete_named_subscription(call: Call) -> Answer:
    """Forget a named subscription."""
    await spoken(_subscriptions(call).delete(call.path["name"]))
    return NO_CONTENT


@area.post(
    "/{name:str}/acknowledge",
    body=Acknowledgement,
    answers={200: NamedShown, 400: Problem, 404: Problem, 409: Problem, 410: Problem},
)
async def acknowledge(call: Call, body: Acknowledgement) -> Answer:
    """Say that everything up to a token is done with."""
    work = _subscriptions(call).acknowledge(call.path["name"], body.token, call.server.now())
    return ok(await _shown(call, await spoken(work)))


@area.post(
    "/{name:str}/seek",
    body=Seek,
    answers={200: NamedShown, 400: Problem, 404: Problem, 410: Problem},
)
async def seek(call: Call, body: Seek) -> Answer:
    """Go on elsewhere. The present consumer is closed; the next one begins there."""
    subscriptions, name = _subscriptions(call), call.path["name"]

    async def moved() -> Named:
        it = await subscriptions.get(name)
        place = await begin(call.server.database, it.selection, after=body.after, start=body.start)
        return await subscriptions.seek(name, place.position, call.server.now())

    return ok(await _shown(call, await spoken(moved())))
