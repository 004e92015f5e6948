"""How runs are retried. Delays are in seconds."""

from datetime import datetime, timedelta
from typing import Literal, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

RETRY_DELAYS_MAX = 50
"""Delays in the list of a task's retry delays."""
RETRY_SECONDS_MAX = 100 * 366 * 86_400
"""Longest delay that is kept to. One of centuries is a slip, and would lead out of the calendar."""


class FlowRunPolicy(Struct, frozen=True, kw_only=True):
    """How a flow run is retried, and what it remembers of pauses."""

    max_retries: int = 0
    retry_delay_seconds: float = 0.0
    retries: int | None = None
    retry_delay: int | None = None
    pause_keys: tuple[str, ...] | None = ()
    """The pauses that this run has seen, sorted."""
    resuming: bool | None = False
    retry_type: Literal["in_process", "reschedule"] | None = None


Delays: TypeAlias = tuple[int | float, ...]


class TaskRunPolicy(Struct, frozen=True, kw_only=True):
    """How a task run is retried."""

    max_retries: int = 0
    retry_delay_seconds: float = 0.0
    retries: int | None = None
    retry_delay: int | float | Delays | None = None
    """One delay, or one for each retry; the last one is for all further retries."""
    retry_jitter_factor: float | None = None


def bounded(seconds: float) -> float:
    """A delay of a policy, which may be any number, as it is kept to."""
    return max(-RETRY_SECONDS_MAX, min(seconds, RETRY_SECONDS_MAX))


def after(now: datetime, seconds: float) -> datetime:
    """When a run is tried again that is to wait for as long as its policy says."""
    return now + timedelta(seconds=bounded(seconds))


P = TypeVar("P", FlowRunPolicy, TaskRunPolicy)


def current_names(policy: P) -> P:
    """The policy with what old clients call `max_retries` and `retry_delay_seconds` under the
    names that rules read."""
    if not policy.retries and policy.max_retries:
        policy = replace(policy, retries=policy.max_retries)
    if not policy.retry_delay and policy.retry_delay_seconds:
        seconds = policy.retry_delay_seconds
        whole = isinstance(policy, FlowRunPolicy)
        policy = replace(policy, retry_delay=int(seconds) if whole else seconds)
    return policy
