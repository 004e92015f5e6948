"""`pluperfect log`: read, check, export and import the event log."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from api.cli.on_database import on_database
from api.cli.progress import progress_bar
from api.cli.terminal import (
    Json,
    Output,
    Yes,
    configuration,
    confirm,
    end_unread,
    fail,
    interrupted,
    print_json,
    wants_json,
    warn,
)
from api.settings import Settings
from eventstore import client, log, transfer, verify
from eventstore.chain import follows
from eventstore.codec import EVENTS, from_microseconds
from eventstore.database import Database, Row
from eventstore.errors import LogReplaced
from eventstore.public import PublicEvent
from projections import catalogue, log_lines, versions

app = typer.Typer(
    help="The event log: everything that ever happened, in order.", no_args_is_help=True
)

PAGE = 500
"""Events read at a time."""
LINES = transfer.LineTable(log_lines.TABLE, log_lines.OPTIONAL)
RECORDS = "events and log lines"


@app.command("tail")
def tail(
    context: typer.Context,
    lines: Annotated[
        int,
        typer.Option(
            "--lines", "-n", min=0, metavar="COUNT", help="How many of the newest events to show."
        ),
    ] = 20,
    after: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="POSITION", help="Show every event after this position instead."
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new events as they come.")
    ] = False,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="Only this type, such as flow-run.created, or with a * at the end all that begin "
            "so: 'flow-run.*'. May be given several times.",
        ),
    ] = None,
    stream: Annotated[
        str | None,
        typer.Option(
            metavar="STREAM",
            help="Only this stream: all that happened to one thing, such as flow-run: and its id.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="With --follow: ask the API at this URL, such as http://127.0.0.1:4200/api, "
            "instead of the database. A password is taken from PLUPERFECT_API_AUTH_STRING.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="WHEN",
            help="With --url: `beginning`, `now` or a time like 2026-11-22T09:30Z. [default: now]",
        ),
    ] = None,
) -> None:
    """Show the newest events. With --follow, ctrl + c ends it."""
    for kind in types or ():
        _known(kind)
    if url is not None:
        if not follow or after is not None:
            fail("--url goes with --follow and --from, not with --after")
        streams = [stream] if stream is not None else []
        selection = {"type": types or [], "stream": streams}
        _tail_of_server(context, url, selection, since or "now", json)
        return
    if since is not None:
        fail("--from goes with --url")

    wanted, line = _Wanted(stream, types or ()), _json_line if json else _text_line

    async def until_interrupted(database: Database, _: Settings) -> None:
        try:
            position = after
            if position is None:
                position = await _before_newest(database, lines, wanted)
            await _show(database, position, wanted, line, follow=follow)
        except asyncio.CancelledError:
            if not follow:
                raise

    try:
        on_database(context, until_interrupted, read_only=True)
    except BrokenPipeError:
        end_unread()


class _Wanted(msgspec.Struct, frozen=True):
    """Which rows of the log are shown."""

    stream: str | None
    types: Sequence[str]
    """Any of them; with a * at the end, all that begin so. Empty: every type."""

    def holds(self, row: Row) -> bool:
        if self.stream is not None and row[1] != self.stream:
            return False
        return not self.types or any(
            row[3].startswith(kind[:-1]) if kind.endswith("*") else row[3] == kind
            for kind in self.types
        )


async def _before_newest(database: Database, count: int, wanted: _Wanted) -> int:
    """The position after which the newest `count` wanted events come."""
    found, until = 0, (await log.head(database)).position
    while until > 0:
        start = max(0, until - PAGE)
        rows = await log.read_rows(database, database.dialect, start, until, PAGE)
        for row in reversed(rows):
            if found == count:
                return int(row[0])
            found += wanted.holds(row)
        until = start
    return 0


async def _show(
    database: Database, position: int, wanted: _Wanted, line: Callable[[Row], str], *, follow: bool
) -> None:
    """Print what comes after a position. With `follow` there is no end to that.

    Raises LogReplaced if what comes next is of another log than what was shown.
    """
    newest: Row | None = None
    waited = False
    while True:
        rows = await log.read_rows(database, database.dialect, position, limit=PAGE)
        if rows and newest and waited and not follows(rows[0], newest):
            raise LogReplaced(
                "the log was erased or restored from a backup meanwhile: what is recorded now "
                f"does not follow from what was shown, up to position {position}; start again"
            )
        for row in rows:
            if wanted.holds(row):
                typer.echo(line(row))
        waited = not rows
        if rows:
            newest = rows[-1]
            position = newest[0]
        elif not follow:
            return
        else:
            await database.changed()


def _known(kind: str) -> None:
    """Warn of a type that this release does not write; a newer one may have, so it is shown."""
    known = catalogue.CODEC.types
    if kind in known or (kind.endswith("*") and any(n.startswith(kind[:-1]) for n in known)):
        return
    from difflib import get_close_matches  # lazily: only a mistake needs it

    near = get_close_matches(kind.removesuffix("*"), known, n=1, cutoff=0.5)
    warn(f"There is no event type {kind!r}." + (f" Did you mean {near[0]!r}?" if near else ""))


def _tail_of_server(
    context: typer.Context, url: str, selection: Mapping[str, Sequence[str]], since: str, json: bool
) -> None:
    auth = configuration(context).settings.api_auth_string

    async def show() -> None:
        async for item in client.follow(url, selection, start=since, auth=auth):
            if isinstance(item, client.Received):
                typer.echo(_public_line(item.event, json))

    try:
        asyncio.run(show())
    except (client.SubscriptionEnded, ValueError) as error:
        fail(str(error))
    except BrokenPipeError:
        end_unread()
    except KeyboardInterrupt:
        pass


def _public_line(event: PublicEvent, json: bool) -> str:
    if json:
        return msgspec.json.encode(event).decode()
    at = event.recorded_at.isoformat(timespec="milliseconds")
    where = f"{event.stream}@{event.version}"
    data = bytes(event.data).decode()
    return f"{event.position:>8}  {at}  {event.type:<24} {where}  {event.actor}  {data}"


def _json_line(row: Row) -> str:
    columns = dict(zip(EVENTS.columns, row, strict=True))
    columns["data"] = msgspec.Raw(columns["data"].encode())
    columns["hash"] = bytes(columns["hash"]).hex()
    columns["recorded_at"] = from_microseconds(columns["recorded_at"])
    return msgspec.json.encode(columns).decode()


def _text_line(row: Row) -> str:
    at = from_microseconds(row[5]).isoformat(timespec="milliseconds")
    return f"{row[0]:>8}  {at}  {row[3]:<24} {row[1]}@{row[2]}  {row[7]}  {row[10]}"


@app.command("verify")
def verify_(context: typer.Context, json: Json = False, output: Output = None) -> None:
    """Check the whole log: no gap, no changed row, every version and time in order.

    Exit code 1 if something is wrong.
    """
    as_json = wants_json(json, output)

    async def work(database: Database, _: Settings) -> tuple[list[verify.Finding], log.Head]:
        head = await log.head(database)
        with progress_bar("Verifying") as progress:
            found = await verify.verify(
                database, lambda position: progress(position, head.position), LINES.table
            )
        return found, head

    findings, head = on_database(context, work, read_only=True)
    if as_json:
        print_json(
            {
                "sound": not findings,
                "events": head.position,
                "hash": head.hash.hex(),
                "findings": findings,
            }
        )
    else:
        for finding in findings:
            where = "" if finding.position is None else f"position {finding.position}: "
            typer.echo(f"{where}{finding.kind}: {finding.text}")
        if not findings:
            typer.echo(
                f"{head.position} events, no gap, no break in the hash chain "
                f"(ends with {head.hash.hex()[:16]})."
            )
    if findings:
        raise typer.Exit(1)


@app.command("export")
def export(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="File to write: JSON lines, compressed by zstd.")
    ],
) -> None:
    """Write the log and the run log lines into a file. A server may go on running."""

    async def work(database: Database, _: Settings) -> transfer.Header:
        with progress_bar("Exporting", RECORDS) as progress:
            try:
                return await transfer.export_log(database, file, LINES, progress)
            except OSError as error:
                fail(f"The file {file} cannot be written: {error.strerror}")

    if file.exists():
        fail(f"The file {file} is there already; choose another name or remove it first")
    if not file.absolute().parent.is_dir():
        fail(f"There is no folder {file.absolute().parent} to write {file.name} into")
    written = on_database(context, work, read_only=True)
    typer.echo(f"Wrote {written.events} events and {written.lines} run log lines to {file}.")


_NOT_FOLDED = (
    "the log is imported; what is not folded from it yet is folded by the next server, or by "
    "`pluperfect server database upgrade`"
)


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file that `pluperfect log export` wrote.")
    ],
    yes: Yes = False,
) -> None:
    """Fill an empty log and its run log lines from a file, then fold the read models from it.

    A database that is not there yet is created. No server may work on it meanwhile.
    """
    if not file.exists():
        fail(f"There is no file {file}")
    if file.is_dir():
        fail(f"{str(file)!r} is a folder; give the file that `pluperfect log export` wrote")
    confirm(f"Import {file} into the empty log of this database?", yes)

    async def work(database: Database, _: Settings) -> transfer.Header:
        try:
            with progress_bar("Importing", RECORDS) as progress:
                header = await transfer.import_log(database, file, LINES, progress)
            with progress_bar("Folding") as progress:
                # A server that starts now does the same; whoever is second waits for the first.
                await versions.bring_up_to_date(database, catalogue.CODEC, catalogue.ALL, progress)
        except (asyncio.CancelledError, KeyboardInterrupt):
            # Whether it was too late to stop the import is known after its transaction alone.
            locked = await database.transact(lambda tx: log.lock(tx, database.dialect))
            if locked[0].position:
                interrupted(_NOT_FOLDED)
            raise
        return header

    imported = on_database(context, work, create=True)
    typer.echo(
        f"Imported {imported.events} events and {imported.lines} run log lines, "
        f"and folded {len(catalogue.ALL)} read models from them."
    )
