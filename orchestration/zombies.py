"""Zombies: flow runs that are Running, or about to be tried again, although nothing runs any more.

Whether one that fell silent is given up is for its deployment to say, by a tag: tags are what every
client can give to a deployment, its runs have them from it, and each of their events names them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from orchestration.flow_runs import FlowRun
from orchestration.states import (
    AWAITING_RETRY,
    CRASHED,
    RUNNING,
    SCHEDULED,
    State,
    StateDetails,
    StateType,
    new_state,
)

ZombiePolicy: TypeAlias = Literal["crash", "retry"]
TAG = "zombies:"
"""`zombies:crash`, `zombies:retry`, or `zombies:leave` where those without a tag are crashed."""
HEARTBEAT = "prefect.flow-run.heartbeat"
"""What the client emits while it runs a flow, if it is told to."""
_RUN = "prefect.flow-run."


def policy_of(tags: Sequence[str], *, untagged: bool = False) -> ZombiePolicy | None:
    """What is to become of a run with these tags that fell silent; None: nothing.

    Of two that contradict each other the more careful one counts. `untagged`: a run without any
    such tag is crashed.
    """
    if f"{TAG}leave" in tags:
        return None
    if f"{TAG}crash" in tags:
        return "crash"
    if f"{TAG}retry" in tags:
        return "retry"
    return "crash" if untagged else None


def watched(type: StateType, name: str, tags: Sequence[str], *, untagged: bool = False) -> bool:
    """Whether a run in such a state is given up when it falls silent, as far as these tell."""
    alive = type == RUNNING or (type == SCHEDULED and name == AWAITING_RETRY)
    return alive and policy_of(tags, untagged=untagged) is not None


def silent_since(run: FlowRun, heard: datetime, *, untagged: bool) -> datetime | None:
    """Since when nobody has said anything of a run whose heart last beat at `heard`.

    None: it is not in a process that would have to say something.
    """
    state = run.state
    if state is None or not watched(state.type, state.name, run.tags, untagged=untagged):
        return None
    if state.type == SCHEDULED and run.empirical_policy.retry_type != "in_process":
        return None  # It is for a worker to start.
    due = state.state_details.scheduled_time
    return max(heard, state.timestamp, due or state.timestamp)


def run_of_heartbeat(event: str, resource: str) -> str | None:
    """The id of the flow run that an emission about this resource is a heartbeat of, if it is."""
    if event != HEARTBEAT or not resource.startswith(_RUN):
        return None
    return resource.removeprefix(_RUN).lower()


def given_up(run: FlowRun, heard: datetime, id: str, now: datetime, retries: int) -> State:
    """The state that a run gets which was last heard of at `heard`; `id` is minted for it.

    It is started again if it may be, at most so many times besides the retries of its failures.
    """
    silent = f"It was last heard of at {heard:%Y-%m-%d %H:%M:%S} UTC"
    policy = run.empirical_policy
    again = policy_of(run.tags) == "retry" and run.deployment_id is not None
    if again and run.run_count <= retries + (policy.retries or 0):
        due = now + timedelta(seconds=policy.retry_delay or 0)
        return new_state(
            SCHEDULED,
            id,
            now,
            name=AWAITING_RETRY,
            message=f"{silent}; it is started again.",
            details=StateDetails(scheduled_time=due),
        )
    return new_state(CRASHED, id, now, message=f"{silent}; whatever ran it is gone.")
