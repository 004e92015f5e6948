"""`pluperfect replay`: a picture of the past, as a database of its own."""

import glob
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from api.cli.on_database import PATIENCE_SECONDS, on_database
from api.cli.progress import progress_bar
from api.cli.terminal import fail
from api.settings import Settings
from eventstore import migrate
from eventstore.database import Database
from eventstore.migrate import Target
from eventstore.sqlite import SqliteDatabase
from projections import catalogue, past

_FILES = frozenset({"", "-wal", "-shm", ".lock", ".migrations.lock"})
"""What is put after a database's name to name the files that belong to it."""


def replay(
    context: typer.Context,
    until: Annotated[
        str,
        typer.Option(
            metavar="TIME|POSITION",
            help="Where to stop: a position, or a time like 2026-11-22T09:30 (UTC unless it says).",
        ),
    ],
    into: Annotated[
        Path, typer.Option(metavar="FILE", help="The SQLite file to write; it must not exist.")
    ],
) -> None:
    """Show the past: replay the log up to a moment into a database of its own.

    What runs had printed by then is copied, too; log lines of runs that were deleted since are
    gone.
    """
    if into.exists():
        fail(f"The file {into} is there already; choose another name or remove it first")
    moment = _moment(until)

    async def work(database: Database, _: Settings) -> past.Copied:
        migrate.upgrade(Target(path=into))
        picture = SqliteDatabase(into, PATIENCE_SECONDS, durable=False)
        try:
            with progress_bar("Replaying") as progress:
                return await past.copy(
                    database, picture, catalogue.CODEC, catalogue.ALL, moment, progress
                )
        finally:
            await picture.close()

    try:
        copied = on_database(context, work, read_only=True)
    except BaseException:
        for leftover in into.parent.glob(f"{glob.escape(into.name)}*"):
            if leftover.name.removeprefix(into.name) in _FILES:
                leftover.unlink(missing_ok=True)
        raise
    typer.echo(
        f"{into} shows what was known after event {copied.position}, "
        f"with {copied.lines} run log lines. Look at it with:\n\n"
        f"  PLUPERFECT_DATABASE_URL=sqlite:///{quote(str(into.absolute()))} "
        "PLUPERFECT_DATABASE_READ_ONLY=true pluperfect server start --port 4201"
    )


def _moment(until: str) -> int | datetime:
    if until.isdecimal():
        return int(until)
    try:
        moment = datetime.fromisoformat(until)
    except ValueError:
        fail(f"{until!r} is neither a position nor a time like 2026-11-22T09:30")
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
