"""Clean-ups by workers: who gets which, and what becomes of it, is decided under the log's lock."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Literal, TypeAlias

from msgspec import Struct

from eventstore.codec import to_microseconds
from eventstore.database import Reader, Transaction
from eventstore.events import NewEvents
from eventstore.log import Decision
from orchestration import worker_cleanups
from orchestration.flow_runs import FlowRun
from orchestration.worker_cleanups import (
    TEAR_DOWN,
    TOO_OFTEN,
    Answer,
    Cleanup,
    CleanupDelivered,
    CleanupDone,
    CleanupEvent,
    CleanupGivenUp,
    CleanupKind,
    CleanupRenewed,
    CleanupRequested,
)
from projections import work_pools, work_queues
from projections import worker_cleanups as rows
from services.shell import Clock, Origin, Shell, appended, natural_id

CATEGORY = "worker-cleanup"
TOKEN_BYTES = 32
WITHOUT_WORKERS = (":push", ":managed")
"""How the types of pools end whose runs no worker starts."""

Operation: TypeAlias = Literal["ack", "release", "renew"]


class Terms(Struct, frozen=True):
    """On what terms clean-ups are delivered."""

    lease: timedelta
    """How long a worker has one before it has to renew."""
    deliveries_max: int


class Taker(Struct, frozen=True, kw_only=True):
    """A worker that does clean-ups."""

    pool_id: str
    consumer_id: str
    kinds: Sequence[CleanupKind]
    queue_ids: Sequence[str]
    """The queues that it polls: theirs come first."""
    at_once: int


class Delivery(Struct, frozen=True):
    """A clean-up on its way to a worker."""

    cleanup: Cleanup
    token: str
    """By which the worker shows that it speaks of this delivery."""


def contention(pool_id: str) -> str:
    """Clean-ups of a pool are decided upon one after the other."""
    return f"{CATEGORY}s:{pool_id}"


def of_cleanup(id_: str, events: Sequence[CleanupEvent]) -> NewEvents:
    """Events of a clean-up that was read under the lock."""
    return appended(CATEGORY, id_, events)


async def tear_down(reader: Reader, run: FlowRun, state_id: str) -> list[NewEvents]:
    """What is recorded together with the state of this id, in which a run is over although
    something may still run for it: that its pool's workers end it. Nothing without workers."""
    if run.work_queue_id is None:
        return []
    queue = await work_queues.by_id(reader, run.work_queue_id)
    pool = None if queue is None else await work_pools.by_id(reader, queue.work_pool_id)
    if pool is None or pool.type.endswith(WITHOUT_WORKERS):
        return []
    id_ = natural_id(CATEGORY, TEAR_DOWN, run.id, state_id)
    requested = CleanupRequested(
        id=id_,
        work_pool_id=pool.id,
        work_queue_id=run.work_queue_id,
        kind=TEAR_DOWN,
        target={"flow_run_id": run.id, "infrastructure_pid": run.infrastructure_pid},
    )
    return [of_cleanup(id_, (requested,))]


async def deliver(
    shell: Shell, terms: Terms, taker: Taker, clock: Clock, origin: Origin
) -> Delivery | None:
    """Give a worker the clean-up that it gets next; None if there is none, or it has enough."""
    database = shell.store.database

    async def next_free(reader: Reader) -> str | None:
        now = to_microseconds(clock())
        if await rows.held(reader, taker.pool_id, taker.consumer_id, now) >= taker.at_once:
            return None
        return await rows.next_free(
            reader, database.dialect, taker.pool_id, taker.kinds, taker.queue_ids, now
        )

    token = secrets.token_urlsafe(TOKEN_BYTES)
    found: list[Cleanup] = []

    async def decide(tx: Transaction) -> Decision:
        found.clear()
        id_ = await next_free(tx)
        cleanup = None if id_ is None else await rows.by_id(tx, id_)
        if cleanup is None:
            return Decision()
        if cleanup.deliveries >= terms.deliveries_max:
            return Decision(appends=(of_cleanup(cleanup.id, (CleanupGivenUp(reason=TOO_OFTEN),)),))
        delivered = CleanupDelivered(
            work_pool_id=taker.pool_id,
            consumer_id=taker.consumer_id,
            token_digest=_digest(token),
            until=clock() + terms.lease,
        )
        after = worker_cleanups.evolve(cleanup, delivered, delivered.until)
        assert after is not None
        found.append(after)
        return Decision(appends=(of_cleanup(cleanup.id, (delivered,)),))

    while await next_free(database) is not None:  # Nearly never, and found out without the lock.
        written = await shell.execute_serially(contention(taker.pool_id), decide, origin)
        if found:
            return Delivery(found[0], token)
        if not written.recorded:
            return None  # Somebody else was quicker.
    return None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def settle(
    shell: Shell,
    terms: Terms,
    pool_id: str,
    id_: str,
    token: str,
    operation: Operation,
    clock: Clock,
    origin: Origin,
    reason: str = "",
) -> Answer:
    """A worker has done a clean-up, gives it back for a reason, or is still at it."""
    answers: list[Answer] = []

    async def decide(tx: Transaction) -> Decision:
        answers.clear()
        cleanup, now = await rows.by_id(tx, id_), clock()
        most = terms.deliveries_max
        answer, events = worker_cleanups.judge(cleanup, pool_id, _digest(token), now, most)
        if answer is None and cleanup is not None:
            answer = Answer("accepted")
            match operation:
                case "ack":
                    events = [CleanupDone()]
                case "renew":
                    until = now + terms.lease
                    answer, events = Answer("accepted", until=until), [CleanupRenewed(until=until)]
                case "release":
                    events = worker_cleanups.give_back(cleanup, reason, most)
                    if isinstance(events[0], CleanupGivenUp):
                        answer = Answer("dead_lettered", TOO_OFTEN)
        assert answer is not None
        answers.append(answer)
        return Decision(appends=(of_cleanup(id_, events),)) if events else Decision()

    await shell.execute_serially(contention(pool_id), decide, origin)
    return answers[0]
