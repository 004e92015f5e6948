"""Bringing a database up to date: its schema, and what a new schema needs folded anew."""

from api.databases import open_database, target_of
from api.settings import Settings
from eventstore import migrate
from eventstore.migrate import Target


def bring_up_to_date(settings: Settings, up_to: str | None = None) -> list[str]:
    """Apply the migrations that are missing; their ids. Blocks.

    Read models that a migration has just created under a log that was there before are filled from
    it. Raises what `eventstore.migrate.upgrade` raises.
    """
    target = target_of(settings)
    applied = migrate.upgrade(target, up_to)
    if applied and not set(applied) & set(migrate.LOG_MIGRATIONS):
        _refill(settings, target, applied)
    return applied


def _refill(settings: Settings, target: Target, applied: list[str]) -> None:
    import asyncio  # lazily, as what follows: most starts have nothing to fold

    from projections import catalogue, rebuild

    if not set(applied) & set(rebuild.READ_MODEL_MIGRATIONS) or migrate.check(target):
        return

    async def work() -> None:
        database = open_database(settings, timeout_seconds=rebuild.TIMEOUT_SECONDS)
        try:
            await rebuild.reset(database, target, catalogue.CODEC, catalogue.ALL)
        finally:
            await database.close()

    asyncio.run(work())
