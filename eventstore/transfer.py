"""The log as a file, and back, with the run log lines beside it: JSON lines compressed with zstd.

The first line says what the file is, where the log ended and how much follows. Then comes one line
for each event, with all columns of its row; `data` is the recorded JSON itself, byte for byte, so
that the hashes hold. Then one for each run log line, which has no hash: a checksum of the whole
file vouches for those. An import is one transaction: a file that turns out damaged at its end
leaves nothing behind.

Files are read and written where the caller runs; these functions are for the command line.
"""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import msgspec
import zstandard
from msgspec import Meta, Struct

from eventstore import leases, log
from eventstore.chain import GENESIS, chained
from eventstore.codec import EVENTS
from eventstore.database import Database, Dialect, Reader, Row, Table, Transaction
from eventstore.errors import EventStoreError, LogCorrupted
from eventstore.ids import new_epoch

T = TypeVar("T")

FORMAT = "pluperfect-log"
FORMAT_VERSION = 2
READABLE_VERSIONS = (1, FORMAT_VERSION)
"""Version 1 had no run log lines."""
PAGE = 1_000
"""Events, or log lines, read or written at a time."""
LINE_BYTES_MAX = 256 * 1024 * 1024
"""A longer line is taken for damage."""
COMPRESSION_LEVEL = 3

Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Text = Annotated[str, Meta(pattern=r"^[^\x00]*$")]

Progress = Callable[[int, int], None]
"""Told how many events and lines are done, and how many there are."""


NOTE_TYPES = (
    "INSERT INTO event_types (type, version) "
    "SELECT type, MAX(type_version) FROM events GROUP BY type "
    "ON CONFLICT (type) DO UPDATE SET version = excluded.version"
)
"""See `eventstore.releases`."""


NOTHING_FOLLOWED = "DELETE FROM checkpoints"
"""Whoever had followed the log to its end had followed none of this one. In the same transaction:
should the process die before read models are folded, whoever comes next sees that they are not."""


def no_progress(done: int, of: int) -> None:
    """For callers that do not watch."""


class LineTable(Struct, frozen=True):
    """The table of the lines that share the log's commits: see `eventstore.log.Lines`."""

    table: Table
    """Texts and integers; its key is the number of the line."""
    optional: frozenset[str] = frozenset()
    """Columns that may be null."""


class DamagedFile(EventStoreError):
    """The file is not an exported log, or not all of one. Nothing was imported."""


class LogNotEmpty(EventStoreError):
    """Positions are kept, so a log can only be imported where there is none."""


class LogInUse(EventStoreError):
    """A server works on the log that is to be filled."""


class Header(Struct, frozen=True, kw_only=True):
    """The first line of the file."""

    format: str = FORMAT
    version: int = FORMAT_VERSION
    epoch: str
    """Of the log that was exported. What is imported gets one of its own: it is another log."""
    events: Number
    hash: str
    """Of the last event, in hex."""
    lines: Number = 0
    """Log lines in the file."""
    last_line: Number = 0
    """The highest number that a line ever had; deleted lines leave gaps."""


class _Event(Struct, frozen=True):
    """One event: the columns of `EVENTS`, in their order."""

    position: Number
    stream: str
    version: Number
    type: str
    type_version: Number
    recorded_at: Number
    event_id: str
    actor: str
    correlation: str | None
    causation: Number | None
    data: msgspec.Raw
    hash: str


_encoder = msgspec.json.Encoder()
_header_decoder = msgspec.json.Decoder(Header)
_event_decoder = msgspec.json.Decoder(_Event)


async def export_log(
    database: Database, path: Path, lines: LineTable, progress: Progress = no_progress
) -> Header:
    """Write the log, as it is now, to `path`, which appears when it is complete.

    Raises LogCorrupted if events are missing, DatabaseUnavailable, OSError.
    """
    with _written(path) as write:
        async with database.snapshot() as snapshot:
            head = await log.head(snapshot)
            ((count,),) = await snapshot.fetch(f"SELECT count(*) FROM {lines.table.name}")
            header = Header(
                epoch=head.epoch,
                events=head.position,
                hash=head.hash.hex(),
                lines=count,
                last_line=head.lines,
            )
            write(_encoder.encode(header) + b"\n")
            await _export_events(snapshot, database.dialect, header, write, progress)
            await _export_lines(snapshot, lines.table, header, write, progress)
    return header


async def _export_events(
    snapshot: Reader,
    dialect: Dialect,
    header: Header,
    write: Callable[[bytes], Any],
    progress: Progress,
) -> None:
    position = 0
    while position < header.events:
        rows = await log.read_rows(snapshot, dialect, position, header.events, PAGE)
        if not rows:
            raise LogCorrupted(f"the events after position {position} are gone")
        write(b"".join(map(_event_line, rows)))
        position = rows[-1][0]
        progress(position, header.events + header.lines)


async def _export_lines(
    snapshot: Reader,
    table: Table,
    header: Header,
    write: Callable[[bytes], Any],
    progress: Progress,
) -> None:
    (key,) = table.key
    sql = (
        f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {key} > $1 "
        f"ORDER BY {key} LIMIT $2"
    )
    done, after = 0, 0
    while rows := await snapshot.fetch(sql, after, PAGE):
        write(
            b"".join(
                _encoder.encode(dict(zip(table.columns, row, strict=True))) + b"\n" for row in rows
            )
        )
        done += len(rows)
        after = rows[-1][0]
        progress(header.events + done, header.events + header.lines)


def _event_line(row: Row) -> bytes:
    columns = dict(zip(EVENTS.columns, row, strict=True))
    columns["data"] = msgspec.Raw(columns["data"].encode())
    columns["hash"] = bytes(columns["hash"]).hex()
    return _encoder.encode(columns) + b"\n"


@contextmanager
def _written(path: Path) -> Iterator[Callable[[bytes], Any]]:
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            compressor = zstandard.ZstdCompressor(COMPRESSION_LEVEL, write_checksum=True)
            with compressor.stream_writer(file, closefd=False) as compressed:
                yield compressed.write
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


async def import_log(
    database: Database, path: Path, lines: LineTable, progress: Progress = no_progress
) -> Header:
    """Fill an empty log from `path`: positions, times, hashes and numbers of lines as they were.

    Its epoch is new: a server that has the empty log open and holds no lease, so that nobody sees
    it, notices, and writes nothing beside events that no read model of its has folded.

    Read models are not touched: rebuild them. On Postgres the whole import has to fit into the
    timeout that `database` was opened with. Raises DamagedFile, LogNotEmpty or LogInUse, OSError,
    DatabaseUnavailable; nothing was imported then.
    """
    with path.open("rb") as file:
        texts = _texts(file)

        async def work(tx: Transaction) -> Header:
            try:
                return await _import(tx, database.dialect, texts, lines, progress)
            except DamagedFile as error:
                raise DamagedFile(f"the file {path} cannot be imported: {error}") from error

        return await database.transact(work)


async def _import(
    tx: Transaction,
    dialect: Dialect,
    texts: Iterator[bytes],
    lines: LineTable,
    progress: Progress,
) -> Header:
    head, _ = await log.lock(tx, dialect)
    if head.position or head.lines:
        raise LogNotEmpty(
            f"the log holds {head.position} events and has numbered {head.lines} run log lines; "
            "a log can only be imported into an empty one"
        )
    await _refuse_if_in_use(tx, dialect)
    header = _header(next(texts, b""))
    time, chain = await _import_events(tx, header, texts, progress)
    await _import_lines(tx, header, texts, lines, progress)
    await tx.execute(log.ADVANCE_HEAD, header.events, time, chain, header.last_line)
    await tx.execute(log.NEW_EPOCH, new_epoch())
    await tx.execute(NOTE_TYPES)
    await tx.execute(NOTHING_FOLLOWED)
    return header


async def _refuse_if_in_use(tx: Transaction, dialect: Dialect) -> None:
    """Raise LogInUse if somebody holds a lease. None is taken meanwhile: the log is locked."""
    for lease in await leases.load_all(tx, dialect):
        if lease.left_seconds > 0:
            raise LogInUse(
                f"process {lease.pid} on {lease.host} runs services on this database; stop its "
                "server first. If it was killed, wait a few seconds"
            )


async def _import_events(
    tx: Transaction, header: Header, texts: Iterator[bytes], progress: Progress
) -> tuple[int, bytes]:
    """Time and hash of the last event."""
    position, time, chain = 0, 0, GENESIS
    while page := list(islice(texts, min(PAGE, header.events - position))):
        events = [_event(number, line) for number, line in enumerate(page, position + 2)]
        names = {event.stream: 0 for event in events}
        held = await tx.fetch_keys(log.STREAMS, [(name,) for name in names])
        versions = names | {row[0]: row[1] for row in held}
        rows: list[Row] = []
        for event in events:
            *columns, data, hash_ = msgspec.structs.astuple(event)
            row = (*columns, bytes(data).decode())
            follows = chained(chain, row)
            expected = (position + 1, versions[event.stream] + 1, follows.hex())
            if (event.position, event.version, hash_) != expected or event.recorded_at <= time:
                raise DamagedFile(f"line {position + 2} does not follow from the lines before it")
            position, time, chain = event.position, event.recorded_at, follows
            versions[event.stream] = event.version
            rows.append((*row, chain))
        await tx.insert(EVENTS, rows)
        await tx.upsert(log.STREAMS, list(versions.items()))
        progress(position, header.events + header.lines)
    if position != header.events:
        raise DamagedFile(f"it ends after {position} of {header.events} events")
    if chain.hex() != header.hash:
        raise DamagedFile("its last event is not the one that its first line names")
    return time, chain


async def _import_lines(
    tx: Transaction, header: Header, texts: Iterator[bytes], lines: LineTable, progress: Progress
) -> None:
    decode = _line_decoder(lines).decode
    done, last = 0, 0
    while page := list(islice(texts, PAGE)):
        rows: list[Row] = []
        for number, text in enumerate(page, 2 + header.events + done):
            row = msgspec.structs.astuple(_decoded(decode, number, text, "a run log line"))
            if not last < row[0] <= header.last_line:
                raise DamagedFile(f"line {number} does not follow from the lines before it")
            last = row[0]
            rows.append(row)
        await tx.insert(lines.table, rows)
        done += len(rows)
        progress(header.events + done, header.events + header.lines)
    if done != header.lines:
        raise DamagedFile(f"it holds {done} of {header.lines} run log lines")


def _line_decoder(lines: LineTable) -> msgspec.json.Decoder[Struct]:
    kinds: dict[str, Any] = {"text": _Text, "bigint": _Integer}
    fields: Sequence[tuple[str, Any]] = [
        (name, kinds[kind] | None if name in lines.optional else kinds[kind])
        for name, kind in lines.table.columns.items()
    ]
    return msgspec.json.Decoder(msgspec.defstruct("Line", fields))


def _header(line: bytes) -> Header:
    if not line.endswith(b"\n"):
        raise DamagedFile("it is not an exported log, or only the beginning of one")
    try:
        header = _header_decoder.decode(line)
    except (msgspec.MsgspecError, ValueError):
        raise DamagedFile("it is not an exported log") from None
    if header.format != FORMAT:
        raise DamagedFile("it is not an exported log")
    if header.version not in READABLE_VERSIONS:
        known = " and ".join(map(str, READABLE_VERSIONS))
        raise DamagedFile(f"it has format version {header.version}, this release reads {known}")
    return header


def _event(number: int, text: bytes) -> _Event:
    def decode(text: bytes) -> _Event:
        event = _event_decoder.decode(text)
        bytes(event.data).decode()
        return event

    return _decoded(decode, number, text, "an event")


def _decoded(decode: Callable[[bytes], T], number: int, text: bytes, what: str) -> T:
    if not text.endswith(b"\n"):
        raise DamagedFile(f"line {number} is cut off")
    try:
        return decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DamagedFile(f"line {number} is not {what}: {error}") from None


def _texts(file: io.BufferedReader) -> Iterator[bytes]:
    if not file.peek(len(zstandard.FRAME_HEADER)).startswith(zstandard.FRAME_HEADER):
        raise DamagedFile("it is not an exported log, which is compressed by Zstandard")
    source = io.BufferedReader(cast(io.RawIOBase, zstandard.ZstdDecompressor().stream_reader(file)))
    try:
        while line := source.readline(LINE_BYTES_MAX):
            yield line
    except zstandard.ZstdError as error:
        raise DamagedFile(f"its compression is broken: {error}") from None
