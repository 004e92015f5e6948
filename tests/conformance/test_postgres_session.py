"""What every session on Postgres is told about itself."""

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from eventstore import log
from eventstore.database import Database, Transaction
from eventstore.errors import DatabaseUnavailable
from eventstore.migrate import Target

pytestmark = pytest.mark.parametrize("backend", ["postgres"], indirect=True)

COMPILED = "SHOW jit"


async def test_no_statement_is_compiled_however_dear_it_looks(database: Database) -> None:
    async def asked(tx: Transaction) -> str:
        return str((await tx.fetch(COMPILED))[0][0])

    async with database.snapshot() as snapshot:
        found = [await database.fetch(COMPILED), await snapshot.fetch(COMPILED)]
    assert [rows[0][0] for rows in found] == ["off", "off"]
    assert await database.transact(asked) == "off"


async def test_what_is_no_primary_any_more_is_left_for_what_a_new_connection_finds(
    database: Database, target: Target
) -> None:
    read_only = "SHOW default_transaction_read_only"

    async def write(tx: Transaction) -> str:
        await log.lock(tx, database.dialect)
        return str((await tx.fetch(read_only))[0][0])

    with psycopg.connect(target.url, autocommit=True) as connection:
        name = Identifier(connection.info.dbname)
        become = SQL("ALTER DATABASE {} SET default_transaction_read_only = {}")
        # For those that connect from now on: a proxy sends them to a standby, as it were.
        connection.execute(become.format(name, SQL("on")))
        assert [row[0] for row in await database.fetch(read_only)] == ["on"]
        with pytest.raises(DatabaseUnavailable, match="read-only"):
            await database.transact(write)
        connection.execute(become.format(name, SQL("off")))
    assert await database.transact(write) == "off"
    assert [row[0] for row in await database.fetch(read_only)] == ["off"]
