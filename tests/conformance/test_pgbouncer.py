"""Behind PgBouncer nothing may depend on the session; here without one, on empty sessions."""

import asyncio

import asyncpg
import pytest

from eventstore import log
from eventstore.database import Transaction
from eventstore.errors import DatabaseUnavailable
from eventstore.migrate import Target
from tests.conformance.toys import adding, store_on
from tests.conftest import open_database

pytestmark = pytest.mark.parametrize("backend", ["postgres"], indirect=True)


async def test_every_transaction_brings_its_own_settings(target: Target) -> None:
    database = open_database(target, pgbouncer=True)
    store = store_on(database)
    await store.open()
    await asyncio.gather(*(store.submit(adding(f"n:{n}", 0, 1)) for n in range(50)))
    assert (await log.head(database)).position == 50

    async def settings(tx: Transaction) -> list[str]:
        names = ("search_path", "synchronous_commit", "statement_timeout", "jit")
        return [(await tx.fetch(f"SHOW {name}"))[0][0] for name in names]

    assert await database.transact(settings) == [target.schema, "on", "10s", "off"]
    await store.close()
    await database.close()


async def test_a_failed_read_leaves_a_usable_connection(target: Target) -> None:
    database = open_database(target, pgbouncer=True, timeout_seconds=0.1)
    for _ in range(6):
        with pytest.raises(asyncpg.UndefinedTableError):
            await database.fetch("SELECT * FROM nowhere")
        with pytest.raises(DatabaseUnavailable):
            await database.fetch("SELECT pg_sleep(30)")
        assert await log.stream_version(database, "n:1") == 0
    await database.close()
