"""A wish to change a run's state, the rules that judge it, and what they say.

A policy is an ordered tuple of rules. A rule is a pure function of the transition and of the facts
that the shell gathered; it answers with a verdict. A rule may also change the proposal (or the
run) and let the next ones go on with that.

Which rules apply is settled by the types of the current and the *first* proposed state. Once a
rule has put a state of another type in place of the proposal, the remaining rules have nothing to
say about it, and what earlier rules did to the run for the sake of the old proposal is undone.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from msgspec import Struct

from orchestration.states import STATE_TYPES, State, StateType

R = TypeVar("R")

SetStateStatus: TypeAlias = Literal["ACCEPT", "REJECT", "ABORT", "WAIT"]


class Transition(Struct, Generic[R], frozen=True):
    """From the state a run is in to the one that is proposed."""

    current: State | None
    proposed: State
    run: R
    """The run as it is, with what earlier rules changed."""


class Facts(Struct, frozen=True, kw_only=True):
    """What every rule may know from outside the run's stream."""

    now: datetime


class DeploymentSlot(Struct, frozen=True, kw_only=True):
    """What a flow run has to know about the concurrency limit of its deployment."""

    limit: int
    """Slots that there are; runs of a deployment without a limit have no such facts."""
    free: bool
    """Whether one of them can be taken now."""
    held: bool
    """Whether the lease that the run's state names still lasts."""
    lease_id: str
    """A freshly minted id, for a slot that is taken."""
    cancel_new: bool
    """Runs that find none free are cancelled; otherwise they wait."""
    wait_seconds: float
    """For how long they wait before they are tried again."""


class FlowFacts(Facts, frozen=True, kw_only=True):
    """What the rules for flow runs may know."""

    pause_key: str
    """A freshly minted id, in case a pause has no key of its own."""
    slot: DeploymentSlot | None = None
    """None if nothing limits the deployment, or the rules will not ask."""
    deployment_gone: bool = False
    """Whether the run's deployment does not exist any more; said if a slot would be taken."""


class EnclosingFlowRun(Struct, frozen=True, kw_only=True):
    """What a task run's rules have to know about the flow run around it."""

    id: str
    run_count: int = 0
    state_type: StateType | None = None
    pause_timeout: datetime | None = None
    pause_reschedule: bool = False


class TagSlots(Struct, frozen=True, kw_only=True):
    """What a task run has to know about the concurrency limits on its tags."""

    tags: tuple[str, ...]
    """Those of its tags that are limited."""
    none_at_all: str | None
    """The tag whose limit is 0, if there is one."""
    free: bool
    """Whether a slot of each limit can be taken now."""
    wait_seconds: int
    """For how long a run that finds none free had better wait."""


class TaskFacts(Facts, frozen=True, kw_only=True):
    """What the rules for task runs may know."""

    flow_run: EnclosingFlowRun | None = None
    """None if the task run has no flow run, or the flow run is gone."""
    cached: State | None = None
    """The newest unexpired state recorded under the proposal's cache key, if any."""
    chance: float = 0.5
    """A random number in [0, 1): where in the allowed range a jittered delay lies."""
    cache_key_characters_max: int = 2000
    slots: TagSlots | None = None
    """None if no tag is limited, or the run has its slots already."""


class PauseSeen(Struct, frozen=True):
    """Remember that the run paused with this key, so that it does not pause there again."""

    key: str


class Resuming(Struct, frozen=True):
    """Remember that the run comes back from a pause."""


class BelongsToAttempt(Struct, frozen=True):
    """The task run is part of this attempt of its flow run."""

    run_count: int


class CacheResult(Struct, frozen=True):
    """The state is to be found under its cache key from now on."""


class TakeSlots(Struct, frozen=True):
    """The slots that the facts found free are the run's from now on."""


Afterwards: TypeAlias = PauseSeen | Resuming | BelongsToAttempt | CacheResult | TakeSlots
"""What a rule wants done once the transition has gone through, and only then."""


class Accept(Struct, frozen=True):
    """No objection; maybe with another state or a changed run to go on with."""

    state: State | None = None
    run: Any = None
    afterwards: Afterwards | None = None


class Reject(Struct, frozen=True):
    """Not this state, but that one; or, without a state, none at all."""

    reason: str
    state: State | None = None
    run: Any = None
    afterwards: Afterwards | None = None


class Wait(Struct, frozen=True):
    """Not now: ask again in `delay_seconds`."""

    reason: str
    delay_seconds: int


class Abort(Struct, frozen=True):
    """No, and do not go on with this run."""

    reason: str


Verdict: TypeAlias = Accept | Reject | Wait | Abort

ACCEPT = Accept()

Judge: TypeAlias = Callable[[Any, Any], Verdict]
Types: TypeAlias = frozenset[StateType | None]

ANY: Types = frozenset((*STATE_TYPES, None))
"""Every type, and a run that has no state yet."""


class Rule(NamedTuple):
    """A judging function and the transitions it has something to say about."""

    name: str
    current: Types
    proposed: Types
    judge: Judge


def rule(
    current: Iterable[StateType | None], proposed: Iterable[StateType | None]
) -> Callable[[Judge], Rule]:
    """Make a function the rule for transitions from `current` to `proposed` types."""

    def decorate(judge: Judge) -> Rule:
        return Rule(judge.__name__, frozenset(current), frozenset(proposed), judge)

    return decorate


class Policy(Struct, frozen=True):
    """An ordered tuple of rules, and the same by transition."""

    rules: tuple[Rule, ...]
    by_transition: dict[tuple[StateType | None, StateType], tuple[Judge, ...]]

    @classmethod
    def of(cls, *rules: Rule) -> "Policy":
        """The policy that asks these rules, in this order."""
        return cls(
            rules,
            {
                (current, proposed): tuple(
                    r.judge for r in rules if current in r.current and proposed in r.proposed
                )
                for current in ANY
                for proposed in STATE_TYPES
            },
        )


class Judgement(Struct, Generic[R], frozen=True):
    """What all the rules together said."""

    status: SetStateStatus
    state: State | None
    """The state that the run takes on; None if nothing changes."""
    run: R
    """The run with the changes that come before it takes on the state."""
    reason: str | None = None
    delay_seconds: int = 0
    afterwards: tuple[Afterwards, ...] = ()


def judge(policy: Policy, transition: Transition[R], facts: Facts) -> Judgement[R]:
    """Ask the rules of a policy one after the other."""
    current = transition.current
    kind = transition.proposed.type
    original = transition.run
    status: SetStateStatus = "ACCEPT"
    reason: str | None = None
    afterwards: tuple[Afterwards, ...] = ()
    for ask in policy.by_transition[current.type if current else None, kind]:
        verdict = ask(transition, facts)
        if verdict is ACCEPT:
            continue
        if isinstance(verdict, Wait):
            return Judgement("WAIT", None, original, verdict.reason, verdict.delay_seconds)
        if isinstance(verdict, Abort):
            return Judgement("ABORT", None, original, verdict.reason)
        if isinstance(verdict, Reject):
            status, reason = "REJECT", verdict.reason
            if verdict.state is None:
                return Judgement("REJECT", None, original, reason)
            if verdict.state.type != kind:
                after = (verdict.afterwards,) if verdict.afterwards else ()
                return Judgement(
                    "REJECT", verdict.state, verdict.run or original, reason, afterwards=after
                )
        transition = Transition(
            current,
            verdict.state or transition.proposed,
            transition.run if verdict.run is None else verdict.run,
        )
        if verdict.afterwards is not None:
            afterwards = (*afterwards, verdict.afterwards)
    return Judgement(status, transition.proposed, transition.run, reason, afterwards=afterwards)


class AcceptDetails(Struct, frozen=True, tag_field="type", tag="accept_details"):
    """Nothing to add."""


class RejectDetails(Struct, frozen=True, tag_field="type", tag="reject_details"):
    """Why another state, or none, was recorded."""

    reason: str | None = None


class AbortDetails(Struct, frozen=True, tag_field="type", tag="abort_details"):
    """Why the client must stop."""

    reason: str | None = None


class WaitDetails(Struct, frozen=True, tag_field="type", tag="wait_details"):
    """How long to wait, and what for."""

    delay_seconds: int
    reason: str | None = None


class OrchestrationResult(Struct, frozen=True):
    """The answer to `set_state`."""

    state: State | None
    status: SetStateStatus
    details: AcceptDetails | RejectDetails | AbortDetails | WaitDetails


_ACCEPTED = AcceptDetails()


def answer(
    status: SetStateStatus, state: State | None, reason: str | None = None, delay_seconds: int = 0
) -> OrchestrationResult:
    """The answer to a client. `state` is the run's state after the judgement, old or new."""
    match status:
        case "ACCEPT":
            return OrchestrationResult(state, status, _ACCEPTED)
        case "REJECT":
            return OrchestrationResult(state, status, RejectDetails(reason))
        case "ABORT":
            return OrchestrationResult(state, status, AbortDetails(reason))
        case "WAIT":
            return OrchestrationResult(state, status, WaitDetails(delay_seconds, reason))
