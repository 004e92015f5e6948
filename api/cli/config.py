"""`pluperfect config`: the settings in force, and those kept in the profile."""

import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
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
from api.configuration import (
    HOME,
    PROFILE,
    active_profile,
    faults,
    find,
    home_of,
    is_of_clients,
    load,
    strangers_named,
    unknown,
)
from api.profiles import FILE_NAME, rewrite, table_of
from api.setting import Declared, Misconfigured, masked
from api.settings import BY_NAME, SETTINGS

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

app = typer.Typer(
    help="Show and change settings.\n\n"
    "An environment variable comes before the profile, the profile before the default.",
    no_args_is_help=True,
)


def _names(incomplete: str) -> list[tuple[str, str]]:
    return [
        (setting.name, setting.setting.doc)
        for setting in SETTINGS
        if setting.name.startswith(incomplete)
    ]


def _assignments(incomplete: str) -> list[tuple[str, str]]:
    return [(f"{name}=", doc) for name, doc in _names(incomplete)]


@app.command("set")
def set_(
    context: typer.Context,
    assignments: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=VALUE",
            help="For example PLUPERFECT_API_PORT=4300.",
            autocompletion=_assignments,
        ),
    ],
) -> None:
    """Keep settings in the profile.

    Prefect's names are understood and kept under ours. A running server goes on with what it
    started with.
    """
    changes: dict[str, tuple[Declared, str, str]] = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator:
            fail(f"{assignment!r} cannot be read; write NAME=VALUE.")
        declared = _declared(name)
        if not text.strip():
            fail(f"{name} has no value; `pluperfect config unset {name}` brings the default back.")
        problems = faults(declared, name, text.strip())
        if problems:
            fail(*problems)
        changes[declared.name] = (declared, name, text.strip())
    profile, _ = active_profile(os.environ, chosen_profile(context))

    def change(document: "TOMLDocument") -> None:
        table = table_of(document, profile)
        for declared, _, text in changes.values():
            _keep(table, declared, text)

    rewrite(_profiles_path(), change)
    for declared, name, text in changes.values():
        also = "" if name == declared.name else f" ({name} is another name of it)"
        typer.echo(f"Set {declared.name} to {masked(declared, text)!r}{also}.")
        _warn_if_shadowed(declared)
    typer.secho(f"Profile {profile!r} is updated.", fg=typer.colors.GREEN)


def _keep(table: MutableMapping[str, Any], declared: Declared, text: str) -> None:
    for alias in declared.names[1:]:
        table.pop(alias, None)
    table[declared.name] = text


@app.command()
def unset(
    context: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME",
            help="For example PLUPERFECT_API_PORT.",
            autocompletion=_names,
            show_default=False,
        ),
    ],
    yes: Yes = False,
) -> None:
    """Remove settings from the profile, so that their defaults hold again."""
    profile, table = active_profile(os.environ, chosen_profile(context))
    present: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        # A name that is no setting any more, or never was one, can be removed as well.
        answers_to = (name,) if name in table else _declared(name).names
        found = [alias for alias in answers_to if alias in table]
        if not found:
            fail(f"{name} is not set in profile {profile!r}.")
        present[name] = found
    # As Prefect's does: where nobody is there to answer, a setting is removed without a question.
    confirm(f"Remove {', '.join(present)} from profile {profile!r}?", yes or not sys.stdin.isatty())

    def change(document: "TOMLDocument") -> None:
        kept = table_of(document, profile)
        for found in present.values():
            for alias in found:
                kept.pop(alias, None)

    rewrite(_profiles_path(), change)
    for name in present:
        typer.echo(f"Unset {name}.")
        if name in BY_NAME:
            _warn_if_shadowed(BY_NAME[name])
    typer.secho(f"Profile {profile!r} is updated.", fg=typer.colors.GREEN)


def _declared(name: str) -> Declared:
    if name in (HOME, PROFILE):
        fail(f"{name} decides where profiles are looked for; set it as an environment variable.")
    if name not in BY_NAME or is_of_clients(name):
        fail(unknown(name))
    return BY_NAME[name]


def _profiles_path() -> Path:
    return home_of(os.environ) / FILE_NAME


def _warn_if_shadowed(declared: Declared) -> None:
    for name in declared.names:
        if os.environ.get(name):
            warn(
                f"The environment variable {name} is set and comes before the profile; "
                f"`unset {name}` in your shell lets the profile count."
            )
            return


ShowDefaults = Annotated[
    bool, typer.Option("--show-defaults/--hide-defaults", help="List settings left at default.")
]
ShowSources = Annotated[
    bool, typer.Option("--show-sources/--hide-sources", help="Say where each value comes from.")
]
ShowSecrets = Annotated[
    bool, typer.Option("--show-secrets/--hide-secrets", help="Show passwords as they are.")
]


@app.command()
def view(
    context: typer.Context,
    show_defaults: ShowDefaults = False,
    show_sources: ShowSources = True,
    show_secrets: ShowSecrets = False,
    json: Json = False,
    output: Output = None,
) -> None:
    """Show the settings in force. Exit code 1 if one of them has a value that cannot be used."""
    as_json = wants_json(json, output)
    profile, table = active_profile(os.environ, chosen_profile(context))
    rows: dict[str, dict[str, str]] = {}
    for item in (*find(os.environ, "env"), *find(table, "profile")):
        text = item.text if show_secrets else masked(item.declared, item.text)
        name = item.declared.name
        rows.setdefault(name, {"name": name, "value": text, "source": item.source})
    for declared in SETTINGS if show_defaults else ():
        default = declared.default
        text = "none" if default is None else declared.kind.show(default)
        rows.setdefault(declared.name, {"name": declared.name, "value": text, "source": "defaults"})
    shown = [rows[name] for name in sorted(rows)]
    if as_json:
        fields = ("name", "value", "source") if show_sources else ("name", "value")
        settings = [{field: row[field] for field in fields} for row in shown]
        print_json({"profile": profile, "settings": settings})
    else:
        _print(profile, shown, show_sources)
    load(os.environ, chosen_profile(context))  # Ends with an error if a value cannot be used.


def _print(profile: str, shown: Sequence[Mapping[str, str]], show_sources: bool) -> None:
    typer.secho(f"{PROFILE}={profile!r}", fg=typer.colors.BLUE, bold=True)
    for row in shown:
        source = typer.style(f" (from {row['source']})", dim=True) if show_sources else ""
        typer.echo(f"{row['name']}='{row['value']}'{source}")


@app.command()
def validate(context: typer.Context, json: Json = False, output: Output = None) -> None:
    """Check the settings in force: values, and names that are no settings.

    Exit code 1 if anything is wrong.
    """
    as_json = wants_json(json, output)
    problems: list[str] = []
    try:
        loaded = load(os.environ, chosen_profile(context))
        problems.extend(loaded.warnings)
    except Misconfigured as error:
        problems.extend(error.problems)
        problems.extend(strangers_named(os.environ))
        with suppress(Misconfigured):  # One of the problems is that there is no such profile.
            profile, table = active_profile(os.environ, chosen_profile(context))
            problems.extend(strangers_named(table, profile))
    if as_json:
        print_json({"valid": not problems, "problems": problems})
    if problems:
        fail(*(() if as_json else problems))
    if not as_json:
        typer.secho("The configuration is valid.", fg=typer.colors.GREEN)
