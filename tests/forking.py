"""Programs of Python that are forked from a process which has imported what they need."""

import json
import os
import select
import signal
import socket
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import IO

FORKED = Path(__file__).parent / "forked.py"
"""The program that turns into others."""


class Forked:
    """A program that was forked: what `subprocess.Popen` is for one that was started."""

    def __init__(self, arguments: Sequence[str], pid: int, ended: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        """Its exit code once it was waited for, or less a signal's number."""
        self._arguments = arguments
        self._ended = ended

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        return self._found(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, when it has ended. Raises subprocess.TimeoutExpired after `timeout` s."""
        code = self._found(timeout)
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self._arguments, timeout)
        return code

    def _found(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._ended], [], [], timeout)[0]:
            told = os.read(self._ended, 16)
            os.close(self._ended)
            assert told, f"what {self._arguments} was forked from has ended"
            self.returncode = int(told)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it without asking."""
        self.send_signal(signal.SIGKILL)


class Forking:
    """The process that programs are forked from."""

    def __init__(
        self, python: Path, modules: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        """`modules` are what programs need most of their time to import."""
        self._socket, theirs = socket.socketpair()
        self._one_at_a_time = Lock()
        with theirs:
            self._process = subprocess.Popen(
                [str(python), "-P", str(FORKED), str(theirs.fileno()), *modules],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self.end = weakref.finalize(self, _end, self._socket, self._process)
        """Fork no more, and ask what was forked to end. Nobody needs to call this."""

    def start(
        self,
        program: str,
        *arguments: str,
        folder: Path,
        environment: Mapping[str, str],
        output: IO[bytes],
        errors: IO[bytes],
    ) -> Forked:
        """Start `program`, a file or `-m MODULE`, with nothing to read."""
        order = {
            "program": program,
            "arguments": arguments,
            "folder": str(folder),
            "environment": dict(environment),
        }
        ended, tell = os.pipe()
        empty = os.open(os.devnull, os.O_RDONLY)
        try:
            with self._one_at_a_time:
                descriptors = [empty, output.fileno(), errors.fileno(), tell]
                line = json.dumps(order).encode() + b"\n"
                sent = socket.send_fds(self._socket, [line], descriptors)
                self._socket.sendall(line[sent:])
                pid = int(self._socket.recv(16))
        finally:
            os.close(empty)
            os.close(tell)
        return Forked((program, *arguments), pid, ended)


def _end(control: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    control.close()
    process.wait()
