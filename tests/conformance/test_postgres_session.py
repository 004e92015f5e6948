"""What every session on Postgres is told about itself."""

import pytest

from eventstore.database import Database, Transaction

pytestmark = pytest.mark.parametrize("backend", ["postgres"], indirect=True)

COMPILED = "SHOW jit"


async def test_no_statement_is_compiled_however_dear_it_looks(database: Database) -> None:
    async def asked(tx: Transaction) -> str:
        return str((await tx.fetch(COMPILED))[0][0])

    async with database.snapshot() as snapshot:
        found = [await database.fetch(COMPILED), await snapshot.fetch(COMPILED)]
    assert [rows[0][0] for rows in found] == ["off", "off"]
    assert await database.transact(asked) == "off"
