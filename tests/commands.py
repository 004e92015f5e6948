"""Whether a command line of ours that is written down somewhere can be typed."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from typer.main import get_command

from api.cli import app


def fault(words: Sequence[str]) -> str | None:
    """What is wrong with `pluperfect WORDS`: a command or an option that there is not."""
    command: Any = get_command(app)
    context = command.context_class(command)
    for word in words:
        if word.startswith("-"):
            if word.partition("=")[0] not in _options(command):
                return f"{command.name} has no option {word}"
        elif hasattr(command, "get_command"):
            found = command.get_command(context, word)
            if found is None:
                return f"{command.name} has no command {word}"
            command = found
            context = command.context_class(command, parent=context)
    return None


def _options(command: Any) -> set[str]:
    found = {"--help"}
    for parameter in command.params:
        found |= {*parameter.opts, *parameter.secondary_opts}
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
                if words and words[0] == "pluperfect":
                    yield words[1:]
