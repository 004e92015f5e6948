"""The log as a file, and back: JSON lines compressed with zstd.

The first line says what the file is and where the log ended; each other line is one event with all
columns of its row. `data` is the recorded JSON itself, byte for byte, so that the hashes hold.
An import is one transaction: a file that turns out damaged at its end leaves nothing behind.

Files are read and written where the caller runs; these functions are for the command line.
"""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast

import msgspec
import zstandard
from msgspec import Meta, Struct

from eventstore import log
from eventstore.chain import GENESIS, chained
from eventstore.codec import EVENTS
from eventstore.database import Database, Dialect, Row, Transaction
from eventstore.errors import EventStoreError, LogCorrupted

FORMAT = "pluperfect-log"
FORMAT_VERSION = 1
PAGE = 1_000
"""Events read or written at a time."""
LINE_BYTES_MAX = 256 * 1024 * 1024
"""A longer line is taken for damage."""
COMPRESSION_LEVEL = 3

Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class DamagedFile(EventStoreError):
    """The file is not an exported log, or not all of one. Nothing was imported."""


class LogNotEmpty(EventStoreError):
    """Positions are kept, so a log can only be imported where there is none."""


class Header(Struct, frozen=True, kw_only=True):
    """The first line of the file."""

    format: str = FORMAT
    version: int = FORMAT_VERSION
    epoch: str
    """Of the log that was exported. The log imported into keeps its own: it is another log."""
    events: Number
    hash: str
    """Of the last event, in hex."""


class _Line(Struct, frozen=True):
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
_line_decoder = msgspec.json.Decoder(_Line)


async def export_log(
    database: Database, path: Path, progress: Callable[[int], None] = lambda position: None
) -> Header:
    """Write the log, as far as it goes now, to `path`, which appears when it is complete.

    Raises LogCorrupted if events are missing, DatabaseUnavailable, OSError.
    """
    head = await log.head(database)
    header = Header(epoch=head.epoch, events=head.position, hash=head.hash.hex())
    with _written(path) as write:
        write(_encoder.encode(header) + b"\n")
        position = 0
        while position < head.position:
            rows = await log.read_rows(database, database.dialect, position, head.position, PAGE)
            if not rows:
                raise LogCorrupted(f"the events after position {position} are gone")
            write(b"".join(map(_line, rows)))
            position = rows[-1][0]
            progress(position)
    return header


def _line(row: Row) -> bytes:
    columns = dict(zip(EVENTS.columns, row, strict=True))
    columns["data"] = msgspec.Raw(columns["data"].encode())
    columns["hash"] = bytes(columns["hash"]).hex()
    return _encoder.encode(columns) + b"\n"


@contextmanager
def _written(path: Path) -> Iterator[Callable[[bytes], Any]]:
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            with zstandard.ZstdCompressor(COMPRESSION_LEVEL).stream_writer(
                file, closefd=False
            ) as compressed:
                yield compressed.write
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


async def import_log(
    database: Database, path: Path, progress: Callable[[int], None] = lambda position: None
) -> Header:
    """Fill an empty log from `path`, positions, times and hashes as they were.

    Read models are not touched: rebuild them. On Postgres the whole import has to fit into the
    timeout that `database` was opened with. Raises DamagedFile or LogNotEmpty, OSError,
    DatabaseUnavailable; nothing was imported then.
    """
    with path.open("rb") as file:
        lines = _lines(file)

        async def work(tx: Transaction) -> Header:
            try:
                return await _import(tx, database.dialect, lines, progress)
            except DamagedFile as error:
                raise DamagedFile(f"{path} cannot be imported: {error}") from error

        return await database.transact(work)


async def _import(
    tx: Transaction, dialect: Dialect, lines: Iterator[bytes], progress: Callable[[int], None]
) -> Header:
    head, _ = await log.lock(tx, dialect)
    if head.position:
        raise LogNotEmpty(
            f"the log holds {head.position} events; a log can only be imported into an empty one"
        )
    header = _header(next(lines, b""))
    position, time, chain = 0, 0, GENESIS
    while page := list(islice(lines, PAGE)):
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
        progress(position)
    if (position, chain.hex()) != (header.events, header.hash):
        raise DamagedFile(f"it ends after {position} of {header.events} events")
    await tx.execute(log.ADVANCE_HEAD, position, time, chain, head.lines)
    return header


def _header(line: bytes) -> Header:
    try:
        header = _header_decoder.decode(line)
    except (msgspec.MsgspecError, ValueError):
        raise DamagedFile("it is not an exported log") from None
    if header.format != FORMAT:
        raise DamagedFile("it is not an exported log")
    if header.version != FORMAT_VERSION:
        raise DamagedFile(f"it has format version {header.version}, this release reads 1")
    return header


def _event(number: int, line: bytes) -> _Line:
    if not line.endswith(b"\n"):
        raise DamagedFile(f"line {number} is cut off")
    try:
        event = _line_decoder.decode(line)
        bytes(event.data).decode()
    except (msgspec.MsgspecError, ValueError) as error:
        raise DamagedFile(f"line {number} is not an event: {error}") from None
    return event


def _lines(file: BinaryIO) -> Iterator[bytes]:
    source = io.BufferedReader(cast(io.RawIOBase, zstandard.ZstdDecompressor().stream_reader(file)))
    try:
        while line := source.readline(LINE_BYTES_MAX):
            yield line
    except zstandard.ZstdError as error:
        raise DamagedFile(f"its compression is broken: {error}") from None
