"""Runs `prefect` commands in the client's Python: imports the client once, then forks for each.

A start of the command line costs seconds, nearly all of them for imports. Each line of the input is
a JSON object {arguments, output, errors}, with files for what the command prints; each line of the
output is its exit code.
"""

import json
import os
import sys

from prefect.cli import app


def run(arguments: list[str], output: str, errors: str) -> None:
    """Become the command `prefect ARGUMENTS`; does not return."""
    # Some commands read what they are given; our own input is not for them.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for path, stream in ((output, sys.stdout), (errors, sys.stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream.fileno())
    sys.argv = ["prefect", *arguments]
    sys.exit(app())


def main() -> None:
    """Run what the input says, one after the other."""
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            run(**json.loads(line))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
