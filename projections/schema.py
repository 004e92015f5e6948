"""The tables of the read models: the migrations that make them, and what belongs to whom."""

from pathlib import Path

from eventstore import migrate
from eventstore.database import Dialect, Transaction
from eventstore.migrate import Target
from projections.projection import Projection

READ_MODEL_MIGRATIONS = (
    "0002.read-models",
    "0004.emissions",
    "0005.run-totals",
    "0010.dashboard",
    "0011.emission-totals",
    "0012.deployments",
    "0013.work-pools",
    "0014.run-inputs",
    "0014.task-queue",
    "0018.concurrency",
    "0018.deployment-limits",
    "0018.leases-for-ever",
    "0017.worker-cleanups",
    "0016.deployments-ready",
    "0019.variables",
    "0020.idle-deployments",
    "0034.task-run-names",
    "0035.awaiting-slot",
    "0021.blocks",
    "0036.block-references",
    "0025.automations",
    "0029.result-storage",
    "0026.automation-firings",
)
"""Migrations that make nothing but read models."""


def tables_of(projection: Projection) -> list[str]:
    """Names of the tables that a projection writes, totals included."""
    tables: dict[str, None] = {}
    for model in projection.models:
        tables[model.table.name] = None
        if model.totals is not None:
            tables[model.totals.table.name] = None
    return list(tables)


def engine_of(dialect: Dialect) -> Target:
    """Names an engine, whose SQL is wanted."""
    return Target(path=Path()) if dialect.name == "sqlite" else Target()


async def create_anew(tx: Transaction, target: Target) -> None:
    """Drop the tables of every read model there is, and make them again, empty."""
    for name in reversed(READ_MODEL_MIGRATIONS):
        await tx.script(migrate.sql_of(target, name, rollback=True))
    for name in READ_MODEL_MIGRATIONS:
        await tx.script(migrate.sql_of(target, name))
