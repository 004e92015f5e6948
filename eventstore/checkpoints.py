"""How far a named follower of the log has read; written in one transaction with what it made."""

from msgspec import Struct

from eventstore.database import Reader, Table, Transaction

CHECKPOINTS = Table(
    "checkpoints", {"name": "text", "version": "bigint", "position": "bigint"}, key=("name",)
)


class Checkpoint(Struct, frozen=True):
    """Everything up to and including `position` is taken in."""

    name: str
    version: int
    """Version of the follower's code that wrote it."""
    position: int


async def load(reader: Reader, name: str) -> Checkpoint | None:
    """The checkpoint of one follower; None if it never ran."""
    rows = await reader.fetch_keys(CHECKPOINTS, [(name,)])
    return Checkpoint(*rows[0]) if rows else None


ALL = "SELECT name, version, position FROM checkpoints"


async def load_all(reader: Reader) -> list[Checkpoint]:
    """The checkpoint of every follower that ever ran."""
    return [Checkpoint(*row) for row in await reader.fetch(ALL)]


async def save(tx: Transaction, checkpoint: Checkpoint) -> None:
    """Move a follower to `checkpoint`."""
    await tx.upsert(CHECKPOINTS, [(checkpoint.name, checkpoint.version, checkpoint.position)])
