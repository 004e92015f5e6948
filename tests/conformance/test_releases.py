"""An older release beside a newer one on the same log: when it stops to write, and when it goes on.

The older one follows nobody here, so all that can tell it is what it reads under the lock.
"""

import fcntl
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import psycopg
import pytest

from eventstore import checkpoints, log, migrate
from eventstore.checkpoints import Checkpoint
from eventstore.codec import Codec
from eventstore.database import Database, Transaction
from eventstore.errors import DatabaseUnavailable, OtherRelease
from eventstore.events import Event, NewEvents
from eventstore.log import Command, Decision
from eventstore.migrate import Target
from eventstore.store import EventStore
from tests.conformance.toys import CODEC, adding, store_on
from tests.conftest import open_database

ID = "44444444-4444-4444-8444-444444444444"
LATER_ID = "55555555-5555-4555-8555-555555555555"


class Invented(Event, frozen=True, tag="counter.invented-later"):
    pass


class AddedOtherwise(Event, frozen=True, tag="counter.added"):
    """What the older release knows under the same name, in another version."""

    type_version: ClassVar[int] = 2


@pytest.fixture
async def older(database: Database) -> AsyncIterator[EventStore]:
    store = store_on(database)
    await store.open(follow_others=False)
    await store.submit(adding("n:1", 0, 1))
    yield store
    await store.close()


@pytest.fixture
async def other_database(target: Target) -> AsyncIterator[Database]:
    database = open_database(target)
    yield database
    await database.close()


async def _newer(database: Database, event: type[Event]) -> EventStore:
    types: dict[str, type[Event]] = dict(CODEC.types)
    types[str(event.__struct_config__.tag)] = event
    upcasters = {("counter.added", 1): dict} if event is AddedOtherwise else None
    store = store_on(database, codec=Codec(types.values(), upcasters))
    await store.open(follow_others=False)
    return store


@pytest.mark.parametrize("event", [Invented, AddedOtherwise])
async def test_an_event_that_an_older_release_cannot_read_is_the_last_before_it_stops(
    older: EventStore,
    other_database: Database,
    event: type[Event],
    caplog: pytest.LogCaptureFixture,
) -> None:
    newer = await _newer(other_database, event)
    await older.submit(adding("n:1", 1, 1))
    await newer.submit(Command(Decision(appends=[NewEvents("n:3", 0, [event()], [ID])])))
    head = (await log.head(older.database)).position
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(OtherRelease, match=f"{event.__struct_config__.tag}.*upgrade"):
            await older.submit(adding("n:1", 2, 1))
    assert time.monotonic() - began < 2, "it was asked again although nothing would change"
    assert (await log.head(older.database)).position == head
    said = [r for r in caplog.records if "nothing is written here any more" in r.message]
    assert len(said) == 1
    assert said[0].levelno == logging.ERROR
    await newer.submit(Command(Decision(appends=[NewEvents("n:4", 0, [event()], [LATER_ID])])))
    await newer.close()


async def test_an_event_that_was_rolled_back_stops_nobody(
    older: EventStore, other_database: Database
) -> None:
    async def fails(*_: object) -> None:
        raise ZeroDivisionError

    store = store_on(other_database, fails, codec=Codec([*CODEC.types.values(), Invented]))
    await store.open(follow_others=False)
    command = Command(Decision(appends=[NewEvents("n:3", 0, [Invented()], [ID])]))
    with pytest.raises(ZeroDivisionError):
        await store.submit(command)
    await older.submit(adding("n:1", 1, 1))
    await store.close()


async def test_types_are_noted_once(older: EventStore) -> None:
    generation = (await log.head(older.database)).generation
    for version in range(1, 4):
        await older.submit(adding("n:1", version, 1))
    assert (await log.head(older.database)).generation == generation


async def test_a_log_without_that_event_may_be_written_again(
    older: EventStore, other_database: Database
) -> None:
    """As after a restored backup, but for the epoch."""
    newer = await _newer(other_database, Invented)
    await newer.submit(Command(Decision(appends=[NewEvents("n:3", 0, [Invented()], [ID])])))
    with pytest.raises(OtherRelease):
        await older.submit(adding("n:1", 1, 1))

    async def forget(tx: Transaction) -> None:
        await tx.execute("DELETE FROM event_types WHERE type = 'counter.invented-later'")
        await tx.execute(log.NEXT_GENERATION)

    await older.database.transact(forget)
    await older.releases.look(older.database, (await log.head(older.database)).generation)
    await older.submit(adding("n:1", 1, 1))
    await newer.close()


@pytest.fixture
def migrations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of migrations that a newer release adds to ours."""
    folder = tmp_path / "newer"
    for engine in ("sqlite", "postgres"):
        (folder / engine).mkdir(parents=True)
    for file in migrate.MIGRATIONS.rglob("*.sql"):
        (folder / file.relative_to(migrate.MIGRATIONS)).write_text(file.read_text())
    (folder / "9000.later.sql").write_text("CREATE TABLE later (id BIGINT);\n")
    (folder / "9000.later.rollback.sql").write_text("DROP TABLE later;\n")
    return folder


@contextmanager
def _as_the_newer_release(migrations: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrate, "MIGRATIONS", migrations)
        yield


async def test_a_newer_schema_stops_an_older_release_until_it_is_undone(
    older: EventStore, target: Target, migrations: Path
) -> None:
    ours, _, _ = migrate.known(older.database.dialect.name)[-1].partition(".")
    with _as_the_newer_release(migrations):
        assert migrate.upgrade(target) == ["9000.later"]
    with pytest.raises(OtherRelease, match=r"9000\.later"):
        await older.submit(adding("n:1", 1, 1))
    with _as_the_newer_release(migrations):
        folded = Checkpoint("later", 3, 1)
        await older.database.transact(lambda tx: checkpoints.save(tx, folded))
        read_models = {"9000.later": ["later"], "0002.read-models": ["others"]}
        assert migrate.downgrade(target, ours, read_models) == ["9000.later"]
    assert await checkpoints.load(older.database, "later") == Checkpoint("later", 0, 1)
    await older.releases.look(older.database, (await log.head(older.database)).generation)
    await older.submit(adding("n:1", 1, 1))


async def test_a_schema_of_read_models_alone_stops_nobody_before_the_swap(
    older: EventStore, target: Target, migrations: Path
) -> None:
    await older.submit(adding("n:1", 1, 1))  # It has noted a type, and has looked since.
    with _as_the_newer_release(migrations):
        migrate.upgrade(target, read_models=["9000.later"])
    await older.submit(adding("n:1", 2, 1))
    await older.database.transact(lambda tx: tx.execute(log.NEXT_GENERATION))
    with pytest.raises(OtherRelease, match=r"9000\.later"):
        await older.submit(adding("n:1", 3, 1))


@contextmanager
def _migrating(target: Target) -> Iterator[None]:
    """Another process changes the schema, and does not come to an end."""
    if target.path is not None:
        with Path(f"{target.path}.migrations.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        return
    with psycopg.connect(target.url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (migrate.ADVISORY_LOCK,))
        yield


def test_who_waits_for_another_that_migrates_gives_up_in_time(target: Target) -> None:
    impatient = Target(
        path=target.path, url=target.url, schema=target.schema, lock_timeout_seconds=0.3
    )
    with _migrating(target):
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match=r"for more than 0\.3 s.*DATABASE_TIMEOUT"):
            migrate.upgrade(impatient)
        assert 0.3 <= time.monotonic() - began < 5
    assert migrate.upgrade(impatient) == []
