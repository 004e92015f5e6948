"""Read model: variables.   Table: migrations/0019.variables.sql"""

from collections.abc import Collection
from typing import Any, Literal, TypeAlias, get_args

import msgspec
from msgspec import Struct

from eventstore.database import Dialect, Reader, Row, Table
from orchestration.documents import document, parse
from orchestration.variables import Variable, VariableEvent, evolve
from projections.columns import json_array, micros
from projections.criteria import Ids, Tags, Text, asked_of
from projections.entities import entity_projection
from projections.projection import Model
from projections.sorting import orders
from projections.where import Draft, Operator, Where, storable

TABLE = Table(
    "variables",
    {
        "id": "text",
        "created": "bigint",
        "updated": "bigint",
        "name": "text",
        "tags": "text",
        "document": "text",
    },
)


def render(variable: Variable) -> Row:
    """The variable's row."""
    return (
        variable.id,
        micros(variable.created),
        micros(variable.updated),
        variable.name,
        json_array(variable.tags),
        document(variable).decode(),
    )


def from_row(row: Row) -> Variable:
    """The variable of a row."""
    return parse(Variable, row[-1])


VARIABLES = Model(TABLE, render, from_row)

projection = entity_projection("variables", 1, VARIABLES, get_args(VariableEvent), evolve)


class VariableFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which variables a request means. No other entity's filter looks at them."""

    id: Ids | None = None
    name: Text | None = None
    tags: Tags | None = None
    operator: Operator = "and_"


VariableSort: TypeAlias = Literal["CREATED_DESC", "UPDATED_DESC", "NAME_DESC", "NAME_ASC"]
_ORDERS = orders("variables", VariableSort)


def chosen(filter: VariableFilter | None, dialect: Dialect, first: int) -> Where:
    """The condition of variables that match; its parameters begin with number `first`."""
    draft = Draft(dialect)
    return draft.where(asked_of("variables", filter, draft), first)


async def by_name(reader: Reader, name: str) -> Variable | None:
    """The variable of this name."""
    rows = await reader.fetch("SELECT document FROM variables WHERE name = $1", name)
    return parse(Variable, rows[0][0]) if rows else None


async def by_id(reader: Reader, id: str) -> Variable | None:
    """The variable of this id."""
    rows = await reader.fetch_keys(TABLE, [(id,)])
    return from_row(rows[0]) if rows else None


async def values_of(reader: Reader, dialect: Dialect, names: Collection[str]) -> dict[str, Any]:
    """Values by name; names of no variable are left out."""
    if not names:
        return {}
    wanted = dialect.in_list("name", "$1")
    rows = await reader.fetch(
        f"SELECT document FROM variables WHERE {wanted}",
        msgspec.json.encode([name for name in names if storable(name)]).decode(),
    )
    return {one.name: one.value for one in (parse(Variable, row[0]) for row in rows)}


async def some(
    reader: Reader,
    dialect: Dialect,
    filter: VariableFilter | None,
    sort: VariableSort,
    limit: int,
    offset: int,
) -> list[str]:
    """Documents of variables that match."""
    matching = chosen(filter, dialect, first=3)
    rows = await reader.fetch(
        f"SELECT document FROM variables WHERE {matching.sql} "
        f"ORDER BY {_ORDERS['variables', sort]} LIMIT $1 OFFSET $2",
        limit,
        offset,
        *matching.params,
    )
    return [row[0] for row in rows]


async def number(reader: Reader, dialect: Dialect, filter: VariableFilter | None) -> int:
    """How many variables match."""
    matching = chosen(filter, dialect, first=1)
    sql = f"SELECT count(*) FROM variables WHERE {matching.sql}"
    ((count,),) = await reader.fetch(sql, *matching.params)
    return int(count)
