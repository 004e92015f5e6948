"""Queries: what has a name that contains a text, for the search over everything."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from eventstore.database import Dialect, Reader
from projections.criteria import like
from projections.run_pages import SEARCH_MAX, Named
from projections.where import Draft

Kind: TypeAlias = Literal["variables", "concurrency_limits", "block_documents", "block_types"]
_SOUGHT: Mapping[Kind, tuple[str, str]] = {
    "variables": ("id", "name"),
    "concurrency_limits": ("id", "name"),
    "block_documents": ("id", "name"),
    # Pages of types are named by their slugs.
    "block_types": ("slug", "name"),
}
"""The columns that a page is found by and that is searched, by table."""


async def named(reader: Reader, dialect: Dialect, text: str) -> Mapping[Kind, Sequence[Named]]:
    """Variables, limits, blocks and block types, by table; at most `SEARCH_MAX` of each."""
    return {kind: await _of(reader, dialect, kind, text) for kind in _SOUGHT}


async def _of(reader: Reader, dialect: Dialect, kind: Kind, text: str) -> Sequence[Named]:
    key, name = _SOUGHT[kind]
    draft = Draft(dialect)
    condition = like(name, text, draft)
    if condition is None:
        return []
    shown = " AND is_anonymous = 0" if kind == "block_documents" else ""
    where = draft.where(condition)
    rows = await reader.fetch(
        f"SELECT {key}, {name} FROM {kind} WHERE {where.sql}{shown} "
        f"ORDER BY {name}, id LIMIT {SEARCH_MAX}",
        *where.params,
    )
    return [Named(*row) for row in rows]
