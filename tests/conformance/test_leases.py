"""Leases: one holder at a time, and who was superseded writes nothing, however long it slept."""

import asyncio
from typing import Any

import pytest

from eventstore import leases, log
from eventstore.database import Database, Transaction
from eventstore.errors import LeaseLost, VersionConflict
from eventstore.leases import Holder, Lease, Report
from eventstore.log import Command, Decision, Fence
from eventstore.migrate import Target
from eventstore.store import EventStore
from tests.conformance.toys import CREATE_SUMS, adding, project_sums, store_on
from tests.conftest import open_database

LONG_SECONDS = 60.0
EXPIRED_SECONDS = 0.0
NAME = "work"
ONE, OTHER = Holder("one", 1), Holder("other", 2)


async def acquire(
    database: Database, holder: Holder = ONE, seconds: float = LONG_SECONDS, name: str = NAME
) -> Fence | None:
    async def work(tx: Transaction) -> Fence | None:
        return await leases.acquire(tx, database.dialect, name, holder, seconds)

    return await database.transact(work)


async def held(
    database: Database, holder: Holder = ONE, seconds: float = LONG_SECONDS, name: str = NAME
) -> Fence:
    fence = await acquire(database, holder, seconds, name)
    assert fence is not None
    return fence


async def renew(
    database: Database, *fences: Fence, seconds: float = LONG_SECONDS, report: Report | None = None
) -> set[Fence]:
    async def work(tx: Transaction) -> set[Fence]:
        some = [(fence, report or Report()) for fence in fences]
        return await leases.renew(tx, database.dialect, some, seconds)

    return await database.transact(work)


async def the_lease(database: Database) -> Lease:
    (lease,) = await leases.load_all(database, database.dialect)
    return lease


async def test_one_process_gets_a_lease_and_the_other_does_not(database: Database) -> None:
    assert await acquire(database) == Fence(NAME, 1)
    assert await acquire(database, OTHER) is None
    lease = await the_lease(database)
    assert (lease.host, lease.pid, lease.term) == ("one", 1, 1)
    assert LONG_SECONDS - 10 < lease.left_seconds <= LONG_SECONDS


async def test_leases_of_different_names_do_not_matter_to_each_other(database: Database) -> None:
    await held(database, name="a")
    assert await acquire(database, OTHER, name="b") == Fence("b", 1)


async def test_of_many_who_ask_at_once_one_gets_it(target: Target) -> None:
    databases = [open_database(target) for _ in range(6)]
    got = await asyncio.gather(*(acquire(database) for database in databases))
    assert [fence for fence in got if fence is not None] == [Fence(NAME, 1)]
    for database in databases:
        await database.close()


async def test_an_expired_lease_is_taken_over_in_the_next_term(database: Database) -> None:
    await held(database, seconds=EXPIRED_SECONDS)
    assert (await the_lease(database)).left_seconds <= 0
    assert await acquire(database, OTHER) == Fence(NAME, 2)
    assert (await the_lease(database)).host == "other"


async def test_only_the_present_term_is_renewed(database: Database) -> None:
    old = await held(database, seconds=EXPIRED_SECONDS)
    new = await held(database, OTHER, seconds=EXPIRED_SECONDS)
    assert await renew(database, old, new) == {new}
    assert (await the_lease(database)).host == "other"
    assert await acquire(database) is None


async def test_a_lease_that_expired_unnoticed_goes_on_in_its_term(database: Database) -> None:
    fence = await held(database, seconds=EXPIRED_SECONDS)
    assert await renew(database, fence) == {fence}
    assert await acquire(database, OTHER) is None


async def test_a_lease_that_was_given_back_is_free_at_once(database: Database) -> None:
    fence = await held(database)
    await renew(database, fence, seconds=0)
    assert await acquire(database, OTHER) == Fence(NAME, 2)


async def test_a_lease_is_not_stuck_after_the_clock_was_set_back(database: Database) -> None:
    await held(database, seconds=LONG_SECONDS * 100)
    # What an hour-long lease is to those who ask for a minute: its holder's clock went ahead.
    assert await acquire(database, OTHER, LONG_SECONDS) == Fence(NAME, 2)


async def test_the_last_error_outlives_renewals_and_holders(database: Database) -> None:
    fence = await held(database)
    await renew(database, fence, seconds=0, report=Report(2.5, "the disk is full"))
    lease = await the_lease(database)
    assert (lease.error, lease.lag_seconds) == ("the disk is full", 2.5)
    fence = await held(database, OTHER)
    await renew(database, fence, report=Report(0.5))
    later = await the_lease(database)
    assert (later.error, later.error_at, later.lag_seconds) == (
        "the disk is full",
        lease.error_at,
        0.5,
    )


async def test_a_holder_writes(database: Database, store: EventStore) -> None:
    fence = await held(database)
    written = await store.submit(adding("n:1", 0, 1, fence=fence))
    assert [fact.position for fact in written.recorded] == [1]


async def test_a_holder_whose_lease_expired_writes_until_somebody_takes_it(
    database: Database, store: EventStore
) -> None:
    fence = await held(database, seconds=EXPIRED_SECONDS)
    await store.submit(adding("n:1", 0, 1, fence=fence))
    await held(database, OTHER)
    with pytest.raises(LeaseLost):
        await store.submit(adding("n:1", 1, 1, fence=fence))


async def test_who_was_superseded_writes_nothing(database: Database, target: Target) -> None:
    async def create(tx: Transaction) -> None:
        await tx.execute(CREATE_SUMS)

    await database.transact(create)
    store = store_on(database, project_sums)
    await store.open()
    old = await held(database, seconds=EXPIRED_SECONDS)
    await held(database, OTHER)
    before = await log.head(database)
    effects: list[str] = []

    async def effect(tx: Transaction) -> None:
        effects.append("done")

    async def decide(tx: Transaction) -> Decision:
        return adding("n:2", 0, 1).decision

    alone = Command(Decision(effects=(effect,)), fence=old)
    serial = Command(Decision(), decide=decide, fence=old)
    for command in (adding("n:1", 0, 1, fence=old), alone, serial):
        with pytest.raises(LeaseLost, match="'work' is over"):
            await store.submit(command)
    assert await log.head(database) == before
    assert await database.fetch("SELECT * FROM sums") == []
    assert effects == []
    await store.close()


async def test_a_term_of_a_lease_that_nobody_ever_held_lets_nothing_through(
    store: EventStore,
) -> None:
    with pytest.raises(LeaseLost):
        await store.submit(adding("n:1", 0, 1, fence=Fence("unheard of", 1)))


async def test_others_in_the_same_batch_are_written(database: Database, store: EventStore) -> None:
    old = await held(database, seconds=EXPIRED_SECONDS)
    new = await held(database, OTHER)
    results = await asyncio.gather(
        store.submit(adding("n:1", 0, 1)),
        store.submit(adding("n:2", 0, 1, fence=old)),
        store.submit(adding("n:3", 0, 1, fence=new)),
        store.submit(adding("n:4", 7, 1)),
        return_exceptions=True,
    )
    assert [type(result).__name__ for result in results] == [
        "Written",
        "LeaseLost",
        "Written",
        VersionConflict.__name__,
    ]
    rows = await database.fetch("SELECT stream FROM events ORDER BY position")
    assert [row[0] for row in rows] == ["n:1", "n:3"]


async def test_a_take_over_and_an_append_at_the_same_time_happen_one_after_the_other(
    target: Target,
) -> None:
    """The log is kept locked until both wait; whichever is first, the order is the whole truth."""
    mine, theirs, third = (open_database(target) for _ in range(3))
    store = store_on(mine)
    await store.open()
    for turn in range(10):
        name = f"work-{turn}"
        fence = await held(mine, seconds=EXPIRED_SECONDS, name=name)

        async def take_over(tx: Transaction, name: str = name) -> int:
            assert await leases.acquire(tx, theirs.dialect, name, OTHER, LONG_SECONDS)
            return (await log.head(tx)).position

        async def unrelated(tx: Transaction) -> None:
            await log.lock(tx, third.dialect)

        command = adding(f"n:{turn}", 0, 1, fence=fence)
        jobs: list[Any] = [theirs.transact(take_over), store.submit(command)]
        if turn % 2:
            jobs.reverse()
        results: list[Any] = await asyncio.gather(
            third.transact(unrelated), *jobs, return_exceptions=True
        )
        head, appended = sorted(results[1:], key=lambda result: not isinstance(result, int))
        if isinstance(appended, LeaseLost):
            assert (await log.head(mine)).position == head
        else:
            assert appended.position <= head
    await store.close()
    for database in (mine, theirs, third):
        await database.close()
