"""Slots of limits on tags, for task runs whose states the server decides on.

A run that may begin has its slots from the moment that it is running: both are one commit. They are
let go in the commit that ends it. No lease of its own expires: whoever it was that asked cannot
renew it.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from eventstore.database import Dialect, Reader, Transaction
from eventstore.events import NewEvents
from eventstore.ids import new_id
from orchestration.concurrency_leases import ConcurrencyLease, Holder
from orchestration.concurrency_limits import TAG, Seen
from orchestration.states import RUNNING, State, StateType
from orchestration.task_rules import CORE, holds_slots, jittered_seconds
from orchestration.task_runs import TaskRun
from orchestration.transition import OrchestrationResult, Policy, TagSlots
from projections import concurrency_limits as read
from services import slots
from services.shell import Decided, Locked
from services.slots import Terms
from services.tag_limits import names_of, tag_of

JITTER = 0.3
"""By how much a run may be told to wait longer than the mean."""


class Wanted(Struct, frozen=True):
    """The limits on a task run's tags, of which it needs slots to begin."""

    limits: Sequence[Seen]

    def facts(self, free: bool, longest_seconds: float, chance: float) -> TagSlots:
        """What the rules are told. `chance` is a random number in [0, 1)."""
        fullest = max(self.limits, key=lambda seen: seen.held / max(1, seen.limit.limit))
        mean = min(fullest.limit.avg_slot_occupancy_seconds, longest_seconds)
        wait = jittered_seconds(mean, JITTER, chance) if mean > 0 else 0.0
        return TagSlots(
            tags=tuple(tag_of(seen.limit) for seen in self.limits),
            none_at_all=next(
                (tag_of(seen.limit) for seen in self.limits if not seen.limit.limit), None
            ),
            free=free,
            wait_seconds=round(wait),
        )

    def are_free(self, now: datetime) -> bool:
        """Whether there was a slot of each limit when they were read."""
        return all(seen.has_free(1, now) for seen in self.limits)


async def wanted(
    reader: Reader, dialect: Dialect, run: TaskRun, rules: Policy, state: State
) -> Wanted | None:
    """What the run has to take to be in this state by these rules; None: nothing, or it has it."""
    if rules is not CORE or state.type != RUNNING or not run.tags:
        return None
    found = await read.by_names(reader, dialect, names_of(run.tags))
    limits = [seen for seen in found if seen.limit.active]
    if not limits:
        return None
    held = {share.id for lease in await of_run(reader, run.id) for share in lease.limits}
    missing = [seen for seen in limits if seen.limit.id not in held]
    return Wanted(missing) if missing else None


async def of_run(reader: Reader, id_: str) -> list[ConcurrencyLease]:
    """The leases that a task run has of limits on tags."""
    return [
        lease
        for lease in await read.leases_of_holder(reader, id_)
        if any(share.name.startswith(TAG) for share in lease.limits)
    ]


def taking(
    needed: Wanted,
    id_: str,
    granted: Decided[OrchestrationResult],
    denied: Decided[OrchestrationResult],
    dialect: Dialect,
    now: datetime,
) -> Decided[OrchestrationResult]:
    """One of two decisions about a task run: `granted`, with the slots, if under the lock they are
    free, `denied` if they are not."""
    ids = [seen.limit.id for seen in needed.limits]
    terms = Terms(None, Holder("task_run", id_))

    async def choose(tx: Transaction) -> Decided[OrchestrationResult]:
        free = await slots.free_slots(tx, dialect, ids, 1, now)
        if isinstance(free, slots.Full):
            return denied
        lease = (slots.acquired(new_id(), free, 1, terms, now),) if free else ()
        return Decided(granted.events, granted.answer, granted.event_ids, (*granted.more, *lease))

    return Decided((), denied.answer, locked=Locked(slots.contention(ids), choose))


async def let_go(reader: Reader, run: TaskRun, kind: StateType) -> list[NewEvents]:
    """What is recorded together with a task run's new state, if it then holds slots no more."""
    if holds_slots(kind) or not run.tags:
        return []
    return await freed_by(reader, run.id)


async def freed_by(reader: Reader, id_: str) -> list[NewEvents]:
    """What is recorded together with the deletion of a task run."""
    return [slots.ended(lease) for lease in await of_run(reader, id_)]
