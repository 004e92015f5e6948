"""`pluperfect server`: start a server, stop it, ask how it is."""

import gc
import time
from collections.abc import Callable
from enum import StrEnum
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec.structs import replace

from api import pid_file
from api.cli import ending
from api.cli.terminal import Json, Output, configuration, fail, print_json, wants_json
from api.configuration import as_path
from api.pid_file import Running
from api.reached import EVERY_ADDRESS, root_here
from api.settings import Settings

app = typer.Typer(
    help="Start the server, stop it, ask how it is; look after its database.",
    no_args_is_help=True,
)

POLL_SECONDS = 0.05
"""How often another process is looked at: there is no signal to wait for."""
ANSWER_SECONDS_MAX = 5.0
"""How long a server may take to answer that it is alive."""


class LogLevel(StrEnum):
    """Severities, as the settings spell them."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


def _within(least: int, most: int | None = None) -> Callable[[float | None], float | None]:
    """Checks an option. Typer's own `min` and `max` take the width of the help for themselves."""

    def checked(value: float | None) -> float | None:
        if value is not None and (value < least or (most is not None and value > most)):
            raise typer.BadParameter(
                f"it must be {least} or more." if most is None else f"it must be {least} to {most}."
            )
        return value

    return checked


@app.command()
def start(
    context: typer.Context,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen at; 0.0.0.0 makes the server reachable from other machines. "
            "[default: 127.0.0.1]",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            callback=_within(0, 65_535),
            help="Port to listen at; 0 takes any free one. [default: 4200]",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="COUNT",
            callback=_within(1),
            help="Processes that answer requests. [default: 1]",
            show_default=False,
        ),
    ] = None,
    no_services: Annotated[
        bool,
        typer.Option(
            "--no-services",
            help="Only answer requests; scheduling, triggers and clean-up run in another server, "
            "or in `pluperfect server services start`.",
        ),
    ] = False,
    late_runs: Annotated[
        bool | None,
        typer.Option(
            "--late-runs/--no-late-runs",
            help="Mark runs Late that did not start in time. [default: on]",
        ),
    ] = None,
    ui: Annotated[
        bool | None,
        typer.Option(
            "--ui/--no-ui",
            help="Serve the pages for the browser; /docs is there in any case. [default: on]",
        ),
    ] = None,
    background: Annotated[
        bool,
        typer.Option("--background", "-b", help="Return once the server answers; it goes on."),
    ] = False,
    log_level: Annotated[
        LogLevel | None,
        typer.Option(
            case_sensitive=False,
            metavar="LEVEL",
            help="Least severe messages to log: DEBUG, INFO, WARNING, ERROR or CRITICAL. "
            "[default: WARNING]",
            show_default=False,
        ),
    ] = None,
    keep_alive_timeout: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS",
            callback=_within(0),
            help="How long an idle connection is kept open; less than 30 is as good as 30, "
            "0 keeps none. "
            "[default: 5]",
            show_default=False,
        ),
    ] = None,
    base_path: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Path at which a reverse proxy shows this server, such as /pluperfect. "
            "[default: none]",
            show_default=False,
        ),
    ] = None,
    ssl_certfile: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Certificate (PEM, with those that vouch for it) to speak TLS with. "
            "[default: plain http]",
            show_default=False,
        ),
    ] = None,
    ssl_keyfile: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Private key (PEM, without a password) of the certificate.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Start a server, here or in the background.

    A new database is created, an older one is brought up to date. An option
    that is not given is taken from the settings: --port from PLUPERFECT_API_PORT, and so on.
    """
    gc.disable()  # Hardly anything made until the server runs can be collected.
    from api import running  # lazily: `stop` and `status` need none of it

    wishes: dict[str, Any] = {
        "api_host": host,
        "api_port": port,
        "api_workers": workers,
        "services_enabled": False if no_services else None,
        "services_late_runs_enabled": late_runs,
        "ui_enabled": ui,
        "logging_level": None if log_level is None else log_level.value,
        "api_keepalive_timeout_seconds": keep_alive_timeout,
        "base_path": None if base_path is None else _path(base_path),
        "api_ssl_certfile": ssl_certfile and ssl_certfile.expanduser().absolute(),
        "api_ssl_keyfile": ssl_keyfile and ssl_keyfile.expanduser().absolute(),
    }
    settings = configuration(context).settings
    settings = replace(settings, **{k: v for k, v in wishes.items() if v is not None})
    try:
        prepared = running.prepare(settings)
        if background:
            pid = running.run_in_background(prepared)
            _banner(prepared, f"Pluperfect runs in the background as process {pid}.")
            typer.echo(f"It logs to {settings.home / running.SERVER.log_file}.")
            typer.echo("Stop it with `pluperfect server stop`.")
            return
        code = running.run(
            prepared, lambda: _banner(prepared, "Pluperfect is running; ctrl + c stops it.")
        )
    except running.CannotStart as error:
        fail(str(error))
    raise typer.Exit(code)


def _path(text: str) -> str:
    try:
        return as_path(text)
    except ValueError as error:
        fail(f"--base-path is {text!r} but {error}")


def _banner(prepared: Any, headline: str) -> None:
    settings: Settings = prepared.settings
    root = root_here(settings.api_scheme, settings.api_host, settings.api_port)
    api = root + settings.api_path
    rows = {"API": api, "Database": str(prepared.location)}
    if settings.ui_enabled:
        rows = {"Pages": root + (settings.base_path and f"{settings.base_path}/"), **rows}
    rows["Docs"] = f"{root}{settings.base_path}/docs"
    if settings.api_workers > 1:
        rows["Workers"] = str(settings.api_workers)
    if not settings.services_enabled:
        rows["Services"] = "none in this server"
    everywhere = settings.api_host in EVERY_ADDRESS
    if everywhere and settings.api_auth_string is None:
        rows["Password"] = "none; PLUPERFECT_API_AUTH_STRING sets one"
    typer.secho(headline, bold=True)
    typer.echo("")
    for name, value in rows.items():
        typer.echo(f"  {name:<10}{value}")
    if everywhere:
        typer.echo("\nTo point a Prefect client on this machine at it (others name the machine):\n")
    else:
        typer.echo("\nTo point a Prefect client at it:\n")
    typer.secho(f"  prefect config set PREFECT_API_URL={api}", fg=typer.colors.CYAN)
    if settings.api_auth_string is not None:
        typer.secho("  prefect config set PREFECT_API_AUTH_STRING=…", fg=typer.colors.CYAN)
    typer.echo("")


_Port = Annotated[
    int | None,
    typer.Option(
        metavar="PORT",
        callback=_within(1, 65_535),
        help="Of the servers of this home, the one that listens at this port.",
        show_default=False,
    ),
]


@app.command()
def stop(context: typer.Context, port: _Port = None) -> None:
    """Stop the server that runs in this home, in the background or elsewhere."""
    home = configuration(context).settings.home
    known = pid_file.servers(home)
    chosen = [name for name, one in known.items() if port is None or one.port == port]
    if port is not None and not chosen:
        fail(f"No server of the home {home} listens at port {port}.")
    if len(chosen) > 1:
        which = ", ".join(f"{one.port} (process {one.pid})" for one in known.values())
        fail(f"Servers of the home {home} listen at the ports {which}; say which one with --port.")
    ending.end(home, chosen[0] if chosen else pid_file.FILE_NAME, "server")


@app.command()
def status(
    context: typer.Context,
    port: _Port = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the server answers.")] = False,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            "-t",
            metavar="SECONDS",
            callback=_within(0),
            help="With --wait: how long at most; 0 waits for ever.",
        ),
    ] = 0,
    json: Json = False,
    output: Output = None,
) -> None:
    """Say whether the server answers; exit code 0 if it does, 1 if not."""
    as_json = wants_json(json, output)
    settings = configuration(context).settings
    deadline = time.monotonic() + timeout if timeout else float("inf")
    while True:
        server = _server(settings, port)
        healthy = _healthy(server)
        if healthy or not wait or time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
    state = "available" if healthy else "timed_out" if wait else "unavailable"
    url = root_here(server.scheme, server.host, server.port) + server.base_path
    if as_json:
        pid = server.pid or None
        print_json({"status": state, "url": url, "pid": pid, "home": str(Path(settings.home))})
    else:
        words = {
            "available": f"The server at {url} is available.",
            "unavailable": f"The server at {url} does not answer.",
            "timed_out": f"The server at {url} did not answer within {timeout:g} s.",
        }
        typer.echo(words[state])
    raise typer.Exit(0 if healthy else 1)


def _server(settings: Settings, port: int | None) -> Running:
    """The server of this home at this port, or where the settings say that one would be. Of several
    that at the port of the settings, else the first one."""
    known = list(pid_file.servers(settings.home).values())
    at = settings.api_port if port is None else port
    for one in known:
        if one.port == at or (port is None and len(known) == 1):
            return one
    if port is None and known:
        return known[0]
    return Running(0, settings.api_host, at, settings.api_path, settings.api_scheme)


def _healthy(server: Running) -> bool:
    # Not urllib: it would go through a proxy, and takes longer to import.
    host = EVERY_ADDRESS.get(server.host, server.host)
    connection = HTTPConnection(host, server.port, timeout=ANSWER_SECONDS_MAX)
    if server.scheme == "https":
        import ssl  # lazily: most servers speak plain http

        # Whoever answers there, it is not told anything; and the certificate is rarely made out
        # to this machine's own address.
        trusting = ssl._create_unverified_context()
        connection = HTTPSConnection(
            host, server.port, timeout=ANSWER_SECONDS_MAX, context=trusting
        )
    try:
        connection.request("GET", f"{server.base_path}/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
