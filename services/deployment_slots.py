"""Slots of deployments' concurrency limits, for flow runs: see `orchestration/flow_slot_rules.py`.

A slot is taken, and a lease renewed, in the commit that gives the run its new state, and under the
lock. It is let go in the commit of the state that does not hold it any more.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from eventstore.database import Dialect, Reader, Transaction
from eventstore.events import NewEvents
from orchestration.concurrency_leases import ConcurrencyLease, Holder
from orchestration.concurrency_limits import Seen
from orchestration.flow_rules import CORE, MARK_LATE
from orchestration.flow_runs import FlowRun, FlowRunStateSet
from orchestration.flow_slot_rules import holds_slot, lease_of
from orchestration.states import (
    CANCELLING,
    LATE,
    PAUSED,
    PENDING,
    RUNNING,
    SCHEDULED,
    TERMINAL,
    State,
)
from orchestration.transition import DeploymentSlot, OrchestrationResult, Policy
from projections import concurrency_limits as read
from services import slots
from services.shell import Decided, Locked
from services.slots import Terms

CLIENT_SECONDS = 300.0
"""Every so often, or a bit earlier, a process that runs a flow renews its lease, whatever it was
told: it must not expire before."""

Answered = Decided[OrchestrationResult]
Outlook = Literal["held", "free", "full"]
"""What the lock may show: the run's lease lasts, a slot is free, neither of both."""


class SlotTerms(Struct, frozen=True, kw_only=True):
    """How slots of deployments are given out, as far as the deployment does not say."""

    lasts_seconds: float = 300.0
    """For how long a slot is held that nobody renews."""
    wait_seconds: float = 30.0
    """After how long a run is tried again that found none."""
    renewed: bool = True
    """Whether the client that asks knows how to renew a lease; one that does not holds its slot
    until the run ends."""


STANDARD = SlotTerms()


class Needed(Struct, frozen=True):
    """What a run needs to take on a state, and what stands in the way."""

    gone: bool = False
    """The deployment does not exist any more."""
    seen: Seen | None = None
    """The deployment's limit."""
    cancel_new: bool = False
    lease: ConcurrencyLease | None = None
    """That the run has already."""
    lasts: timedelta = timedelta()
    wait_seconds: float = 0.0

    def facts(self, outlook: Outlook, lease_id: str) -> DeploymentSlot | None:
        """What the rules are told."""
        if self.seen is None:
            return None
        return DeploymentSlot(
            limit=self.seen.limit.limit,
            free=outlook == "free",
            held=outlook == "held",
            lease_id=lease_id,
            cancel_new=self.cancel_new,
            wait_seconds=self.wait_seconds,
        )


async def needed(
    reader: Reader, run: FlowRun, rules: Policy, state: State, terms: SlotTerms
) -> Needed | None:
    """What the run needs to take on this state by these rules; None: nothing."""
    if run.deployment_id is None or not _asks(run, rules, state):
        return None
    limited = await read.of_deployment(reader, run.deployment_id)
    if limited is None:
        return Needed(gone=state.type == PENDING)
    limit_id, options = limited
    seen = None if limit_id is None else await read.by_id(reader, limit_id)
    if seen is None or not seen.limit.active:
        return None
    lasts = terms.lasts_seconds
    if options is not None and options.grace_period_seconds is not None:
        lasts = options.grace_period_seconds
    return Needed(
        seen=seen,
        cancel_new=options is not None and options.collision_strategy == "CANCEL_NEW",
        lease=await _own(reader, run),
        lasts=timedelta(seconds=lasts),
        wait_seconds=terms.wait_seconds,
    )


def _asks(run: FlowRun, rules: Policy, state: State) -> bool:
    """Whether the rules will ask about a slot."""
    kind = None if run.state is None else run.state.type
    if rules is MARK_LATE:
        return state.name == LATE and kind == SCHEDULED
    if rules is not CORE:
        return False
    if state.type == PENDING:
        return kind not in (PENDING, RUNNING, CANCELLING)
    if state.type == RUNNING and run.state is not None and kind in (PENDING, SCHEDULED, PAUSED):
        return lease_of(run.state) is not None
    return False


async def _own(reader: Reader, run: FlowRun) -> ConcurrencyLease | None:
    """The lease that the run's state names, if it lasts and is the run's."""
    named = None if run.state is None else lease_of(run.state)
    lease = None if named is None else await read.lease(reader, named)
    return lease if lease is not None and lease.holder == Holder("flow_run", run.id) else None


def choosing(
    wanted: Needed,
    run: FlowRun,
    lease_id: str,
    decided: Mapping[Outlook, Answered],
    takes: bool,
    terms: SlotTerms,
    dialect: Dialect,
    now: datetime,
) -> Answered:
    """One of the decisions about a run, by what the lock shows.

    `takes` says whether the decision for a free slot takes it, under `lease_id`.
    """
    assert wanted.seen is not None
    limit_id, held = wanted.seen.limit.id, wanted.lease
    begins = any(
        isinstance(event, FlowRunStateSet) and event.state.type == RUNNING
        for event in decided["free"].events
    )
    lasts = max(wanted.lasts, timedelta(seconds=CLIENT_SECONDS)) if begins else wanted.lasts
    if begins and not terms.renewed:
        until, lease_terms = None, Terms(None, Holder("flow_run", run.id))
    else:
        until, lease_terms = now + lasts, Terms(lasts, Holder("flow_run", run.id))

    async def choose(tx: Transaction) -> Answered:
        if held is not None and await read.lease(tx, held.id) is not None:
            kept = decided["held"]
            if not kept.events:
                return kept
            renewal = slots.renewal(held.id, until)
            return Decided(
                kept.events, kept.answer, kept.event_ids, kept.more, (*kept.effects, renewal)
            )
        free = await slots.free_slots(tx, dialect, [limit_id], 1, now)
        if isinstance(free, slots.Full) or not free:
            return decided["full"]
        taken = decided["free"]
        if not takes:
            return taken
        lease = slots.acquired(lease_id, free, 1, lease_terms, now)
        return Decided(
            taken.events, taken.answer, taken.event_ids, (*taken.more, lease), taken.effects
        )

    return Decided((), decided["full"].answer, locked=Locked(slots.contention((limit_id,)), choose))


async def let_go(reader: Reader, run: FlowRun, state: State) -> list[ConcurrencyLease]:
    """The leases that end with the run's new state.

    Where it ends the run, those of its task runs as well that nobody can renew.
    """
    own = await _own(reader, run)
    ends = [] if own is None or (holds_slot(state) and lease_of(state) == own.id) else [own]
    if state.type in TERMINAL:
        ends += await read.leases_for_ever(reader, run.id)
    return ends


async def freed_by(reader: Reader, run: FlowRun) -> list[NewEvents]:
    """What is recorded together with the deletion of a run: what it and its task runs hold."""
    own = await _own(reader, run)
    leases = await read.leases_of_tasks(reader, run.id)
    return [slots.ended(lease) for lease in ([own] if own else []) + leases]
