"""Bringing a database to this release: its schema, and the read models folded as this release does.

What folds is imported lazily: most starts find everything as it should be.
"""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from api.databases import open_database, target_of
from api.settings import Settings
from eventstore import checkpoints, migrate

if TYPE_CHECKING:
    from projections.projection import Projection

Progress = Callable[[int, int], None]

_MADE = re.compile(
    r"^\s*(?:CREATE|ALTER)\s+TABLE\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+)?(\w+)", re.MULTILINE
)


def bring_up_to_date(settings: Settings, up_to: str | None = None) -> list[str]:
    """Apply the migrations that are missing; their ids. Blocks.

    Read models that are new, or whose code has changed, are left to be folded by `fold_old` or by
    the server. Raises what `eventstore.migrate.upgrade` raises.
    """
    target = target_of(settings)
    return migrate.upgrade(target, up_to, _read_models(settings)) if migrate.check(target) else []


def go_back(settings: Settings, down_to: str) -> list[str]:
    """Undo the migrations after one; their ids. Raises what `eventstore.migrate.downgrade` raises.

    Read models whose tables are concerned are to be folded anew by the release that comes next.
    """
    return migrate.downgrade(target_of(settings), down_to, _read_models(settings))


def _read_models(settings: Settings) -> dict[str, Sequence[str]]:
    """The migrations of read models, each with the projections whose tables it makes or changes."""
    from projections import catalogue, schema

    target = target_of(settings)
    found: dict[str, Sequence[str]] = {}
    for name in schema.READ_MODEL_MIGRATIONS:
        tables = set(_MADE.findall(migrate.sql_of(target, name)))
        owners = (one for one in catalogue.ALL if tables.intersection(schema.tables_of(one)))
        found[name] = [one.name for one in owners]
    return found


async def old_read_models(settings: Settings) -> "list[Projection]":
    """Those that an older release has folded, or that are still to be filled."""
    from projections import catalogue, versions

    database = open_database(settings)
    try:
        return await versions.outdated(database, catalogue.ALL)
    finally:
        await database.close()


async def other_read_models(settings: Settings) -> "list[Projection]":
    """Those that another release has folded, whichever that is, or none."""
    from projections import catalogue

    database = open_database(settings)
    try:
        folded = {one.name: one.version for one in await checkpoints.load_all(database)}
    finally:
        await database.close()
    return [one for one in catalogue.ALL if folded.get(one.name) not in (None, one.version)]


async def fold_old(settings: Settings, progress: Progress) -> list[str]:
    """Fold `old_read_models` as this release does; their names, none if somebody else has.

    Raises what `projections.rebuild.rebuild` raises.
    """
    from projections import catalogue, rebuild, versions

    database = open_database(settings, timeout_seconds=rebuild.TIMEOUT_SECONDS)
    try:
        return await versions.bring_up_to_date(database, catalogue.CODEC, catalogue.ALL, progress)
    finally:
        await database.close()


async def fold_anew(
    settings: Settings, projections: "Sequence[Projection]", progress: Progress
) -> None:
    """Fold read models as this release does, whoever has folded them.

    Raises what `projections.rebuild.rebuild` raises.
    """
    from projections import catalogue, rebuild

    database = open_database(settings, timeout_seconds=rebuild.TIMEOUT_SECONDS)
    try:
        await rebuild.rebuild(database, catalogue.CODEC, projections, progress)
    finally:
        await database.close()
