"""The example that mirrors runs, while its server and it are killed: every change, exactly once."""

import asyncio
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx

from tests.api.talk import make_flow, make_flow_run, set_state, talk_to
from tests.api.test_subscriptions import poll_all
from tests.conftest import StartServer
from tests.serving import REPOSITORY, RunningServer, free_port, inherited_environment

KILLS = 6
MADE_BETWEEN = (1, 40)
"""Changes that runs make before one is killed, drawn anew each time."""
MIRRORED_BETWEEN = 1
"""Changes that a mirror has to have mirrored before the next kill."""
STANDSTILL_SECONDS_MAX = 60.0
"""Without any progress for so long, there will be none: a machine may be busy with other tests."""
POLL_SECONDS = 0.02
EXAMPLE = REPOSITORY / "docs" / "examples" / "mirror_runs.py"


def _mirror(url: str, path: Path) -> "subprocess.Popen[bytes]":
    environment = inherited_environment() | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen([sys.executable, str(EXAMPLE), url, str(path)], env=environment)


def _mirrored(path: Path) -> dict[str, tuple[str | None, int]]:
    """State and number of changes by run."""
    with suppress(sqlite3.OperationalError):  # Not created yet.
        connection = sqlite3.connect(path)
        try:
            rows = connection.execute("SELECT id, state, changes FROM runs").fetchall()
            return {row[0]: (row[1], row[2]) for row in rows}
        finally:
            connection.close()
    return {}


def _changes(path: Path) -> int:
    return sum(changes for _, changes in _mirrored(path).values())


class Made:
    """Changes that were acknowledged."""

    def __init__(self) -> None:
        self.changes = 0


async def _live_through_runs(client: httpx.AsyncClient, flow: str, made: Made) -> None:
    while True:
        try:
            run = await make_flow_run(client, flow)
            made.changes += 1
            for kind in ("PENDING", "RUNNING", "COMPLETED"):
                await set_state(client, "flow_runs", run["id"], kind)
                made.changes += 1
        except httpx.TransportError:
            await asyncio.sleep(POLL_SECONDS)


async def _reach(number: Callable[[], int], wanted: int) -> None:
    """Wait until a number that only grows is as large as wanted; it may not stand still."""
    seen, since = number(), time.monotonic()
    while seen < wanted:
        await asyncio.sleep(POLL_SECONDS)
        if (now := number()) > seen:
            seen, since = now, time.monotonic()
        assert time.monotonic() - since < STANDSTILL_SECONDS_MAX, f"stands at {seen} of {wanted}"


async def test_a_mirror_has_every_change_exactly_once_whatever_is_killed(
    start_server: StartServer, tmp_path: Path
) -> None:
    draw = random.Random(11)
    port = free_port()
    server: RunningServer = start_server(port=port)
    path = tmp_path / "mirror.db"
    mirror = _mirror(server.url, path)
    try:
        async with talk_to(server.url) as client:
            flow = await make_flow(client)
            made, mirrored = Made(), 0
            living = [asyncio.create_task(_live_through_runs(client, flow, made)) for _ in range(3)]
            for kill in range(KILLS):
                await _reach(lambda: made.changes, made.changes + draw.randint(*MADE_BETWEEN))
                await _reach(lambda: _changes(path), mirrored + MIRRORED_BETWEEN)
                mirrored = _changes(path)
                if kill % 2:
                    server.process.kill()
                    server.process.wait()
                    server = await asyncio.to_thread(start_server, port=port)
                else:
                    mirror.kill()
                    mirror.wait()
                    mirror = _mirror(server.url, path)
            for task in living:
                task.cancel()
            await asyncio.gather(*living, return_exceptions=True)
        async with talk_to(server.url) as client:
            wanted: dict[str, tuple[str | None, int]] = {}
            for event in await poll_all(client, category="flow-run", limit=1000):
                id = event["stream"].partition(":")[2]
                state, changes = wanted.get(id, (None, 0))
                if event["type"] == "flow-run.state-set":
                    state = event["data"]["state"]["name"]
                wanted[id] = state, changes + 1
            assert len(wanted) > KILLS

            def so_far() -> int:
                assert mirror.poll() is None, "the example ended by itself"
                return _changes(path)

            await _reach(so_far, sum(changes for _, changes in wanted.values()))
            assert _mirrored(path) == wanted
    finally:
        mirror.kill()
        mirror.wait()
