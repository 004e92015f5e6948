"""`server.pid` in the home: which server runs there. Held by a lock, so that it cannot go stale.

`services.pid` is the same for a process that runs only services. Further servers of one home have
their port in the name, `server-4201.pid`.

The lock dies with the process that holds it, kill -9 included; a file without a lock is a leftover,
whatever process may have its number by now.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

FILE_NAME = "server.pid"
SERVICES_FILE_NAME = "services.pid"
_FURTHER = "server-*.pid"
ATTEMPTS_MAX = 10
ATTEMPT_PAUSE_SECONDS = 0.01
"""The file may be removed while we open it, or locked for a moment by somebody who only looks."""


class Running(Struct, frozen=True):
    """A server that runs."""

    pid: int
    host: str
    port: int
    base_path: str = "/api"
    scheme: str = "http"


class PidFile:
    """Held for as long as this server runs."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def write(self, running: Running) -> None:
        """Say who holds it."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, msgspec.json.encode(running) + b"\n", 0)

    def leave(self) -> None:
        """For a forked worker: the parent alone holds it."""
        os.close(self._descriptor)

    def remove(self) -> None:
        """The server has ended."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def take(home: Path, name: str = FILE_NAME) -> PidFile | None:
    """The pid file of this home, or None if a running server holds it. Raises OSError."""
    path = home / name
    for _ in range(ATTEMPTS_MAX):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            same = _lock(descriptor) and os.path.samestat(path.stat(), os.fstat(descriptor))
        except FileNotFoundError:
            same = False
        if same:
            return PidFile(path, descriptor)
        os.close(descriptor)
        time.sleep(ATTEMPT_PAUSE_SECONDS)
    return None


def running(home: Path, name: str = FILE_NAME) -> Running | None:
    """The server that holds this home's pid file, if one runs."""
    with _opened(home / name) as descriptor:
        if descriptor is None or _lock(descriptor):
            return None
        return _read(descriptor)


def _read(descriptor: int) -> Running | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, 4_096, 0), type=Running)
    except msgspec.DecodeError:
        return None  # It has not written yet.


def killed(home: Path, port: int) -> Running | None:
    """The server of a home that was at this port when it was killed, if its file is left."""
    for name in _names(home):
        with _opened(home / name) as descriptor:
            if descriptor is None or not _lock(descriptor):
                continue
            left = _read(descriptor)
            if left is not None and left.port == port:
                return left
    return None


def of_port(port: int) -> str:
    """Name of the file of a server that is not the only one of its home."""
    return _FURTHER.replace("*", str(port))


def servers(home: Path) -> dict[str, Running]:
    """The servers of a home that run, by the names of their files; first the one that was first."""
    return {name: found for name in _names(home) if (found := running(home, name)) is not None}


def _names(home: Path) -> list[str]:
    return [FILE_NAME, *sorted(path.name for path in home.glob(_FURTHER))]


def remove_leftover(home: Path, name: str) -> bool:
    """Remove the file of a server that was killed; whether there was one."""
    path = home / name
    with _opened(path) as descriptor:
        if descriptor is None or not _lock(descriptor):
            return False
        path.unlink(missing_ok=True)
        return True


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
