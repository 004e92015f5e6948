"""Reads that others were in the way of: nothing was changed, so they are tried again."""

import asyncio

import psycopg
import pytest
from psycopg.sql import SQL, Composed, Identifier

from eventstore.database import Database
from eventstore.errors import DatabaseUnavailable
from eventstore.migrate import Target

pytestmark = pytest.mark.parametrize("backend", ["postgres"], indirect=True)

SECONDS_MAX = 30.0
READ = "SELECT count(*) FROM checkpoints, streams, leases"
"""Locks the tables in this order."""
SWAPPED = "LOCK TABLE {}.{} IN ACCESS EXCLUSIVE MODE"
WAITS = "SELECT 1 FROM pg_locks WHERE relation = $1::regclass AND NOT granted"


async def test_a_read_that_ends_as_a_deadlock_is_read_again(
    database: Database, target: Target
) -> None:
    async with (
        await psycopg.AsyncConnection.connect(target.url) as swapping,
        await psycopg.AsyncConnection.connect(target.url) as other,
        asyncio.timeout(SECONDS_MAX),
    ):
        await other.execute(_locked(target, "streams"))
        await swapping.execute(_locked(target, "leases"))
        # Of the two it is the reader who looks whether they wait for each other.
        await swapping.execute("SET deadlock_timeout = '1h'")
        reading = asyncio.create_task(database.fetch(READ))
        await _waited_for(database, "streams")
        swap = asyncio.create_task(swapping.execute(_locked(target, "checkpoints")))
        await _waited_for(database, "checkpoints")
        await other.rollback()
        await swap  # It has the table now, for the reader was ended.
        await swapping.rollback()
        assert [row[0] for row in await reading] == [0]


async def test_a_read_that_never_gets_through_is_refused(
    database: Database, target: Target
) -> None:
    with psycopg.connect(target.url, autocommit=True) as connection:
        impatient = SQL("ALTER DATABASE {} SET lock_timeout = '1ms'")
        connection.execute(impatient.format(Identifier(connection.info.dbname)))
        with connection.transaction():
            connection.execute(_locked(target, "leases"))
            async with asyncio.timeout(SECONDS_MAX):
                with pytest.raises(DatabaseUnavailable, match="lock timeout"):
                    await database.fetch(READ)
        assert [row[0] for row in await database.fetch(READ)] == [0]


async def _waited_for(database: Database, table: str) -> None:
    while not await database.fetch(WAITS, table):  # noqa: ASYNC110 (nobody tells)
        await asyncio.sleep(0.01)


def _locked(target: Target, table: str) -> Composed:
    return SQL(SWAPPED).format(Identifier(target.schema), Identifier(table))
