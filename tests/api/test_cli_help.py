"""What `--help` shows of every command, on the narrowest terminal that is usual."""

import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from api.cli import app
from tests.serving import COMMAND, REPOSITORY

NARROW = "80"
WIDE = "300"


def _commands() -> dict[str, Any]:
    """Each command and group, under what is typed for it after `pluperfect`."""

    def below(path: tuple[str, ...], command: Any) -> Iterator[tuple[str, Any]]:
        yield " ".join(path), command
        context = typer.Context(command)
        for name in getattr(command, "list_commands", lambda _: ())(context):
            yield from below((*path, name), command.get_command(context, name))

    return dict(below((), typer.main.get_command(app)))


COMMANDS = _commands()


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


def _help(command: str) -> str:
    result = CliRunner().invoke(app, [*command.split(), "--help"], prog_name="pluperfect")
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_no_word_of_the_help_is_cut_on_a_narrow_terminal(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", NARROW)
    shown = _help(command)
    assert "…" not in shown
    for param in COMMANDS[command].get_params(typer.Context(COMMANDS[command])):
        for name in (*param.opts, *param.secondary_opts):
            if name.startswith("-"):
                assert re.search(rf"{name}\s", shown), name


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_and_argument_is_explained_and_its_default_shown(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", WIDE)
    shown = _help(command)
    assert not re.search("<(bool|str|path|list)", shown)
    for param in COMMANDS[command].params:
        text = getattr(param, "help", None)
        assert text, param.name
        assert text.replace("\\[", "[") in shown


@pytest.mark.parametrize(
    ("shell", "line"), [("fish", r"--[a-z-]+\t.+"), ("zsh", r'.*"--[^"]+":".+"')]
)
def test_a_shell_is_told_what_an_option_is_for_in_one_line(shell: str, line: str) -> None:
    asked = {
        "_PLUPERFECT_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": "pluperfect log tail --",
    }
    environment = os.environ | asked | {"COLUMNS": NARROW, "PYTHONPATH": str(REPOSITORY)}
    told = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=True)
    assert "May be given several times" in told.stdout
    for one in told.stdout.removesuffix("))'\n").splitlines():
        assert re.fullmatch(line, one), one


@pytest.mark.parametrize("command", ["", "server", "server start", "log tail"])
def test_the_short_form_asks_for_help_as_well(command: str) -> None:
    short = CliRunner().invoke(app, [*command.split(), "-h"], prog_name="pluperfect")
    assert (short.exit_code, short.output) == (0, _help(command))


def test_every_command_that_prints_json_takes_both_spellings_of_it() -> None:
    for command, made in COMMANDS.items():
        names = {name for param in made.params for name in param.opts}
        # Events that are followed have no end, so they are lines, not one document.
        if "--json" in names and command != "log tail":
            assert names >= {"--output", "-o"}, command


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--port", "-1", "it must be 0 to 65535."),
        ("--port", "65536", "it must be 0 to 65535."),
        ("--workers", "0", "it must be 1 or more."),
        ("--keep-alive-timeout", "-1", "it must be 0 or more."),
    ],
)
def test_a_number_that_cannot_be_is_refused_with_those_that_can(
    option: str, value: str, says: str
) -> None:
    refused = CliRunner().invoke(app, ["server", "start", option, value])
    assert refused.exit_code == 2
    assert f"Invalid value for '{option}': {says}" in refused.stderr
