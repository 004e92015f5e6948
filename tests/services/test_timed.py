"""Services that do something at times: one thing that cannot be done keeps no other waiting."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from api.server import Server
from api.settings import Settings
from eventstore import ring
from eventstore.codec import to_microseconds
from eventstore.errors import DatabaseUnavailable, LogCorrupted, Overloaded
from eventstore.events import Recorded
from eventstore.migrate import Target
from orchestration.flows import FlowCreate, FlowCreated
from services import flows, timed
from services.shell import Origin
from services.timed import SideBySide, Timed
from tests.services.runs_here import new_flow
from tests.services.serving_here import serving

ORIGIN = Origin("tester")
WAIT_SECONDS = 20.0


@pytest.fixture
async def server(target: Target) -> AsyncIterator[Server]:
    async with serving(target, Settings(services_enabled=False)) as server:
        yield server


class Bells(Timed):
    """Rings for each id; for some of them it fails first."""

    name = "bells"

    def __init__(self, server: Server, ids: list[str], failures: dict[str, Exception]) -> None:
        super().__init__(server.shell, server.now, timers_max=100, batch_max=2)
        self._ids, self._failures = ids, failures
        self.rung: list[str] = []
        self.done = asyncio.Event()

    async def load(self) -> None:
        now = to_microseconds(self._clock())
        self._timers.fill((id_, now) for id_ in self._ids)

    def note(self, recorded: Recorded[Any]) -> None:
        """Nothing that happens changes when."""

    async def see_to_one(self, id_: str, now: datetime, origin: Origin) -> None:
        failure = self._failures.pop(id_, None)
        if failure is not None:
            raise failure
        self.rung.append(id_)
        if len(self.rung) == len(self._ids):
            self.done.set()


async def until_all_rang(bells: Bells) -> None:
    running = asyncio.create_task(bells.run(ORIGIN))
    rang = asyncio.create_task(bells.done.wait())
    async with asyncio.timeout(WAIT_SECONDS):
        await asyncio.wait({running, rang}, return_when=asyncio.FIRST_COMPLETED)
    rang.cancel()
    if running.done():
        await running
    running.cancel()


async def test_what_cannot_be_done_is_tried_again_and_the_others_do_not_wait(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(timed, "FAILED_AGAIN_SECONDS", 0.3)
    bells = Bells(server, ["a", "b", "c", "d"], {"a": ValueError("odd"), "b": KeyError("odder")})
    await until_all_rang(bells)
    assert sorted(bells.rung[:2]) == ["c", "d"]
    assert sorted(bells.rung[2:]) == ["a", "b"]
    told = [record.getMessage() for record in caplog.records if record.name == "services.timed"]
    assert sorted(told) == [f"service bells could not see to {id_}" for id_ in ("a", "b")]


async def test_who_finds_the_server_too_busy_is_not_told_of(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(timed, "AGAIN_SECONDS", 0.1)
    await until_all_rang(Bells(server, ["a", "b"], {"a": Overloaded("too busy")}))
    assert not [record for record in caplog.records if record.name == "services.timed"]


async def test_a_database_that_is_away_ends_the_term_and_nothing_is_forgotten(
    server: Server,
) -> None:
    bells = Bells(server, ["a", "b"], {"a": DatabaseUnavailable("away")})
    with pytest.raises(DatabaseUnavailable):
        await until_all_rang(bells)
    await until_all_rang(bells)
    assert {"a", "b"} <= set(bells.rung)


async def test_it_is_late_by_what_it_has_not_seen_to(server: Server) -> None:
    bells = Bells(server, ["a"], {})
    assert bells.lag_seconds() == 0.0
    bells._timers.set("a", to_microseconds(server.now() - timedelta(seconds=60)))
    assert 60 <= bells.lag_seconds() < 120


class Slow(SideBySide):
    """One entity takes until that is over, and comes due again when `b` is seen to."""

    name = "slow"

    def __init__(self, server: Server, waited_for: str) -> None:
        super().__init__(server.shell, server.now, timers_max=100, batch_max=2)
        self._waited_for = waited_for
        self.seen: list[str] = []
        self.news = asyncio.Event()
        self.over = asyncio.Event()

    async def load(self) -> None:
        now = to_microseconds(self._clock())
        self._timers.fill((id_, now) for id_ in "abc")

    def note(self, recorded: Recorded[Any]) -> None:
        """Nothing that happens changes when."""

    async def see_to_one(self, id_: str, now: datetime, origin: Origin) -> None:
        self.seen.append(f"{id_} begins")
        self.news.set()
        if id_ == self._waited_for:
            await self.over.wait()
        if id_ == "b":
            self._timers.set(self._waited_for, to_microseconds(now))
        self.seen.append(f"{id_} ends")
        self.news.set()

    async def until(self, seen: str, times: int = 1) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while self.seen.count(seen) < times:
                self.news.clear()
                await self.news.wait()


async def test_nobody_waits_for_one_that_takes_long(server: Server) -> None:
    slow = Slow(server, "a")
    running = asyncio.create_task(slow.run(ORIGIN))
    await slow.until("c ends")
    assert slow.seen.count("a begins") == 1, "it is not seen to twice at the same time"
    slow.over.set()
    await slow.until("a ends", times=2)
    assert [one for one in slow.seen if one.startswith("a")] == ["a begins", "a ends"] * 2
    running.cancel()
    await asyncio.wait({running})


async def test_what_is_under_way_ends_with_the_term(server: Server) -> None:
    slow = Slow(server, "a")
    running = asyncio.create_task(slow.run(ORIGIN))
    await slow.until("c ends")
    (task,) = [task for task, id_ in slow._under_way.items() if id_ == "a"]
    running.cancel()
    await asyncio.wait({running})
    assert task.cancelled()


class Greeter(Timed):
    """Greets each new flow: as soon as it hears of it, or a day later."""

    name = "greeter"

    def __init__(self, server: Server, delay: timedelta = timedelta(0)) -> None:
        super().__init__(server.shell, server.now, timers_max=100, batch_max=2)
        self._delay = delay
        self._heard = 0
        self.looked = 0
        """How often it looked whether something is due."""
        self.greeted: list[str] = []
        self.news = asyncio.Event()
        self.busy = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def load(self) -> None:
        self._timers.fill(())

    def note(self, recorded: Recorded[Any]) -> None:
        if isinstance(recorded.event, FlowCreated):
            if recorded.event.name == "unspeakable":
                raise ValueError("there is no way to say this name")
            self.expect(recorded.event.id, self._delay)

    def expect(self, id_: str, delay: timedelta) -> None:
        # A microsecond can bring several, and timers of one microsecond have no order of their own.
        self._heard = max(self._heard + 1, to_microseconds(self._clock()))
        self._timers.set(id_, self._heard + delay // timedelta(microseconds=1))

    async def see_to_one(self, id_: str, now: datetime, origin: Origin) -> None:
        self.busy.set()
        await self.may_go_on.wait()
        self.greeted.append(id_)
        self.news.set()

    async def _see_to_batch(self, origin: Origin) -> None:
        self.looked += 1
        self.news.set()
        await super()._see_to_batch(origin)

    def _pause(self) -> float:
        self.news.set()  # It is about to rest.
        return super()._pause()

    async def until(self, has_come: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not has_come():
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def at_work(greeter: Greeter) -> AsyncIterator[asyncio.Task[None]]:
    running = asyncio.create_task(greeter.run(ORIGIN))
    try:
        yield running
    finally:
        running.cancel()
        await asyncio.wait({running})


async def until_it_rests(greeter: Greeter) -> None:
    await greeter.until(lambda: greeter._resting is not None)


async def test_what_is_due_at_once_is_seen_to_as_it_is_heard_of(server: Server) -> None:
    greeter = Greeter(server)
    async with at_work(greeter):
        await until_it_rests(greeter)
        flow = await new_flow(server)
        await greeter.until(lambda: greeter.greeted == [flow])


async def all_are_greeted_that_come_while_it_greets_the_first(server: Server) -> None:
    greeter = Greeter(server)
    greeter.may_go_on.clear()
    async with at_work(greeter):
        await until_it_rests(greeter)
        first = await new_flow(server)
        await asyncio.wait_for(greeter.busy.wait(), WAIT_SECONDS)
        others = [await new_flow(server) for _ in range(5)]
        greeter.may_go_on.set()
        await greeter.until(lambda: len(greeter.greeted) == 6)
        assert greeter.greeted == [first, *others]


async def test_what_happens_while_it_is_at_work_is_noted_before_it_rests(server: Server) -> None:
    await all_are_greeted_that_come_while_it_greets_the_first(server)


async def test_what_left_the_ring_while_it_was_at_work_is_read_from_the_log(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring, "RING_EVENTS_MAX", 2)
    await all_are_greeted_that_come_while_it_greets_the_first(server)


async def test_it_is_not_woken_by_what_changes_nothing_that_is_near(server: Server) -> None:
    greeter = Greeter(server, delay=timedelta(days=1))
    async with at_work(greeter):
        await until_it_rests(greeter)
        await new_flow(server)  # There was no timer at all before.
        await greeter.until(lambda: greeter.looked >= 1)
        await until_it_rests(greeter)
        looked = greeter.looked
        for _ in range(5):
            await new_flow(server)
        assert greeter.looked == looked
        greeter._delay = timedelta(0)
        flow = await new_flow(server)
        await greeter.until(lambda: greeter.greeted == [flow])


async def test_an_event_that_it_cannot_note_ends_its_term_and_spares_the_writer(
    server: Server,
) -> None:
    greeter = Greeter(server)
    async with at_work(greeter) as running:
        await until_it_rests(greeter)
        body = FlowCreate(name="unspeakable")
        await flows.create(server.shell, body, server.now(), ORIGIN)
        with pytest.raises(ValueError, match="no way to say"):
            await asyncio.wait_for(running, WAIT_SECONDS)


async def test_a_log_that_cannot_be_followed_any_further_ends_its_term(server: Server) -> None:
    greeter = Greeter(server)
    async with at_work(greeter) as running:
        await until_it_rests(greeter)
        server.store.ring.fail(LogCorrupted("a page is torn"))
        with pytest.raises(LogCorrupted, match="a page is torn"):
            await asyncio.wait_for(running, WAIT_SECONDS)
