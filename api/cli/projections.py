"""`pluperfect projections`: the read models, whether they are what the log says, their repair."""

from typing import Annotated

import msgspec
import typer

from api.cli.on_database import on_database
from api.cli.progress import progress_bar
from api.cli.terminal import Json, Output, fail, print_json, wants_json
from api.settings import Settings
from eventstore import checkpoints, log
from eventstore.database import Database
from projections import catalogue, rebuild, verification
from projections.projection import Projection

app = typer.Typer(
    help="The read models that are folded from the log: list, verify, rebuild.",
    no_args_is_help=True,
)


def _completed(incomplete: str) -> list[str]:
    return [p.name for p in catalogue.ALL if p.name.startswith(incomplete)]


class Listed(msgspec.Struct, frozen=True):
    """One projection as `ls` shows it."""

    name: str
    mode: str
    version: int
    tables: list[str]
    position: int
    lag: int


@app.command("ls")
def ls(context: typer.Context, json: Json = False, output: Output = None) -> None:
    """List the read models and how far they have read the log."""
    as_json = wants_json(json, output)

    async def work(database: Database, _: Settings) -> list[Listed]:
        head = await log.head(database)
        listed = []
        for projection in catalogue.ALL:
            checkpoint = await checkpoints.load(database, projection.name)
            inline = projection.mode == "inline"
            position = head.position if inline else (checkpoint.position if checkpoint else 0)
            listed.append(
                Listed(
                    projection.name,
                    projection.mode,
                    projection.version,
                    [model.table.name for model in projection.models],
                    position,
                    head.position - position,
                )
            )
        return listed

    listed = on_database(context, work, read_only=True)
    if as_json:
        print_json(listed)
        return
    for one in listed:
        behind = f"{one.lag} events behind" if one.lag else "up to date"
        typer.echo(f"{one.name:<24} {one.mode:<8} v{one.version}  {behind:<20} {_tables(one)}")


def _tables(listed: Listed) -> str:
    return ", ".join(listed.tables)


@app.command("verify")
def verify(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Only these read models; without a name all of them.",
            autocompletion=_completed,
        ),
    ] = None,
    json: Json = False,
    output: Output = None,
) -> None:
    """Fold the log anew beside the read models and compare them, row by row.

    Changes nothing; a server may go on running. Exit code 1 if a table differs.
    """
    as_json = wants_json(json, output)
    chosen = _chosen(names)

    async def work(database: Database, _: Settings) -> list[verification.Difference]:
        with progress_bar("Verifying") as progress:
            return await verification.verify(database, catalogue.CODEC, chosen, progress)

    differences = on_database(context, work, read_only=True)
    if as_json:
        print_json(
            {
                "sound": not differences,
                "verified": [projection.name for projection in chosen],
                "differences": differences,
            }
        )
    else:
        for difference in differences:
            typer.echo(
                f"{difference.table} is not what the log says at position {difference.position}: "
                f"{difference.live[:12]} instead of {difference.rebuilt[:12]}; "
                f"run `pluperfect projections rebuild {difference.projection}`"
            )
        if not differences:
            typer.echo(f"{len(chosen)} read models are exactly what the log says.")
    if differences:
        raise typer.Exit(1)


@app.command("rebuild")
def rebuild_(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="The read models to rebuild; `pluperfect projections ls` lists them.",
            autocompletion=_completed,
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Rebuild every read model.")] = False,
    throttle: Annotated[
        float | None,
        typer.Option(
            metavar="EVENTS",
            min=1,
            help="How many events a second to fold at most. It has to be more than are written, "
            "or it never ends. [default: no limit]",
        ),
    ] = None,
    json: Json = False,
    output: Output = None,
) -> None:
    """Fold read models anew from the log, while servers go on reading and writing.

    The old rows are shown until the new ones are complete and take their place, in one step.
    Interrupted, it changes nothing; called again for the same read models, it goes on.
    """
    as_json = wants_json(json, output)
    if not names and not everything:
        fail("name the read models to rebuild, or give --all; `pluperfect projections ls` has them")
    chosen = _chosen(None if everything else names)

    async def work(database: Database, _: Settings) -> rebuild.Rebuilt:
        with progress_bar("Rebuilding") as progress:
            return await rebuild.rebuild(
                database, catalogue.CODEC, chosen, progress, throttle=throttle
            )

    done = on_database(context, work)
    if as_json:
        print_json({"read_models": [one.name for one in chosen], **msgspec.structs.asdict(done)})
        return
    # One that was interrupted before went on; the rate is that of the rest.
    rest = "" if done.events == done.position else f"the last {done.events:,} of them "
    typer.echo(
        f"Rebuilt {', '.join(p.name for p in chosen)} from {done.position:,} events, "
        f"{rest}in {done.seconds:.1f} s ({done.events / done.seconds:,.0f} events/s)."
    )
    typer.echo(f"Writers waited for it {done.stall_seconds * 1000:.0f} ms at most.")


def _chosen(names: list[str] | None) -> tuple[Projection, ...]:
    if not names:
        return catalogue.ALL
    by_name = {projection.name: projection for projection in catalogue.ALL}
    for name in names:
        if name not in by_name:
            fail(f"there is no read model {name!r}; there are: {', '.join(by_name)}")
    return tuple(by_name[name] for name in dict.fromkeys(names))
