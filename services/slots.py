"""Taking slots of concurrency limits and giving them back.

Slots are taken under the log's lock, where every slot that is held is seen: so no limit is ever
over-allocated. They are given back without a contest, for a lease ends once: its stream is at
version 1 for as long as it lasts. A lease that is renewed writes no event but one cell, which says
when it expires; whether it has expired is decided under the lock as well, so no renewal that was
acknowledged comes too late.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from eventstore.codec import to_microseconds
from eventstore.database import Dialect, Reader, Transaction
from eventstore.events import Event, NewEvents
from eventstore.ids import new_id
from eventstore.log import Decision, Effect
from orchestration import concurrency_leases as leases
from orchestration import concurrency_limits as limits
from orchestration.concurrency_leases import (
    AcquireLease,
    ConcurrencyLease,
    EndLease,
    Holder,
    Share,
)
from orchestration.concurrency_limits import (
    ConcurrencyLimit,
    GiveSlotsBack,
    Mode,
    TakeSlots,
    check_wanted,
)
from projections import concurrency_limits as read
from projections.concurrency_limits import LEASES, RENEWALS
from services.shell import Clock, Decided, Origin, Shell, appended, fresh_ids

LIMIT, LEASE = "concurrency-limit", "concurrency-lease"
NAMES_MAX = 500
"""Limits of which slots can be taken at a time."""
_HELD = 1
"""The version of a lease's stream for as long as the lease lasts."""


class Terms(Struct, frozen=True):
    """How slots are to be leased."""

    lasts: timedelta | None
    """Unless it is renewed; None: it does not expire."""
    holder: Holder | None = None


class Taken(Struct, frozen=True):
    """Slots that were taken, of those of the limits that are active."""

    limits: Sequence[ConcurrencyLimit]
    lease_id: str | None = None
    """None: without a lease, or of no limit at all."""
    position: int | None = None


class Full(Struct, frozen=True):
    """There are not as many free slots as were asked for of any of these limits."""

    limits: Sequence[ConcurrencyLimit]


def contention(limit_ids: Iterable[str]) -> tuple[str, ...]:
    """Commands that take slots of one of these limits, or change it, never share a batch."""
    return tuple(f"{LIMIT}:{id_}" for id_ in limit_ids)


def of_limit(id_: str, events: Sequence[Event]) -> NewEvents:
    """Events for the stream of a limit that was read under the lock."""
    return appended(LIMIT, id_, events)


async def take(
    shell: Shell,
    names: Sequence[str],
    slots: int,
    mode: Mode,
    terms: Terms | None,
    clock: Clock,
    origin: Origin,
) -> Taken | Full:
    """Take so many slots of each of the limits with these names, or of none of them.

    Names without a limit are free, and of limits that are not active nothing is taken. Without
    `terms` nobody holds the slots: they are given back by number, or decay. Raises TooManySlots
    and NoRateLimit.
    """
    database = shell.store.database
    dialect = database.dialect
    found = await read.by_names(database, dialect, names)
    check_wanted(found, slots, mode)
    active = [seen for seen in found if seen.limit.active]
    if not active:
        return Taken([seen.limit for seen in found])
    now = clock()
    full = [seen.limit for seen in active if not seen.has_free(slots, now)]
    if full:
        return Full(full)  # To say no, nobody has to wait for the lock.
    lease_id = None if terms is None else new_id()
    refused: Full | None = None

    async def decide_under_lock(tx: Transaction) -> Decision:
        nonlocal refused
        now = clock()
        free = await free_slots(tx, dialect, [seen.limit.id for seen in active], slots, now)
        refused = free if isinstance(free, Full) else None
        if isinstance(free, Full):
            return Decision()
        if terms is None or lease_id is None:
            return Decision(
                appends=[
                    of_limit(
                        limit.id,
                        limits.decide(TakeSlots(id=limit.id, slots=slots, now=now), limit),
                    )
                    for limit in free
                ]
            )
        return Decision(appends=(acquired(lease_id, free, slots, terms, now),))

    names_of_locks = contention(seen.limit.id for seen in active)
    written = await shell.execute_serially(names_of_locks, decide_under_lock, origin)
    return refused or Taken([seen.limit for seen in found], lease_id, written.position)


async def free_slots(
    reader: Reader, dialect: Dialect, limit_ids: Sequence[str], slots: int, now: datetime
) -> list[ConcurrencyLimit] | Full:
    """Those of the limits of which slots have to be taken, or those that have not as many free.

    To be asked under the lock, by a command that shares `contention` of these limits.
    """
    found = await read.by_ids(reader, dialect, limit_ids)
    full = [seen.limit for seen in found if not seen.has_free(slots, now)]
    if full:
        return Full(full)
    return [seen.limit for seen in found if seen.limit.active]


def acquired(
    lease_id: str,
    active: Sequence[ConcurrencyLimit],
    slots: int,
    terms: Terms,
    now: datetime,
) -> NewEvents:
    """The beginning of a lease."""
    command = AcquireLease(
        id=lease_id,
        slots=slots,
        limits=[Share(limit.id, limit.name, limit.slot_decay_per_second > 0) for limit in active],
        holder=terms.holder,
        until=None if terms.lasts is None else now + terms.lasts,
        now=now,
    )
    events = leases.decide(command, None)
    return NewEvents(f"{LEASE}:{lease_id}", 0, events, fresh_ids(events))


async def give_back(
    shell: Shell,
    names: Sequence[str],
    slots: int,
    occupancy_seconds: float | None,
    clock: Clock,
    origin: Origin,
) -> list[ConcurrencyLimit]:
    """Give back slots that were taken without a lease, of all active limits with these names."""
    database = shell.store.database
    dialect = database.dialect
    found = await read.by_names(database, dialect, names)
    ids = [seen.limit.id for seen in found if seen.limit.active]
    if ids:

        async def decide_under_lock(tx: Transaction) -> Decision:
            now = clock()
            appends = []
            for seen in await read.by_ids(tx, dialect, ids):
                command = GiveSlotsBack(
                    id=seen.limit.id, slots=slots, occupancy_seconds=occupancy_seconds, now=now
                )
                events = limits.decide(command, seen.limit)
                if events:
                    appends.append(of_limit(seen.limit.id, events))
            return Decision(appends=appends)

        await shell.execute_serially(contention(ids), decide_under_lock, origin)
    return [seen.limit for seen in found]


def ended(lease: ConcurrencyLease, *, expired: bool = False) -> NewEvents:
    """The end of a lease. Conflicts if it has ended meanwhile."""
    events = leases.decide(EndLease(id=lease.id, expired=expired), lease)
    return NewEvents(f"{LEASE}:{lease.id}", _HELD, events, fresh_ids(events))


def forgotten(lease_id: str) -> Effect:
    """To go with the end of a lease: nobody asks any more when it expires."""

    async def forget(tx: Transaction) -> None:
        await tx.delete(RENEWALS, [(lease_id,)])

    return forget


async def release(shell: Shell, lease_id: str, origin: Origin) -> None:
    """End a lease; there need not be one any more."""

    async def decide_end(lease: ConcurrencyLease | None) -> Decided[None]:
        events = leases.decide(EndLease(id=lease_id), lease)
        return Decided(events, None, effects=(forgotten(lease_id),) if events else ())

    await shell.execute(LEASES, LEASE, lease_id, decide_end, origin)


async def renew(
    shell: Shell, lease_id: str, lasts: timedelta, clock: Clock, origin: Origin
) -> bool:
    """Let a lease last for so long from now; False if it has ended.

    One whose time has come is renewed as well, as long as nobody has ended it for that.
    """
    renewed = False

    async def decide_under_lock(tx: Transaction) -> Decision:
        nonlocal renewed
        renewed = await read.lease(tx, lease_id) is not None
        return Decision(effects=(renewal(lease_id, clock() + lasts),) if renewed else ())

    await shell.execute_serially(f"{LEASE}:{lease_id}", decide_under_lock, origin)
    return renewed


def renewal(lease_id: str, until: datetime | None) -> Effect:
    """To go with a decision under the lock that saw the lease: it lasts until then (None: it does
    not expire)."""

    async def write(tx: Transaction) -> None:
        at = None if until is None else to_microseconds(until)
        await tx.upsert(RENEWALS, [(lease_id, at)])

    return write


async def expire(shell: Shell, lease_id: str, clock: Clock, origin: Origin) -> int | None:
    """End a lease that nobody renewed in time; if somebody did, when it expires in microseconds."""
    until: int | None = None

    async def decide_under_lock(tx: Transaction) -> Decision:
        nonlocal until
        until = None
        lease = await read.lease(tx, lease_id)
        if lease is None:
            return Decision()
        until = await read.expires(tx, lease)
        if until is None or until > to_microseconds(clock()):
            return Decision()
        until = None
        return Decision(appends=(ended(lease, expired=True),), effects=(forgotten(lease_id),))

    await shell.execute_serially(f"{LEASE}:{lease_id}", decide_under_lock, origin)
    return until
