"""The rules for the states of task runs. The tuples at the end are the policies.

A rule's docstring begins with the name that Prefect's documentation knows it by. Where a rule puts
a state of its own in place of the proposal, that state takes over the proposal's id and time.
"""

from math import exp, log, log2

from msgspec.structs import replace

from orchestration.refusals import NotFound
from orchestration.run_policies import after, bounded
from orchestration.shared_rules import (
    copy_scheduled_time,
    detailed,
    prevent_pending,
    renamed,
    wait_for_scheduled_time,
)
from orchestration.states import (
    CANCELLING,
    COMPLETED,
    CRASHED,
    FAILED,
    PAUSED,
    PENDING,
    RUNNING,
    SCHEDULED,
    TERMINAL,
    State,
    StateDetails,
    StateType,
    has_result,
    new_state,
)
from orchestration.task_runs import TaskRun
from orchestration.transition import (
    ACCEPT,
    ANY,
    Abort,
    Accept,
    BelongsToAttempt,
    CacheResult,
    Policy,
    Reject,
    TakeSlots,
    TaskFacts,
    Transition,
    Verdict,
    Wait,
    rule,
)

_NOT_AFTER_THE_END = frozenset({CANCELLING, PAUSED, CRASHED})


@rule(ANY, {RUNNING})
def use_cached(t: Transition[TaskRun], facts: TaskFacts) -> Verdict:
    """CacheRetrieval: work that was done under this cache key need not be done again."""
    details = t.proposed.state_details
    if not details.cache_key or details.refresh_cache or facts.cached is None:
        return ACCEPT
    found = facts.cached
    cached = State(
        t.proposed.id,
        found.type,
        "Cached",
        t.proposed.timestamp,
        found.message,
        found.data,
        found.state_details,
    )
    return Reject("A result is cached under this key.", cached)


@rule(TERMINAL, ANY)
def keep_terminal(t: Transition[TaskRun], facts: TaskFacts) -> Verdict:
    """HandleTaskTerminalStateTransitions: what has ended stays ended, unless it is run again.

    A task run that runs again, because its flow run is retried, has all its retries again.
    """
    assert t.current is not None
    current, kind = t.current, t.proposed.type
    if kind in _NOT_AFTER_THE_END:
        return Abort(f"The task run has ended {current.type}; it cannot become {kind} any more.")
    if current.type == COMPLETED and current.data and has_result(current.data):
        return Reject("The task run is COMPLETED and its result is kept.")
    if kind in TERMINAL:
        return ACCEPT
    around = facts.flow_run
    retried = around is not None and t.run.flow_run_run_count < around.run_count
    return Accept(
        renamed(t.proposed, "Retrying") if kind == RUNNING and retried else None,
        replace(t.run, run_count=0),
    )


@rule(ANY, {RUNNING})
def only_in_running_flows(t: Transition[TaskRun], facts: TaskFacts) -> Verdict:
    """PreventRunningTasksFromStoppedFlows: tasks run while their flow does."""
    around = facts.flow_run
    if around is None or around.state_type == RUNNING:
        return ACCEPT
    if around.state_type != PAUSED:
        return Abort("A task runs only while the flow run around it is running.")
    # The flow's own timeout and kind of pause tell the client how long to wait, and how.
    details = StateDetails(
        pause_timeout=around.pause_timeout, pause_reschedule=around.pause_reschedule
    )
    return Reject(
        f"The flow run {around.id} is paused; its tasks run when it is resumed.",
        new_state(PAUSED, t.proposed.id, t.proposed.timestamp, name="NotReady", details=details),
    )


@rule(ANY, {RUNNING})
def secure_slots(t: Transition[TaskRun], facts: TaskFacts) -> Verdict:
    """SecureTaskConcurrencySlots: a task runs when there is a slot for each of its tags.

    They are its own until it takes on a state other than RUNNING or CANCELLING.
    """
    slots = facts.slots
    if slots is None:
        return ACCEPT
    if slots.none_at_all is not None:
        return Abort(
            f'The concurrency limit on tag "{slots.none_at_all}" is 0: a task with this tag would '
            "wait for ever."
        )
    if not slots.free:
        return Wait(
            f"All slots of the limits on these tags are taken: {', '.join(slots.tags)}.",
            slots.wait_seconds,
        )
    return Accept(afterwards=TakeSlots())


@rule({SCHEDULED, PENDING}, {PENDING, RUNNING})
def copy_task_parameters_id(t: Transition[TaskRun], facts: TaskFacts) -> Verdict:
    """CopyTaskParametersID: a deferred task run keeps knowing where its parameters are."""
    parameters = t.current.state_details.task_parameters_id if t.current else None
    if parameters is None or t.proposed.state_details.task_parameters_id is not None:
        return ACCEPT
    return Accept(detailed(t.proposed, task_parameters_id=parameters))


@rule({RUNNING}, {FAILED})
def retry_failed(t: Transition[TaskRun], facts: TaskFacts) -> Verdict:
    """RetryFailedTasks: as long as there are retries left, a failure is not the end."""
    policy, run_count = t.run.empirical_policy, t.run.run_count
    if t.proposed.state_details.retriable is False:
        return ACCEPT
    if policy.retries is None or run_count > policy.retries:
        return ACCEPT
    delay = bounded(retry_delay_seconds(policy.retry_delay, run_count))
    if policy.retry_jitter_factor and delay > 0:
        delay = jittered_seconds(delay, policy.retry_jitter_factor, facts.chance)
    again = new_state(
        SCHEDULED,
        t.proposed.id,
        t.proposed.timestamp,
        name="AwaitingRetry",
        message=t.proposed.message,
        data=t.proposed.data,
        details=StateDetails(scheduled_time=after(facts.now, delay)),
    )
    return Reject("A retry is left; the task run waits for it.", again)


def retry_delay_seconds(delay: float | tuple[float, ...] | None, run_count: int) -> float:
    """The delay before the next attempt. The last one of a list is for all further attempts."""
    if isinstance(delay, tuple):
        return delay[min(run_count - 1, len(delay) - 1)] if delay else 0
    return delay or 0


_UNLIKELY = 1e-10
_FACTOR_WITHOUT_LOWER_BOUND = 50


def jittered_seconds(mean: float, factor: float, chance: float) -> float:
    """A delay that is on average `mean` and at most `mean * (1 + factor)` seconds.

    Waiting times are exponentially distributed, cut off above at `1 + factor` times the mean and
    below so far up that the cut-off halves weigh the same. `chance` in [0, 1) picks one.
    """
    upper = 1 + factor
    lower = 0.0
    if upper < _FACTOR_WITHOUT_LOWER_BOUND:
        lower = log2(2**upper / (2**upper - 1))
    # What is left of the distribution beyond each bound; the pick lies between the two.
    beyond_lower, beyond_upper = exp(-lower), exp(-upper)
    beyond = beyond_lower - chance * (beyond_lower - beyond_upper)
    return -log(max(beyond, _UNLIKELY)) * mean


@rule(ANY, {RUNNING})
def name_reruns(t: Transition[TaskRun], facts: TaskFacts) -> Verdict:
    """RenameReruns: one can see that a task is not running for the first time."""
    if t.run.run_count <= 0 or t.current is None:
        return ACCEPT
    again = "Retrying" if t.current.name == "AwaitingRetry" else "Rerunning"
    return ACCEPT if t.proposed.name == again else Accept(renamed(t.proposed, again))


@rule(ANY, {RUNNING})
def remember_flow_attempt(t: Transition[TaskRun], facts: TaskFacts) -> Verdict:
    """UpdateFlowRunTrackerOnTasks: a task run knows which attempt of its flow it belongs to."""
    if t.run.flow_run_id is None:
        return ACCEPT
    if facts.flow_run is None:
        raise NotFound("Flow run", t.run.flow_run_id)
    return Accept(afterwards=BelongsToAttempt(facts.flow_run.run_count))


@rule(ANY, {COMPLETED})
def fill_cache(t: Transition[TaskRun], facts: TaskFacts) -> Verdict:
    """CacheInsertion: what was done under a cache key can be found under it."""
    key = t.proposed.state_details.cache_key
    if not key:
        return ACCEPT
    longest = facts.cache_key_characters_max
    if len(key) > longest:
        # Prefect says no and does it all the same; clients have come to live with that.
        return Reject(
            f"The cache key is longer than {longest} characters.",
            t.proposed,
            afterwards=CacheResult(),
        )
    return Accept(afterwards=CacheResult())


CORE = Policy.of(
    use_cached,
    keep_terminal,
    only_in_running_flows,
    secure_slots,
    copy_scheduled_time,
    wait_for_scheduled_time,
    retry_failed,
    name_reruns,
    remember_flow_attempt,
    fill_cache,
    # ReleaseTaskConcurrencySlots is not a rule here: see `holds_slots`.
)
"""What a client's wish is judged by."""

CLIENT_SIDE = Policy.of(
    use_cached,
    keep_terminal,
    only_in_running_flows,
    copy_scheduled_time,
    wait_for_scheduled_time,
    retry_failed,
    name_reruns,
    remember_flow_attempt,
    fill_cache,
)
"""For clients that orchestrate their tasks themselves: slots are not the server's to give. As in
Prefect 3.8, which has it as well, no request leads to it."""

BACKGROUND = Policy.of(
    prevent_pending,
    use_cached,
    keep_terminal,
    copy_scheduled_time,
    copy_task_parameters_id,
    wait_for_scheduled_time,
    retry_failed,
    name_reruns,
    remember_flow_attempt,
    fill_cache,
    # EnqueueScheduledTasks is not a rule here: see `services/task_queue.py`.
)
"""For deferred tasks, which wait in a queue for somebody to run them."""

MINIMAL = Policy.of()
"""What is left when a state is forced: nothing."""


def holds_slots(kind: StateType) -> bool:
    """Whether a run in such a state keeps the slots that it has, whatever policy put it there."""
    return kind in (RUNNING, CANCELLING)


def policy_for(proposed: State, force: bool) -> Policy:
    """The policy for a proposal. Deferred task runs have one of their own, forced or not."""
    if proposed.state_details.deferred:
        return BACKGROUND
    return MINIMAL if force else CORE
