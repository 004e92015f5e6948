"""Concurrency limits: how many slots there are under a name, and which of them nobody holds.

Slots are held by leases (`concurrency_leases`), and which leases hold a limit's slots is the read
model's to know: nothing here counts them. What is kept here are the slots that were taken without a
lease, by clients that only count, and those of limits with a decay: these come free by time alone.
"""

from collections.abc import Sequence
from datetime import datetime
from math import ceil
from typing import Annotated, Any, Literal, TypeAlias, assert_never

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from eventstore.decider import Decider
from eventstore.events import Event
from orchestration import patches
from orchestration.documents import Extras, extras_field
from orchestration.identifiers import Name
from orchestration.refusals import AlreadyExists, NotFound, Refusal

TAG = "tag:"
"""Names of limits on tags begin like this, those of deployments' own limits like the next one."""
DEPLOYMENT = "deployment:"
OCCUPANCY_SECONDS = 2.0
"""For how long a slot is taken to be held before anybody held one."""
OCCUPANCY_SECONDS_MIN = 0.1
SAMPLES_PER_SLOT = 2
"""The mean occupancy is that of about the last `limit` times so many holders."""

Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Decay: TypeAlias = Annotated[float, Meta(ge=0)]
Mode: TypeAlias = Literal["concurrency", "rate_limit"]


class TooManySlots(Refusal):
    """More slots are asked for than there are, held or not."""


class NoRateLimit(Refusal):
    """A rate is asked to be limited by what does not decay."""


# --- events ---------------------------------------------------------------------------------------


class ConcurrencyLimitCreated(Event, frozen=True, tag="concurrency-limit.created"):
    """A limit came into being, under a name that was free."""

    id: str
    name: str
    limit: int
    at: datetime
    active: bool = True
    slot_decay_per_second: float = 0.0
    taken: int = 0
    """Slots that are taken by nobody in particular."""
    denied_slots: int = 0
    extras: Extras = extras_field()


class ConcurrencyLimitUpdated(Event, frozen=True, tag="concurrency-limit.updated"):
    """The limit is now like this; what is unset was not changed."""

    name: str
    limit: int
    active: bool
    slot_decay_per_second: float
    at: datetime
    taken: int | UnsetType = UNSET
    denied_slots: int | UnsetType = UNSET
    extras: Extras = extras_field()


class ConcurrencyLimitDeleted(Event, frozen=True, tag="concurrency-limit.deleted"):
    """The limit is gone. Leases that held slots of it hold those of their other limits on."""

    name: str
    limit: int = 0
    active: bool = True
    slot_decay_per_second: float = 0.0


class SlotsTaken(Event, frozen=True, tag="concurrency-limit.slots-taken"):
    """Slots were taken without a lease: by a rate limit, or by a client that gives them back."""

    slots: int
    at: datetime


class SlotsGivenBack(Event, frozen=True, tag="concurrency-limit.slots-given-back"):
    """Slots that were taken without a lease are free again."""

    slots: int
    at: datetime
    occupancy_seconds: float | None = None
    """For how long all of them together were held, if the client said so."""


ConcurrencyLimitEvent: TypeAlias = (
    ConcurrencyLimitCreated
    | ConcurrencyLimitUpdated
    | ConcurrencyLimitDeleted
    | SlotsTaken
    | SlotsGivenBack
)

# --- commands -------------------------------------------------------------------------------------


class ConcurrencyLimitCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v2/concurrency_limits/`."""

    name: Name
    limit: Count
    active: bool = True
    active_slots: Count = 0
    denied_slots: Count = 0
    slot_decay_per_second: Decay = 0.0
    extras: Extras = extras_field()


class ConcurrencyLimitUpdate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `PATCH /v2/concurrency_limits/{id_or_name}`; what is unset stays as it is."""

    name: Name | UnsetType | None = UNSET
    limit: Count | UnsetType | None = UNSET
    active: bool | UnsetType | None = UNSET
    active_slots: Count | UnsetType | None = UNSET
    denied_slots: Count | UnsetType | None = UNSET
    slot_decay_per_second: Decay | UnsetType | None = UNSET
    extras: Extras = extras_field()


class CreateConcurrencyLimit(Struct, frozen=True, kw_only=True):
    """Make a limit. That its name is free is the caller's to find out."""

    id: str
    body: ConcurrencyLimitCreate
    now: datetime


class UpdateConcurrencyLimit(Struct, frozen=True, kw_only=True):
    """Change a limit."""

    id: str
    body: ConcurrencyLimitUpdate
    held: int
    """Slots that leases hold: these stay with them whatever `active_slots` says."""
    now: datetime


class TakeSlots(Struct, frozen=True, kw_only=True):
    """Take slots without a lease. That they are free is the caller's to find out."""

    id: str
    slots: int
    now: datetime


class GiveSlotsBack(Struct, frozen=True, kw_only=True):
    """Give back slots that were taken without a lease."""

    id: str
    slots: int
    occupancy_seconds: float | None
    now: datetime


class DeleteConcurrencyLimit(Struct, frozen=True, kw_only=True):
    """Remove a limit."""

    id: str


ConcurrencyLimitCommand: TypeAlias = (
    CreateConcurrencyLimit
    | UpdateConcurrencyLimit
    | TakeSlots
    | GiveSlotsBack
    | DeleteConcurrencyLimit
)

# --- value ----------------------------------------------------------------------------------------


class ConcurrencyLimit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A limit. `created` and `updated` are the projection's to stamp."""

    id: str
    created: datetime | None = None
    updated: datetime | None = None
    active: bool = True
    name: str
    limit: int
    slot_decay_per_second: float = 0.0
    denied_slots: int = 0
    avg_slot_occupancy_seconds: float = OCCUPANCY_SECONDS
    taken: float = 0.0
    """Slots that were taken without a lease, as of `taken_at`; parts of one are still decaying."""
    taken_at: datetime | None = None
    extras: Extras = extras_field()


class Seen(Struct, frozen=True):
    """A limit and how many of its slots leases hold."""

    limit: ConcurrencyLimit
    held: int

    def active_slots(self, now: datetime) -> int:
        """Slots that are not free."""
        return self.held + ceil(taken_slots(self.limit, now))

    def has_free(self, slots: int, now: datetime) -> bool:
        """Whether so many slots can be taken; of a limit that is not active, any number can."""
        limit = self.limit
        return not limit.active or self.active_slots(now) + slots <= limit.limit


def taken_slots(limit: ConcurrencyLimit, now: datetime) -> float:
    """Slots that were taken without a lease and have not come free by time."""
    if not limit.taken or limit.taken_at is None or not limit.slot_decay_per_second:
        return limit.taken
    seconds = max(0.0, (now - limit.taken_at).total_seconds())
    return max(0.0, limit.taken - limit.slot_decay_per_second * seconds)


def check_wanted(limits: Sequence[Seen], slots: int, mode: Mode) -> None:
    """Raises TooManySlots and NoRateLimit, in Prefect's words, if waiting would be in vain."""
    active = [seen.limit for seen in limits if seen.limit.active]
    if any(limit.limit < slots for limit in active):
        raise TooManySlots("Slots requested is greater than the limit")
    steady = [limit.name for limit in active if not limit.slot_decay_per_second]
    if mode == "rate_limit" and steady:
        raise NoRateLimit(
            "Only concurrency limits with slot decay can be used for rate limiting. The following "
            f"limits do not have a decay configured: {','.join(steady)!r}"
        )


def seconds_between_slots(limit: ConcurrencyLimit, longest: float) -> float:
    """How often a slot of a full limit is given back, as far as its holders of late tell.

    Each holds his for `longest` seconds at most: of who holds for hours nothing is learned.
    """
    return min(limit.avg_slot_occupancy_seconds, longest) / max(1, limit.limit)


def seconds_until_decayed(limit: ConcurrencyLimit, slots: int, now: datetime) -> float:
    """When so many slots of a limit with a decay come free, if nobody takes one before."""
    excess = taken_slots(limit, now) + slots - limit.limit
    return max(0.0, excess / limit.slot_decay_per_second)


# --- decide ---------------------------------------------------------------------------------------


def decide(
    command: ConcurrencyLimitCommand, limit: ConcurrencyLimit | None
) -> list[ConcurrencyLimitEvent]:
    """What follows from a command. Raises `AlreadyExists` and `NotFound`."""
    if isinstance(command, CreateConcurrencyLimit):
        if limit is not None:
            raise AlreadyExists("Concurrency limit", command.id)
        body = command.body
        return [
            ConcurrencyLimitCreated(
                id=command.id,
                name=body.name,
                limit=body.limit,
                active=body.active,
                slot_decay_per_second=body.slot_decay_per_second,
                taken=body.active_slots,
                denied_slots=body.denied_slots,
                at=command.now,
                extras=body.extras,
            )
        ]
    if limit is None:
        raise NotFound("Concurrency Limit", command.id)
    match command:
        case UpdateConcurrencyLimit():
            return _changes(limit, command)
        case TakeSlots(slots=slots, now=now):
            return [SlotsTaken(slots=slots, at=now)]
        case GiveSlotsBack(slots=slots, occupancy_seconds=seconds, now=now):
            if not limit.taken and seconds is None:
                return []
            return [SlotsGivenBack(slots=slots, at=now, occupancy_seconds=seconds)]
        case DeleteConcurrencyLimit():
            return [
                ConcurrencyLimitDeleted(
                    name=limit.name,
                    limit=limit.limit,
                    active=limit.active,
                    slot_decay_per_second=limit.slot_decay_per_second,
                )
            ]
        case _:
            assert_never(command)


_PLAIN = ("name", "limit", "active", "slot_decay_per_second")


def _changes(
    limit: ConcurrencyLimit, command: UpdateConcurrencyLimit
) -> list[ConcurrencyLimitEvent]:
    body = command.body
    after: dict[str, Any] = {}
    for name in _PLAIN:
        wanted = getattr(body, name)
        after[name] = getattr(limit, name) if wanted is UNSET or wanted is None else wanted
    changed = any(after[name] != getattr(limit, name) for name in _PLAIN)
    if isinstance(body.active_slots, int):
        after["taken"] = max(0, body.active_slots - command.held)
        changed = changed or after["taken"] != taken_slots(limit, command.now)
    if isinstance(body.denied_slots, int):
        after["denied_slots"] = body.denied_slots
        changed = changed or body.denied_slots != limit.denied_slots
    if not changed and body.extras is UNSET:
        return []
    return [ConcurrencyLimitUpdated(at=command.now, extras=body.extras, **after)]


# --- evolve ---------------------------------------------------------------------------------------


def evolve(limit: ConcurrencyLimit | None, event: ConcurrencyLimitEvent) -> ConcurrencyLimit | None:
    """The limit after the event."""
    match event:
        case ConcurrencyLimitCreated():
            return ConcurrencyLimit(
                id=event.id,
                active=event.active,
                name=event.name,
                limit=event.limit,
                slot_decay_per_second=event.slot_decay_per_second,
                denied_slots=event.denied_slots,
                taken=float(event.taken),
                taken_at=event.at,
                extras=event.extras,
            )
        case ConcurrencyLimitUpdated():
            return limit and _updated(limit, event)
        case SlotsTaken(slots=slots, at=at):
            return limit and taken(limit, slots, at)
        case SlotsGivenBack(slots=slots, at=at, occupancy_seconds=seconds):
            if limit is None:
                return None
            after = taken(limit, -slots, at)
            return after if seconds is None else occupied(after, slots, seconds)
        case ConcurrencyLimitDeleted():
            return None
        case _:
            assert_never(event)


def taken(limit: ConcurrencyLimit, slots: int, at: datetime) -> ConcurrencyLimit:
    """The limit after slots were taken without a lease; fewer than none: given back."""
    return replace(limit, taken=max(0.0, taken_slots(limit, at) + slots), taken_at=at)


def occupied(limit: ConcurrencyLimit, slots: int, seconds: float) -> ConcurrencyLimit:
    """The limit after somebody held so many slots for so long, as far as the mean goes."""
    each = max(seconds / max(1, slots), OCCUPANCY_SECONDS_MIN)
    mean = limit.avg_slot_occupancy_seconds
    samples = max(1, limit.limit) * SAMPLES_PER_SLOT
    return replace(limit, avg_slot_occupancy_seconds=mean + (each - mean) / samples)


def _updated(limit: ConcurrencyLimit, event: ConcurrencyLimitUpdated) -> ConcurrencyLimit:
    # What has decayed until now decayed at the old rate.
    so_far = taken_slots(limit, event.at) if event.taken is UNSET else float(event.taken)
    after = patches.changed(limit, event, _CHANGEABLE)
    return replace(after, taken=so_far, taken_at=event.at)


_CHANGEABLE = ("name", "limit", "active", "slot_decay_per_second", "denied_slots")


decider: Decider[ConcurrencyLimitCommand, ConcurrencyLimit, ConcurrencyLimitEvent] = Decider(
    decide, evolve
)
