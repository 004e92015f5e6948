"""Clean-ups: what a worker is asked to take away, for example what still runs of a cancelled run.

    requested ──delivered──▶ with a worker ──done──▶ gone
        ▲                        │   │
        └── returned, or lapsed ─┘   └── given up: delivered too often, or nobody took it

Each is with one worker at a time, on a lease that the worker renews. A worker shows that it speaks
of its own delivery by a token; the log keeps only what the token comes to.
"""

from datetime import datetime
from typing import Any, Literal, TypeAlias, assert_never

from msgspec import Struct
from msgspec.structs import replace

from eventstore.events import Event

CleanupKind: TypeAlias = Literal["cancelling_timeout_teardown.v1", "pending_claim_teardown.v1"]
TEAR_DOWN: CleanupKind = "cancelling_timeout_teardown.v1"
"""End what runs for a flow run that was being cancelled for too long."""

# --- events ---------------------------------------------------------------------------------------


class CleanupRequested(Event, frozen=True, tag="worker-cleanup.requested"):
    """Something is to be taken away by a worker of this pool."""

    id: str
    work_pool_id: str
    kind: CleanupKind
    target: dict[str, Any]
    work_queue_id: str | None = None
    """Of the run; workers that poll this queue come first."""


class CleanupDelivered(Event, frozen=True, tag="worker-cleanup.delivered"):
    """A worker is being sent it, and has it until then."""

    work_pool_id: str
    consumer_id: str
    """What the worker calls itself while its process lives."""
    token_digest: str
    until: datetime


class CleanupRenewed(Event, frozen=True, tag="worker-cleanup.renewed"):
    """The worker is still at it."""

    until: datetime


class CleanupReturned(Event, frozen=True, tag="worker-cleanup.returned"):
    """The worker could not do it; the next one may try."""

    work_pool_id: str
    reason: str


class CleanupLapsed(Event, frozen=True, tag="worker-cleanup.lapsed"):
    """The worker's time is up; the next one may try."""

    work_pool_id: str


class CleanupDone(Event, frozen=True, tag="worker-cleanup.done"):
    """The worker has done it."""


class CleanupGivenUp(Event, frozen=True, tag="worker-cleanup.given-up"):
    """Nobody will do it any more."""

    reason: str


CleanupEvent: TypeAlias = (
    CleanupRequested
    | CleanupDelivered
    | CleanupRenewed
    | CleanupReturned
    | CleanupLapsed
    | CleanupDone
    | CleanupGivenUp
)

# --- value ----------------------------------------------------------------------------------------


class Cleanup(Struct, frozen=True, kw_only=True):
    """One that is still to be done."""

    id: str
    work_pool_id: str
    work_queue_id: str | None
    kind: CleanupKind
    target: dict[str, Any]
    since: datetime
    free_at: datetime
    """From when on a worker may get it; while one has it, the end of its lease."""
    deliveries: int = 0
    consumer_id: str | None = None
    """The worker that has it, or that had it last without giving it back."""
    token_digest: str | None = None


# --- decide ---------------------------------------------------------------------------------------

TOO_OFTEN = "max_delivery_attempts_reached"
NOBODY = "no_worker_took_it"
"""Why a clean-up is given up."""


class Answer(Struct, frozen=True):
    """What a worker is told of what it did with its delivery."""

    status: Literal[
        "accepted",
        "not_current",
        "not_found",
        "expired",
        "invalid_token",
        "unauthorized",
        "dead_lettered",
    ]
    reason: str | None = None
    until: datetime | None = None
    """When a lease that was renewed ends."""


def judge(
    cleanup: Cleanup | None, work_pool_id: str, token_digest: str, now: datetime, most: int
) -> tuple[Answer | None, list[CleanupEvent]]:
    """Whether a worker of a pool may speak of a clean-up: None if so; else what it is told, and
    what follows from its time being up. `most`: how often it is delivered."""
    if cleanup is None:
        return Answer("not_found", "message_not_found"), []
    if cleanup.work_pool_id != work_pool_id:
        return Answer("unauthorized", "work_pool_mismatch"), []
    if cleanup.consumer_id is None:
        return Answer("not_current", "no_active_reservation"), []
    if cleanup.token_digest != token_digest:
        return Answer("invalid_token", "reservation_token_mismatch"), []
    if cleanup.free_at > now:
        return None, []
    events = lapse(cleanup, most)
    if isinstance(events[0], CleanupGivenUp):
        return Answer("dead_lettered", TOO_OFTEN), events
    return Answer("expired", "lease_expired"), events


def lapse(cleanup: Cleanup, most: int) -> list[CleanupEvent]:
    """What follows when the worker's time is up."""
    if cleanup.deliveries >= most:
        return [CleanupGivenUp(reason=TOO_OFTEN)]
    return [CleanupLapsed(work_pool_id=cleanup.work_pool_id)]


def give_back(cleanup: Cleanup, reason: str, most: int) -> list[CleanupEvent]:
    """What follows when the worker cannot do it."""
    if cleanup.deliveries >= most:
        return [CleanupGivenUp(reason=TOO_OFTEN)]
    return [CleanupReturned(work_pool_id=cleanup.work_pool_id, reason=reason)]


# --- evolve ---------------------------------------------------------------------------------------


def evolve(cleanup: Cleanup | None, event: CleanupEvent, recorded_at: datetime) -> Cleanup | None:
    """The clean-up after the event; None if it is not to be done any more."""
    match event:
        case CleanupRequested():
            return Cleanup(
                id=event.id,
                work_pool_id=event.work_pool_id,
                work_queue_id=event.work_queue_id,
                kind=event.kind,
                target=event.target,
                since=recorded_at,
                free_at=recorded_at,
            )
        case CleanupDelivered():
            return cleanup and replace(
                cleanup,
                free_at=event.until,
                deliveries=cleanup.deliveries + 1,
                consumer_id=event.consumer_id,
                token_digest=event.token_digest,
            )
        case CleanupRenewed(until=until):
            return cleanup and replace(cleanup, free_at=until)
        case CleanupReturned() | CleanupLapsed():
            return cleanup and replace(
                cleanup, free_at=recorded_at, consumer_id=None, token_digest=None
            )
        case CleanupDone() | CleanupGivenUp():
            return None
        case _:
            assert_never(event)
