"""The log as a file and back; a damaged file is refused and leaves nothing behind."""

import itertools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
import zstandard
from msgspec import structs

from eventstore import checkpoints, log, transfer
from eventstore.database import Database, Row, Table, Transaction
from eventstore.errors import LogCorrupted
from eventstore.events import ANY_VERSION, NewEvents
from eventstore.log import Command, Decision, Lines
from eventstore.migrate import Target
from eventstore.store import EventStore
from eventstore.transfer import DamagedFile, LineTable, LogNotEmpty, export_log, import_log
from eventstore.verify import verify
from tests.conformance.toys import Noted, adding, store_on
from tests.conftest import open_database

EVENTS = 12
LINES = LineTable(
    Table("toy_lines", {"line": "bigint", "text": "text", "run": "text"}, key=("line",)),
    optional=frozenset({"run"}),
)
SAID = [(1, 'ü "\\ \n 🚀', "r"), (2, "", None), (4, "after a deleted one", "r")]
"""The lines of the exported log; there have been five."""


async def create_lines(database: Database) -> None:
    async def create(tx: Transaction) -> None:
        await tx.execute(
            "CREATE TABLE toy_lines (line BIGINT PRIMARY KEY, text TEXT NOT NULL, run TEXT)"
        )

    await database.transact(create)


@pytest.fixture
async def database(database: Database) -> Database:
    """The test's database with a table of lines."""
    await create_lines(database)
    return database


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PAGE", 5)


@pytest.fixture
async def file(store: EventStore, tmp_path: Path) -> Path:
    """An exported log, and the database emptied again."""
    for number in range(10):
        await store.submit(
            adding(
                f"n:{number % 3}", ANY_VERSION, number, correlation="c", causation=number or None
            )
        )
    notes = NewEvents("n:ü", 0, [Noted(text='ü "\\ \n\0 🚀'), Noted(text="")], [_id(1), _id(2)])
    await store.submit(Command(Decision(appends=[notes]), actor="Ann, the  admin"))
    said = [*SAID[:2], (3, "deleted", "r"), *SAID[2:], (5, "deleted", None)]
    lines = Lines(LINES.table, [row[1:] for row in said])
    await store.submit(Command(Decision(lines=[lines])))

    async def delete(tx: Transaction) -> None:
        await tx.execute("DELETE FROM toy_lines WHERE text = 'deleted'")

    await store.database.transact(delete)
    path = tmp_path / "the log.jsonl.zst"
    header = await export_log(store.database, path, LINES)
    assert (header.events, header.lines, header.epoch) == (EVENTS, len(SAID), store.epoch)
    return path


def _id(number: int) -> str:
    return f"66666666-6666-4666-8666-{number:012d}"


async def rows_of(database: Database) -> list[Row]:
    rows = await log.read_rows(database, database.dialect, 0)
    return [(*row[:-1], bytes(row[-1])) for row in rows]


async def lines_of(database: Database) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await database.fetch("SELECT * FROM toy_lines ORDER BY line")]


async def erase(database: Database) -> None:
    async def erase(tx: Transaction) -> None:
        for table in ("events", "streams", "toy_lines"):
            await tx.execute(f"DELETE FROM {table}")
        await tx.execute(
            "UPDATE log_head SET position = 0, recorded_at = 0, lines = 0, hash = $1", bytes(32)
        )

    await database.transact(erase)


async def test_an_imported_log_is_the_exported_one(store: EventStore, file: Path) -> None:
    before, head = await rows_of(store.database), await log.head(store.database)
    await erase(store.database)
    header = await import_log(store.database, file, LINES)
    assert header.events == EVENTS
    assert await rows_of(store.database) == before
    imported = await log.head(store.database)
    assert imported.epoch != head.epoch, "it is another log: who follows the old one is told so"
    assert imported == structs.replace(head, epoch=imported.epoch)
    assert await lines_of(store.database) == SAID
    assert await verify(store.database) == []


async def test_a_line_after_an_import_gets_a_number_that_none_ever_had(
    store: EventStore, file: Path
) -> None:
    await erase(store.database)
    await import_log(store.database, file, LINES)
    later = store_on(store.database)
    await later.open(follow_others=False)
    await later.submit(Command(Decision(lines=[Lines(LINES.table, [("new", None)])])))
    assert (await lines_of(store.database))[-1] == (6, "new", None)
    await later.close()


async def test_a_file_of_an_older_release_has_no_lines_and_can_be_read(
    store: EventStore, file: Path
) -> None:
    before = await rows_of(store.database)
    await erase(store.database)
    header, *rest = unpacked(file)
    older = msgspec.json.decode(header) | {"version": 1}
    del older["lines"], older["last_line"]
    repacked(file, [msgspec.json.encode(older) + b"\n", *rest[:EVENTS]])
    await import_log(store.database, file, LINES)
    assert await rows_of(store.database) == before
    assert await lines_of(store.database) == []


async def test_a_log_that_holds_lines_alone_is_left_alone_too(
    store: EventStore, tmp_path: Path
) -> None:
    await store.submit(Command(Decision(lines=[Lines(LINES.table, [("a", None)])])))
    await export_log(store.database, tmp_path / "lines", LINES)
    with pytest.raises(LogNotEmpty):
        await import_log(store.database, tmp_path / "lines", LINES)


async def test_an_imported_log_goes_on(store: EventStore, file: Path) -> None:
    await erase(store.database)
    await import_log(store.database, file, LINES)
    later = store_on(store.database)
    await later.open(follow_others=False)
    written = await later.submit(adding("n:0", 4, 1))
    assert written.recorded[0].position == EVENTS + 1
    await later.close()
    assert await verify(store.database) == []


async def test_the_file_is_json_lines_for_anybody_to_read(file: Path) -> None:
    lines = [msgspec.json.decode(line) for line in unpacked(file)]
    assert lines[0]["format"] == "pluperfect-log"
    assert lines[1]["data"] == {"event": "counter.added", "amount": 0}
    assert [line["position"] for line in lines[1 : EVENTS + 1]] == list(range(1, EVENTS + 1))
    assert lines[EVENTS]["actor"] == "Ann, the  admin"
    assert lines[-1] == {"line": 4, "text": "after a deleted one", "run": "r"}
    assert set(lines[1]) == {
        *("position", "stream", "version", "type", "type_version", "recorded_at"),
        *("event_id", "actor", "correlation", "causation", "data", "hash"),
    }


async def test_an_empty_log_is_transferred_too(database: Database, tmp_path: Path) -> None:
    await export_log(database, tmp_path / "empty", LINES)
    assert (await import_log(database, tmp_path / "empty", LINES)).events == 0


async def test_nobody_has_followed_a_log_that_was_just_imported(
    store: EventStore, file: Path
) -> None:
    await erase(store.database)
    old = checkpoints.Checkpoint("flows", 1, 0)
    await store.database.transact(lambda tx: checkpoints.save(tx, old))
    await import_log(store.database, file, LINES)
    assert await checkpoints.load_all(store.database) == []


async def test_a_log_that_holds_events_is_left_alone(store: EventStore, file: Path) -> None:
    with pytest.raises(LogNotEmpty):
        await import_log(store.database, file, LINES)
    assert len(await rows_of(store.database)) == EVENTS


async def test_an_export_of_a_log_with_a_gap_leaves_no_file(
    store: EventStore, file: Path, tmp_path: Path
) -> None:
    async def tamper(tx: Transaction) -> None:
        await tx.execute("DELETE FROM events WHERE position = 7")

    await store.database.transact(tamper)
    with pytest.raises(LogCorrupted):
        await export_log(store.database, tmp_path / "never", LINES)
    assert list(tmp_path.glob("never*")) == []  # noqa: ASYNC240


def unpacked(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        text = zstandard.ZstdDecompressor().stream_reader(file).read()
    return text.splitlines(keepends=True)


def repacked(path: Path, lines: Sequence[bytes]) -> None:
    path.write_bytes(zstandard.ZstdCompressor().compress(b"".join(lines)))


def changed(line: int, old: bytes, new: bytes) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        lines = unpacked(path)
        assert old in lines[line]
        lines[line] = lines[line].replace(old, new)
        repacked(path, lines)

    return change


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut in the middle": (
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        "ends after|cut off|not an exported log",
    ),
    "cut at an event": (
        lambda path: repacked(path, unpacked(path)[: EVENTS - 1]),
        f"ends after {EVENTS - 2} of {EVENTS} events",
    ),
    "cut in an event": (
        lambda path: repacked(path, [*unpacked(path)[:EVENTS], unpacked(path)[EVENTS][:20]]),
        f"line {EVENTS + 1} is cut off",
    ),
    "cut at a line": (
        lambda path: repacked(path, unpacked(path)[:-1]),
        "holds 2 of 3 run log lines",
    ),
    "cut in a line": (
        lambda path: repacked(path, [*unpacked(path)[:-1], unpacked(path)[-1][:20]]),
        f"line {EVENTS + 4} is cut off",
    ),
    "one line twice": (
        lambda path: repacked(path, [*unpacked(path), unpacked(path)[-1]]),
        f"line {EVENTS + 5} does not follow",
    ),
    "a line of the future": (
        changed(EVENTS + 3, b'"line":4', b'"line":6'),
        f"line {EVENTS + 4} does not follow",
    ),
    "a line without its text": (
        changed(EVENTS + 3, b'"after a deleted one"', b"null"),
        f"line {EVENTS + 4} is not a run log line",
    ),
    "a line with a NUL": (
        changed(EVENTS + 3, b"deleted", b"\\u0000"),
        f"line {EVENTS + 4} is not a run log line",
    ),
    "empty": (lambda path: path.write_bytes(b""), "not an exported log"),
    "not compressed": (
        lambda path: path.write_text("hello\n" * 100),
        "not an exported log, which is compressed",
    ),
    "broken in its compression": (
        # Its last four bytes are a checksum.
        lambda path: path.write_bytes(path.read_bytes()[:-4] + b"nope"),
        "compression is broken",
    ),
    "something else": (lambda path: repacked(path, [b'{"a":1}\n']), "not an exported log"),
    "a line missing": (
        lambda path: repacked(path, [*unpacked(path)[:3], *unpacked(path)[4:]]),
        "line 4 does not follow",
    ),
    "lines swapped": (
        lambda path: repacked(
            path, [unpacked(path)[n] for n in (0, 1, 3, 2, *range(4, EVENTS + 4))]
        ),
        "line 3 does not follow",
    ),
    "a forged event": (changed(8, b'"amount":7', b'"amount":9'), "line 9 does not follow"),
    "a forged actor": (changed(8, b"anonymous", b"anonymouse"), "line 9 does not follow"),
    "not an event": (changed(8, b'"stream"', b'"strom"'), "line 9 is not an event"),
    "not UTF-8": (changed(8, b"counter", b"c\xffunter"), "line 9 is not an event"),
    "a number too large": (
        changed(8, b'"type_version":1', b'"type_version":99999999999999999999'),
        "line 9 is not an event",
    ),
    "a newer format": (changed(0, b'"version":2', b'"version":3'), "format version 3"),
    "one event too many": (
        changed(0, f'"events":{EVENTS}'.encode(), b'"events":11'),
        "last event is not the one",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_file_is_refused_and_leaves_nothing_behind(
    store: EventStore, file: Path, damage: str
) -> None:
    await erase(store.database)
    before = await log.head(store.database)
    carry_out, message = DAMAGES[damage]
    carry_out(file)
    with pytest.raises(DamagedFile, match=message):
        await import_log(store.database, file, LINES)
    assert await log.head(store.database) == before
    assert await rows_of(store.database) == []
    assert await store.database.fetch("SELECT * FROM streams") == []
    assert await lines_of(store.database) == []


async def test_any_single_flipped_byte_is_noticed(store: EventStore, file: Path) -> None:
    await erase(store.database)
    whole = file.read_bytes()  # noqa: ASYNC240
    for at in itertools.chain(range(20), range(20, len(whole), len(whole) // 40)):
        flipped = bytearray(whole)
        flipped[at] ^= 0x10
        file.write_bytes(flipped)  # noqa: ASYNC240
        try:
            await import_log(store.database, file, LINES)
        except DamagedFile:
            continue
        # A flip that zstd does not mind (an unused bit of a frame header) changed no content.
        assert await verify(store.database) == []
        assert await lines_of(store.database) == SAID
        await erase(store.database)


async def test_a_log_moves_to_the_other_engine(
    store: EventStore, file: Path, tmp_path: Path, sqlite_template: Path
) -> None:
    shutil.copy(sqlite_template, tmp_path / "other.db")
    other = open_database(Target(path=tmp_path / "other.db"))
    await create_lines(other)
    await import_log(other, file, LINES)
    assert await rows_of(other) == await rows_of(store.database)
    assert await lines_of(other) == SAID
    assert await verify(other) == []
    await other.close()
