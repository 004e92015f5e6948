"""Slots: never more of them held than there are, and none held by nobody."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from api.server import Server
from api.settings import Settings
from eventstore.migrate import Target
from orchestration.concurrency_leases import Holder, LeaseExpired, LeaseReleased
from orchestration.concurrency_limits import (
    ConcurrencyLimitCreate,
    ConcurrencyLimitUpdate,
    Seen,
    TooManySlots,
)
from orchestration.refusals import Conflict, NotFound
from projections import concurrency_limits as read
from services import concurrency_limits, slots
from services.slots import Full, Taken, Terms
from tests.services.conftest import Clock
from tests.services.runs_here import ORIGIN, WAIT_SECONDS
from tests.services.serving_here import serving
from tests.serving import verify_digests

LONG = Terms(timedelta(minutes=5))
IDLE = Settings(services_enabled=False)


@pytest.fixture
async def server(target: Target, clock: Clock) -> AsyncIterator[Server]:
    async with serving(target) as server:
        yield server
    verify_digests(target)


async def new_limit(server: Server, limit: int, **fields: float | bool | str) -> Seen:
    body = ConcurrencyLimitCreate(**{"name": str(uuid4()), "limit": limit, **fields})  # type: ignore[arg-type]
    made, _ = await concurrency_limits.create(server.shell, body, server.now(), ORIGIN)
    return made


async def take(
    server: Server, *names: str, wanted: int = 1, terms: Terms | None = LONG
) -> Taken | Full:
    return await slots.take(server.shell, names, wanted, "concurrency", terms, server.now, ORIGIN)


async def held(server: Server, limit: Seen) -> int:
    seen = await read.by_id(server.database, limit.limit.id)
    assert seen is not None
    return seen.active_slots(server.now())


async def ends(server: Server, lease_id: str) -> LeaseReleased:
    """Wait until a lease has ended; how it did."""
    async with asyncio.timeout(WAIT_SECONDS):
        async for page in server.store.follow(0):
            for entry in page:
                recorded = entry.recorded
                if recorded.stream == f"concurrency-lease:{lease_id}" and isinstance(
                    recorded.event, LeaseReleased
                ):
                    return recorded.event
    raise AssertionError


async def test_of_many_who_ask_at_once_as_many_get_slots_as_there_are(server: Server) -> None:
    limit = await new_limit(server, 5)
    asked = await asyncio.gather(*(take(server, limit.limit.name) for _ in range(40)))
    taken = [one for one in asked if isinstance(one, Taken)]
    assert len(taken) == 5
    assert await held(server, limit) == 5
    for one in taken:
        assert one.lease_id is not None
        await slots.release(server.shell, one.lease_id, ORIGIN)
        await slots.release(server.shell, one.lease_id, ORIGIN)
    assert await held(server, limit) == 0


async def test_processes_that_ask_at_once_get_no_more_together(target: Target) -> None:
    async with serving(target, IDLE) as one, serving(target, IDLE) as other:
        limit = await new_limit(one, 3)
        asked = await asyncio.gather(
            *(take(server, limit.limit.name) for _ in range(12) for server in (one, other))
        )
        assert sum(isinstance(answer, Taken) for answer in asked) == 3
    verify_digests(target)


async def test_slots_of_several_limits_are_taken_together_or_not_at_all(server: Server) -> None:
    wide, narrow = await new_limit(server, 10), await new_limit(server, 2)
    asked = await asyncio.gather(
        *(take(server, wide.limit.name, narrow.limit.name, wanted=2) for _ in range(3))
    )
    assert sum(isinstance(answer, Taken) for answer in asked) == 1
    assert (await held(server, wide), await held(server, narrow)) == (2, 2)


async def test_nothing_is_taken_of_what_does_not_limit(server: Server) -> None:
    idle = await new_limit(server, 1, active=False)
    for _ in range(3):
        taken = await take(server, idle.limit.name, "there is no such limit")
        assert isinstance(taken, Taken)
        assert taken.lease_id is None
        assert [limit.id for limit in taken.limits] == [idle.limit.id]
    assert await held(server, idle) == 0


async def test_more_than_there_are_is_not_waited_for(server: Server) -> None:
    limit = await new_limit(server, 2)
    with pytest.raises(TooManySlots):
        await take(server, limit.limit.name, wanted=3)


async def test_a_lease_that_nobody_renews_expires(server: Server) -> None:
    limit = await new_limit(server, 1)
    holder = Holder("flow_run", str(uuid4()))
    taken = await take(server, limit.limit.name, terms=Terms(timedelta(seconds=0.2), holder))
    assert isinstance(taken, Taken) and taken.lease_id
    end = await ends(server, taken.lease_id)
    assert type(end) is LeaseExpired
    assert end.holder == holder
    assert await held(server, limit) == 0
    renewed = await slots.renew(
        server.shell, taken.lease_id, timedelta(minutes=1), server.now, ORIGIN
    )
    assert not renewed


async def test_a_lease_that_was_renewed_lasts(server: Server, clock: Clock) -> None:
    limit = await new_limit(server, 2)
    with clock.standing():
        kept = await take(server, limit.limit.name, terms=Terms(timedelta(seconds=0.3)))
        assert isinstance(kept, Taken) and kept.lease_id
        minute = timedelta(minutes=1)
        assert await slots.renew(server.shell, kept.lease_id, minute, server.now, ORIGIN)
    let_go = await take(server, limit.limit.name, terms=Terms(timedelta(seconds=0.5)))
    assert isinstance(let_go, Taken) and let_go.lease_id
    await ends(server, let_go.lease_id)
    assert await held(server, limit) == 1


async def test_leases_that_expired_while_nobody_ran_are_ended_by_the_next(target: Target) -> None:
    async with serving(target, IDLE) as idle:
        limit = await new_limit(idle, 4)
        gone = [
            await take(idle, limit.limit.name, terms=Terms(timedelta(milliseconds=1)))
            for _ in range(3)
        ]
        assert isinstance(await take(idle, limit.limit.name), Taken)
    async with serving(target) as server:
        for one in gone:
            assert isinstance(one, Taken) and one.lease_id
            await ends(server, one.lease_id)
        assert await held(server, limit) == 1
    verify_digests(target)


async def test_slots_without_a_lease_are_given_back_by_number(server: Server) -> None:
    limit = await new_limit(server, 3)
    name = limit.limit.name
    assert isinstance(await take(server, name, wanted=2, terms=None), Taken)
    assert isinstance(await take(server, name, wanted=2, terms=None), Full)
    assert isinstance(await take(server, name, terms=LONG), Taken)
    await slots.give_back(server.shell, [name], 5, 3.0, server.now, ORIGIN)
    assert await held(server, limit) == 1


async def test_only_full_limits_keep_anybody_waiting(server: Server) -> None:
    full, roomy = await new_limit(server, 1), await new_limit(server, 5)
    assert isinstance(await take(server, full.limit.name), Taken)
    refused = await take(server, roomy.limit.name, full.limit.name)
    assert isinstance(refused, Full)
    assert [limit.id for limit in refused.limits] == [full.limit.id]


async def test_only_limits_that_others_were_quicker_at_keep_anybody_waiting(server: Server) -> None:
    narrow, roomy = await new_limit(server, 1), await new_limit(server, 50)
    names = (roomy.limit.name, narrow.limit.name)
    asked = await asyncio.gather(*(take(server, *names) for _ in range(10)))
    refused = [answer for answer in asked if isinstance(answer, Full)]
    assert len(refused) == len(asked) - 1
    for answer in refused:
        assert [limit.id for limit in answer.limits] == [narrow.limit.id]


async def test_of_limits_that_are_switched_off_meanwhile_nothing_has_to_be_taken(
    server: Server,
) -> None:
    """Whoever takes slots has read the limit; the lock comes later."""
    limit = await new_limit(server, 1)
    off = ConcurrencyLimitUpdate(active=False)
    _, taken = await asyncio.gather(
        concurrency_limits.update(server.shell, limit.limit.id, off, server.now(), ORIGIN),
        take(server, limit.limit.name, terms=None),
    )
    assert isinstance(taken, Taken)


async def test_a_limit_shows_that_somebody_gave_slots_back(server: Server) -> None:
    """How often those who wait had better ask depends on it."""
    limit = await new_limit(server, 1)

    async def changed() -> datetime | None:
        seen = await read.by_id(server.database, limit.limit.id)
        return None if seen is None else seen.limit.updated

    leased = await take(server, limit.limit.name)
    assert isinstance(leased, Taken) and leased.lease_id
    before = await changed()
    await slots.release(server.shell, leased.lease_id, ORIGIN)
    assert before != await changed()
    assert isinstance(await take(server, limit.limit.name, terms=None), Taken)
    before = await changed()
    await slots.give_back(server.shell, [limit.limit.name], 1, 3.0, server.now, ORIGIN)
    assert before != await changed()


async def test_slots_of_a_rate_come_free_by_time(server: Server, clock: Clock) -> None:
    limit = await new_limit(server, 2, slot_decay_per_second=5.0)
    name = limit.limit.name
    with clock.standing():
        leased = await take(server, name, wanted=2)
        assert isinstance(leased, Taken) and leased.lease_id
        clock.put_forward(timedelta(seconds=0.15))
        assert isinstance(await take(server, name), Full)
        clock.put_forward(timedelta(seconds=0.1))
        assert isinstance(await take(server, name, terms=None), Taken)
        assert isinstance(await take(server, name), Full)
    await slots.release(server.shell, leased.lease_id, ORIGIN)
    assert await held(server, limit) == 0


async def test_names_are_given_once_and_limits_that_are_gone_hold_nothing(server: Server) -> None:
    limit = await new_limit(server, 1, name="once")
    other = await new_limit(server, 1)
    with pytest.raises(Conflict, match="exists already"):
        await new_limit(server, 1, name="once")
    rename = ConcurrencyLimitUpdate(name="once")
    with pytest.raises(Conflict):
        await concurrency_limits.update(server.shell, other.limit.id, rename, server.now(), ORIGIN)
    taken = await take(server, "once")
    assert isinstance(taken, Taken) and taken.lease_id
    await concurrency_limits.delete(server.shell, limit.limit.id, ORIGIN)
    with pytest.raises(NotFound):
        await concurrency_limits.delete(server.shell, limit.limit.id, ORIGIN)
    again = await new_limit(server, 1, name="once")
    assert await held(server, again) == 0
    await slots.release(server.shell, taken.lease_id, ORIGIN)
    assert await held(server, again) == 0
