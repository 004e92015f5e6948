"""The example that mirrors runs, while its server and it are killed: every change, exactly once."""

import asyncio
import random
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx

from tests.api.talk import make_flow, make_flow_run, set_state, talk_to
from tests.api.test_subscriptions import poll_all
from tests.conftest import StartServer
from tests.serving import REPOSITORY, RunningServer, free_port, inherited_environment

KILLS = 6
LOADED_SECONDS = (0.1, 0.5)
"""How long all work before one is killed, drawn anew each time."""
SOON = 40.0
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


async def _live_through_runs(client: httpx.AsyncClient, flow: str) -> None:
    while True:
        try:
            run = await make_flow_run(client, flow)
            for kind in ("PENDING", "RUNNING", "COMPLETED"):
                await set_state(client, "flow_runs", run["id"], kind)
        except httpx.TransportError:
            await asyncio.sleep(0.05)


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
            living = [asyncio.create_task(_live_through_runs(client, flow)) for _ in range(3)]
            for kill in range(KILLS):
                await asyncio.sleep(draw.uniform(*LOADED_SECONDS))
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
            async with asyncio.timeout(SOON):
                while sum(changes for _, changes in _mirrored(path).values()) < sum(
                    changes for _, changes in wanted.values()
                ):
                    assert mirror.poll() is None, "the example ended by itself"
                    await asyncio.sleep(0.05)
            assert _mirrored(path) == wanted
    finally:
        mirror.kill()
        mirror.wait()
