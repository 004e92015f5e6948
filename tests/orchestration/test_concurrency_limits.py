"""Concurrency limits and leases: given, when, then."""

from datetime import timedelta

import pytest
from msgspec import json

from eventstore.events import Event, Recorded
from orchestration import concurrency_leases, concurrency_limits
from orchestration.concurrency_leases import (
    AcquireLease,
    ConcurrencyLease,
    EndLease,
    Holder,
    LeaseAcquired,
    LeaseExpired,
    LeaseReleased,
    Share,
)
from orchestration.concurrency_limits import (
    ConcurrencyLimit,
    ConcurrencyLimitCreate,
    ConcurrencyLimitCreated,
    ConcurrencyLimitDeleted,
    ConcurrencyLimitUpdate,
    ConcurrencyLimitUpdated,
    CreateConcurrencyLimit,
    DeleteConcurrencyLimit,
    GiveSlotsBack,
    NoRateLimit,
    Seen,
    SlotsTaken,
    TakeSlots,
    TooManySlots,
    UpdateConcurrencyLimit,
    check_wanted,
    occupied,
    seconds_between_slots,
    seconds_until_decayed,
)
from orchestration.documents import document, parse
from orchestration.own_emissions import emission_of
from orchestration.refusals import AlreadyExists, NotFound
from tests.orchestration.runs import NOON, id_
from tests.spec import spec

given = spec(concurrency_limits.decider)
of_lease = spec(concurrency_leases.decider)
ID, LEASE, RUN = id_(1), id_(2), id_(3)
CREATED = ConcurrencyLimitCreated(id=ID, name="database", limit=5, at=NOON)
RATE = ConcurrencyLimitCreated(id=ID, name="requests", limit=5, at=NOON, slot_decay_per_second=0.5)
SHARE = Share(ID, "database")
ACQUIRED = LeaseAcquired(
    id=LEASE,
    slots=2,
    limits=(SHARE,),
    at=NOON,
    holder=Holder("flow_run", RUN),
    until=NOON + timedelta(minutes=5),
)


def _limit(*events: object) -> ConcurrencyLimit:
    value = given(*events).value()
    assert value is not None
    return value


def _after(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def test_a_limit_is_made_once() -> None:
    make = CreateConcurrencyLimit(
        id=ID, body=ConcurrencyLimitCreate(name="database", limit=5), now=NOON
    )
    given().when(make).then(CREATED)
    given(CREATED).when(make).refused(AlreadyExists)


def test_only_what_differs_is_recorded_with_the_whole_limit_for_those_who_see_the_event() -> None:
    same = ConcurrencyLimitUpdate(limit=5, active=None)
    given(CREATED).when(UpdateConcurrencyLimit(id=ID, body=same, held=0, now=NOON)).then_nothing()
    fewer = ConcurrencyLimitUpdate(limit=3, active=False)
    given(CREATED).when(UpdateConcurrencyLimit(id=ID, body=fewer, held=0, now=NOON)).then(
        ConcurrencyLimitUpdated(
            name="database", limit=3, active=False, slot_decay_per_second=0.0, at=NOON
        )
    )
    given().when(UpdateConcurrencyLimit(id=ID, body=fewer, held=0, now=NOON)).refused(NotFound)


def test_holders_keep_their_slots_whatever_number_is_set() -> None:
    body = ConcurrencyLimitUpdate(active_slots=3)
    told = given(CREATED).when(UpdateConcurrencyLimit(id=ID, body=body, held=2, now=NOON))
    value = told.value()
    assert value is not None
    assert Seen(value, 2).active_slots(NOON) == 3
    body = ConcurrencyLimitUpdate(active_slots=0)
    value = given(CREATED).when(UpdateConcurrencyLimit(id=ID, body=body, held=2, now=NOON)).value()
    assert value is not None
    assert Seen(value, 2).active_slots(NOON) == 2


def test_a_limit_that_is_gone_is_gone() -> None:
    gone = ConcurrencyLimitDeleted(name="database", limit=5)
    given(CREATED).when(DeleteConcurrencyLimit(id=ID)).then(gone)
    given(CREATED, gone).when(DeleteConcurrencyLimit(id=ID)).refused(NotFound)


@pytest.mark.parametrize(
    ("event", "name", "limit"),
    [
        (CREATED, "created", 5),
        (
            ConcurrencyLimitUpdated(
                name="database", limit=3, active=True, slot_decay_per_second=0.0, at=NOON
            ),
            "updated",
            3,
        ),
        (ConcurrencyLimitDeleted(name="database", limit=5), "deleted", 5),
    ],
)
def test_what_becomes_of_a_limit_is_told_in_the_feed(event: Event, name: str, limit: int) -> None:
    recorded = Recorded(1, f"concurrency-limit:{ID}", 1, event, NOON, id_(9), "anonymous")
    told = json.decode(emission_of(recorded) or b"null")
    assert told["event"] == f"prefect.concurrency-limit.{name}"
    assert told["resource"] == {
        "prefect.resource.id": f"prefect.concurrency-limit.{ID}",
        "prefect.resource.name": "database",
    }
    assert told["payload"] == {
        "name": "database",
        "limit": limit,
        "active": True,
        "slot_decay_per_second": 0.0,
    }


def test_slots_that_nobody_holds_are_given_back_by_number_and_never_more_than_were_taken() -> None:
    given(CREATED).when(TakeSlots(id=ID, slots=2, now=NOON)).then(SlotsTaken(slots=2, at=NOON))
    back = GiveSlotsBack(id=ID, slots=3, occupancy_seconds=None, now=NOON)
    given(CREATED).when(back).then_nothing()
    value = given(CREATED, SlotsTaken(slots=2, at=NOON)).when(back).value()
    assert value is not None
    assert value.taken == 0


def test_slots_of_a_rate_come_free_by_time_and_no_part_of_one_is_lost() -> None:
    limit = _limit(RATE, SlotsTaken(slots=2, at=NOON))
    active = [Seen(limit, 0).active_slots(NOON + _after(second)) for second in range(6)]
    assert active == [2, 2, 1, 1, 0, 0]
    # Somebody who takes one every second from a rate of a slot in two seconds gets every second.
    limit = _limit(RATE)
    for second in range(10):
        limit = concurrency_limits.taken(limit, 1, NOON + _after(second))
    assert limit.taken == pytest.approx(10 - 9 * 0.5)


def test_a_decay_that_is_changed_counts_from_then_on() -> None:
    limit = _limit(
        RATE,
        SlotsTaken(slots=4, at=NOON),
        ConcurrencyLimitUpdated(
            name="requests",
            limit=5,
            active=True,
            slot_decay_per_second=2.0,
            at=NOON + _after(2),
        ),
    )
    assert Seen(limit, 0).active_slots(NOON + _after(3)) == 1


def test_there_is_room_up_to_the_limit_and_any_without_an_active_one() -> None:
    seen = Seen(_limit(CREATED, SlotsTaken(slots=1, at=NOON)), 3)
    assert seen.has_free(1, NOON)
    assert not seen.has_free(2, NOON)
    idle = Seen(_limit(ConcurrencyLimitCreated(id=ID, name="x", limit=0, at=NOON, active=False)), 3)
    assert idle.has_free(100, NOON)


def test_what_waiting_would_not_bring_is_refused() -> None:
    steady, rate = Seen(_limit(CREATED), 0), Seen(_limit(RATE), 0)
    with pytest.raises(TooManySlots, match="greater than the limit"):
        check_wanted([steady], 6, "concurrency")
    with pytest.raises(NoRateLimit, match="'database'"):
        check_wanted([steady, rate], 1, "rate_limit")
    check_wanted([rate], 1, "rate_limit")


def test_how_often_slots_are_given_back_follows_from_how_long_they_are_held() -> None:
    limit = _limit(CREATED)
    assert seconds_between_slots(limit, 30) == pytest.approx(2.0 / 5)
    long = occupied(occupied(limit, 1, 600), 1, 600)
    assert long.avg_slot_occupancy_seconds > limit.avg_slot_occupancy_seconds
    assert seconds_between_slots(long, 3) == pytest.approx(3 / 5)


def test_a_rate_tells_when_slots_come_free() -> None:
    full = _limit(RATE, SlotsTaken(slots=5, at=NOON))
    assert seconds_until_decayed(full, 2, NOON) == pytest.approx(4)
    assert seconds_until_decayed(full, 2, NOON + _after(3)) == pytest.approx(1)
    assert seconds_until_decayed(_limit(RATE), 2, NOON) == 0


def test_a_lease_is_acquired_and_ends_once() -> None:
    acquire = AcquireLease(
        id=LEASE,
        slots=2,
        limits=[SHARE],
        holder=Holder("flow_run", RUN),
        until=NOON + timedelta(minutes=5),
        now=NOON,
    )
    of_lease().when(acquire).then(ACQUIRED)
    of_lease(ACQUIRED).when(acquire).refused(AlreadyExists)
    released = LeaseReleased(slots=2, limits=(SHARE,), holder=Holder("flow_run", RUN))
    of_lease(ACQUIRED).when(EndLease(id=LEASE)).then(released)
    of_lease(ACQUIRED, released).when(EndLease(id=LEASE)).then_nothing()


def test_a_lease_that_expires_says_so() -> None:
    (event,) = of_lease(ACQUIRED).when(EndLease(id=LEASE, expired=True)).events()
    assert type(event) is LeaseExpired


def test_ids_of_holders_are_brought_to_one_form() -> None:
    assert Holder("task_run", RUN.upper()).id == RUN


@pytest.mark.parametrize(
    "entity",
    [
        ConcurrencyLimit(id=ID, name="n", limit=1, taken=2.0, taken_at=NOON),
        ConcurrencyLease(id=LEASE, slots=1, limits=(SHARE,), since=NOON),
    ],
    ids=lambda entity: type(entity).__name__,
)
def test_a_document_reads_back_and_is_written_again_the_same(
    entity: ConcurrencyLimit | ConcurrencyLease,
) -> None:
    written = document(entity)
    assert document(parse(type(entity), written)) == written
