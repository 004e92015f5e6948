"""Turns into other programs of Python: imports once what they import, then forks for each of them.

    python -P forked.py SOCKET MODULE...

A server or a client is busy with imports for a second or several before it does anything; a fork of
this process is the same program without them. For each one the other end of the socket gets a line
of JSON, {program, arguments, folder, environment}, and with it four descriptors: its input, its
output, where its errors go, and a pipe that will be told its exit code. The answer is a line with
its process id. When the socket ends this process does, and the programs are asked to end with it:
whoever held the socket was killed, or wants no more of them.

It runs in the environment of the programs, which has none of our modules.
"""

import ctypes
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

LINE_BYTES_MAX = 1 << 20
PR_SET_PDEATHSIG = 1
MODULE = "-m "
"""A program that begins with this is a module, any other one a file."""


def main() -> None:
    """Fork for each line, and be the program in the fork."""
    control = socket.socket(fileno=int(sys.argv[1]))
    for module in sys.argv[2:]:
        import_module(module)
    gc.collect()
    gc.freeze()  # A collection in a program would touch, and so copy, what is shared.
    order = _fork(control)
    if order is not None:
        _become(**order)


def _fork(control: socket.socket) -> dict[str, Any] | None:
    """Fork until the socket ends; in a fork, the program that it is to be."""
    parent = os.getpid()
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # A terminal sends ctrl + c to everybody; whoever holds the socket ends when it wants to.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    running: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            if any(key.fileobj is control for key, _ in selector.select()):
                line, descriptors, _, _ = socket.recv_fds(control, LINE_BYTES_MAX, 4)
                if not line:
                    return None
                while not line.endswith(b"\n"):
                    line += control.recv(LINE_BYTES_MAX)
                pid = os.fork()
                if not pid:
                    break
                *streams, running[pid] = descriptors
                for one in streams:
                    os.close(one)
                control.sendall(b"%d\n" % pid)
            with suppress(BlockingIOError):
                os.read(woken, 4_096)
            while running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
                told = running.pop(ended[0])
                with suppress(BrokenPipeError):
                    os.write(told, b"%d" % os.waitstatus_to_exitcode(ended[1]))
                os.close(told)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    control.close()
    for number, one in enumerate(descriptors[:3]):
        os.dup2(one, number)
    for one in (woken, wake, *descriptors, *running.values()):
        os.close(one)
    _end_with(parent)
    order: dict[str, Any] = json.loads(line)
    return order


def _end_with(parent: int) -> None:
    """Have the kernel ask this process to end when its parent does; only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # It has ended already.
            os.kill(os.getpid(), signal.SIGTERM)


def _become(program: str, arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Be the program, as if Python had been started with it."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments
    if program.startswith(MODULE):
        sys.path.insert(0, folder)
        runpy.run_module(program.removeprefix(MODULE), run_name="__main__", alter_sys=True)
    else:
        sys.argv[0] = program
        sys.path.insert(0, str(Path(program).parent))
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
