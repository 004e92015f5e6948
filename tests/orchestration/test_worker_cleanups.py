"""Clean-ups: what a worker may say of its delivery, and what becomes of it."""

from datetime import UTC, datetime, timedelta
from functools import reduce

import pytest

from orchestration.worker_cleanups import (
    NOBODY,
    TEAR_DOWN,
    TOO_OFTEN,
    Cleanup,
    CleanupDelivered,
    CleanupDone,
    CleanupEvent,
    CleanupGivenUp,
    CleanupLapsed,
    CleanupRenewed,
    CleanupRequested,
    CleanupReturned,
    evolve,
    give_back,
    judge,
    lapse,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEASE = timedelta(seconds=30)
REQUESTED = CleanupRequested(id="c", work_pool_id="p", kind=TEAR_DOWN, target={"flow_run_id": "r"})
DELIVERED = CleanupDelivered(
    work_pool_id="p", consumer_id="w", token_digest="t", until=NOON + LEASE
)
RETURNED = CleanupReturned(work_pool_id="p", reason="busy")


def after(*events: CleanupEvent) -> Cleanup | None:
    start: Cleanup | None = None
    return reduce(lambda cleanup, event: evolve(cleanup, event, NOON), events, start)


def standing(*events: CleanupEvent) -> Cleanup:
    cleanup = after(*events)
    assert cleanup is not None
    return cleanup


def test_a_worker_has_what_it_was_delivered_until_its_time_is_up() -> None:
    cleanup = standing(REQUESTED, DELIVERED)
    assert (cleanup.consumer_id, cleanup.deliveries) == ("w", 1)
    assert judge(cleanup, "p", "t", NOON, 3) == (None, [])
    renewed = standing(REQUESTED, DELIVERED, CleanupRenewed(until=NOON + 2 * LEASE))
    assert judge(renewed, "p", "t", NOON + LEASE, 3) == (None, [])
    answer, events = judge(cleanup, "p", "t", NOON + LEASE, 3)
    assert answer is not None
    assert (answer.status, events) == ("expired", [CleanupLapsed(work_pool_id="p")])


@pytest.mark.parametrize(
    ("events", "pool", "token", "status"),
    [
        ((), "p", "t", "not_found"),
        ((REQUESTED, DELIVERED), "other", "t", "unauthorized"),
        ((REQUESTED,), "p", "t", "not_current"),
        ((REQUESTED, DELIVERED, RETURNED), "p", "t", "not_current"),
        ((REQUESTED, DELIVERED), "p", "other", "invalid_token"),
        ((REQUESTED, DELIVERED, CleanupDone()), "p", "t", "not_found"),
        ((REQUESTED, DELIVERED, CleanupGivenUp(reason=NOBODY)), "p", "t", "not_found"),
    ],
)
def test_what_is_not_a_workers_is_refused_and_stays(
    events: tuple[CleanupEvent, ...], pool: str, token: str, status: str
) -> None:
    answer, follows = judge(after(*events), pool, token, NOON, 3)
    assert answer is not None
    assert (answer.status, follows) == (status, [])


def test_what_is_given_back_or_lapsed_is_free_again_but_not_for_ever() -> None:
    once = standing(REQUESTED, DELIVERED)
    for events in (lapse(once, 3), give_back(once, "busy", 3)):
        free = standing(REQUESTED, DELIVERED, *events)
        assert (free.consumer_id, free.deliveries, free.free_at) == (None, 1, NOON)
    last = standing(REQUESTED, *[DELIVERED] * 3)
    given_up = [CleanupGivenUp(reason=TOO_OFTEN)]
    assert lapse(last, 3) == give_back(last, "busy", 3) == given_up
    answer, events = judge(last, "p", "t", NOON + LEASE, 3)
    assert answer is not None
    assert (answer.status, events) == ("dead_lettered", given_up)
