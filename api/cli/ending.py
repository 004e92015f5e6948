"""Ending a process of ours that runs in a home, in the background or elsewhere."""

import os
import signal
import time
from pathlib import Path

import typer

from api import pid_file
from api.cli.terminal import fail

STOP_SECONDS_MAX = 10.0
"""How long to wait; a process of ours ends within 3 s unless the machine is very busy."""
POLL_SECONDS = 0.05
"""How often another process is looked at: there is no signal to wait for."""


def end(home: Path, file_name: str, noun: str) -> None:
    """End the process that holds a pid file, and say so; it is called `noun`."""
    process = pid_file.running(home, file_name)
    if process is None:
        if pid_file.remove_leftover(home, file_name):
            typer.echo(f"No {noun} runs; the file that a killed one left behind is removed.")
            return
        fail(f"No {noun} runs in the home {home}.")
    try:
        os.kill(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # It ended this very moment.
    except PermissionError:
        fail(f"The {noun} is process {process.pid} of another user.")
    deadline = time.monotonic() + STOP_SECONDS_MAX
    while pid_file.running(home, file_name) == process:
        if time.monotonic() > deadline:
            fail(
                f"Process {process.pid} did not end within {STOP_SECONDS_MAX:g} s; "
                f"`kill -9 {process.pid}` ends it without loss of anything acknowledged."
            )
        time.sleep(POLL_SECONDS)
    pid_file.remove_leftover(home, file_name)
    typer.echo(f"The {noun} (process {process.pid}) has stopped.")
