"""Inserting rows: however many at once, of every type of column, all or none of them."""

import sqlite3
from collections.abc import Sequence

import asyncpg
import pytest

from eventstore.database import Database, Row, Table, Transaction
from eventstore.migrate import Target
from tests.conftest import open_database

TABLE = Table(
    "toys",
    {"id": "bigint", "name": "text", "weight": "float", "parts": "json", "picture": "bytes"},
    key=("id",),
)
CREATE = """
CREATE TABLE toys (
  id BIGINT PRIMARY KEY, name TEXT, weight DOUBLE PRECISION, parts {json}, picture {bytes}
)
"""
SELECT = "SELECT id, name, weight, CAST(parts AS TEXT), picture FROM toys ORDER BY id"
NUMBERS = (1, 4, 63, 64, 65, 333)


async def create(database: Database) -> None:
    kinds = ("TEXT", "BLOB") if database.dialect.name == "sqlite" else ("JSON", "BYTEA")

    async def work(tx: Transaction) -> None:
        await tx.execute(CREATE.format(json=kinds[0], bytes=kinds[1]))

    await database.transact(work)


async def insert(database: Database, rows: Sequence[Row]) -> None:
    async def work(tx: Transaction) -> None:
        await tx.insert(TABLE, rows)

    await database.transact(work)


def toys(number: int) -> list[Row]:
    full = [
        (n, f"näme {n}\n\t", n / 8, f'{{"n":  {n}}}', bytes((n % 256, 0))) for n in range(number)
    ]
    return [*full, (-(2**63), None, None, None, None)]


async def stored(database: Database) -> list[Row]:
    return [tuple(row) for row in await database.fetch(SELECT)]


@pytest.mark.parametrize("number", NUMBERS)
async def test_every_row_is_there_as_it_was_given(database: Database, number: int) -> None:
    await create(database)
    await insert(database, toys(number))
    assert await stored(database) == sorted(toys(number), key=lambda row: int(row[0]))


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ((0, None, None, None, None), (sqlite3.IntegrityError, asyncpg.UniqueViolationError)),
        ((-1, "\ud800", None, None, None), (UnicodeEncodeError, asyncpg.DataError)),
    ],
    ids=["twice", "unpaired"],
)
async def test_of_rows_with_a_wrong_one_none_is_there(
    database: Database, number: int, wrong: Row, error: tuple[type[Exception], ...]
) -> None:
    await create(database)
    for _ in range(2):
        with pytest.raises(error):
            await insert(database, [*toys(number), wrong])
        assert await stored(database) == []
    await insert(database, toys(number))
    assert len(await stored(database)) == number + 1


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_many_rows_go_through_pgbouncer(target: Target) -> None:
    database = open_database(target, pgbouncer=True)
    await create(database)
    await insert(database, toys(333))
    assert len(await stored(database)) == 334
    await database.close()


async def test_a_table_may_be_declared_twice_with_its_columns_in_another_order(
    database: Database,
) -> None:
    await create(database)
    await insert(database, [(1, "a", 0.5, None, None)])
    other = Table(TABLE.name, dict(reversed(TABLE.columns.items())), TABLE.key)

    async def work(tx: Transaction) -> None:
        await tx.insert(other, [(None, None, 0.5, "b", 2)])

    await database.transact(work)

    assert await stored(database) == [(1, "a", 0.5, None, None), (2, "b", 0.5, None, None)]


async def test_no_keys_are_no_rows(database: Database) -> None:
    await create(database)
    await insert(database, toys(2))

    async def work(tx: Transaction) -> list[Row]:
        await tx.delete(TABLE, [])
        return await tx.fetch_keys(TABLE, [])

    assert await database.transact(work) == await database.fetch_keys(TABLE, []) == []
    assert len(await stored(database)) == 3
