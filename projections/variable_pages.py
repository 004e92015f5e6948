"""Queries: variables for people, page by page."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

from eventstore.database import Dialect, Reader, Value
from orchestration.variables import Variable
from projections import variables
from projections.criteria import Tags, Text
from projections.keyset import Asked, Place, Rank
from projections.variables import VariableFilter

PAGE_VARIABLES = 50
"""Variables on a page."""

Order: TypeAlias = Literal["", "-name", "changed", "-changed"]
"""By name, or the ones that were changed last in front; `-`: the other way round."""
_RANKS: dict[Order, tuple[str, type[Rank], bool]] = {
    "": ("name", str, True),
    "-name": ("name", str, False),
    "changed": ("updated", int, False),
    "-changed": ("updated", int, True),
}
"""Column, kind of its values, whether it ascends."""


class VariablePage(Struct, frozen=True):
    """Some variables, and where the pages beside them begin, if there are any."""

    variables: Sequence[Variable]
    before: str | None
    after: str | None
    total: int


async def page(
    reader: Reader,
    dialect: Dialect,
    *,
    text: str = "",
    tags: Sequence[str] = (),
    order: Order = "",
    after: str | None = None,
    before: str | None = None,
) -> VariablePage:
    """Variables whose names contain a text and that have all of the tags.

    Raises Invalid for what is no cursor of this list.
    """
    filter = VariableFilter(
        name=Text(like_=text) if text else None, tags=Tags(all_=list(tags)) if tags else None
    )
    column, kind, ascending = _RANKS[order]
    asked = Asked(ascending, after, before)
    matching = variables.chosen(filter, dialect, first=1)
    params: list[Value] = list(matching.params)
    conditions = [matching.sql, *asked.beyond(column, "id", kind, params)]
    rows = await reader.fetch(
        f"SELECT id, name, updated, document FROM variables WHERE {' AND '.join(conditions)} "
        f"ORDER BY {asked.order(column, 'id')} LIMIT {PAGE_VARIABLES + 1}",
        *params,
    )
    rank = 1 if column == "name" else 2
    cut = asked.cut(rows, PAGE_VARIABLES, lambda row: Place(row[rank], row[0]))
    total = await variables.number(reader, dialect, filter)
    return VariablePage([variables.from_row(row) for row in cut.rows], cut.before, cut.after, total)
