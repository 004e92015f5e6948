"""Services: each is run by one process at a time, moves when that one ends, and never by two."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from api.server import Server
from eventstore import leases, log
from eventstore.database import Database, Transaction
from eventstore.errors import LeaseLost
from eventstore.leases import Holder, Lease
from eventstore.log import Fence
from eventstore.migrate import Target
from orchestration.states import LATE
from services import flow_runs
from services import service as module
from services.service import Services
from services.shell import Origin
from tests.conftest import open_database
from tests.services.serving_here import serving
from tests.services.test_late_runs import (
    FAR_AWAY,
    LONG_AGO,
    SETTINGS,
    marked,
    new_flow,
    new_run,
    scheduled,
    states,
)

WAIT_SECONDS = 20.0
LEASE_SECONDS, STOP_SECONDS = 1.5, 1.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases as in production, only shorter."""
    monkeypatch.setattr(module, "LEASE_SECONDS", LEASE_SECONDS)
    monkeypatch.setattr(module, "STOP_AFTER_SECONDS", STOP_SECONDS)
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.3)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(module, "FAILED_PAUSES_SECONDS", (0.8,))


class Work:
    """A service that does nothing but note in which terms it runs, and from when to when."""

    def __init__(self, name: str = "work") -> None:
        self.name = name
        self.terms: list[int] = []
        self.running = False
        self.changed = asyncio.Event()
        self.fail: asyncio.Future[None] | None = None
        self.lag = 0.0

    def lag_seconds(self) -> float:
        return self.lag

    async def run(self, origin: Origin) -> None:
        assert origin.fence is not None and origin.actor == self.name
        self.terms.append(origin.fence.term)
        self.running = True
        self.fail = asyncio.get_running_loop().create_future()
        self.changed.set()
        try:
            await self.fail
        finally:
            self.running = False
            self.changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    async def until_running(self, term: int) -> None:
        await self.until(lambda: self.running and self.terms[-1] == term)

    async def until_stopped(self) -> None:
        await self.until(lambda: not self.running)

    def break_down(self, error: Exception) -> None:
        assert self.fail is not None
        self.fail.set_exception(error)


class Process:
    """What one process has: a database of its own, and its services."""

    def __init__(self, target: Target, *works: Work) -> None:
        self.database = open_database(target)
        self.services = Services(self.database, works)
        self.services.open()

    async def close(self) -> None:
        await self.services.close()
        await self.database.close()


@pytest.fixture
def works() -> Iterator[tuple[Work, Work]]:
    yield Work(), Work()


async def the_lease(database: Database, name: str = "work") -> Lease:
    found = await leases.load_all(database, database.dialect)
    return next(lease for lease in found if lease.name == name)


async def steal(database: Database, name: str, seconds: float) -> Fence:
    """Take a lease although somebody holds it, as if its holder had slept too long."""

    async def work(tx: Transaction) -> Fence:
        await tx.execute("UPDATE leases SET expires = 0 WHERE name = $1", name)
        fence = await leases.acquire(tx, database.dialect, name, Holder("thief", 1), seconds)
        assert fence is not None
        return fence

    return await database.transact(work)


async def test_one_process_runs_a_service_and_when_it_ends_the_other_does_at_once(
    target: Target, works: tuple[Work, Work]
) -> None:
    first, second = works
    one = Process(target, first)
    await first.until_running(1)
    other = Process(target, second)
    async with asyncio.timeout(WAIT_SECONDS):
        await asyncio.sleep(LEASE_SECONDS * 1.5)  # Longer than a lease that nobody renews.
    assert first.running and not second.terms
    began = asyncio.get_running_loop().time()
    await one.close()
    assert not first.running
    await second.until_running(2)
    assert asyncio.get_running_loop().time() - began < LEASE_SECONDS
    await other.close()


async def test_a_holder_that_cannot_renew_stops_before_anybody_else_begins(
    target: Target, works: tuple[Work, Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = works
    one = Process(target, first)
    await first.until_running(1)
    still_running: list[bool] = []
    original = Work.run

    async def run(self: Work, origin: Origin) -> None:
        still_running.append(first.running)
        await original(self, origin)

    hangs = asyncio.Event()

    async def hanging(work: Callable[[Transaction], Awaitable[Any]]) -> Any:
        await hangs.wait()

    monkeypatch.setattr(one.database, "transact", hanging)
    monkeypatch.setattr(Work, "run", run)
    other = Process(target, second)
    await second.until_running(2)
    assert still_running == [False]
    await other.close()
    hangs.set()
    await one.close()


async def test_a_holder_learns_at_its_next_renewal_that_it_was_superseded(
    target: Target, database: Database, works: tuple[Work, Work]
) -> None:
    work, _ = works
    one = Process(target, work)
    await work.until_running(1)
    thief = await steal(database, "work", LEASE_SECONDS)
    await work.until_stopped()
    assert (await the_lease(database)).host == "thief"
    await work.until_running(thief.term + 1)
    await one.close()


async def test_a_service_that_fails_is_left_to_another_process_and_says_why(
    target: Target, database: Database, works: tuple[Work, Work]
) -> None:
    first, second = works
    one = Process(target, first)
    await first.until_running(1)
    other = Process(target, second)
    first.break_down(ZeroDivisionError("nothing to divide by"))
    await second.until_running(2)
    lease = await the_lease(database)
    assert (lease.error, lease.term) == ("nothing to divide by", 2)
    second.break_down(ZeroDivisionError("nor here"))
    await first.until_running(3)
    assert (await the_lease(database)).error == "nor here"
    await other.close()
    await one.close()


async def test_the_only_process_tries_again_after_a_pause(
    target: Target, works: tuple[Work, Work]
) -> None:
    work, _ = works
    one = Process(target, work)
    await work.until_running(1)
    began = asyncio.get_running_loop().time()
    work.break_down(ZeroDivisionError("again"))
    await work.until_running(2)
    assert asyncio.get_running_loop().time() - began >= module.FAILED_PAUSES_SECONDS[0]
    await one.close()


async def test_all_leases_of_a_process_are_renewed_in_one_transaction(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = [Work(f"work-{n}") for n in range(4)]
    for work in several:
        work.lag = 7.5
    process = Process(target, *several)
    for work in several:
        await work.until_running(1)
    renewals: asyncio.Queue[float] = asyncio.Queue()
    transact = process.database.transact

    async def counted(work: Callable[[Transaction], Awaitable[Any]]) -> Any:
        began = asyncio.get_running_loop().time()  # How long it takes is up to the machine.
        done = await transact(work)
        renewals.put_nowait(began)
        return done

    before = await log.head(process.database)
    monkeypatch.setattr(process.database, "transact", counted)
    async with asyncio.timeout(WAIT_SECONDS):
        times = [await renewals.get() for _ in range(4)]
    assert all(b - a >= module.RENEW_SECONDS * 0.9 for a, b in pairwise(times))
    found = await leases.load_all(process.database, process.database.dialect)
    assert [(lease.name, lease.term, lease.lag_seconds) for lease in found] == [
        (work.name, 1, 7.5) for work in several
    ]
    assert await log.head(process.database) == before
    await process.close()


async def test_a_dead_process_is_followed_within_the_length_of_a_lease(
    target: Target, database: Database, works: tuple[Work, Work]
) -> None:
    work, _ = works

    async def held_by_the_dead(tx: Transaction) -> None:
        assert await leases.acquire(tx, database.dialect, "work", Holder("dead", 1), LEASE_SECONDS)

    await database.transact(held_by_the_dead)
    began = asyncio.get_running_loop().time()
    one = Process(target, work)
    await work.until_running(2)
    assert asyncio.get_running_loop().time() - began < LEASE_SECONDS + 2.0
    await one.close()


async def _mark_by(server: Server, fence: Fence, id_: str) -> None:
    later = server.now() + 2 * FAR_AWAY
    await flow_runs.mark_late(server.shell, id_, later, later, Origin("late-runs", fence=fence))


async def test_a_run_is_not_marked_by_who_was_superseded(target: Target) -> None:
    async with serving(target, SETTINGS) as server:
        flow_id = await new_flow(server)
        await marked(server, await new_run(server, scheduled(server, LONG_AGO), flow_id))
        mine = (await the_lease(server.database, "late-runs")).fence
        await steal(server.database, "late-runs", LEASE_SECONDS)
        id_ = await new_run(server, scheduled(server, LONG_AGO), flow_id)
        with pytest.raises(LeaseLost):
            await _mark_by(server, mine, id_)
        assert await states(server, id_) == ["Scheduled"]
        # Nor by its own service, until that takes the lease back when the thief has let it go.
        fact = (await marked(server, id_))[id_]
        assert fact.actor == "late-runs"
        assert (await the_lease(server.database, "late-runs")).term == mine.term + 2
        assert await states(server, id_) == ["Scheduled", LATE]
