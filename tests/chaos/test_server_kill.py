"""The whole server, killed -9 at random moments under load from many HTTP clients.

The parent keeps every acknowledgement. After each kill a new server takes over on the same
database; in the end everything acknowledged is there exactly once, the log verifies, and the read
models are what the log folds into (invariants 1, 2, 3 and 5).
"""

import asyncio
import random
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from msgspec import Struct, field

from eventstore.migrate import Target
from eventstore.verify import verify
from tests import serving
from tests.conftest import open_database
from tests.serving import NO_CERTIFICATES, RunningServer

KILLS_SHORT = 20
KILLS_LONG = 500
CLIENTS = 8
LOADED_SECONDS = (0.05, 0.6)
"""How long a server works before it is killed, drawn anew each time."""
STATES = ("PENDING", "RUNNING", "COMPLETED")


class Acknowledged(Struct):
    """What the server said is so: state ids by flow run, log lines by flow run."""

    states: dict[str, list[str]] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)


async def _live_through_runs(client: httpx.AsyncClient, flow_id: str, told: Acknowledged) -> None:
    """Create runs and bring them to their end, one after the other, until the server is gone."""
    while True:
        try:
            await _live_through_one(client, flow_id, told)
        except httpx.TransportError:
            return


async def _live_through_one(client: httpx.AsyncClient, flow_id: str, told: Acknowledged) -> None:
    body = {"flow_id": flow_id, "idempotency_key": str(uuid4())}
    run = _answered(await client.post("/flow_runs/", json=body))
    told.states[run["id"]] = [run["state"]["id"]]
    for kind in STATES[1:]:
        proposal = {"type": kind, "state_details": {"transition_id": str(uuid4())}}
        path = f"/flow_runs/{run['id']}/set_state"
        first = await client.post(path, json={"state": proposal})
        told.states[run["id"]].append(_answered(first)["state"]["id"])
        line = {"name": "n", "level": 20, "message": kind, "timestamp": "2026-01-01T00:00:00Z"}
        logged = await client.post("/logs/", json=[{**line, "flow_run_id": run["id"]}])
        assert logged.status_code == 201, logged.text
        told.lines[run["id"]] = told.lines.get(run["id"], 0) + 1


def _answered(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code in (200, 201), response.text
    content: dict[str, Any] = response.json()
    return content


async def _survive(target: Target, home: Path, kills: int) -> None:
    draw = random.Random(7)
    told = Acknowledged()
    port = serving.free_port()
    server = await _started(target, home, port)
    async with httpx.AsyncClient(base_url=server.url, timeout=60, verify=NO_CERTIFICATES) as client:
        flow = _answered(await client.post("/flows/", json={"name": "endless"}))
        for _ in range(kills):
            living = [
                asyncio.create_task(_live_through_runs(client, flow["id"], told))
                for _ in range(CLIENTS)
            ]
            await asyncio.sleep(draw.uniform(*LOADED_SECONDS))
            server.process.kill()
            await asyncio.to_thread(server.process.wait)
            await asyncio.gather(*living)
            server = await _started(target, home, port)
        try:
            await _everything_is_there(client, told)
        finally:
            code = await asyncio.to_thread(server.stop)
    assert code == 0, f"exit code {code}:\n{server.output()}"
    assert len(told.states) > kills, "the load was too light to mean anything"
    database = open_database(target)
    try:
        assert await verify(database) == []
    finally:
        await database.close()
    await asyncio.to_thread(serving.verify_digests, target)


async def _started(target: Target, home: Path, port: int) -> RunningServer:
    return await asyncio.to_thread(serving.start, target, home, port=port)


async def _everything_is_there(client: httpx.AsyncClient, told: Acknowledged) -> None:
    for run_id, acknowledged in told.states.items():
        states = (await client.get("/flow_run_states/", params={"flow_run_id": run_id})).json()
        held = [state["id"] for state in states]
        assert held[: len(acknowledged)] == acknowledged, "an acknowledged state is missing"
        # One more may have been recorded whose answer died with the server.
        assert len(acknowledged) <= len(held) <= min(len(acknowledged) + 1, len(STATES))
        assert len(held) == len(set(held))
    for run_id, lines in told.lines.items():
        asked = {"logs": {"flow_run_id": {"any_": [run_id]}}}
        found = (await client.post("/logs/filter", json=asked)).json()
        assert lines <= len(found) <= lines + 1, "an acknowledged log line is missing"


async def test_a_killed_server_loses_nothing_it_acknowledged(
    target: Target, tmp_path: Path
) -> None:
    await _survive(target, tmp_path / "home", KILLS_SHORT)


@pytest.mark.long
async def test_a_server_killed_hundreds_of_times_loses_nothing(
    target: Target, tmp_path: Path
) -> None:
    await _survive(target, tmp_path / "home", KILLS_LONG)
