"""Why a flow run is in the state it is in, told in sentences from its events.

What a rule turned down without putting another state in its place left no event, so it is not told.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from orchestration.claims import fate
from orchestration.flow_runs import FlowRun, FlowRunStateSet
from orchestration.states import (
    AWAITING_RETRY,
    AWAITING_SLOT,
    CANCELLING,
    FAILED,
    LATE,
    PAUSED,
    PENDING,
    RUNNING,
    SCHEDULED,
    TERMINAL,
    State,
)
from orchestration.zombies import TAG, policy_of

TOLD_REPLACEMENTS_MAX = 5
"""Of the states that rules put in the place of proposed ones, the newest are told."""
TOLD_HOLDERS_MAX = 5
"""Of the runs that hold the slots of a limit, so many are named."""
POLLED_RECENTLY = timedelta(seconds=60)
"""A queue that nobody polled for so long has no worker."""


class Change(Struct, frozen=True):
    """A state that the run took on, and who asked for it."""

    event: FlowRunStateSet
    actor: str


class Holder(Struct, frozen=True):
    """A flow run that holds a slot which others wait for."""

    id: str
    name: str


class Limit(Struct, frozen=True):
    """How many runs of a queue or pool may go on at the same time, and who does."""

    most: int
    held: int
    holders: Sequence[Holder]
    """Up to `TOLD_HOLDERS_MAX` of them."""

    @property
    def reached(self) -> bool:
        """Whether nobody else gets a slot."""
        return self.held >= self.most


class Around(Struct, frozen=True, kw_only=True):
    """What is around a run now, as far as it can hold the run up."""

    deployment_name: str | None = None
    deployment_paused: bool = False
    queue_name: str | None = None
    queue_paused: bool = False
    pool_name: str | None = None
    pool_paused: bool = False
    polled: datetime | None = None
    """When a worker last asked the queue for runs."""
    deployment_limit: Limit | None = None
    queue_limit: Limit | None = None
    pool_limit: Limit | None = None
    heard: datetime | None = None
    """When the run's heart last beat."""
    untagged: bool = False
    """Whether runs without a `zombies:` tag are given up as well when they fall silent."""
    claimer: "Claimer | None" = None
    """The worker that has the run, if it is Pending."""


class Claimer(Struct, frozen=True):
    """The worker that made the run Pending."""

    name: str
    online: bool
    heard: datetime | None
    """When it was last heard of."""


class Link(Struct, frozen=True):
    """Where to look further."""

    label: str
    path: str
    """Below the base of the API."""


class Sentence(Struct, frozen=True):
    """One thing to know."""

    text: str
    links: tuple[Link, ...] = ()


def explained(
    run: FlowRun, changes: Sequence[Change], around: Around, now: datetime
) -> list[Sentence]:
    """What there is to say about the run, the present first. `changes` are the newest, in order."""
    return [*_present(run, changes, around, now), *_replacements(run, changes)]


def _present(
    run: FlowRun, changes: Sequence[Change], around: Around, now: datetime
) -> Iterator[Sentence]:
    state = run.state
    if state is None:
        yield Sentence("The run has no state yet: nobody has asked for it to be run.")
        return
    actor = changes[-1].actor if changes else "somebody"
    since = _time(state.timestamp)
    kind = state.type
    if kind == SCHEDULED:
        yield from _scheduled(run, state, changes, around, now)
    elif kind == PENDING:
        yield Sentence(
            f"It is {state.name} since {since}: {actor} has taken it on and it has not begun yet."
        )
        yield from _claimed(run, around.claimer, now)
    elif kind == RUNNING:
        again = f", for the {run.run_count}. time." if run.run_count > 1 else "."
        yield Sentence(f"It is {state.name} since {since}{again}")
        yield from _heard_of(run, around, now)
    elif kind == PAUSED:
        yield from _paused(run, state)
    elif kind == CANCELLING:
        yield Sentence(
            f"It is being cancelled since {since}, as {actor} asked for; "
            "who runs it has not reported its end yet."
        )
    elif kind in TERMINAL:
        said = f": {state.message}" if state.message else "."
        yield Sentence(f"It ended as {state.name} at {since}, as {actor} reported{said}")


def _claimed(run: FlowRun, claimer: Claimer | None, now: datetime) -> Iterator[Sentence]:
    if claimer is None:
        return
    heard = ""
    if claimer.heard is not None:
        heard = f" It was last heard of {_duration(now - claimer.heard)} ago."
    if claimer.online:
        yield Sentence(f"Worker {claimer.name} has it and is online.{heard}")
        return
    match fate(run):
        case "SCHEDULED":
            then = "It has started nothing; if it does not come back, the run is scheduled again."
        case "CRASHED":
            then = (
                "Whether it has started the run is not known; if it does not come back, the run "
                "becomes Crashed."
            )
        case None:
            then = "What it has started goes on without it."
    yield Sentence(f"Worker {claimer.name} has it and is offline.{heard} {then}")


def _scheduled(
    run: FlowRun, state: State, changes: Sequence[Change], around: Around, now: datetime
) -> Iterator[Sentence]:
    due = state.state_details.scheduled_time
    last = changes[-1].event if changes else None
    if last is not None and last.proposed_type == FAILED:
        retries = run.empirical_policy.retries or 0
        why = f": {state.message}" if state.message else "."
        yield Sentence(
            f"Attempt {run.run_count} failed; it is retried, at most {retries} times{why}"
        )
    elif state.name == AWAITING_SLOT:
        later = due is not None and due > now
        latest = f", or at {_time(due)}" if due is not None and later else ""
        yield Sentence(
            "It waits for a slot of its deployment's limit, and tries again when one comes free"
            f"{latest}."
        )
        yield from _waits_for_a_slot(
            around.deployment_limit,
            f"deployment {around.deployment_name}",
            f"/deployments/{run.deployment_id}",
        )
        if later:
            return
    elif state.message:
        yield Sentence(state.message)
    if due is not None and due > now:
        yield Sentence(f"It waits for its time, {_time(due)}, in {_duration(due - now)}.")
        return
    if due is not None:
        late = "It is Late" if state.name == LATE else "It is due"
        yield Sentence(
            f"{late}: it should have started at {_time(due)}, {_duration(now - due)} ago."
        )
    if state.name == AWAITING_RETRY and run.empirical_policy.retry_type == "in_process":
        end = _when_it_stays_silent(run, around) or " If that is gone, run it again by hand."
        yield Sentence(f"No worker starts it: the process that it failed in tries again.{end}")
        return
    yield from _waits_for_a_worker(run, around, now)


def _waits_for_a_worker(run: FlowRun, around: Around, now: datetime) -> Iterator[Sentence]:
    if run.deployment_id is None:
        yield Sentence("It has no deployment, so only who created it can start it.")
        return
    deployment = (Link("deployment", f"/deployments/{run.deployment_id}"),)
    if around.deployment_paused:
        yield Sentence(
            f"Its deployment {around.deployment_name} is paused; its schedules make no more runs.",
            deployment,
        )
    if run.work_queue_id is None:
        yield Sentence(
            "It is in no work queue: it waits for the process that serves its deployment.",
            deployment,
        )
        return
    queue = (Link("work queue", f"/work_queues/{run.work_queue_id}"),)
    if around.pool_paused:
        pool = (Link("work pool", f"/work_pools/{around.pool_name}"),)
        yield Sentence(
            f"Its work pool {around.pool_name} is paused: no worker gets runs of it.", pool
        )
    if around.queue_paused:
        yield Sentence(
            f"Its work queue {around.queue_name} is paused: no worker gets runs of it.", queue
        )
    yield from _waits_for_a_slot(
        around.pool_limit, f"work pool {around.pool_name}", f"/work_pools/{around.pool_name}"
    )
    yield from _waits_for_a_slot(
        around.queue_limit, f"work queue {around.queue_name}", f"/work_queues/{run.work_queue_id}"
    )
    if around.polled is None:
        yield Sentence(
            f"It waits for a worker: none has ever asked the work queue {around.queue_name} for "
            "runs.",
            queue,
        )
    elif now - around.polled > POLLED_RECENTLY:
        yield Sentence(
            f"It waits for a worker: the last one asked the work queue {around.queue_name} at "
            f"{_time(around.polled)}, {_duration(now - around.polled)} ago.",
            queue,
        )
    else:
        yield Sentence(
            f"It waits for a worker of the work queue {around.queue_name}, which was asked for "
            f"runs {_duration(now - around.polled)} ago.",
            queue,
        )


def _waits_for_a_slot(limit: Limit | None, place: str, path: str) -> Iterator[Sentence]:
    if limit is None or not limit.reached:
        return
    where = Link(place.rpartition(" ")[0], path)
    if limit.most == 0:
        yield Sentence(f"Its {place} lets no run go on: its limit is 0.", (where,))
        return
    names = ", ".join(one.name for one in limit.holders)
    more = limit.held - len(limit.holders)
    others = f" and {more} more" if more > 0 else ""
    yield Sentence(
        f"Its {place} lets {_runs(limit.most)} go on at the same time, and {limit.held} "
        f"{'does' if limit.held == 1 else 'do'}: {names}{others}.",
        (where, *(Link(one.name, f"/flow_runs/{one.id}") for one in limit.holders)),
    )


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"


def _heard_of(run: FlowRun, around: Around, now: datetime) -> Iterator[Sentence]:
    policy = policy_of(run.tags)
    if around.heard is not None:
        silent = _duration(now - around.heard)
        end = _when_it_stays_silent(run, around)
        yield Sentence(f"It was last heard of {silent} ago.{end}")
    elif policy is not None:
        yield Sentence(
            f"Its tag {TAG}{policy} has no effect: it sends no heartbeats. Set "
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY where it runs."
        )


def _when_it_stays_silent(run: FlowRun, around: Around) -> str:
    """What becomes of it then; nothing is said if nothing does."""
    policy = policy_of(run.tags, untagged=around.untagged)
    if policy is None or around.heard is None:
        return ""
    then = "it is crashed" if policy == "crash" else "it is started again, or crashed"
    return f" If it stays silent, {then}."


def _paused(run: FlowRun, state: State) -> Iterator[Sentence]:
    details = state.state_details
    until = details.pause_timeout
    end = f" until {_time(until)}, when it fails" if until is not None else ""
    wants = " with the input that it asks for" if details.run_input_keyset else ""
    yield Sentence(
        f"It is {state.name} since {_time(state.timestamp)} and waits for somebody to resume "
        f"it{wants}{end}.",
        (Link("resume", f"/flow_runs/{run.id}/resume"),),
    )


def _replacements(run: FlowRun, changes: Sequence[Change]) -> list[Sentence]:
    """The states that rules put in the place of those that were asked for."""
    links = (Link("states", f"/flow_run_states/?flow_run_id={run.id}"),)
    told = [
        Sentence(
            f"At {_time(change.event.state.timestamp)} {change.actor} proposed "
            f"{change.event.proposed_type or change.event.state.type}; it became "
            f"{change.event.state.name} instead: {change.event.reason}",
            links,
        )
        for change in changes
        if change.event.status == "REJECT"
    ]
    return told[-TOLD_REPLACEMENTS_MAX:]


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


def _duration(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for size, name in _UNITS:
        if seconds >= size:
            number = seconds // size
            return f"{number} {name}{'s' if number > 1 else ''}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"
