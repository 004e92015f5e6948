"""Every sentence about a run, and when it is said."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from orchestration.explanation import (
    TOLD_REPLACEMENTS_MAX,
    Around,
    Change,
    Claimer,
    Holder,
    Limit,
    Sentence,
    explained,
)
from orchestration.flow_runs import FlowRun, FlowRunStateSet
from orchestration.run_policies import FlowRunPolicy
from orchestration.states import State, StateType, recorded
from tests.orchestration.runs import HOUR, NOON, SECOND, flow_run, id_, state

DEPLOYMENT, QUEUE = id_(3), id_(4)
MINUTE = timedelta(minutes=1)


def change(to: State, actor: str = "anonymous", **fields: Any) -> Change:
    return Change(FlowRunStateSet(state=recorded(to), **fields), actor)


def told(run: FlowRun, *changes: Change, around: Around | None = None) -> list[Sentence]:
    return explained(run, changes, around or Around(), NOON)


def texts(run: FlowRun, *changes: Change, around: Around | None = None) -> list[str]:
    return [sentence.text for sentence in told(run, *changes, around=around)]


def due(at: timedelta, name: str | None = None, **fields: Any) -> FlowRun:
    return flow_run(state("SCHEDULED", name, scheduled_time=NOON + at), **fields)


def deployed(**around: Any) -> list[str]:
    run = due(-MINUTE, deployment_id=DEPLOYMENT, work_queue_id=QUEUE)
    return texts(run, around=Around(deployment_name="d", queue_name="q", pool_name="p", **around))


def test_a_run_without_a_state() -> None:
    assert texts(replace(flow_run(state("PENDING")), state=None)) == [
        "The run has no state yet: nobody has asked for it to be run."
    ]


def test_it_waits_for_its_time() -> None:
    assert texts(due(2 * HOUR + SECOND)) == [
        "It waits for its time, 2026-03-01 14:00:01 UTC, in 2 hours."
    ]


def test_it_is_late_since() -> None:
    first, second = texts(due(-MINUTE, "Late"))
    assert first == "It is Late: it should have started at 2026-03-01 11:59:00 UTC, 1 minute ago."
    assert second == "It has no deployment, so only who created it can start it."


def test_it_is_due() -> None:
    assert texts(due(-SECOND))[0].startswith("It is due: it should have started")


def test_it_waits_for_who_serves_its_deployment() -> None:
    run = due(-MINUTE, deployment_id=DEPLOYMENT)
    (_, sentence) = told(run)
    assert "the process that serves its deployment" in sentence.text
    assert sentence.links[0].path == f"/deployments/{DEPLOYMENT}"


def test_no_worker_has_ever_asked() -> None:
    assert deployed()[1:] == [
        "It waits for a worker: none has ever asked the work queue q for runs."
    ]


def test_the_last_worker_asked_long_ago() -> None:
    assert deployed(polled=NOON - HOUR)[1:] == [
        "It waits for a worker: the last one asked the work queue q at 2026-03-01 11:00:00 UTC, "
        "1 hour ago."
    ]


def test_a_worker_asks() -> None:
    assert deployed(polled=NOON - SECOND)[1:] == [
        "It waits for a worker of the work queue q, which was asked for runs 1 second ago."
    ]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("deployment_paused", "Its deployment d is paused; its schedules make no more runs."),
        ("queue_paused", "Its work queue q is paused: no worker gets runs of it."),
        ("pool_paused", "Its work pool p is paused: no worker gets runs of it."),
    ],
)
def test_something_around_it_is_paused(what: str, words: str) -> None:
    assert words in deployed(**{what: True}, polled=NOON)
    assert words not in deployed(polled=NOON)


def test_it_is_retried_because() -> None:
    again = state("SCHEDULED", "AwaitingRetry", message="boom", scheduled_time=NOON + MINUTE)
    run = flow_run(again, empirical_policy=FlowRunPolicy(retries=3), run_count=1)
    set_ = change(again, status="REJECT", reason="A retry is left.", proposed_type="FAILED")
    assert texts(run, set_) == [
        "Attempt 1 failed; it is retried, at most 3 times: boom",
        "It waits for its time, 2026-03-01 12:01:00 UTC, in 1 minute.",
        "At 2026-03-01 12:00:00 UTC anonymous proposed FAILED; it became AwaitingRetry instead: "
        "A retry is left.",
    ]


def test_a_retry_is_for_the_process_that_it_failed_in() -> None:
    policy = FlowRunPolicy(retries=3, retry_type="in_process")
    run = due(-MINUTE, "AwaitingRetry", deployment_id=DEPLOYMENT, empirical_policy=policy)
    assert texts(run)[-1].startswith("No worker starts it: the process that it failed in")
    again = replace(run, empirical_policy=FlowRunPolicy(retries=3, retry_type="reschedule"))
    assert "No worker starts it" not in " ".join(texts(again))


def test_it_is_taken_on() -> None:
    pending = state("PENDING")
    (text,) = texts(flow_run(pending), change(pending, "worker"))
    assert text == (
        "It is Pending since 2026-03-01 12:00:00 UTC: worker has taken it on and it has not begun "
        "yet."
    )


@pytest.mark.parametrize(
    ("name", "pid", "words"),
    [
        ("Pending", None, "if it does not come back, the run is scheduled again."),
        ("Submitting", None, "if it does not come back, the run becomes Crashed."),
        ("Submitting", "here:1", "What it has started goes on without it."),
    ],
)
def test_who_has_it_is_told_and_what_becomes_of_it(name: str, pid: str | None, words: str) -> None:
    run = flow_run(state("PENDING", name), infrastructure_pid=pid)
    there = Around(claimer=Claimer("w", online=True, heard=NOON))
    assert texts(run, around=there)[1] == (
        "Worker w has it and is online. It was last heard of 0 seconds ago."
    )
    gone = Around(claimer=Claimer("w", online=False, heard=None))
    text = texts(run, around=gone)[1]
    assert text.startswith("Worker w has it and is offline. ")
    assert text.endswith(words)


def test_why_it_is_scheduled_again_is_told() -> None:
    again = state("SCHEDULED", message="Its worker vanished.", scheduled_time=NOON)
    assert texts(flow_run(again))[0] == "Its worker vanished."


@pytest.mark.parametrize(("count", "end"), [(1, "."), (2, ", for the 2. time.")])
def test_it_runs(count: int, end: str) -> None:
    run = replace(flow_run(state("RUNNING")), run_count=count)
    assert texts(run) == [f"It is Running since 2026-03-01 12:00:00 UTC{end}"]


def test_it_waits_to_be_resumed() -> None:
    (plain,) = told(flow_run(state("PAUSED")))
    assert plain.text.endswith("and waits for somebody to resume it.")
    assert plain.links[0].label == "resume"
    keyset = {"schema": "a", "response": "b"}
    asking = state("PAUSED", pause_timeout=NOON + HOUR, run_input_keyset=keyset)
    (text,) = texts(flow_run(asking))
    assert text.endswith(
        "resume it with the input that it asks for until 2026-03-01 13:00:00 UTC, when it fails."
    )


def test_it_is_being_cancelled() -> None:
    cancelling = state("CANCELLING")
    (text,) = texts(flow_run(cancelling), change(cancelling, "ann"))
    assert "since 2026-03-01 12:00:00 UTC, as ann asked for" in text


@pytest.mark.parametrize("kind", ["COMPLETED", "FAILED", "CANCELLED", "CRASHED"])
def test_it_has_ended(kind: StateType) -> None:
    ended = state(kind, message="so it is")
    (text,) = texts(flow_run(ended), change(ended, "ann"))
    assert text == (
        f"It ended as {kind.title()} at 2026-03-01 12:00:00 UTC, as ann reported: so it is"
    )


def test_of_many_replaced_states_the_newest_are_told() -> None:
    changes = [
        change(state("CANCELLED"), status="REJECT", reason=str(n), proposed_type="CANCELLING")
        for n in range(TOLD_REPLACEMENTS_MAX + 3)
    ]
    found = texts(flow_run(state("CANCELLED")), *changes)[1:]
    assert [text.rpartition(": ")[2] for text in found] == ["3", "4", "5", "6", "7"]


HOLDERS = [Holder(id_(5), "brave-fox"), Holder(id_(6), "calm-owl")]


def test_who_holds_the_slots_is_named_and_linked() -> None:
    run = due(-MINUTE, deployment_id=DEPLOYMENT, work_queue_id=QUEUE)
    around = Around(queue_name="q", pool_name="p", queue_limit=Limit(2, 2, HOLDERS), polled=NOON)
    sentence = told(run, around=around)[1]
    assert sentence.text == (
        "Its work queue q lets 2 runs go on at the same time, and 2 do: brave-fox, calm-owl."
    )
    assert [link.path for link in sentence.links] == [
        f"/work_queues/{QUEUE}",
        f"/flow_runs/{id_(5)}",
        f"/flow_runs/{id_(6)}",
    ]


def test_of_many_who_hold_slots_some_are_named() -> None:
    told = deployed(pool_limit=Limit(9, 9, HOLDERS), polled=NOON)
    assert any(text.endswith("and 9 do: brave-fox, calm-owl and 7 more.") for text in told)
    one = Limit(1, 1, HOLDERS[:1])
    words = "Its work pool p lets 1 run go on at the same time, and 1 does: brave-fox."
    assert words in deployed(pool_limit=one, polled=NOON)


def test_a_limit_of_nothing_and_one_that_is_not_reached() -> None:
    words = "Its work queue q lets no run go on: its limit is 0."
    assert words in deployed(queue_limit=Limit(0, 0, []), polled=NOON)
    assert len(deployed(queue_limit=Limit(3, 2, HOLDERS), polled=NOON)) == 2


def test_when_a_running_run_was_last_heard_of() -> None:
    run = flow_run(state("RUNNING"), run_count=1, tags=("zombies:crash",))
    assert texts(run, around=Around(heard=NOON - MINUTE))[1] == (
        "It was last heard of 1 minute ago. If it stays silent, it is crashed."
    )
    quiet = flow_run(state("RUNNING"), run_count=1)
    assert texts(quiet, around=Around(heard=NOON - MINUTE))[1:] == [
        "It was last heard of 1 minute ago."
    ]
    assert len(texts(quiet)) == 1


def test_a_run_without_a_tag_is_crashed_where_the_server_says_so() -> None:
    around = Around(heard=NOON - MINUTE, untagged=True)
    quiet = flow_run(state("RUNNING"), run_count=1)
    assert texts(quiet, around=around)[1].endswith("If it stays silent, it is crashed.")
    assert len(texts(quiet, around=Around(untagged=True))) == 1
    left = flow_run(state("RUNNING"), run_count=1, tags=("zombies:leave",))
    assert texts(left, around=around)[1:] == ["It was last heard of 1 minute ago."]


def test_a_process_that_is_to_try_again_may_fall_silent() -> None:
    waits = state("SCHEDULED", "AwaitingRetry", scheduled_time=NOON - SECOND)
    policy = FlowRunPolicy(retries=1, retry_type="in_process")
    run = flow_run(waits, run_count=1, empirical_policy=policy, tags=("zombies:crash",))
    tried = texts(run, change(waits), around=Around(heard=NOON - MINUTE))
    assert tried[-1].endswith("tries again. If it stays silent, it is crashed.")
    assert texts(run, change(waits))[-1].endswith("If that is gone, run it again by hand.")


def test_a_tag_that_has_no_effect_is_told() -> None:
    run = flow_run(state("RUNNING"), run_count=1, tags=("zombies:retry",))
    assert "it sends no heartbeats" in texts(run)[1]


def test_it_is_started_again_because_it_fell_silent() -> None:
    again = state("SCHEDULED", "AwaitingRetry", message="silence", scheduled_time=NOON - SECOND)
    assert texts(flow_run(again), change(again))[0] == "silence"
