"""Clocks that do not agree: the log's time only ever increases, and on Postgres it is another
machine's."""

from eventstore.database import Database, Transaction

HOUR = 3_600 * 1_000_000


async def set_back(database: Database) -> None:
    """As if this machine's clock had been an hour ahead until now: so is the log's time."""

    async def work(tx: Transaction) -> None:
        await tx.execute(f"UPDATE log_head SET recorded_at = recorded_at + {HOUR}")

    await database.transact(work)
