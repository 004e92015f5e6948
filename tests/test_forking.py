"""A program that was forked is what it would be, had it been started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import serving
from tests.forking import Forked, Forking

SAY = """
import json, os, sys
given = [sys.argv, os.getcwd(), dict(os.environ), sys.stdin.read(), sys.path[0]]
print(json.dumps([__name__, *given]))
print("wrong", file=sys.stderr)
sys.exit(7)
"""
WAIT = "print('here', flush=True)\nwhile True:\n    import signal; signal.pause()\n"


@pytest.fixture(scope="module")
def forking() -> Iterator[Forking]:
    """What programs are forked from."""
    forking = Forking(Path(sys.executable), ["json"], serving.inherited_environment())
    yield forking
    forking.end()


def _forked(forking: Forking, folder: Path, program: str, *arguments: str) -> Forked:
    file = folder / "program.py"
    file.write_text(program)
    with (folder / "output").open("wb") as output, (folder / "errors").open("wb") as errors:
        return forking.start(
            *(str(file), *arguments),
            folder=folder,
            environment={"A": "b"},
            output=output,
            errors=errors,
        )


def test_it_is_given_what_a_program_is_given(forking: Forking, tmp_path: Path) -> None:
    forked = _forked(forking, tmp_path, SAY, "x", "--y")
    assert forked.wait(serving.READY_SECONDS_MAX) == 7
    program = str(tmp_path / "program.py")
    started = subprocess.run(
        [sys.executable, program, "x", "--y"],
        cwd=tmp_path,
        env={"A": "b", "LC_CTYPE": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    said = (tmp_path / "output").read_bytes()
    assert said == started.stdout.replace(b', "LC_CTYPE": "C.UTF-8"', b"")
    assert (tmp_path / "errors").read_text() == "wrong\n"


def test_signals_reach_it_and_are_its_exit_code(forking: Forking, tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        forked = _forked(forking, tmp_path, WAIT)
        assert forked.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            forked.wait(0.01)
        forked.send_signal(number)
        assert forked.wait(serving.READY_SECONDS_MAX) == -number
        assert forked.poll() == -number
        forked.kill()  # does no harm


def test_ctrl_c_reaches_it(forking: Forking, tmp_path: Path) -> None:
    forked = _forked(forking, tmp_path, WAIT)
    while "here" not in (tmp_path / "output").read_text():
        assert forked.poll() is None
        time.sleep(serving.POLL_SECONDS)
    forked.send_signal(signal.SIGINT)
    assert forked.wait(serving.READY_SECONDS_MAX) in (1, -signal.SIGINT)
    assert "KeyboardInterrupt" in (tmp_path / "errors").read_text()


def test_it_outlives_what_it_was_forked_from(tmp_path: Path) -> None:
    forking = Forking(Path(sys.executable), [], serving.inherited_environment())
    forked = _forked(forking, tmp_path, WAIT)
    forking.end()
    os.kill(forked.pid, signal.SIGKILL)
    with pytest.raises(AssertionError, match="has ended"):
        forked.wait()
