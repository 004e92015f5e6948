"""A Postgres of the system's own, for both servers: Prefect needs its extension pg_trgm.

The one that comes with pip, which the tests use, has no extensions.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from tests.serving import free_port

USER = "postgres"
"""Postgres refuses to run as root; the Debian package brings this user."""
READY_SECONDS_MAX = 30.0
POLL_SECONDS = 0.05


class SystemPostgres:
    """A server with an empty database and the default settings, in a folder of its own."""

    def __init__(self, programs: Path) -> None:
        """`programs` is the folder with `initdb` and `postgres`. Starts the server."""
        self._folder = Path(tempfile.mkdtemp(prefix="benchmarks-pg-"))
        self._user = USER if os.geteuid() == 0 else None
        if self._user is not None:
            who = pwd.getpwnam(self._user)
            os.chown(self._folder, who.pw_uid, who.pw_gid)
        data = self._folder / "data"
        self._run(programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8")
        self._port = free_port()
        self._process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-p", str(self._port), "-k", self._folder],
            cwd=self._folder,
            user=self._user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            try:
                psycopg.connect(self.get_uri()).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(POLL_SECONDS)

    def _run(self, *command: Path | str) -> None:
        subprocess.run(
            command, cwd=self._folder, user=self._user, check=True, stdout=subprocess.DEVNULL
        )

    def get_uri(self) -> str:
        """URL of its database."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    def get_pid(self) -> int:
        """Process id of the server, the parent of all its others."""
        return self._process.pid

    def cleanup(self) -> None:
        """End it and remove what it stored."""
        self._process.terminate()
        try:
            self._process.wait(READY_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
