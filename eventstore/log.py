"""The log itself: appending under the head lock, and reading back in order.

`append` is the whole write protocol. It runs inside one transaction that first locks the one row of
`log_head`, so appends are serial: positions are gapless and their order is the order of commits and
of visibility. Several commands share a transaction; each is taken or refused on its own.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple

from eventstore.chain import GENESIS, chained
from eventstore.codec import EVENTS, Codec, encode
from eventstore.database import Dialect, Reader, Row, Table, Transaction
from eventstore.errors import AlreadyRecorded, LeaseLost, LogCorrupted, VersionConflict
from eventstore.events import ANY_VERSION, NewEvents, Recorded

STREAMS = Table("streams", {"stream": "text", "version": "bigint"}, key=("stream",))
READ_PAGE = 1_000
"""Events read from the database at a time."""


class Head(Struct, frozen=True):
    """Where the log ends."""

    position: int
    recorded_at: int
    """Microseconds since 1970."""
    hash: bytes
    lines: int
    epoch: str
    generation: int = 0
    """How often read models were folded anew in place of the old ones."""


class Lines(Struct, frozen=True):
    """Rows for an append-only table that is not the log but shares its commits.

    Each row gets the next line number of the log's head in front.
    """

    table: Table
    rows: Sequence[Row]


Effect = Callable[[Transaction], Awaitable[None]]


class Decision(Struct, frozen=True):
    """What one command wants written, all or nothing."""

    appends: Sequence[NewEvents] = ()
    lines: Sequence[Lines] = ()
    effects: Sequence[Effect] = ()
    """Writes to tables that are neither log nor read model, in the same transaction.

    Where a command has nothing else, a lost connection may carry them out twice.
    """


SerialDecide = Callable[[Transaction], Awaitable[Decision]]


class Fence(Struct, frozen=True):
    """The term in which a lease is held (`eventstore.leases`); in a later one, nothing is written.

    Terms change only under the head's lock, so what holds when an append begins holds to its end.
    """

    lease: str
    term: int


class Command(Struct):
    """One caller's wish, on its way into the log."""

    decision: Decision
    actor: str = "anonymous"
    correlation: str | None = None
    causation: int | None = None
    decide: SerialDecide | None = None
    """Decides under the lock instead; `decision` is then filled in there."""
    contention: str | tuple[str, ...] | None = None
    """Serial commands that could see each other's effect share this, or one of these; one of them
    per batch."""
    skip_repeats: bool = False
    """Leave out single events that are already recorded, instead of refusing the command."""
    natural_ids: bool = False
    """Event ids are natural keys: look whether they are recorded already."""
    fence: Fence | None = None
    """Only to be carried out while this term lasts."""


class Accepted(Struct):
    """What became of one command of a batch."""

    recorded: list[Recorded[Any]]
    refusal: Exception | None = None


class Appended(Struct):
    """One batch, as it is in the log if the transaction commits."""

    before: Head
    after: Head
    outcomes: list[Accepted]
    recorded: list[Recorded[Any]]
    rows: list[tuple[Any, ...]]
    """The events as rows of `EVENTS`."""
    first_line: tuple[Table, Row] | None
    """The first row that went into a table of lines, if any did."""
    versions: Mapping[str, int]
    """Where every stream now stands that a command wrote to or relied on."""


Inline = Callable[[Transaction, Head, Sequence[Recorded[Any]]], Awaitable[bool | None]]
"""Folds a batch that is being appended; true if the head's generation is to be raised with it."""
Versions = Callable[[Head], Mapping[str, int]]
"""Versions of streams that are known without asking, if the log ends there."""

HEAD = Table(
    "log_head",
    {
        "position": "bigint",
        "recorded_at": "bigint",
        "hash": "bytes",
        "lines": "bigint",
        "epoch": "text",
        "generation": "bigint",
        "id": "bigint",
    },
)
"""Read by its key, which SQLite does without a change of threads: it is read after every commit."""
HEAD_LOCKED_POSTGRES = (
    "SELECT position, recorded_at, hash, lines, epoch, generation, "
    "(extract(epoch from clock_timestamp()) * 1000000)::bigint "
    "FROM log_head WHERE id = 1 FOR UPDATE"
)
ADVANCE_HEAD = (
    "UPDATE log_head SET position = $1, recorded_at = $2, hash = $3, lines = $4 WHERE id = 1"
)
NEW_EPOCH = "UPDATE log_head SET epoch = $1 WHERE id = 1"
NEXT_GENERATION = "UPDATE log_head SET generation = generation + 1 WHERE id = 1"


async def head(reader: Reader) -> Head:
    """Where the log ends now."""
    return _head(await reader.fetch_keys(HEAD, [(1,)]))


def _head(rows: Sequence[Row]) -> Head:
    if len(rows) != 1:
        raise LogCorrupted("the table log_head has lost its row")
    (row,) = rows
    return Head(row[0], row[1], bytes(row[2]), row[3], row[4], row[5])


async def lock(tx: Transaction, dialect: Dialect) -> tuple[Head, int]:
    """The head, locked until the end of the transaction, and the database's clock.

    On SQLite the transaction itself is the lock (BEGIN IMMEDIATE) and the clock is this machine's.
    """
    if dialect.name == "sqlite":
        return await head(tx), time.time_ns() // 1_000
    rows = await tx.fetch(HEAD_LOCKED_POSTGRES)
    return _head(rows), rows[0][6]


def nothing_known(_: Head) -> Mapping[str, int]:
    """Ask the database for every version."""
    return {}


async def append(
    tx: Transaction,
    dialect: Dialect,
    codec: Codec,
    commands: Sequence[Command],
    inline: Inline,
    stream_versions: Versions = nothing_known,
    *,
    look: bool = True,
) -> Appended:
    """Write a batch of commands: lock, check, number, chain, insert, project, move the head.

    Unless it is to `look` first whether natural ids are recorded already, and streams that are said
    to be new are there already, the log's unique indexes refuse the batch if one of them is
    (`Dialect.is_taken`). Hardly any ever is.

    What is projected and answered is the event as it reads back from its stored text, never the
    object that was decided: so whoever folds the log later folds exactly the same.
    """
    before, now = await lock(tx, dialect)
    for command in commands:
        if command.decide is not None:
            command.decision = await command.decide(tx)
    versions = await _versions(tx, commands, stream_versions(before), look)
    known = await _known(tx, commands if look else _conflicting(commands, versions))
    terms = await _terms(tx, commands)

    position, recorded_at, chain = before.position, before.recorded_at, before.hash
    outcomes: list[Accepted] = []
    recorded: list[Recorded[Any]] = []
    rows: list[tuple[Any, ...]] = []
    changed: dict[str, int] = {}
    begun: set[str] = set()
    for command in commands:
        refusal = _refusal(command, versions, known, terms)
        outcome = Accepted([], refusal)
        outcomes.append(outcome)
        if refusal is not None:
            continue
        for new in command.decision.appends:
            for event, event_id in zip(new.events, new.event_ids, strict=True):
                if command.natural_ids:
                    if event_id in known:
                        continue  # Only left when repeats are to be skipped.
                    known[event_id] = position + 1
                position += 1
                recorded_at = max(recorded_at + 1, now)
                version = versions[new.stream] + 1
                versions[new.stream] = changed[new.stream] = version
                if version == 1:
                    begun.add(new.stream)
                row = (
                    position,
                    new.stream,
                    version,
                    event.__struct_config__.tag,
                    event.type_version,
                    recorded_at,
                    event_id,
                    command.actor,
                    command.correlation,
                    command.causation,
                    encode(event),
                )
                chain = chained(chain, row)
                fact = codec.recorded(row)
                outcome.recorded.append(fact)
                recorded.append(fact)
                rows.append((*row, chain))

    generation = before.generation
    if rows:
        await tx.insert(EVENTS, rows)
        await tx.upsert(
            STREAMS,
            [(stream, version) for stream, version in changed.items() if stream not in begun],
            new=[(stream, changed[stream]) for stream in begun],
        )
        raised = await inline(tx, before, recorded)
        generation += bool(raised)
    lines, first_line = await _write_the_rest(tx, commands, outcomes, before.lines)
    after = Head(position, recorded_at, chain, lines, before.epoch, generation)
    if after != before:
        await tx.upsert(HEAD, [(*astuple(after), 1)])
    return Appended(before, after, outcomes, recorded, rows, first_line, versions)


async def is_recorded(tx: Transaction, dialect: Dialect, attempted: Appended) -> bool:
    """Whether a batch whose commit got no answer is in the log.

    Asked under the lock: the server may still be busy with the lost commit, and whoever has the
    lock knows that it has ended, one way or the other. Positions are gapless, so the batch is there
    exactly if its last position holds its last hash (or its first line number its first line).
    """
    await lock(tx, dialect)
    if attempted.rows:
        rows = await tx.fetch_keys(EVENTS, [(attempted.after.position,)])
        return bool(rows) and bytes(rows[0][-1]) == attempted.after.hash
    if attempted.first_line is not None:
        table, row = attempted.first_line
        rows = await tx.fetch_keys(table, [(row[0],)])
        return bool(rows) and tuple(rows[0]) == tuple(row)
    return False  # Effects alone may be carried out twice.


async def erase(tx: Transaction, dialect: Dialect, epoch: str) -> None:
    """Empty the log for good: it starts again at position 1, under a new epoch.

    Followers of the old log notice the epoch. Read models and other tables are the caller's.
    """
    await lock(tx, dialect)
    for table in ("events", "streams", "checkpoints", "event_types"):
        await tx.execute(f"DELETE FROM {table}")
    await tx.execute(
        "UPDATE log_head SET position = 0, recorded_at = 0, hash = $1, lines = 0, epoch = $2",
        GENESIS,
        epoch,
    )


async def _versions(
    tx: Transaction, commands: Sequence[Command], remembered: Mapping[str, int], look: bool
) -> dict[str, int]:
    appends = [new for command in commands for new in command.decision.appends]
    versions = {new.stream: remembered.get(new.stream, 0) for new in appends}
    # Whoever relies on a stream without recording anything in it meets no index.
    asked = (new for new in appends if look or not (new.events and new.expected == 0))
    unknown = dict.fromkeys((new.stream,) for new in asked if not versions[new.stream])
    if unknown:
        for row in await tx.fetch_keys(STREAMS, list(unknown)):
            versions[row[0]] = row[1]
    return versions


def _conflicting(commands: Sequence[Command], versions: Mapping[str, int]) -> list[Command]:
    """Those that a conflict keeps from being refused by the index."""
    return [
        command
        for command in commands
        if command.natural_ids
        and any(
            new.expected not in (ANY_VERSION, versions[new.stream])
            for new in command.decision.appends
        )
    ]


async def _known(tx: Transaction, commands: Sequence[Command]) -> dict[str, int]:
    """Position by event id, of those natural ids of the commands that are in the log already."""
    ids = [
        event_id
        for command in commands
        if command.natural_ids
        for new in command.decision.appends
        for event_id in new.event_ids
    ]
    if not ids:
        return {}
    return {row[0]: row[1] for row in await tx.fetch_keys(_EVENT_IDS, [(id_,) for id_ in ids])}


_EVENT_IDS = Table("events", {"event_id": "text", "position": "bigint"}, key=("event_id",))
"""The log seen through its unique index on event ids."""


async def _terms(tx: Transaction, commands: Sequence[Command]) -> dict[str, int]:
    """The present terms of the leases that commands of the batch depend on."""
    leases = {command.fence.lease for command in commands if command.fence is not None}
    if not leases:
        return {}
    return {row[0]: row[1] for row in await tx.fetch_keys(_TERMS, [(name,) for name in leases])}


_TERMS = Table("leases", {"name": "text", "term": "bigint"}, key=("name",))
"""Leases, as far as appends are concerned."""


def _refusal(
    command: Command, versions: dict[str, int], known: dict[str, int], terms: dict[str, int]
) -> Exception | None:
    fence = command.fence
    if fence is not None and terms.get(fence.lease) != fence.term:
        return LeaseLost(fence.lease, fence.term)
    # A repeat comes before a conflict: the repeated command's own first attempt moved the version.
    if command.natural_ids and not command.skip_repeats:
        for new in command.decision.appends:
            for event_id in new.event_ids:
                if event_id in known:
                    return AlreadyRecorded(event_id, known[event_id])
    for new in command.decision.appends:
        actual = versions[new.stream]
        if new.expected not in (ANY_VERSION, actual):
            return VersionConflict(new.stream, new.expected, actual)
    return None


async def _write_the_rest(
    tx: Transaction, commands: Sequence[Command], outcomes: Sequence[Accepted], lines: int
) -> tuple[int, tuple[Table, Row] | None]:
    tables: dict[Table, list[Row]] = {}
    first: tuple[Table, Row] | None = None
    for command, outcome in zip(commands, outcomes, strict=True):
        if outcome.refusal is not None:
            continue
        for some in command.decision.lines:
            rows = tables.setdefault(some.table, [])
            for row in some.rows:
                lines += 1
                rows.append((lines, *row))
                first = first or (some.table, rows[-1])
        for effect in command.decision.effects:
            await effect(tx)
    for table, rows in tables.items():
        if rows:
            await tx.insert(table, rows)
    return lines, first


_COLUMNS = ", ".join(
    f"{name}::text" if kind == "json" else name for name, kind in EVENTS.columns.items()
)


def columns(dialect: Dialect) -> str:
    """The columns of `EVENTS` for a SELECT; JSON comes as the exact text."""
    return _COLUMNS if dialect.name == "postgres" else ", ".join(EVENTS.columns)


async def read_rows(
    reader: Reader, dialect: Dialect, after: int, until: int | None = None, limit: int = READ_PAGE
) -> list[Row]:
    """Rows of the log with position > `after` (and <= `until`), in order, `limit` at most.

    Raises LogCorrupted rather than skip over a gap.
    """
    where = "position > $1" if until is None else "position > $1 AND position <= $3"
    sql = f"SELECT {columns(dialect)} FROM events WHERE {where} ORDER BY position LIMIT $2"
    rows = await reader.fetch(sql, after, limit, *(() if until is None else (until,)))
    if rows and rows[-1][0] != after + len(rows):
        missing = next(place for place, row in enumerate(rows, after + 1) if row[0] != place)
        raise LogCorrupted(
            f"the event at position {missing} is missing; "
            "`pluperfect log verify` names everything that is"
        )
    return rows


async def read_all(
    reader: Reader,
    dialect: Dialect,
    codec: Codec,
    after: int,
    until: int | None = None,
    limit: int = READ_PAGE,
) -> list[Recorded[Any]]:
    """Like `read_rows`, decoded."""
    return [codec.recorded(row) for row in await read_rows(reader, dialect, after, until, limit)]


async def read_stream(
    reader: Reader,
    dialect: Dialect,
    codec: Codec,
    stream: str,
    after_version: int = 0,
    limit: int = READ_PAGE,
) -> list[Recorded[Any]]:
    """Events of one stream with version > `after_version`, in order, `limit` at most."""
    sql = (
        f"SELECT {columns(dialect)} FROM events WHERE stream = $1 AND version > $2 "
        "ORDER BY version LIMIT $3"
    )
    rows = await reader.fetch(sql, stream, after_version, limit)
    return [codec.recorded(row) for row in rows]


async def read_position(
    reader: Reader, dialect: Dialect, codec: Codec, position: int
) -> Recorded[Any] | None:
    """The event at one position."""
    found = await read_all(reader, dialect, codec, position - 1, position, 1)
    return found[0] if found else None


# How far back is told by the stream's own index, newest first: on the streams of what is there for
# years (a pool, an automation) hardly any event is younger than what is asked about.
LAST_OF = """
SELECT {columns} FROM events WHERE stream = $1 AND correlation = $2 AND version > COALESCE(
  (SELECT version FROM events WHERE stream = $1 AND position <= $3 ORDER BY version DESC LIMIT 1),
  0)
ORDER BY version DESC LIMIT 1
"""


async def last_of(
    reader: Reader, dialect: Dialect, codec: Codec, stream: str, correlation: str, after: int
) -> Recorded[Any] | None:
    """The newest event of a stream with position > `after` that was recorded as part of what
    `correlation` names."""
    sql = LAST_OF.format(columns=columns(dialect))
    rows = await reader.fetch(sql, stream, correlation, after)
    return codec.recorded(rows[0]) if rows else None


async def stream_version(reader: Reader, stream: str) -> int:
    """The version a stream is at; 0 if nothing was ever recorded in it."""
    rows = await reader.fetch_keys(STREAMS, [(stream,)])
    return int(rows[0][1]) if rows else 0
