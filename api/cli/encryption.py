"""`pluperfect server encryption`: the master key of the secrets in blocks."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import typer

from api.cli.on_database import on_database
from api.cli.terminal import Json, Output, Yes, confirm, fail, print_json, wants_json
from api.databases import master_keys
from api.settings import Settings
from eventstore.database import Database
from projections import secrets
from services import key_rotation
from services.master_keys import MasterKeys, SecretsLocked

T = TypeVar("T")

app = typer.Typer(
    help="The master key of the secrets in blocks: look, change it, give up what it is lost for.",
    no_args_is_help=True,
)


@app.command()
def status(context: typer.Context, json: Json = False, output: Output = None) -> None:
    """Show which master keys there are and how many secrets need each. Exit code 1 if one is
    missing."""
    as_json = wants_json(json, output)

    async def work(database: Database, keys: MasterKeys) -> tuple[str, list[str], dict[str, int]]:
        where = str(keys.file) if keys.in_file else "PLUPERFECT_ENCRYPTION_KEY"
        return where, [key.name for key in keys.all()], await secrets.masters(database)

    where, have, used = _with_keys(context, work, read_only=True)
    keys = [
        {"name": name, "here": name in have, "secrets": used.get(name, 0)}
        for name in dict.fromkeys((*have, *sorted(used)))
    ]
    missing = sorted(set(used) - set(have))
    if as_json:
        print_json({"kept_in": where, "keys": keys, "complete": not missing})
    else:
        typer.echo(f"Master keys are kept in {where}.")
        if not keys:
            typer.echo("  None yet: one is made when the first secret is saved.")
        for key in keys:
            here = "" if key["here"] else "  MISSING"
            typer.echo(f"  {key['name']}  {key['secrets']} secrets{here}")
    raise typer.Exit(1 if missing else 0)


@app.command()
def rotate(context: typer.Context, yes: Yes = False) -> None:
    """Change the master key: wrap the keys of all secrets with a new one.

    With a key file all is done here, while servers run. A key that is given by
    PLUPERFECT_ENCRYPTION_KEY is changed there: put the new one and a comma in front of the old
    one, restart the servers, call this, then take the old one away.

    Backups from before need the old key.
    """
    confirm("Wrap the keys of all secrets with a new master key?", yes)
    done = _with_keys(context, key_rotation.rotate)
    typer.echo(f"Wrapped {done.keys} keys anew, with the master key {done.master}.")


@app.command()
def discard(context: typer.Context, yes: Yes = False) -> None:
    """Delete the secrets whose master key is lost. Their blocks stay, and want new values."""
    confirm("Delete every secret that the master keys here cannot open, for good?", yes)
    count = _with_keys(context, key_rotation.discard)
    typer.echo(f"Deleted {count} secrets.")


@app.command()
def new_key() -> None:
    """Print a new master key, for PLUPERFECT_ENCRYPTION_KEY."""
    typer.echo(key_rotation.new_key().text)


def _with_keys(
    context: typer.Context,
    work: Callable[[Database, MasterKeys], Awaitable[T]],
    *,
    read_only: bool = False,
) -> T:
    async def worked(database: Database, settings: Settings) -> T:
        return await work(database, master_keys(settings))

    try:
        return on_database(context, worked, read_only=read_only)
    except SecretsLocked as error:
        fail(str(error))
