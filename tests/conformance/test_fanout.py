"""Processes that tell each other their commits through Redis, and what happens when they cannot."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
import redis

from api.addresses import redis_url
from api.settings import Settings
from eventstore import redis as redis_module
from eventstore import sqlite as sqlite_module
from eventstore.database import Database, Row, Table
from eventstore.events import ANY_VERSION, NewEvents
from eventstore.log import Command, Decision, Lines
from eventstore.migrate import Target
from eventstore.notifier import Batch
from eventstore.redis import RedisNotifier
from eventstore.ring import Entry
from eventstore.store import EventStore
from tests.chaos.redis_proxy import Harm, RedisProxy
from tests.conformance.toys import Noted, adding, store_on
from tests.conftest import open_database
from tests.redis_serving import RunningRedis

SECONDS_MAX = 20.0


@pytest.fixture
def running_redis(tmp_path: Path) -> Iterator[RunningRedis]:
    server = RunningRedis(tmp_path)
    yield server
    server.kill()


class Processes:
    """Stores on one log, each as if in a process of its own."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._opened: list[tuple[EventStore, Database]] = []

    async def another(self, url: str) -> tuple[EventStore, RedisNotifier]:
        database = open_database(self._target)
        notifier = RedisNotifier(url, database)
        store = store_on(database, notifier=notifier)
        await store.open()
        self._opened.append((store, database))
        return store, notifier

    async def close(self) -> None:
        for store, database in self._opened:
            await store.close()
            await database.close()


@pytest.fixture
async def processes(target: Target) -> AsyncIterator[Processes]:
    processes = Processes(target)
    yield processes
    await processes.close()


@pytest.fixture
def only_what_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the log's head within the test: what arrives was told."""
    monkeypatch.setattr(redis_module, "LOOK_SECONDS", 3_600.0)


async def until(holds: Callable[[], bool]) -> None:
    """Return when a state is reached that no signal announces."""
    async with asyncio.timeout(SECONDS_MAX):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def positions(pages: AsyncIterator[Sequence[Entry]], last: int) -> list[int]:
    """Positions of the events that a follower is given, up to the last one."""
    seen: list[int] = []
    async with asyncio.timeout(SECONDS_MAX):
        async for page in pages:
            seen.extend(entry.recorded.position for entry in page)
            if seen[-1] >= last:
                return seen
    raise AssertionError("the log ended")


async def heard_by(store: EventStore, position: int) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        await store.ring.wait(position - 1)


@pytest.mark.usefixtures("only_what_is_told")
async def test_a_commit_is_told_to_the_other_processes(
    running_redis: RunningRedis, processes: Processes
) -> None:
    running_redis.start()
    one, _ = await processes.another(running_redis.url)
    other, notifier = await processes.another(running_redis.url)
    await until(lambda: notifier.connected)
    await one.submit(adding("n:1", 0, 1, 2, 3))
    await heard_by(other, 3)
    told = other.ring.after(0, 10)
    assert told is not None
    assert [entry.row[10] for entry in told] == [
        entry.row[10] for entry in one.ring.after(0, 10) or ()
    ]


@pytest.mark.usefixtures("only_what_is_told")
async def test_a_redis_that_asks_for_a_password_gets_it(
    running_redis: RunningRedis, processes: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    running_redis.start("--requirepass", "s3cret:/@")
    url = redis_url(
        Settings(redis_host="127.0.0.1", redis_port=running_redis.port, redis_password="s3cret:/@")
    )
    assert url is not None
    one, _ = await processes.another(url)
    other, notifier = await processes.another(url)
    await until(lambda: notifier.connected)
    await one.submit(adding("n:1", 0, 1))
    await heard_by(other, 1)
    with caplog.at_level(logging.WARNING, "eventstore.redis"):
        _, refused = await processes.another(running_redis.url)
        await until(lambda: bool(caplog.messages))
    assert "s3cret" not in caplog.text
    assert not refused.connected


@pytest.mark.usefixtures("only_what_is_told")
async def test_a_commit_too_large_to_be_told_is_read_from_the_log(
    running_redis: RunningRedis, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_module, "ENTRY_BYTES_MAX", 1_000)
    running_redis.start()
    one, _ = await processes.another(running_redis.url)
    other, notifier = await processes.another(running_redis.url)
    await until(lambda: notifier.connected)
    events = [Noted(text="x" * 2_000)]
    ids = ["0b6f7f0e-6f5a-7c2b-9d7a-3c1f6f0e9a11"]
    await one.submit(Command(Decision(appends=[NewEvents("n:1", 0, events, ids)])))
    await heard_by(other, 1)
    with redis.Redis(port=running_redis.port) as client:
        ((_, fields),) = client.xrange(f"{{pluperfect:{one.epoch}}}:log")
    assert len(fields[b"b"]) < 1_000


LINES = Table("lines", {"line": "bigint", "text": "text"}, key=("line",))
CREATE_LINES = "CREATE TABLE lines (line BIGINT PRIMARY KEY, text TEXT NOT NULL)"


@pytest.mark.usefixtures("only_what_is_told")
async def test_lines_without_events_are_told_as_well(
    running_redis: RunningRedis, processes: Processes
) -> None:
    running_redis.start()
    one, _ = await processes.another(running_redis.url)
    other, notifier = await processes.another(running_redis.url)
    await until(lambda: notifier.connected)
    await one.database.transact(lambda tx: tx.script(CREATE_LINES + ";"))
    rows: list[Row] = [("a",), ("b",)]
    await one.submit(Command(Decision(lines=[Lines(LINES, rows)])))
    async with asyncio.timeout(SECONDS_MAX):
        await other.lines.wait(1)


async def test_without_redis_at_the_start_others_are_found_all_the_same(
    running_redis: RunningRedis, processes: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "eventstore.redis"):
        one, _ = await processes.another(running_redis.url)
        other, notifier = await processes.another(running_redis.url)
        await one.submit(adding("n:1", 0, 1))
        await heard_by(other, 1)
        await until(lambda: bool(caplog.messages))
    assert not notifier.connected
    assert "Nothing is lost" in caplog.messages[0]
    running_redis.start()
    await until(lambda: notifier.connected)
    assert "Redis is back" in caplog.text
    await one.submit(adding("n:1", 1, 1))
    await heard_by(other, 2)


async def test_redis_that_dies_and_returns_is_joined_again(
    running_redis: RunningRedis, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    running_redis.start()
    one, telling = await processes.another(running_redis.url)
    other, hearing = await processes.another(running_redis.url)
    await until(lambda: hearing.connected and telling.connected)
    running_redis.kill()
    await one.submit(adding("n:1", 0, 1))
    await heard_by(other, 1)
    await until(lambda: not hearing.connected)
    running_redis.start()
    await until(lambda: hearing.connected and telling.connected)
    monkeypatch.setattr(redis_module, "LOOK_SECONDS", 3_600.0)
    await one.submit(adding("n:1", 1, 1))
    await heard_by(other, 2)


@pytest.mark.usefixtures("only_what_is_told")
async def test_a_stream_that_starts_again_with_lower_ids_is_heard(
    running_redis: RunningRedis, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_module, "BLOCK_SECONDS", 0.1)
    running_redis.start()
    one, _ = await processes.another(running_redis.url)
    key = f"{{pluperfect:{one.epoch}}}:log"
    with redis.Redis(port=running_redis.port) as client:
        client.xadd(key, {"b": b""}, id="99999999999999-0")  # A clock that was far ahead.
        other, notifier = await processes.another(running_redis.url)
        await until(lambda: notifier.connected)
        client.flushall()
    async with asyncio.timeout(SECONDS_MAX):
        # Heard as soon as a silent call has ended, after which the stream is looked at.
        while not other.ring.head:
            await one.submit(adding("n:1", ANY_VERSION, 1))
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("only_what_is_told")
async def test_what_is_told_between_two_times_of_listening_is_heard(
    running_redis: RunningRedis, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In silence a listener asks how the stream ends; what came just before that is no silence."""
    monkeypatch.setattr(redis_module, "BLOCK_SECONDS", 0.05)
    running_redis.start()
    one, _ = await processes.another(running_redis.url)
    other, listener = await processes.another(running_redis.url)
    await until(lambda: listener.connected)
    await one.submit(adding("n:1", 0, 1))
    await heard_by(other, 1)
    newest, asked = listener._newest, asyncio.Event()

    async def newest_of_more() -> bytes:
        if not asked.is_set():
            asked.set()
            await one.submit(adding("n:1", 1, 1))
            key = f"{{pluperfect:{one.epoch}}}:log"
            with redis.Redis(port=running_redis.port) as client:
                await until(lambda: client.xlen(key) == 2)
        return await newest()

    monkeypatch.setattr(listener, "_newest", newest_of_more)

    await heard_by(other, 2)
    assert asked.is_set()


async def test_what_nobody_can_read_in_the_stream_does_no_harm(
    running_redis: RunningRedis, processes: Processes
) -> None:
    running_redis.start()
    one, _ = await processes.another(running_redis.url)
    other, notifier = await processes.another(running_redis.url)
    await until(lambda: notifier.connected)
    key = f"{{pluperfect:{one.epoch}}}:log"
    with redis.Redis(port=running_redis.port) as client:
        unlike_an_event = Batch(one.epoch, 1, 0, ((1, "n:1", 1, "no such type", 1, 2, "id"),))
        of_another_place = Batch(one.epoch, 7, 0, ((1, "n:1"),))
        garbled = [msgspec.msgpack.encode(told) for told in (unlike_an_event, of_another_place)]
        for told in (b"\xc1", b"\x93\x01\x02\x03", *garbled):
            client.xadd(key, {"b": told})
        client.xadd(key, {"other": b"field"})
    await one.submit(adding("n:1", 0, 1))
    await heard_by(other, 1)
    assert notifier.connected
    await one.submit(adding("n:1", 1, 1))
    assert await positions(other.follow(0), 2) == [1, 2]


async def test_who_answers_what_no_redis_would_is_away_until_it_answers_as_one(
    running_redis: RunningRedis, processes: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    running_redis.start()
    proxy = RedisProxy(running_redis.port, Harm(nonsense=1.0), seed=1)
    await proxy.start()
    one, hears = await processes.another(proxy.url)
    other, _ = await processes.another(proxy.url)
    await until(lambda: "cannot be understood" in caplog.text)
    assert not hears.connected
    await other.submit(adding("n:1", 0, 1))
    await heard_by(one, 1)
    proxy.harm = Harm()
    await until(lambda: hears.connected)
    await proxy.close()


async def test_two_logs_in_one_redis_do_not_hear_each_other(
    running_redis: RunningRedis, processes: Processes, tmp_path: Path, sqlite_template: Path
) -> None:
    running_redis.start()
    one, _ = await processes.another(running_redis.url)
    path = tmp_path / "another.db"
    shutil.copy(sqlite_template, path)
    database = sqlite_module.SqliteDatabase(path, 10.0)
    notifier = RedisNotifier(running_redis.url, database)

    async def new_epoch() -> None:
        await database.transact(lambda tx: tx.execute("UPDATE log_head SET epoch = 'another'"))

    await new_epoch()
    stranger = store_on(database, notifier=notifier)
    await stranger.open()
    await until(lambda: notifier.connected)
    await one.submit(adding("n:1", 0, 1, 2))
    await stranger.submit(adding("n:1", 0, 1))
    assert await positions(stranger.follow(0), 1) == [1]
    assert stranger.ring.head == 1
    await stranger.close()
    await database.close()


@pytest.mark.parametrize(
    "harm",
    [
        Harm(),
        Harm(drop=0.3),
        Harm(repeat=0.5),
        Harm(delay=0.5),
        Harm(cut=0.1),
        Harm(drop=0.2, repeat=0.2, delay=0.3, cut=0.05),
    ],
    ids=["nothing", "drop", "repeat", "reorder", "cut", "everything"],
)
async def test_every_follower_sees_every_event_once_whatever_redis_does(
    running_redis: RunningRedis, processes: Processes, harm: Harm, tmp_path: Path
) -> None:
    """Four processes append at once, and followers of each see all of it in order."""
    running_redis.start()
    proxy = RedisProxy(running_redis.port, harm, seed=7)
    await proxy.start()
    stores = [(await processes.another(proxy.url))[0] for _ in range(4)]
    following = [
        asyncio.create_task(positions(store.follow(0), 200)) for store in stores for _ in range(5)
    ]

    async def append(number: int, store: EventStore) -> None:
        for _ in range(25):
            await store.submit(adding(f"n:{number}", ANY_VERSION, 1, 1))

    appending = asyncio.gather(*(append(n, store) for n, store in enumerate(stores)))
    with redis.Redis(port=running_redis.port) as client:
        while not appending.done():
            await asyncio.sleep(0.1)
            if harm.drop:
                client.flushall()
    await appending
    for seen in await asyncio.gather(*following):
        assert seen == list(range(1, 201))
    if harm.drop or harm.repeat or harm.delay:
        assert proxy.harmed, "the proxy did nothing"
    await proxy.close()
