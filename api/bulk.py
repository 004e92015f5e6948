"""What bulk requests have in common: which entities one means, and what it answers."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct

from api.http import Answer, Call, ok
from orchestration.refusals import NotFound
from projections import queries
from projections.filters import EntityTable, Filters
from projections.sorting import Sort
from services.shell import Origin, Shell

BULK_MAX = 50
"""Entities that one bulk request may change."""
BulkLimit: TypeAlias = Annotated[int, Meta(ge=1, le=BULK_MAX)]


class Deleted(Struct, frozen=True):
    """Ids of what a bulk request deleted."""

    deleted: Sequence[str]


async def meant(
    call: Call, table: EntityTable, filters: Filters, sort: Sort, limit: int | None
) -> list[str]:
    """Ids of the entities that a bulk request means, in order."""
    database = call.server.database
    query = queries.page(table, "id", filters, sort, database.dialect, limit=limit or BULK_MAX)
    return [str(row[0]) for row in await database.fetch(query.sql, *query.params)]


async def delete_each(
    call: Call, ids: Sequence[str], delete: Callable[[Shell, str, Origin], Awaitable[Any]]
) -> Answer:
    """Delete entities one after the other, and say which of them were there."""
    deleted: list[str] = []
    for id_ in ids:
        with suppress(NotFound):  # Somebody else may delete some of them just now.
            await delete(call.server.shell, id_, call.origin)
            deleted.append(id_)
    return ok(Deleted(deleted))
