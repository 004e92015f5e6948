"""`pluperfect explain`: why a flow run is in the state it is in."""

from typing import Annotated
from uuid import UUID

import typer

from api.cli.on_database import on_database
from api.cli.terminal import Json, Output, fail, print_json, wants_json
from api.settings import Settings
from eventstore.clock import DatabaseClock
from eventstore.database import Database
from projections.catalogue import CODEC
from projections.run_explanation import Explanation, explanation


def explain(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The id of a flow run.")],
    json: Json = False,
    output: Output = None,
) -> None:
    """Say in plain sentences why a flow run is in the state it is in."""
    as_json = wants_json(json, output)
    try:
        id_ = str(UUID(run))
    except ValueError:
        fail(
            f"{run!r} is no id of a flow run; the page of the run and `prefect flow-run ls` show it"
        )

    async def work(database: Database, settings: Settings) -> Explanation | None:
        untagged = settings.services_zombies_untagged
        clock = DatabaseClock(database)
        await clock.look()
        return await explanation(database, CODEC, id_, clock.now(), untagged=untagged)

    found = on_database(context, work, read_only=True)
    if found is None:
        fail(f"there is no flow run {id_}")
    if as_json:
        print_json(found)
        return
    typer.echo(f"{found.name} is {found.state_name or 'without a state'}.")
    for sentence in found.sentences:
        typer.echo(f"- {sentence.text}")
        for link in sentence.links:
            typer.echo(f"    {link.label}: {link.path}")
