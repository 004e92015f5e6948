"""`pluperfect replay`: a picture of the past, as a database of its own."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

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


def replay(
    context: typer.Context,
    until: Annotated[
        str,
        typer.Option(
            metavar="TIME|POSITION",
            help="Where to stop: a position, or a time like 2026-11-22T09:30 (UTC unless it says).",
        ),
    ],
    into: Annotated[Path, typer.Option(help="The SQLite file to write; it must not exist.")],
) -> None:
    """Show the past: replay the log up to a moment into a database of its own."""
    if into.exists():
        fail(f"{into} is there already; choose another name or remove it first")

    async def work(database: Database, _: Settings) -> tuple[int, int]:
        position = await _position(database, until)
        migrate.upgrade(Target(path=into))
        picture = SqliteDatabase(into, PATIENCE_SECONDS, durable=False)
        try:
            with progress_bar("Replaying") as progress:
                await past.copy(
                    database,
                    picture,
                    catalogue.CODEC,
                    catalogue.ALL,
                    position,
                    progress,
                )
        finally:
            await picture.close()
        return position, 0

    try:
        position, _ = on_database(context, work, read_only=True)
    except BaseException:
        into.unlink(missing_ok=True)
        raise
    typer.echo(
        f"{into} shows what was known after event {position}. Look at it with:\n\n"
        f"  PLUPERFECT_DATABASE_URL=sqlite:///{into.absolute()} "
        "PLUPERFECT_DATABASE_READ_ONLY=true pluperfect server start --port 4201"
    )


async def _position(database: Database, until: str) -> int:
    if until.isdigit():
        return int(until)
    try:
        moment = datetime.fromisoformat(until)
    except ValueError:
        fail(f"{until!r} is neither a position nor a time like 2026-11-22T09:30")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return await past.position_at(database, moment)
