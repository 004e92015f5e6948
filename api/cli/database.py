"""`pluperfect server database`: the schema, and the read models folded anew from the log."""

import asyncio
from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from api import pid_file
from api.addresses import database_location
from api.cli import terminal
from api.cli.progress import progress_bar
from api.cli.terminal import (
    Json,
    Output,
    Yes,
    configuration,
    confirm,
    fail,
    print_json,
    wants_json,
)
from api.databases import open_database, target_of
from api.migrating import (
    bring_up_to_date,
    fold_anew,
    fold_old,
    go_back,
    old_read_models,
    other_read_models,
)
from api.settings import Settings
from eventstore import log, migrate
from eventstore.errors import EventStoreError
from eventstore.migrate import Target

T = TypeVar("T")

app = typer.Typer(
    help="The database: its schema, and everything that can be folded again from the log.",
    no_args_is_help=True,
)

Revision = Annotated[
    str | None,
    typer.Option("--revision", "-r", metavar="REVISION", help="Number or name of a migration."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show the SQL that would be run.")]


@app.command()
def reset(
    context: typer.Context,
    yes: Yes = False,
    erase_log: Annotated[
        bool,
        typer.Option(
            "--erase-log", help="Delete the log itself, and with it everything, for good."
        ),
    ] = False,
) -> None:
    """Drop every read model, apply its schema anew and replay the log from scratch.

    The log is not touched and nothing is lost, unless --erase-log is given. Running servers go on
    with the old rows until the new ones are complete. Interrupted, it changes nothing; called
    again, it goes on.
    """
    settings = configuration(context).settings
    location = database_location(settings)
    target = target_of(settings)
    if erase_log:
        for server in pid_file.servers(settings.home).values():
            fail(
                f"The server with process id {server.pid} uses this log; "
                "stop it first with `pluperfect server stop`."
            )
        confirm(_what_is_lost(settings, target, str(location)), yes)
    else:
        confirm(f"Fold every read model in {location} anew?", yes)
    _or_fail(lambda: migrate.upgrade(target))

    # lazily: `status` and `--help` need none of it
    from projections import catalogue, rebuild
    from projections.reset import reset

    async def work(progress: Callable[[int, int], None]) -> int:
        database = open_database(settings, timeout_seconds=rebuild.TIMEOUT_SECONDS)
        try:
            return await reset(
                database,
                target,
                catalogue.CODEC,
                catalogue.ALL,
                progress,
                erase_log=erase_log,
            )
        finally:
            await database.close()

    with progress_bar("Replaying the log") as progress:
        position = _or_fail(lambda: asyncio.run(work(progress)))
    if erase_log:
        typer.echo("The log is erased; the database is as new.")
    else:
        typer.echo(f"Replayed {position} events into {len(catalogue.ALL)} read models.")


def _what_is_lost(settings: Settings, target: Target, where: str) -> str:
    if _or_fail(lambda: migrate.applied(target)) == []:
        return f"Erase {where}, which is empty?"

    async def head() -> log.Head:
        database = open_database(settings, read_only=True)
        try:
            return await log.head(database)
        finally:
            await database.close()

    last = _or_fail(lambda: asyncio.run(head()))
    return (
        f"Delete all {last.position} events and {last.lines} run log lines from {where}? "
        "They cannot be brought back; `pluperfect log export FILE` would keep a copy."
    )


@app.command()
def upgrade(
    context: typer.Context, yes: Yes = False, revision: Revision = None, dry_run: DryRun = False
) -> None:
    """Bring the schema up to date, or up to a revision, and fold anew what this release folds in
    another way.

    A server does both when it starts. Others may run meanwhile: the old rows are shown until the
    new ones are complete and take their place, in one step.
    """
    settings = configuration(context).settings
    target = target_of(settings)
    pending = _or_fail(lambda: migrate.check(target))
    if revision == "head":
        revision = None
    if revision is not None:
        last = _or_fail(lambda: migrate.revision(target, revision or ""))
        pending = [name for name in pending if name <= last]
    if dry_run:
        for name in pending:
            typer.echo(f"-- {name}\n{migrate.sql_of(target, name)}")
        return
    if not pending:
        typer.echo("The schema is up to date.")
    else:
        confirm(f"Apply {', '.join(pending)} to {database_location(settings)}?", yes)
        for name in _or_fail(lambda: bring_up_to_date(settings, revision), _SO_FAR):
            typer.echo(f"Applied {name}.")
    if _or_fail(lambda: migrate.check(target)):
        return  # Read models need the whole schema.
    if _or_fail(lambda: asyncio.run(old_read_models(settings))):
        with progress_bar("Folding anew") as progress:
            folded = _or_fail(lambda: asyncio.run(fold_old(settings, progress)))
        if folded:
            typer.echo(f"Folded anew: {', '.join(folded)}.")


@app.command()
def downgrade(
    context: typer.Context,
    revision: Annotated[
        str | None,
        typer.Option(
            "--revision",
            "-r",
            metavar="REVISION",
            help="Go back to this migration; -1 undoes the newest one, -2 the two newest.",
            show_default="-1",
        ),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Undo the newest migrations, for an older release. Never goes below the log.

    Without --revision it first looks for read models that another release has folded in its own
    way. If there are any it folds them as this one does, and undoes nothing; servers may run.

    Read models that are dropped are folded from the log again by the next upgrade; run log lines
    are not in the log.
    """
    settings = configuration(context).settings
    target = target_of(settings)
    if revision is None and _folded_back(settings, target, yes=yes, dry_run=dry_run):
        return
    revision = revision or "-1"
    have = _or_fail(lambda: migrate.applied(target))
    down_to = _or_fail(lambda: _downgraded(target, have, revision))
    doomed = [name for name in reversed(have) if name > down_to]
    if not doomed:
        typer.echo("There is nothing to undo.")
        return
    if dry_run:
        for name in doomed:
            typer.echo(f"-- {name}\n{migrate.sql_of(target, name, rollback=True)}")
        return
    for server in pid_file.servers(settings.home).values():
        fail(
            f"The server with process id {server.pid} uses this database; "
            "stop it first with `pluperfect server stop`."
        )
    if not set(doomed) & set(migrate.LOG_MIGRATIONS):
        confirm(f"Undo {', '.join(doomed)} in {database_location(settings)}?", yes)
    for name in _or_fail(lambda: go_back(settings, down_to), _SO_FAR):
        typer.echo(f"Undid {name}.")


def _folded_back(settings: Settings, target: Target, *, yes: bool, dry_run: bool) -> bool:
    """Fold as this release does what another one has folded; whether there was anything."""
    have = _or_fail(lambda: migrate.applied(target))
    if sorted(have) != migrate.available(target):
        return False
    others = _or_fail(lambda: asyncio.run(other_read_models(settings)))
    names = ", ".join(one.name for one in others)
    if others and dry_run:
        typer.echo(f"-- folded anew, no migration undone: {names}")
    elif others:
        confirm(f"Fold {names} in {database_location(settings)} anew, as this release does?", yes)
        with progress_bar("Folding anew") as progress:
            _or_fail(lambda: asyncio.run(fold_anew(settings, others, progress)))
        typer.echo(f"Folded anew: {names}.")
    return bool(others)


def _downgraded(target: Target, have: list[str], revision: str) -> str:
    """The newest migration to be left; "" for none."""
    if revision == "base":
        return ""
    if revision.startswith("-") and revision[1:].isdigit():
        left = have[: max(0, len(have) - int(revision[1:]))]
        return left[-1] if left else ""
    return migrate.revision(target, revision)


@app.command()
def status(context: typer.Context, json: Json = False, output: Output = None) -> None:
    """Show which migrations the database has. Exit code 1 if some are missing or unknown."""
    as_json = wants_json(json, output)
    settings = configuration(context).settings
    target = target_of(settings)
    where = str(database_location(settings))
    have = _or_fail(lambda: migrate.applied(target))
    known = migrate.available(target)
    states = {name: "applied" if name in have else "pending" for name in known}
    states |= {name: "unknown" for name in have if name not in known}
    good = set(states.values()) == {"applied"}
    if as_json:
        migrations = [{"name": name, "state": state} for name, state in sorted(states.items())]
        print_json({"database": where, "up_to_date": good, "migrations": migrations})
    else:
        typer.echo(where)
        width = max(map(len, states))
        for name, state in sorted(states.items()):
            typer.echo(f"  {name:<{width}}  {state}")
        if "unknown" in states.values():
            typer.echo("A newer release has been at work here; use that one.")
        elif not good:
            typer.echo("Run `pluperfect server database upgrade`.")
    raise typer.Exit(0 if good else 1)


@app.command()
def stamp(
    context: typer.Context,
    revision: Annotated[
        str,
        typer.Argument(metavar="REVISION", help="Number or name of a migration, or `base`: none."),
    ],
    yes: Yes = False,
) -> None:
    """Note that the database is at a revision, without running anything.

    Only for a schema that was put there by other means.
    """
    settings = configuration(context).settings
    target = target_of(settings)
    name = "" if revision == "base" else _or_fail(lambda: migrate.revision(target, revision))
    confirm(f"Note {database_location(settings)} as being at {name or 'no migration'}?", yes)
    _or_fail(lambda: migrate.stamp(target, name))
    typer.echo(f"The database is noted as being at {name or 'no migration'}.")


_SO_FAR = "each migration was done as a whole or not at all; call it again for the rest"


def _or_fail(work: Callable[[], T], interrupted: str = "nothing was changed") -> T:
    """The result, or one line that says why there is none."""
    try:
        return work()
    except EventStoreError as error:
        fail(str(error))
    except KeyboardInterrupt:
        terminal.interrupted(interrupted)
