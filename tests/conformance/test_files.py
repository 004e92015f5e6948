"""A SQLite database whose files are moved, deleted or replaced while it is open is not written any
more: nothing is acknowledged that nobody would find again."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from eventstore import committer, log
from eventstore.database import Database
from eventstore.errors import DatabaseUnavailable
from eventstore.migrate import Target
from tests.conformance.toys import adding, store_on
from tests.conftest import open_database


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """Postgres looks after its files itself."""
    return str(request.param)


def deleted(path: Path) -> None:
    path.unlink()


def moved(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def replaced(path: Path) -> None:
    shutil.copy(path, path.with_name("copy.db"))
    path.with_name("copy.db").rename(path)


def without_its_log(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


@pytest.mark.parametrize("happens", [deleted, moved, replaced, without_its_log])
async def test_what_would_be_lost_of_a_database_that_a_link_leads_to_is_refused(
    target: Target,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    happens: Callable[[Path], None],
) -> None:
    monkeypatch.setattr(committer, "UNAVAILABLE_PAUSES_SECONDS", ())
    assert target.path is not None
    link = tmp_path / "linked" / "linked.db"
    link.parent.mkdir()
    link.symlink_to(target.path)
    database = open_database(Target(path=link))
    store = store_on(database)
    await store.open(follow_others=False)
    await store.submit(adding("n:1", 0, 1))
    assert list(link.parent.iterdir()) == [link]
    happens(target.path)
    with pytest.raises(DatabaseUnavailable, match="while this server had it open"):
        await store.submit(adding("n:1", 1, 1))
    await store.close()
    await database.close()


@pytest.mark.parametrize("happens", [deleted, moved, replaced, without_its_log])
async def test_what_would_be_lost_is_refused(
    database: Database,
    target: Target,
    monkeypatch: pytest.MonkeyPatch,
    happens: Callable[[Path], None],
) -> None:
    monkeypatch.setattr(committer, "UNAVAILABLE_PAUSES_SECONDS", ())
    assert target.path is not None
    store = store_on(database)
    await store.open(follow_others=False)
    await store.submit(adding("n:1", 0, 1))
    happens(target.path)
    with pytest.raises(DatabaseUnavailable, match="while this server had it open"):
        await store.submit(adding("n:1", 1, 1))
    with pytest.raises(DatabaseUnavailable):
        await database.ping()
    await store.close()


async def test_a_page_that_is_none_is_told_of_as_such(database: Database, target: Target) -> None:
    """As in a copy that was made while the file was written."""
    assert target.path is not None
    await database.close()
    with closing(sqlite3.connect(target.path)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'events'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with target.path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    torn = open_database(target)
    async with torn.snapshot() as reader:
        with pytest.raises(DatabaseUnavailable, match="malformed"):
            await log.read_rows(reader, torn.dialect, 0)
    await torn.close()


async def test_a_file_that_is_put_back_is_written_again(
    database: Database, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "UNAVAILABLE_PAUSES_SECONDS", ())
    assert target.path is not None
    store = store_on(database)
    await store.open(follow_others=False)
    away = target.path.rename(target.path.with_name("elsewhere.db"))
    with pytest.raises(DatabaseUnavailable):
        await store.submit(adding("n:1", 0, 1))
    away.rename(target.path)
    await store.submit(adding("n:1", 0, 1))
    assert (await log.head(database)).position == 1
    await database.ping()
    await store.close()
