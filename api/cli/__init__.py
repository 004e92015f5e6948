"""`pluperfect`: the command line. A group of commands is a module, loaded when it is called."""

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from inspect import cleandoc
from typing import Annotated, Any, ClassVar

import typer
from msgspec import Struct
from typer.core import TyperGroup

from api.cli.terminal import fail_misconfigured, fail_unwritten
from api.setting import Misconfigured


class Lazy(Struct, frozen=True):
    """A command or group that is imported when it is called for, since its imports take time.

    The module exports `app`; one command alone may also be a function that has its name.
    """

    module: str
    single: bool = False
    """It is one command, not a group of them."""
    below: "Mapping[str, Lazy]" = {}
    """Groups inside this group."""


COMMANDS: Mapping[str, Lazy] = {
    "server": Lazy(
        "api.cli.server",
        below={
            "database": Lazy("api.cli.database"),
            "encryption": Lazy("api.cli.encryption"),
            "services": Lazy("api.cli.services"),
        },
    ),
    "config": Lazy("api.cli.config"),
    "profile": Lazy("api.cli.profile"),
    "projections": Lazy("api.cli.projections"),
    "log": Lazy("api.cli.log"),
    "replay": Lazy("api.cli.replay", single=True),
    "explain": Lazy("api.cli.explain", single=True),
    "version": Lazy("api.cli.version", single=True),
}
"""The whole command line; what has no module is not offered."""


HELP = ["--help", "-h"]
COMPLETING = "_PLUPERFECT_COMPLETE"
"""What a shell sets that asks for completions."""
DESCRIPTION_CHARACTERS_MAX = 10_000
"""Of a description beside a completion; a longer one would be in several lines."""


class LazyGroup(TyperGroup):
    """A group some of whose commands are loaded when they are called for."""

    below: ClassVar[Mapping[str, Lazy]] = {}

    def get_params(self, ctx: Any) -> list[Any]:
        return [_without_type(param) for param in super().get_params(ctx)]

    def list_commands(self, ctx: Any) -> list[str]:
        for name in self.below:
            self._ensure(name)
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in self.below:
            self._ensure(cmd_name)
        elif cmd_name not in self.commands:
            self.list_commands(ctx)  # so that the name nearest to a mistyped one can be suggested
        return self.commands.get(cmd_name)

    def _ensure(self, name: str) -> None:
        if name not in self.commands:
            command = _load(name, self.below[name])
            if command is not None:
                self.commands[name] = command


class Root(LazyGroup):
    """The outermost group, where errors of the configuration end in lines on stderr."""

    below = COMMANDS

    def invoke(self, ctx: Any) -> Any:
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()  # Now it can be told that this fails.
        except Misconfigured as error:
            fail_misconfigured(error)
        except OSError as error:
            if error.filename is not None or isinstance(error, BrokenPipeError):
                raise  # A bug; or whoever reads the output wants no more of it.
            fail_unwritten(error)


def _load(name: str, lazy: Lazy) -> Any:
    module = import_module(lazy.module) if find_spec(lazy.module) else None
    if module is None and not any(find_spec(child.module) for child in lazy.below.values()):
        return None
    outer = typer.Typer(add_completion=False)
    app = getattr(module, "app", None)
    if lazy.single:
        function = app.registered_commands[0].callback if app else getattr(module, name)
        outer.command(name)(function)
        return _reflowed(typer.main.get_command(outer))
    app = app or typer.Typer()
    group = type(f"{name}_group", (LazyGroup,), {"below": lazy.below})
    outer.add_typer(app, name=name, cls=group, no_args_is_help=True)
    made: Any = typer.main.get_group(outer).commands[name]
    for command in made.commands.values():
        _reflowed(command)
    return made


def _reflowed(command: Any) -> Any:
    """The command; its help is broken into lines where the terminal ends, not where its source did.

    Typer does so for the first paragraph only. What is in brackets is shown: Rich would take
    `[default: …]` for markup, and leave it out.
    """
    paragraphs = cleandoc(command.help or "").split("\n\n")
    command.help = "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs)
    for param in command.get_params(typer.Context(command, help_option_names=HELP)):
        _without_type(param)
        if getattr(param, "help", None):
            param.help = param.help.replace("[", r"\[")
    return command


def _without_type(param: Any) -> Any:
    """The parameter. Of one that takes no value the help shows none: `--yes <bool>` asks for it.
    Nor does it show a type of Python's beside the name that an argument has for people."""
    if getattr(param, "is_flag", False):
        param.metavar = ""
    if param.param_type_name == "argument":
        param.display_type_rich = lambda ctx: None
    return param


def _print_version(wanted: bool) -> None:
    if wanted:
        from api.version import product_version  # lazily: reading it takes 20 ms

        typer.echo(product_version())
        raise typer.Exit


def _profiles(incomplete: str) -> list[str]:
    from api.configuration import home_of  # lazily: only completion needs these
    from api.profiles import read_profiles

    try:
        names = read_profiles(home_of(os.environ)).tables
    except Misconfigured:
        return []
    return [name for name in names if name.startswith(incomplete)]


app = typer.Typer(
    cls=Root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": HELP},
)


@app.callback()
def pluperfect(
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            "-p",
            metavar="NAME",
            help="Use this profile for this command.",
            autocompletion=_profiles,
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Pluperfect: a workflow server for Prefect clients, workers and command lines.

    Begin with [bold]pluperfect server start[/bold].
    """


def main() -> None:
    """The `pluperfect` command."""
    if COMPLETING in os.environ:
        # Typer has Rich break the descriptions into lines, each of which fish takes for a word.
        os.environ["TERMINAL_WIDTH"] = str(DESCRIPTION_CHARACTERS_MAX)
    app(prog_name="pluperfect")
