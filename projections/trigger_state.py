"""What triggers have seen, and how far they have read.   Tables: migrations/0027.trigger-state.sql

No read model: what is here follows from the log, but it is the service's own, kept by the
transactions that record what it fires. See `services/triggers.py`.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, json

from eventstore.database import Reader, Row, Table, Transaction
from orchestration.automations import Automation
from orchestration.documents import document, parse
from orchestration.trigger_fold import Bucket, Firing

NAME = "triggers"
PROGRESS = Table(
    "trigger_progress",
    {"name": "text", "epoch": "text", "position": "bigint", "listened": "bigint"},
    key=("name",),
)
AUTOMATIONS = Table("trigger_automations", {"id": "text", "document": "text"})
BUCKETS = Table(
    "trigger_buckets",
    {
        "id": "text",
        "automation_id": "text",
        "trigger_id": "text",
        "labels": "text",
        "starts": "bigint",
        "ends": "bigint",
        "seen": "bigint",
        "last_position": "bigint",
        "proactive": "bigint",
        "due": "bigint",
    },
)
PENDING = Table(
    "trigger_pending",
    {"trigger_id": "text", "automation_id": "text", "firings": "text"},
    key=("trigger_id",),
)
_firings = json.Decoder(tuple[Firing, ...])


class Progress(Struct, frozen=True):
    """How far triggers have come."""

    epoch: str
    """Of the log."""
    position: int
    """Everything up to here is taken in."""
    listened: int
    """Until when somebody surely listened to what is told, in microseconds since 1970."""


async def load_progress(reader: Reader) -> Progress | None:
    """How far they have come; None if they never ran."""
    rows = await reader.fetch_keys(PROGRESS, [(NAME,)])
    return Progress(*rows[0][1:]) if rows else None


async def save_progress(tx: Transaction, progress: Progress) -> None:
    """They have come so far."""
    row = (NAME, progress.epoch, progress.position, progress.listened)
    await tx.upsert(PROGRESS, [row])


# What follows is an id, hexadecimal. Where punctuation is sorted depends on the language that a
# database on Postgres was made with: in English `;` comes before `:`.
FIRST = (
    "SELECT min(position) FROM events WHERE stream > 'automation:' AND stream < 'automation:g' "
    "AND substr(stream, 1, 11) = 'automation:'"
)


async def first_automation(reader: Reader) -> int | None:
    """Log position of the first event of any automation; None if there never was one."""
    ((position,),) = await reader.fetch(FIRST)
    return None if position is None else int(position)


ALL = "SELECT document FROM trigger_automations ORDER BY id"


async def load_automations(reader: Reader) -> list[Automation]:
    """The automations that were enabled where the triggers have come to."""
    return [parse(Automation, row[0]) for row in await reader.fetch(ALL)]


async def keep_automation(tx: Transaction, automation: Automation) -> None:
    """From here on it may fire."""
    await tx.upsert(AUTOMATIONS, [(automation.id, document(automation).decode())])


FORGET = (
    "DELETE FROM trigger_automations WHERE id = $1",
    "DELETE FROM trigger_buckets WHERE automation_id = $1",
    "DELETE FROM trigger_pending WHERE automation_id = $1",
)


async def forget_automation(tx: Transaction, id_: str) -> None:
    """It does not fire any more, and what its triggers had seen is forgotten."""
    for sql in FORGET:
        await tx.execute(sql, id_)


FORGET_ALL = (
    "DELETE FROM trigger_automations",
    "DELETE FROM trigger_buckets",
    "DELETE FROM trigger_pending",
)


async def forget_all(tx: Transaction) -> None:
    """Begin from nothing: this is another log."""
    for sql in FORGET_ALL:
        await tx.execute(sql)


_COLUMNS = ", ".join(BUCKETS.columns)
DUE = f"SELECT {_COLUMNS} FROM trigger_buckets WHERE due <= $1 ORDER BY due, id LIMIT $2"
NEXT_DUE = "SELECT min(due) FROM trigger_buckets"


async def due(reader: Reader, until: int, most: int) -> dict[str, Bucket]:
    """Buckets that come due until a moment, the first ones."""
    return {row[0]: _bucket(row) for row in await reader.fetch(DUE, until, most)}


async def next_due(reader: Reader) -> int | None:
    """When the next bucket comes due."""
    ((at,),) = await reader.fetch(NEXT_DUE)
    return None if at is None else int(at)


async def buckets(reader: Reader, names: Sequence[str]) -> dict[str, Bucket | None]:
    """Buckets by name; None for those that are not there."""
    found: dict[str, Bucket | None] = dict.fromkeys(names)
    if names:
        rows = await reader.fetch_keys(BUCKETS, [(name,) for name in names])
        found.update((row[0], _bucket(row)) for row in rows)
    return found


def _bucket(row: Row) -> Bucket:
    return Bucket(
        automation=row[1],
        trigger=row[2],
        labels=tuple(json.decode(row[3])),
        start=row[4],
        end=row[5],
        count=row[6],
        last=row[7],
        proactive=bool(row[8]),
    )


async def pending(reader: Reader, triggers: Iterable[str]) -> dict[str, tuple[Firing, ...]]:
    """What has fired of composite triggers that still wait for others."""
    names = [(one,) for one in dict.fromkeys(triggers)]
    if not names:
        return {}
    rows = await reader.fetch_keys(PENDING, names)
    return {row[0]: _firings.decode(row[2]) for row in rows}


async def save(
    tx: Transaction,
    changed: Mapping[str, Bucket | None],
    waiting: Mapping[str, tuple[str, tuple[Firing, ...]]],
) -> None:
    """What a fold has changed."""
    gone = [(name,) for name, bucket in changed.items() if bucket is None]
    if gone:
        await tx.delete(BUCKETS, gone)
    kept = [_row(name, bucket) for name, bucket in changed.items() if bucket is not None]
    if kept:
        await tx.upsert(BUCKETS, kept)
    over = [(trigger,) for trigger, (_, firings) in waiting.items() if not firings]
    if over:
        await tx.delete(PENDING, over)
    left = [
        (trigger, automation, json.encode(firings).decode())
        for trigger, (automation, firings) in waiting.items()
        if firings
    ]
    if left:
        await tx.upsert(PENDING, left)


def _row(name: str, bucket: Bucket) -> Row:
    return (
        name,
        bucket.automation,
        bucket.trigger,
        json.encode(bucket.labels).decode(),
        bucket.start,
        bucket.end,
        bucket.count,
        bucket.last,
        int(bucket.proactive),
        bucket.due,
    )


SHIFT = "UPDATE trigger_buckets SET ends = ends + $1, due = due + $1 WHERE proactive = 1"


async def shift(tx: Transaction, microseconds: int) -> None:
    """Let every bucket that waits for silence wait longer: nobody listened for so long."""
    await tx.execute(SHIFT, microseconds)
