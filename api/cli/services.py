"""`pluperfect server services`: run the background services alone, say who runs them."""

import gc
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer
from msgspec.structs import replace

from api import pid_file
from api.cli import ending
from api.cli.on_database import on_database
from api.cli.terminal import Json, Output, configuration, fail, print_json, wants_json
from api.settings import Settings
from eventstore import leases
from eventstore.codec import from_microseconds
from eventstore.database import Database
from eventstore.leases import Lease

app = typer.Typer(
    help="The background services: run them without a server, see who runs them.",
    no_args_is_help=True,
)


@app.command()
def start(
    context: typer.Context,
    background: Annotated[
        bool,
        typer.Option("--background", "-b", help="Return once they run; they go on."),
    ] = False,
) -> None:
    """Run the background services and nothing else, for servers with --no-services.

    Any number of processes may: each service runs in one of them, and moves to another within
    seconds when that one ends or dies.
    """
    gc.disable()  # Hardly anything made until they run can be collected.
    from api import running  # lazily: `stop` and `ls` need none of it

    settings = configuration(context).settings
    try:
        prepared = running.prepare_services(settings)
        if background:
            pid = running.run_in_background(prepared)
            _banner(prepared, f"Pluperfect's services run in the background as process {pid}.")
            typer.echo(f"They log to {settings.home / prepared.role.log_file}.")
            typer.echo(f"Stop them with `{prepared.role.stop}`.")
            return
        code = running.run(
            prepared,
            lambda: _banner(prepared, "Pluperfect's services are running; ctrl + c stops them."),
        )
    except running.CannotStart as error:
        fail(str(error))
    raise typer.Exit(code)


def _banner(prepared: Any, headline: str) -> None:
    from api import background  # lazily, as above

    names = [one.name for one in background.SERVICES if one.enabled(prepared.settings)]
    typer.secho(headline, bold=True)
    typer.echo("")
    typer.echo(f"  Services  {', '.join(names) or 'none; only read models follow the log'}")
    typer.echo(f"  Database  {prepared.location}")
    typer.echo("")


@app.command()
def stop(context: typer.Context) -> None:
    """Stop the services that `pluperfect server services start` runs in this home."""
    home = configuration(context).settings.home
    ending.end(home, pid_file.SERVICES_FILE_NAME, "process with services")


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One service as `ls` shows it."""

    name: str
    description: str
    enabled: bool
    """Whether these settings want it; another process may have others."""
    running: bool
    host: str | None = None
    """Who runs it, or ran it last."""
    pid: int | None = None
    term: int | None = None
    since: datetime | None = None
    lag_seconds: float | None = None
    """How long the oldest thing that is to be done has been waiting; None if nobody runs it."""
    last_error: str | None = None
    last_error_at: datetime | None = None


@app.command("ls")
def ls(context: typer.Context, json: Json = False, output: Output = None) -> None:
    """List the services: which process runs each, since when, how far behind, its last error."""
    from api import background  # lazily: `stop` does not need it

    as_json = wants_json(json, output)

    async def work(database: Database, settings: Settings) -> list[Listed]:
        held = {one.name: one for one in await leases.load_all(database, database.dialect)}
        return [
            _listed(
                Listed(
                    name=one.name,
                    description=one.doc,
                    enabled=one.enabled(settings),
                    running=False,
                ),
                held.get(one.name),
            )
            for one in background.SERVICES
        ]

    listed = on_database(context, work, read_only=True)
    if as_json:
        print_json(listed)
        return
    for one in listed:
        typer.echo(f"{one.name:<16}{_who(one)}")
        if one.last_error is not None and one.last_error_at is not None:
            typer.echo(f"{'':<16}last error, {_time(one.last_error_at)}: {one.last_error}")


def _listed(one: Listed, lease: Lease | None) -> Listed:
    if lease is None:
        return one
    running = lease.left_seconds > 0
    return replace(
        one,
        running=running,
        host=lease.host,
        pid=lease.pid,
        term=lease.term,
        since=from_microseconds(lease.acquired),
        lag_seconds=lease.lag_seconds if running else None,
        last_error=lease.error,
        last_error_at=None if lease.error_at is None else from_microseconds(lease.error_at),
    )


def _who(one: Listed) -> str:
    off = "" if one.enabled else "; off in these settings"
    if one.since is None:
        return f"never ran{off}"
    process = f"process {one.pid} on {one.host}"
    if not one.running:
        return f"runs nowhere; last was {process}, term {one.term}{off}"
    behind = "up to date" if not one.lag_seconds else f"{one.lag_seconds:.1f} s behind"
    return f"{process} since {_time(one.since)}, term {one.term}, {behind}{off}"


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
