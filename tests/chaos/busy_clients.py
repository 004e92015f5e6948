"""Clients that write without end, and remember what they were promised."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from eventstore.ids import new_id
from tests.benchmarks.client import Client, Websocket
from tests.emitting import emission

LINES_PER_REQUEST = 5
EMISSIONS_PER_REQUEST = 3
STATES = ("RUNNING", "COMPLETED")
"""Of a run, after the one it is created in."""

_encode = msgspec.json.Encoder().encode


class BusyClient(Protocol):
    """One client. What it counts as promised was acknowledged."""

    async def step(self) -> None:
        """Write something, and wait until it is acknowledged."""
        ...

    async def close(self) -> None: ...


class Orchestrator:
    """Takes flow runs through their lives."""

    def __init__(self, port: int, flow_id: str) -> None:
        self.client = Client(port)
        self._flow_id = flow_id
        self.versions: dict[str, int] = {}
        """How many events each run has, by id."""

    async def step(self) -> None:
        body = {"flow_id": self._flow_id, "parameters": {"x": 1}, "tags": ["scale"]}
        answer = await self.client.call("POST", "/flow_runs/", body, expect=201)
        run_id = str(answer.json()["id"])
        self.versions[run_id] = 2  # That it was created, and its first state.
        for kind in STATES:
            state = {"type": kind, "state_details": {"transition_id": new_id()}}
            path = f"/flow_runs/{run_id}/set_state"
            told = (await self.client.call("POST", path, {"state": state}, expect=201)).json()
            assert told["status"] == "ACCEPT", told
            self.versions[run_id] += 1

    async def close(self) -> None:
        self.client.close()


class Logger:
    """Writes log lines of one run."""

    def __init__(self, port: int, number: int, run_id: str) -> None:
        self.client = Client(port)
        self._number = number
        self._run_id = run_id
        self.messages: list[str] = []

    async def step(self) -> None:
        first = len(self.messages)
        messages = [f"{self._number}.{n}" for n in range(first, first + LINES_PER_REQUEST)]
        body = [line(message, self._run_id) for message in messages]
        await self.client.call("POST", "/logs/", body, expect=201)
        self.messages += messages

    async def close(self) -> None:
        self.client.close()


class Poster:
    """Posts emissions of one group."""

    def __init__(self, port: int, group: str) -> None:
        self.client = Client(port)
        self._group = group
        self.ids: list[str] = []

    async def step(self) -> None:
        batch = [of_group(self._group) for _ in range(EMISSIONS_PER_REQUEST)]
        await self.client.call("POST", "/events", batch, expect=204)
        self.ids += (one["id"] for one in batch)

    async def close(self) -> None:
        self.client.close()


class Emitter:
    """Sends emissions of one group over a websocket; a pong acknowledges what was before it."""

    def __init__(self, websocket: Websocket, group: str) -> None:
        self._websocket = websocket
        self._group = group
        self.ids: list[str] = []

    async def step(self) -> None:
        batch = [of_group(self._group) for _ in range(EMISSIONS_PER_REQUEST)]
        for one in batch:
            self._websocket.send(_encode(one))
        await self._websocket.ping()
        self.ids += (one["id"] for one in batch)

    async def close(self) -> None:
        self._websocket.close()


def line(message: str, run_id: str) -> dict[str, Any]:
    """A log line as clients send it."""
    return {
        "name": "scale",
        "level": 20,
        "message": message,
        "timestamp": datetime.now(UTC).isoformat(),
        "flow_run_id": run_id,
    }


def of_group(group: str) -> dict[str, Any]:
    """An emission about the resource, and with the name, of a group."""
    return emission(event=f"{group}.changed", resource={"prefect.resource.id": group})


async def work(clients: Sequence[BusyClient], seconds: float, pause_seconds: float) -> None:
    """Let all of them write at once, each with pauses of `pause_seconds` on average."""
    clock = asyncio.get_running_loop().time
    until = clock() + seconds

    async def busy(client: BusyClient) -> None:
        while clock() < until:
            await client.step()
            await asyncio.sleep(pause_seconds * 2 * random.random())

    await asyncio.gather(*map(busy, clients))
