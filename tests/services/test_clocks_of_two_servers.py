"""Servers whose machines do not agree on the time, on one log: the database's clock counts."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from litestar.types import HTTPScope

import eventstore.clock
from api import csrf
from api.errors import HttpError
from api.http import Call
from api.server import Server
from api.settings import Settings
from eventstore.clock import LOOK_SECONDS, SLOW_ANSWER, DatabaseClock
from eventstore.migrate import Target
from services import task_queue
from tests.conftest import open_database
from tests.services.runs_here import ORIGIN
from tests.services.serving_here import serving
from tests.services.test_task_queue import KEY, ONE, OTHER, claim, delayed, hand_over

IDLE = Settings(services_enabled=False)
WRONG = timedelta(hours=1)
NEARLY = timedelta(minutes=10)
LOOKED_TWICE = 4
"""Times that the machine is asked for in two looks."""
SOON_SECONDS = LOOK_SECONDS / 2


class Machine:
    """A clock that somebody set wrong."""

    def __init__(self, wrong_by: timedelta) -> None:
        self.wrong_by = wrong_by
        self.told = datetime.now(UTC)

    def __call__(self) -> datetime:
        self.told = datetime.now(UTC) + self.wrong_by
        return self.told


def off(clock: DatabaseClock) -> timedelta:
    return abs(clock.now() - datetime.now(UTC))


@pytest.mark.parametrize("backend", ["postgres"])
@pytest.mark.parametrize("wrong_by", [WRONG, -WRONG])
async def test_a_task_stays_with_its_worker_whatever_another_servers_clock_says(
    target: Target, wrong_by: timedelta
) -> None:
    async with serving(target, IDLE) as right, serving(target, IDLE, Machine(wrong_by)) as wrong:
        for here, there in ((right, wrong), (wrong, right)):
            claimed, handed = await delayed(here), await delayed(here)
            await task_queue.see(here.shell, ONE, (KEY,), here.now())
            assert {await claim(here), await claim(here)} == {claimed, handed}
            await hand_over(here, handed)
            assert await claim(there, OTHER) is None
            assert ONE in {
                one.identifier for one in await task_queue.connected(there.shell, there.now())
            }
            await task_queue.give_back(here.shell, claimed, ONE, ORIGIN)
            assert await claim(there, OTHER) == claimed


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("wrong_by", [WRONG, -WRONG])
async def test_a_csrf_token_ends_by_the_clock_that_it_was_issued_by(
    target: Target, wrong_by: timedelta
) -> None:
    async with serving(target, IDLE, Machine(wrong_by)) as server:
        good, over = (
            csrf.issue(server.store.epoch, "me", server.now(), lasts).token
            for lasts in (NEARLY, -NEARLY)
        )
        csrf.check(_changing(server, good))
        with pytest.raises(HttpError, match="Invalid CSRF token"):
            csrf.check(_changing(server, over))


def _changing(server: Server, token: str) -> Call:
    headers = [(b"prefect-csrf-token", token.encode()), (b"prefect-csrf-client", b"me")]
    return Call(server, cast(HTTPScope, {"headers": headers}), {})


@pytest.mark.parametrize("backend", ["postgres"])
async def test_a_clock_that_is_set_is_noticed(
    target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    database, machine = open_database(target), Machine(timedelta(0))
    clock = DatabaseClock(database, machine)
    with caplog.at_level(logging.WARNING):
        await clock.look()
        assert not caplog.records
        for wrong_by in (WRONG, -WRONG, timedelta(0)):
            machine.wrong_by = wrong_by
            await clock.look()
            assert off(clock) < NEARLY
    one_way, other_way, agrees = caplog.messages
    assert "ahead of" in one_way
    assert "behind" in other_way
    assert agrees == "this machine's clock agrees with the database's again"
    # And it is taken as it is, not put right by the little that it was measured to differ.
    assert clock.now() == machine.told
    await database.close()


@pytest.mark.parametrize("backend", ["postgres"])
async def test_an_answer_that_came_too_late_is_asked_for_again_soon(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = asyncio.Event()
    slow = iter((timedelta(0), SLOW_ANSWER * 2))

    def machine() -> datetime:
        """An hour ahead. To it the first answer takes eight seconds."""
        calls.append(wrong := WRONG + next(slow, timedelta(0)))
        if len(calls) == LOOKED_TWICE:
            compared.set()
        return datetime.now(UTC) + wrong

    calls: list[timedelta] = []
    monkeypatch.setattr(eventstore.clock, "AGAIN_SECONDS", 0.0)
    database = open_database(target)
    clock = DatabaseClock(database, machine)
    await clock.open()
    assert len(calls) < LOOKED_TWICE
    async with asyncio.timeout(SOON_SECONDS):
        await compared.wait()
    assert off(clock) < NEARLY
    await clock.close()
    await database.close()


@pytest.mark.parametrize("backend", ["postgres"])
async def test_while_the_database_does_not_answer_the_clock_goes_on(target: Target) -> None:
    database, machine = open_database(target), Machine(WRONG)
    clock = DatabaseClock(database, machine)
    await clock.look()
    await database.close()
    await clock.look()
    assert off(clock) < NEARLY


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_on_sqlite_the_machines_clock_counts(target: Target) -> None:
    async with serving(target, IDLE, Machine(WRONG)) as server:
        assert off(server.clock) > NEARLY
