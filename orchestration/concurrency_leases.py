"""Leases: who holds slots of concurrency limits, and until when unless it is renewed.

A lease is one stream of two events: it was acquired, and it was released or it expired. So nothing
about it can be recorded twice, and no stream grows however often slots change hands. Renewals are
no events (`services/slots.py`).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypeAlias, assert_never

from msgspec import Struct

from eventstore.decider import Decider
from eventstore.events import Event
from orchestration.identifiers import Id, tidy
from orchestration.refusals import AlreadyExists

HolderType: TypeAlias = Literal["flow_run", "task_run", "deployment"]


class Holder(Struct, frozen=True):
    """The run, or the deployment, that slots are held for."""

    type: HolderType
    id: Id

    def __post_init__(self) -> None:
        tidy(self, ids=("id",))


class Share(Struct, frozen=True, omit_defaults=True):
    """A limit of which a lease holds slots."""

    id: str
    name: str
    decays: bool = False
    """Its slots come free by time: the lease's count among those taken without one."""


# --- events ---------------------------------------------------------------------------------------


class LeaseAcquired(Event, frozen=True, tag="concurrency-lease.acquired"):
    """Slots that were free are held from now on, so many of each limit."""

    id: str
    slots: int
    limits: tuple[Share, ...]
    at: datetime
    holder: Holder | None = None
    until: datetime | None = None
    """When it expires if it is not renewed; None: never."""


class LeaseReleased(Event, frozen=True, tag="concurrency-lease.released"):
    """Its holder let the slots go, or ended."""

    slots: int
    limits: tuple[Share, ...]
    holder: Holder | None = None


class LeaseExpired(LeaseReleased, frozen=True, tag="concurrency-lease.expired"):
    """Nobody renewed it in time: its slots are free."""


ConcurrencyLeaseEvent: TypeAlias = LeaseAcquired | LeaseReleased | LeaseExpired

# --- commands -------------------------------------------------------------------------------------


class AcquireLease(Struct, frozen=True, kw_only=True):
    """Hold slots. That they are free is the caller's to find out."""

    id: str
    slots: int
    limits: Sequence[Share]
    holder: Holder | None = None
    until: datetime | None = None
    now: datetime


class EndLease(Struct, frozen=True, kw_only=True):
    """Let the slots go; nothing follows if they are not held any more."""

    id: str
    expired: bool = False


ConcurrencyLeaseCommand: TypeAlias = AcquireLease | EndLease

# --- value ----------------------------------------------------------------------------------------


class ConcurrencyLease(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A lease while it lasts. `created` and `updated` are the projection's to stamp."""

    id: str
    created: datetime | None = None
    updated: datetime | None = None
    slots: int
    limits: tuple[Share, ...]
    holder: Holder | None = None
    since: datetime
    until: datetime | None = None
    """As of its acquisition: see `services/slots.py`."""


# --- decide ---------------------------------------------------------------------------------------


def decide(
    command: ConcurrencyLeaseCommand, lease: ConcurrencyLease | None
) -> list[ConcurrencyLeaseEvent]:
    """What follows from a command. Raises `AlreadyExists`."""
    match command:
        case AcquireLease():
            if lease is not None:
                raise AlreadyExists("Lease", command.id)
            return [
                LeaseAcquired(
                    id=command.id,
                    slots=command.slots,
                    limits=tuple(command.limits),
                    holder=command.holder,
                    until=command.until,
                    at=command.now,
                )
            ]
        case EndLease(expired=expired):
            if lease is None:
                return []
            kind = LeaseExpired if expired else LeaseReleased
            return [kind(slots=lease.slots, limits=lease.limits, holder=lease.holder)]
        case _:
            assert_never(command)


# --- evolve ---------------------------------------------------------------------------------------


def evolve(lease: ConcurrencyLease | None, event: ConcurrencyLeaseEvent) -> ConcurrencyLease | None:
    """The lease after the event; None once it has ended."""
    match event:
        case LeaseAcquired():
            return ConcurrencyLease(
                id=event.id,
                slots=event.slots,
                limits=event.limits,
                holder=event.holder,
                since=event.at,
                until=event.until,
            )
        case LeaseReleased():
            return None
        case _:
            assert_never(event)


decider: Decider[ConcurrencyLeaseCommand, ConcurrencyLease, ConcurrencyLeaseEvent] = Decider(
    decide, evolve
)
