"""`pluperfect profile`: several sets of settings, and which of them is in use."""

import os
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.terminal import (
    Json,
    Output,
    Yes,
    chosen_profile,
    confirm,
    fail,
    print_json,
    wants_json,
    warn,
)
from api.configuration import PROFILE, home_of, load
from api.profiles import Profiles, chosen, read_profiles, rewrite, table_of
from api.setting import Misconfigured, masked
from api.settings import BY_NAME

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

app = typer.Typer(
    help="Keep several sets of settings and choose between them.\n\n"
    "They live in [bold]profiles.toml[/bold] in the home, a file that may be edited by hand.",
    no_args_is_help=True,
)


def _existing(incomplete: str) -> list[str]:
    try:
        return [name for name in _read().tables if name.startswith(incomplete)]
    except Misconfigured:
        return []


Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Name of a profile.", autocompletion=_existing, show_default=False
    ),
]
NewName = Annotated[
    str, typer.Argument(metavar="NEW_NAME", help="Name of the new profile.", show_default=False)
]


@app.command("ls")
def ls(context: typer.Context, json: Json = False, output: Output = None) -> None:
    """List the profiles; a star marks the one in use."""
    profiles = _read()
    current = _current(context, profiles)
    if wants_json(json, output):
        print_json([{"name": name, "active": name == current} for name in profiles.tables])
        return
    for name in profiles.tables:
        if name == current:
            typer.secho(f"* {name}", fg=typer.colors.GREEN)
        else:
            typer.echo(f"  {name}")


@app.command()
def create(
    name: NewName,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="NAME",
            help="Begin with the settings of this profile.",
            autocompletion=_existing,
        ),
    ] = None,
) -> None:
    """Make a profile, empty or a copy of another."""
    profiles = _read()
    _free(profiles, name)
    settings = dict(profiles.tables[_known(profiles, source)]) if source else {}
    rewrite(profiles.path, lambda document: table_of(document, name).update(settings))
    copied = f" with the settings of {source!r}" if source else ""
    typer.secho(f"Created profile {name!r}{copied}.", fg=typer.colors.GREEN)
    typer.echo(f"Use it from now on:     pluperfect profile use {shlex.quote(name)}")
    typer.echo(f"Use it for one command: pluperfect -p {shlex.quote(name)} config view")


@app.command()
def use(name: Name) -> None:
    """Make a profile the active one, and check its settings."""
    profiles = _read()
    _known(profiles, name)

    def change(document: "TOMLDocument") -> None:
        table_of(document, name)
        document["active"] = name

    rewrite(profiles.path, change)
    typer.secho(f"Profile {name!r} is active.", fg=typer.colors.GREEN)
    shadow = os.environ.get(PROFILE)
    if shadow and shadow != name:
        warn(f"The environment variable {PROFILE} still chooses {shadow!r} in this shell.")
    try:
        loaded = load(os.environ, name)
    except Misconfigured as error:
        fail(*error.problems)
    for warning in loaded.warnings:
        warn(warning)


@app.command()
def inspect(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Name of a profile; without it, the one in use.",
            show_default=False,
        ),
    ] = None,
    show_secrets: Annotated[
        bool, typer.Option("--show-secrets/--hide-secrets", help="Show passwords as they are.")
    ] = False,
    json: Json = False,
    output: Output = None,
) -> None:
    """Show what a profile sets."""
    as_json = wants_json(json, output)
    profiles = _read()
    if name is None:
        asked = chosen_profile(context) or os.environ.get(PROFILE)
        name = chosen(profiles, asked, "--profile or " + PROFILE)
    texts = {
        key: text if show_secrets or key not in BY_NAME else masked(BY_NAME[key], text)
        for key, text in profiles.tables[_known(profiles, name)].items()
    }
    if as_json:
        print_json(texts)
        return
    if not texts:
        typer.echo(f"Profile {name!r} is empty.")
    for key, text in texts.items():
        typer.echo(f"{key}='{text}'")


@app.command()
def rename(name: Name, new_name: NewName) -> None:
    """Give a profile another name; if it is active, it stays active."""
    profiles = _read()
    _known(profiles, name)
    _free(profiles, new_name)

    def change(document: "TOMLDocument") -> None:
        table_of(document, name)
        _each_profile(document, lambda key: new_name if key == name else key)
        if document.get("active") == name:
            document["active"] = new_name

    rewrite(profiles.path, change)
    typer.secho(f"Renamed profile {name!r} to {new_name!r}.", fg=typer.colors.GREEN)
    if os.environ.get(PROFILE) == name:
        warn(f"The environment variable {PROFILE} still says {name!r}; set it to {new_name!r}.")


@app.command()
def delete(context: typer.Context, name: Name, yes: Yes = False) -> None:
    """Delete a profile that is not in use."""
    profiles = _read()
    _known(profiles, name)
    if name in (profiles.active, _current(context, profiles)):
        fail(f"Profile {name!r} is in use; choose another with `pluperfect profile use` first.")
    confirm(f"Delete profile {name!r} and its settings?", yes)
    rewrite(
        profiles.path,
        lambda document: _each_profile(document, lambda key: None if key == name else key),
    )
    typer.secho(f"Deleted profile {name!r}.", fg=typer.colors.GREEN)


def _each_profile(document: "TOMLDocument", renamed: Callable[[str], str | None]) -> None:
    """Rename every profile's table, or drop it (None), without touching what is in it."""
    profiles: Any = document["profiles"]
    for key in list(profiles):
        new = renamed(key)
        if new != key:
            table = profiles.pop(key)
            if new is not None:
                profiles[new] = table


def _read() -> Profiles:
    return read_profiles(home_of(os.environ))


def _current(context: typer.Context, profiles: Profiles) -> str:
    return chosen_profile(context) or os.environ.get(PROFILE) or profiles.active


def _known(profiles: Profiles, name: str) -> str:
    if name not in profiles.tables:
        fail(f"There is no profile {name!r}. Existing profiles: {', '.join(profiles.tables)}.")
    return name


def _free(profiles: Profiles, name: str) -> None:
    if not name.strip():
        fail("A profile needs a name.")
    if name in profiles.tables:
        fail(f"There is already a profile {name!r}.")
