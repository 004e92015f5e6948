"""How commands speak: one line per error on stderr, JSON on stdout where a script asks for it."""

import os
import signal
import sys
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from api.configuration import Configuration, load
from api.setting import Misconfigured

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="json", help="The same, as Prefect spells it."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def configuration(context: typer.Context) -> Configuration:
    """The configuration for the profile chosen on the command line; its warnings go to stderr.

    Raises Misconfigured, which the command line as a whole turns into lines on stderr.
    """
    loaded = load(os.environ, chosen_profile(context))
    for warning in loaded.warnings:
        warn(warning)
    return loaded


def chosen_profile(context: typer.Context) -> str | None:
    """What was given as `--profile`, if anything."""
    profile: str | None = context.find_root().params.get("profile")
    return profile


def fail(*problems: str) -> NoReturn:
    """End the command with exit code 1 and one line per problem, each a sentence."""
    for problem in problems:
        typer.secho(f"Error: {sentence(problem)}", fg=typer.colors.RED, err=True)
    raise typer.Exit(1)


def fail_unwritten(error: OSError) -> NoReturn:
    """End the command whose output takes no more, such as a file on a full disk."""
    _let_go_of_output()
    fail(f"the output cannot be written: {error.strerror or error}")


def end_unread() -> NoReturn:
    """End, with exit code 0, the command whose reader has seen enough, as `head` has."""
    _let_go_of_output()
    raise typer.Exit(0)


def _let_go_of_output() -> None:
    """Drop what is still to be written: at its end Python would try, and complain, again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def interrupted(text: str = "nothing was changed") -> NoReturn:
    """End the command after ctrl + c, with what became of its work; the exit code is a shell's."""
    typer.secho(f"Interrupted; {text}.", fg=typer.colors.RED, err=True)
    raise typer.Exit(128 + signal.SIGINT)


def sentence(text: str) -> str:
    """The text with a capital at its beginning, unless that is a name, and a mark at its end."""
    first = text.partition(" ")[0]
    begun = text[:1].upper() + text[1:] if first.isalpha() else text
    return begun if begun.endswith((".", "?", "!")) else f"{begun}."


def fail_misconfigured(error: Misconfigured) -> NoReturn:
    """End the command with the lines of a configuration that cannot be used."""
    fail(*error.problems)


def warn(text: str) -> None:
    """A line on stderr that does not end anything."""
    typer.secho(f"Warning: {text}", fg=typer.colors.YELLOW, err=True)


def confirm(question: str, yes: bool) -> None:
    """Ask; anything but y ends the command. Where nobody can answer, only `yes` is an answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        fail(f"{question} Say so with --yes.")
    if not typer.confirm(question):
        fail("Nothing was changed.")


def wants_json(json: bool, output: str | None) -> bool:
    """Whether `--json` or `--output json` was given."""
    if output is not None and output.lower() != "json":
        fail(f"The output format {output!r} does not exist; there is only json.")
    return json or output is not None


def print_json(value: Any) -> None:
    """Indented JSON on stdout."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
