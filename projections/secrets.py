"""The tables of encrypted secrets.   Tables: migrations/0022.secrets.sql

Beside the log, and no read model: nothing could fold them again. What is in them, and why deleting
a row is enough, says `services/vault.py`.
"""

from collections.abc import Collection, Sequence

from msgspec import Struct

from eventstore.database import Reader, Table, Transaction

KEYS = Table("secret_keys", {"id": "text", "master": "text", "wrapped": "text"})
PAYLOADS = Table("secret_payloads", {"id": "text", "payload": "text"})
TABLES = (KEYS, PAYLOADS)

KEYS_PER_PAGE = 500
"""Keys that are wrapped anew in one transaction."""


class Wrapped(Struct, frozen=True):
    """A data key as it is kept."""

    id: str
    master: str
    """Name of the master key that it is wrapped with."""
    wrapped: str


class Kept(Struct, frozen=True):
    """A secret as it is kept."""

    key: Wrapped
    payload: str


async def keep(tx: Transaction, secret: Kept) -> None:
    """Keep a secret."""
    key = secret.key
    await tx.upsert(KEYS, [(key.id, key.master, key.wrapped)])
    await tx.upsert(PAYLOADS, [(key.id, secret.payload)])


async def forget(tx: Transaction, ids: Collection[str]) -> None:
    """Delete secrets and their keys."""
    for table in TABLES:
        await tx.delete(table, [(id,) for id in ids])


async def forget_all(tx: Transaction) -> None:
    """Delete every secret and every key."""
    for table in TABLES:
        await tx.execute(f"DELETE FROM {table.name}")


async def of(reader: Reader, ids: Collection[str]) -> dict[str, Kept]:
    """Secrets by id; ids of which nothing is kept are left out."""
    wanted = [(id,) for id in dict.fromkeys(ids)]
    if not wanted:
        return {}
    payloads = {row[0]: row[1] for row in await reader.fetch_keys(PAYLOADS, wanted)}
    return {
        row[0]: Kept(Wrapped(*row), payloads[row[0]])
        for row in await reader.fetch_keys(KEYS, wanted)
        if row[0] in payloads
    }


async def masters(reader: Reader) -> dict[str, int]:
    """How many keys are wrapped with each master key, by the names of these."""
    rows = await reader.fetch("SELECT master, count(*) FROM secret_keys GROUP BY master")
    return {row[0]: int(row[1]) for row in rows}


async def outermost_masters(reader: Reader) -> set[str]:
    """Names of the first and the last master key in use, by the alphabet: nearly always one."""
    ((first, last),) = await reader.fetch("SELECT min(master), max(master) FROM secret_keys")
    return {name for name in (first, last) if name is not None}


async def not_under(reader: Reader, master: str) -> list[Wrapped]:
    """Some of the keys that are wrapped with another master key."""
    rows = await reader.fetch(
        "SELECT id, master, wrapped FROM secret_keys WHERE master <> $1 ORDER BY id LIMIT $2",
        master,
        KEYS_PER_PAGE,
    )
    return [Wrapped(*row) for row in rows]


async def rewrap(tx: Transaction, keys: Sequence[Wrapped]) -> None:
    """Keep keys as they are wrapped now."""
    if keys:
        await tx.upsert(KEYS, [(key.id, key.master, key.wrapped) for key in keys])


async def undo_those_of(tx: Transaction, master: str) -> None:
    """Delete the secrets whose keys are wrapped with a master key that nobody has any more."""
    await tx.execute(
        "DELETE FROM secret_payloads WHERE id IN (SELECT id FROM secret_keys WHERE master = $1)",
        master,
    )
    await tx.execute("DELETE FROM secret_keys WHERE master = $1", master)
