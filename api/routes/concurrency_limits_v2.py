"""Global concurrency limits: /v2/concurrency_limits."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct
from msgspec.structs import asdict

from api.errors import HttpError, there
from api.http import NO_CONTENT, Answer, Area, Call, ok
from api.lists import limited
from eventstore.ids import new_id
from orchestration.concurrency_leases import Holder, HolderType
from orchestration.concurrency_limits import (
    TAG,
    ConcurrencyLimit,
    ConcurrencyLimitCreate,
    ConcurrencyLimitUpdate,
    Mode,
    NoRateLimit,
    Seen,
    TooManySlots,
)
from orchestration.documents import document
from orchestration.identifiers import Id, Text, tidy
from projections import concurrency_limits as rows
from projections.paging import Offset
from services import concurrency_limits as commands
from services import slots
from services.slots import NAMES_MAX, Full, Taken, Terms

CONCURRENCY: Mode = "concurrency"
LEASE_SECONDS = 300.0
LEASE_SECONDS_MIN = 60
LEASE_SECONDS_MAX = 24 * 60 * 60
HOLDERS_MAX = 1_000
"""Holders of a limit in one answer."""

area = Area("/v2/concurrency_limits", "Concurrency Limits V2")

Slots = Annotated[int, Meta(gt=0, le=2**31 - 1)]
Names = Annotated[list[Text], Meta(max_length=NAMES_MAX)]
LeaseSeconds = Annotated[float, Meta(ge=LEASE_SECONDS_MIN, le=LEASE_SECONDS_MAX)]


class LimitQuery(Struct, frozen=True, kw_only=True):
    """The body of `POST …/filter`."""

    limit: int | None = None
    offset: Offset = 0


class Increment(Struct, frozen=True, kw_only=True):
    """The body of `POST …/increment`."""

    slots: Slots
    names: Names
    mode: Mode | None = None
    create_if_missing: bool | None = None
    """Sent by old clients; limits are made by those who know how many slots there are."""


class LeasedIncrement(Struct, frozen=True, kw_only=True):
    """The body of `POST …/increment-with-lease`."""

    slots: Slots
    names: Names
    mode: Mode | None = None
    lease_duration: LeaseSeconds = LEASE_SECONDS
    holder: Holder | None = None


class Decrement(Struct, frozen=True, kw_only=True):
    """The body of `POST …/decrement`."""

    slots: Slots
    names: Names
    occupancy_seconds: Annotated[float, Meta(gt=0)] | None = None
    create_if_missing: bool | None = None


class LeasedDecrement(Struct, frozen=True, kw_only=True):
    """The body of `POST …/decrement-with-lease`."""

    lease_id: Id

    def __post_init__(self) -> None:
        tidy(self, ids=("lease_id",))


class Renewal(Struct, frozen=True, kw_only=True):
    """The body of `POST …/leases/{id}/renew`."""

    lease_duration: LeaseSeconds = LEASE_SECONDS


class LimitShown(Struct, frozen=True, kw_only=True):
    """A limit and how many of its slots are not free."""

    id: str
    created: datetime | None = None
    updated: datetime | None = None
    active: bool = True
    name: str
    limit: int
    active_slots: int
    slot_decay_per_second: float = 0.0


class LimitCreated(LimitShown, frozen=True, kw_only=True):
    """A limit that was made."""

    denied_slots: int = 0
    avg_slot_occupancy_seconds: float = 0.0


class HolderShown(Struct, frozen=True):
    """A lease that holds slots of a limit, and the run or deployment that they are held for."""

    lease_id: str
    slots: int
    since: datetime
    type: HolderType | None = None
    id: str | None = None


class LimitTaken(Struct, frozen=True):
    """A limit of which slots were taken or given back."""

    id: str
    name: str
    limit: int


class Lease(Struct, frozen=True):
    """What was granted, under an id that renews it or gives it back."""

    lease_id: str
    limits: Sequence[LimitTaken] = ()


def limit_shown(seen: Seen, now: datetime) -> LimitShown:
    """A limit as the API shows it now."""
    limit = seen.limit
    return LimitShown(
        id=limit.id,
        created=limit.created,
        updated=limit.updated,
        active=limit.active,
        name=limit.name,
        limit=limit.limit,
        active_slots=seen.active_slots(now),
        slot_decay_per_second=limit.slot_decay_per_second,
    )


def limits_taken(limits: Sequence[ConcurrencyLimit]) -> list[LimitTaken]:
    """Limits as they are named to whoever took slots of them or gave them back."""
    return [LimitTaken(limit.id, limit.name, limit.limit) for limit in limits]


_EMPTY = "8"
"""Version digit in the id of a lease that holds nothing. That is all there is to know of it: most
tasks have tags without a limit, and nothing is written for those."""
_VERSION_AT = 14


def _lease_on_nothing() -> str:
    id_ = new_id()
    return f"{id_[:_VERSION_AT]}{_EMPTY}{id_[_VERSION_AT + 1 :]}"


def _is_on_nothing(lease_id: str) -> bool:
    return lease_id[_VERSION_AT] == _EMPTY


async def _found(call: Call) -> Seen:
    given, database = call.path["id_or_name"], call.server.database
    try:
        found = await rows.by_id(database, str(UUID(given)))
    except ValueError:
        found = await rows.by_name(database, given)
    return there(found, "Concurrency Limit not found")


# --- limits


@area.post("/", body=ConcurrencyLimitCreate, answers={201: LimitCreated})
async def create_concurrency_limit_v2(call: Call, body: ConcurrencyLimitCreate) -> Answer:
    """Make a global concurrency limit."""
    now = call.server.now()
    made, position = await commands.create(call.server.shell, body, now, call.origin)
    shown = LimitCreated(
        **asdict(limit_shown(made, now)),
        denied_slots=made.limit.denied_slots,
        avg_slot_occupancy_seconds=made.limit.avg_slot_occupancy_seconds,
    )
    return Answer(201, document(shown), position=position)


@area.get("/{id_or_name:str}", answers={200: LimitShown})
async def read_concurrency_limit_v2(call: Call) -> Answer:
    """Read a global concurrency limit, by id or name."""
    return ok(limit_shown(await _found(call), call.server.now()))


@area.get("/{id_or_name:str}/holders", answers={200: list[HolderShown]})
async def read_holders(call: Call) -> Answer:
    """Who holds slots of a global concurrency limit, the longest first."""
    found = await _found(call)
    held = await rows.leases_of_limit(call.server.database, found.limit.id, HOLDERS_MAX)
    shown = [
        HolderShown(
            lease_id=lease.id,
            slots=lease.slots,
            since=lease.since,
            type=None if lease.holder is None else lease.holder.type,
            id=None if lease.holder is None else lease.holder.id,
        )
        for lease in held
    ]
    return ok(shown)


@area.post("/filter", body=LimitQuery, body_optional=True, answers={200: list[LimitShown]})
async def read_all_concurrency_limits_v2(call: Call, body: LimitQuery) -> Answer:
    """Global concurrency limits, by name."""
    limit, now = limited(call, body.limit), call.server.now()
    found = await rows.some(call.server.database, limit, body.offset)
    return ok([limit_shown(seen, now) for seen in found])


@area.patch("/{id_or_name:str}", body=ConcurrencyLimitUpdate, answers={204: None})
async def update_concurrency_limit_v2(call: Call, body: ConcurrencyLimitUpdate) -> Answer:
    """Change a global concurrency limit, by id or name."""
    found, server = await _found(call), call.server
    await commands.update(server.shell, found.limit.id, body, server.now(), call.origin)
    return NO_CONTENT


@area.delete("/{id_or_name:str}", answers={204: None})
async def delete_concurrency_limit_v2(call: Call) -> Answer:
    """Delete a global concurrency limit, by id or name."""
    found = await _found(call)
    await commands.delete(call.server.shell, found.limit.id, call.origin)
    return NO_CONTENT


# --- slots


@area.post("/increment", body=Increment, by_field=True, answers={200: list[LimitTaken]})
async def bulk_increment_active_slots(call: Call, body: Increment) -> Answer:
    """Take slots of the limits with these names; names without a limit are free."""
    taken = await _take(call, body.names, body.slots, body.mode or CONCURRENCY, None)
    return ok(limits_taken(taken.limits))._replace(position=taken.position)


@area.post("/increment-with-lease", body=LeasedIncrement, by_field=True, answers={200: Lease})
async def bulk_increment_active_slots_with_lease(call: Call, body: LeasedIncrement) -> Answer:
    """Take slots for as long as the lease is renewed."""
    terms = Terms(timedelta(seconds=body.lease_duration), body.holder)
    taken = await _take(call, body.names, body.slots, body.mode or CONCURRENCY, terms)
    lease = Lease(taken.lease_id or _lease_on_nothing(), limits_taken(taken.limits))
    return Answer(200, document(lease), position=taken.position)


async def _take(
    call: Call, names: Sequence[str], wanted: int, mode: Mode, terms: Terms | None
) -> Taken:
    server = call.server
    try:
        taken = await slots.take(server.shell, names, wanted, mode, terms, server.now, call.origin)
    except (TooManySlots, NoRateLimit) as refusal:
        raise HttpError(422, {"detail": str(refusal)}) from None
    if isinstance(taken, Full):
        raise locked(call, taken.limits, wanted)
    return taken


def locked(
    call: Call, limits: Sequence[ConcurrencyLimit], wanted: int, detail: str = "Locked"
) -> HttpError:
    """423: not as many slots are free; ask again after so many seconds."""
    settings = call.server.settings
    on_tags = limits[0].name.startswith(TAG)
    longest = (
        settings.tasks_tag_concurrency_slot_wait_seconds
        if on_tags
        else settings.concurrency_maximum_concurrency_slot_wait_seconds
    )
    now = call.server.now()
    seconds = call.server.denials.wait_seconds(limits, wanted, longest, now, random.random())
    return HttpError(423, {"detail": detail}, ((b"retry-after", str(seconds).encode()),))


@area.post("/decrement", body=Decrement, by_field=True, answers={200: list[LimitTaken]})
async def bulk_decrement_active_slots(call: Call, body: Decrement) -> Answer:
    """Give slots back that were taken without a lease."""
    server = call.server
    limits = await slots.give_back(
        server.shell, body.names, body.slots, body.occupancy_seconds, server.now, call.origin
    )
    return ok(limits_taken(limits))


@area.post("/decrement-with-lease", body=LeasedDecrement, by_field=True, answers={204: None})
async def bulk_decrement_active_slots_with_lease(call: Call, body: LeasedDecrement) -> Answer:
    """Give back what a lease holds."""
    await slots.release(call.server.shell, body.lease_id, call.origin)
    return NO_CONTENT


@area.post("/leases/{lease_id:uuid}/renew", body=Renewal, body_optional=True, answers={204: None})
async def renew_concurrency_lease(call: Call, body: Renewal) -> Answer:
    """Go on holding what a lease holds."""
    lease_id, server = call.path["lease_id"], call.server
    if _is_on_nothing(lease_id):
        return NO_CONTENT
    lasts = timedelta(seconds=body.lease_duration)
    if not await slots.renew(server.shell, lease_id, lasts, server.now, call.origin):
        raise HttpError(410, {"detail": "Lease not found - it may have expired or been revoked"})
    return NO_CONTENT
