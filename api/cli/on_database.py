"""Commands that work on the database itself: open it, work, close it, say errors in a line."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import typer

from api.cli.terminal import configuration, fail, fail_unwritten, interrupted
from api.databases import open_database, target_of
from api.migrating import bring_up_to_date
from api.settings import Settings
from eventstore import migrate
from eventstore.database import Database
from eventstore.errors import EventStoreError

T = TypeVar("T")

PATIENCE_SECONDS = 24 * 60 * 60.0
"""Timeout of statements for work that goes through the whole log."""


def on_database(
    context: typer.Context,
    work: Callable[[Database, Settings], Awaitable[T]],
    *,
    read_only: bool = False,
    create: bool = False,
) -> T:
    """Do some work on the configured database, which must be there and migrated.

    With `create` it is made and brought up to date first, as a server does when it starts.
    """
    settings = configuration(context).settings
    try:
        if create and settings.database_migrate_on_start:
            bring_up_to_date(settings)
        pending = migrate.check(target_of(settings))
    except EventStoreError as error:
        fail(str(error))
    if pending:
        fail(
            "the database is not there yet or not up to date "
            f"({len(pending)} migrations to apply); run `pluperfect server database upgrade`"
        )

    async def worked() -> T:
        database = open_database(settings, timeout_seconds=PATIENCE_SECONDS, read_only=read_only)
        try:
            return await work(database, settings)
        finally:
            await database.close()

    try:
        return asyncio.run(worked())
    except EventStoreError as error:
        fail(str(error))
    except BrokenPipeError:
        raise  # Whoever read our output wants no more of it; that is for the command to judge.
    except OSError as error:
        if not error.filename:
            fail_unwritten(error)
        fail(f"{error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        interrupted()
