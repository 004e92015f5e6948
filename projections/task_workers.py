"""Pulses of connected task workers.   Table: migrations/0014.task-workers.sql

Not folded from the log: who is connected is a fact of the moment.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct, json

from eventstore.codec import from_microseconds
from eventstore.database import Reader, Transaction


class TaskWorker(Struct, frozen=True):
    """A task worker as the API shows it."""

    identifier: str
    task_keys: list[str]
    timestamp: datetime


SEEN = (
    "INSERT INTO task_workers (identifier, task_keys, seen, connected) VALUES ($1, $2, $3, 1) "
    "ON CONFLICT (identifier) DO UPDATE "
    "SET task_keys = excluded.task_keys, seen = excluded.seen, connected = 1"
)
LEFT = "UPDATE task_workers SET seen = $1, connected = 0 WHERE identifier = $2"
FORGOTTEN = "DELETE FROM task_workers WHERE seen < $1"
CONNECTED = (
    "SELECT identifier, task_keys, seen FROM task_workers "
    "WHERE seen >= $1 AND connected = 1 ORDER BY identifier"
)


async def see(tx: Transaction, identifier: str, task_keys: Sequence[str], now: int) -> None:
    """A worker is there; `now` in microseconds."""
    await tx.execute(SEEN, identifier, json.encode(task_keys).decode(), now)


async def leave(tx: Transaction, identifier: str, now: int, forget_before: int) -> None:
    """A worker has disconnected; it may come back. Those not seen for long are forgotten."""
    await tx.execute(LEFT, now, identifier)
    await tx.execute(FORGOTTEN, forget_before)


async def connected_since(reader: Reader, since: int) -> list[TaskWorker]:
    """Workers that are connected and were seen then or later."""
    return [
        TaskWorker(row[0], json.decode(row[1]), from_microseconds(row[2]))
        for row in await reader.fetch(CONNECTED, since)
    ]
