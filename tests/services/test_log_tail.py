"""Following run log lines: nothing is dropped, nothing is heard twice, nothing runs in between."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from eventstore.database import Database, Row, Transaction
from eventstore.ids import new_id
from eventstore.log import Lines
from eventstore.store import EventStore
from projections.filters import LogFilter
from projections.log_lines import TABLE
from services import log_tail
from services.log_tail import LogTail, Page
from services.shell import Shell
from tests.shells import shell_on

RUN = new_id()
MESSAGE = list(TABLE.columns).index("message")
WAIT_SECONDS = 20.0


@pytest.fixture
async def shell(database: Database) -> AsyncIterator[Shell]:
    async with shell_on(database) as shell:
        yield shell


class Tail(LogTail):
    """Tells when a new listener has looked where the lines end, and waits for the next one."""

    def __init__(self, store: EventStore) -> None:
        super().__init__(store)
        self.asked = asyncio.Event()

    async def after(self, number: int) -> Page:
        self.asked.set()
        return await super().after(number)


@pytest.fixture
def tail(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Tail:
    monkeypatch.setattr(log_tail, "PAGE_LINES", 5)
    monkeypatch.setattr(log_tail, "KEPT_PAGES_MAX", 3)
    return Tail(shell.store)


async def write(shell: Shell, *numbers: int) -> None:
    rows = [(0, 0, 20, "n", str(number), RUN, None) for number in numbers]
    await shell.append_lines(Lines(TABLE, rows), 0)


class Listener:
    """Takes lines when it is asked to."""

    def __init__(self, tail: LogTail) -> None:
        self._pages = tail.follow(LogFilter())
        self._next: asyncio.Future[list[Row]] | None = asyncio.ensure_future(self._page())
        self._left: list[int] = []

    async def _page(self) -> list[Row]:
        return await anext(self._pages)

    async def hear(self, number: int) -> list[int]:
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self._left) < number:
                page = await (self._next or self._page())
                self._next = None
                self._left += [int(row[MESSAGE]) for row in page]
        heard, self._left = self._left[:number], self._left[number:]
        return heard


async def listen(tail: Tail) -> Listener:
    tail.asked.clear()
    listener = Listener(tail)
    await asyncio.wait_for(tail.asked.wait(), WAIT_SECONDS)
    return listener


async def test_only_what_is_written_from_now_on_is_heard(shell: Shell, tail: Tail) -> None:
    await write(shell, 1, 2)
    listener = await listen(tail)
    await write(shell, 3)
    assert await listener.hear(1) == [3]


async def test_a_listener_far_behind_hears_every_line_once(shell: Shell, tail: Tail) -> None:
    slow, quick = await listen(tail), await listen(tail)
    for number in range(40):
        await write(shell, number)
        assert await quick.hear(1) == [number]
    late = await listen(tail)
    assert await slow.hear(20) == list(range(20))
    await write(shell, *range(40, 60))
    assert await slow.hear(40) == list(range(20, 60))
    assert await quick.hear(20) == list(range(40, 60))
    assert await late.hear(20) == list(range(40, 60))


async def test_deleted_lines_leave_no_hole_to_wait_at(shell: Shell, tail: Tail) -> None:
    listener = await listen(tail)
    await write(shell, 0)
    await listener.hear(1)
    await write(shell, *range(1, 7))

    async def delete(tx: Transaction) -> None:
        await tx.execute("DELETE FROM log_lines")

    await shell.store.database.transact(delete)
    await write(shell, 7, 8)
    assert await listener.hear(2) == [7, 8]


async def test_what_is_kept_is_bounded(shell: Shell, tail: Tail) -> None:
    listener = await listen(tail)
    for number in range(20):
        await write(shell, number)
        await listener.hear(1)
    assert len(tail._pages) == log_tail.KEPT_PAGES_MAX
