"""Whether a command line of ours that is written down somewhere can be typed."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from typer.main import get_command

from api.cli import app

PROGRAM = "pluperfect"


def fault(words: Sequence[str]) -> str | None:
    """What is wrong with `pluperfect WORDS`: a command or an option that there is not."""
    command: Any = get_command(app)
    context = command.context_class(command)
    rest = iter(words)
    for word in rest:
        if word.startswith("-"):
            name, equals, _ = word.partition("=")
            takes_value = _options(command).get(name)
            if takes_value is None:
                return f"{command.name or PROGRAM} has no option {word}"
            if takes_value and not equals:
                next(rest, None)
        elif hasattr(command, "get_command"):
            found = command.get_command(context, word)
            if found is None:
                return f"{command.name or PROGRAM} has no command {word}"
            command = found
            context = command.context_class(command, parent=context)
    return None


def _options(command: Any) -> dict[str, bool]:
    """Whether it takes a value, by the name of each option."""
    found = {"--help": False, "-h": False}
    for parameter in command.params:
        takes_value = not (getattr(parameter, "is_flag", False) or getattr(parameter, "count", 0))
        for name in (*parameter.opts, *parameter.secondary_opts):
            found[name] = takes_value
    return found


def written_in(markdown: str) -> Iterable[list[str]]:
    """The words after `pluperfect` of every command in a page, in code blocks and in the text."""
    code = list(re.findall(r"```sh\n(.*?)```", markdown, re.DOTALL))
    prose = re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    code += re.findall(r"`([^`]+)`", prose)
    for text in code:
        for line in text.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\||;", line.partition(" #")[0]):
                words = part.split()
                while words and (re.match(r"[A-Z_]+=", words[0]) or words[0] == "exec"):
                    words.pop(0)
                if words and words[0] == PROGRAM:
                    yield words[1:]
