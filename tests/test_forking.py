"""A program that was forked is what it would be, had it been started."""

import fcntl
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


HOLDS_A_LOCK = f"""
import fcntl, sys
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
{WAIT}"""
IS_KILLED = f"""
import os, signal, sys, time
from pathlib import Path
from tests.forking import Forking
from tests.test_forking import HOLDS_A_LOCK, _forked
folder = Path(sys.argv[1])
forking = Forking(Path(sys.executable), [], os.environ)
forked = _forked(forking, folder, HOLDS_A_LOCK, str(folder / "lock"))
while "here" not in (folder / "output").read_text():
    assert forked.poll() is None
    time.sleep({serving.POLL_SECONDS})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels have no such signal")
def test_it_ends_with_the_tests_also_if_these_are_killed(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", IS_KILLED, str(tmp_path)],
        cwd=serving.REPOSITORY,
        env=serving.inherited_environment(),
        stdin=subprocess.DEVNULL,
        timeout=serving.READY_SECONDS_MAX,
    )
    assert killed.returncode == -signal.SIGKILL
    with (tmp_path / "lock").open() as lock:
        deadline = time.monotonic() + serving.READY_SECONDS_MAX
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                assert time.monotonic() < deadline, "it has outlived them"
                time.sleep(serving.POLL_SECONDS)
