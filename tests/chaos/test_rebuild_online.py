"""Read models are folded anew, some rebuilds are killed, while workers write and read: nobody
notices, and in the end live and rebuilt are the same.
"""

import asyncio
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from projections import catalogue
from tests import serving
from tests.conftest import StartServer
from tests.serving import COMMAND, REPOSITORY, RunningServer, environment

WRITERS, READERS = 4, 3
TIMEOUT_SECONDS = 30.0
"""For one request; none may fail, on however busy a machine."""
REBUILD_SECONDS_MAX = 120.0
KILLED_AFTER_SECONDS = (0.6, 1.0, 1.5)
"""Long enough to have begun, or to be nearly done: where exactly is left to chance."""


class _World:
    """What was acknowledged, and what readers must therefore find."""

    def __init__(self) -> None:
        self.created = 0
        self.over = False


async def _write(client: httpx.AsyncClient, flow_id: str, world: _World) -> None:
    while not world.over:
        created = await client.post("flow_runs/", json={"flow_id": flow_id})
        assert created.status_code == 201, created.text
        world.created += 1
        id_ = created.json()["id"]
        for kind in ("RUNNING", "COMPLETED"):
            body = {"state": {"type": kind}}
            answer = await client.post(f"flow_runs/{id_}/set_state", json=body)
            assert answer.status_code == 201, answer.text
            assert answer.json()["status"] == "ACCEPT", answer.text
            read = await client.get(f"flow_runs/{id_}")
            assert (read.status_code, read.json()["state_type"]) == (200, kind), read.text


async def _read(client: httpx.AsyncClient, flow_id: str, world: _World) -> None:
    """Rows are neither missing nor old, whatever is asked and however it is answered."""
    while not world.over:
        acknowledged = world.created
        count = await client.post("flow_runs/count", json={})
        assert count.status_code == 200, count.text
        assert count.json() >= acknowledged
        named = {"flows": {"id": {"any_": [flow_id]}}, "limit": 5}
        page = await client.post("flow_runs/filter", json=named)
        assert page.status_code == 200, page.text
        assert len(page.json()) >= min(5, acknowledged)
        flow = await client.get(f"flows/{flow_id}")
        assert flow.status_code == 200, flow.text


async def _rebuild(server: RunningServer, home: Path, killed_after: float | None) -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("projections", "rebuild", "--all"),
        cwd=REPOSITORY,
        env=environment(server.target, home, {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if killed_after is not None:
        try:
            await asyncio.wait_for(process.wait(), killed_after)
        except TimeoutError:
            with suppress(ProcessLookupError):  # It may have ended at this very moment.
                process.kill()
        await process.wait()
        return
    async with asyncio.timeout(REBUILD_SECONDS_MAX):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert f"Rebuilt {', '.join(sorted(one.name for one in catalogue.ALL))}" in output.decode()
    sys.stdout.write(output.decode())


async def _verify(server: RunningServer, home: Path) -> None:
    """At a fixed position, while writers go on."""
    done = await asyncio.to_thread(serving.run_cli, server.target, home, "projections", "verify")
    assert done.returncode == 0, done.stdout + done.stderr


async def _through_rebuilds(server: RunningServer, home: Path, rounds: int) -> None:
    world = _World()
    async with httpx.AsyncClient(
        base_url=f"{server.url}/", timeout=TIMEOUT_SECONDS, verify=serving.NO_CERTIFICATES
    ) as client:
        flow = await client.post("flows/", json={"name": "a"})
        flow_id = flow.json()["id"]
        async with asyncio.TaskGroup() as others:
            for _ in range(WRITERS):
                others.create_task(_write(client, flow_id, world))
            for _ in range(READERS):
                others.create_task(_read(client, flow_id, world))
            try:
                for number in range(rounds):
                    killed = KILLED_AFTER_SECONDS[number % len(KILLED_AFTER_SECONDS)]
                    await _rebuild(server, home, killed)
                    await _rebuild(server, home, None)
                await _verify(server, home)
            finally:
                world.over = True
        assert world.created > WRITERS


async def test_nobody_notices_a_rebuild(start_server: StartServer, tmp_path: Path) -> None:
    await _through_rebuilds(start_server(workers=2), tmp_path, rounds=1)


@pytest.mark.long
async def test_nobody_notices_one_rebuild_after_the_other(
    start_server: StartServer, tmp_path: Path
) -> None:
    began, rounds = time.monotonic(), 0
    server = start_server(workers=4)
    while time.monotonic() - began < 120:
        await _through_rebuilds(server, tmp_path, rounds=3)
        rounds += 3
    assert rounds
