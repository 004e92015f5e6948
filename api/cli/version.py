"""`pluperfect version`: what a report of a problem should name."""

import os
import platform
import sqlite3

import typer

from api.cli.terminal import Json, Output, chosen_profile, print_json, wants_json
from api.configuration import active_profile, home_of
from api.version import product_version


def version(context: typer.Context, json: Json = False, output: Output = None) -> None:
    """Show the versions that a report should name."""
    profile, _ = active_profile(os.environ, chosen_profile(context))
    facts = {
        "version": product_version(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.machine()}",
        "home": str(home_of(os.environ)),
        "profile": profile,
    }
    if wants_json(json, output):
        print_json(facts)
        return
    for name, fact in facts.items():
        typer.echo(f"{name.capitalize() + ':':9} {fact}")
