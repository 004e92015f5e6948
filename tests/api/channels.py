"""Workers that talk over their channel, as tests play them."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from msgspec import json
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.api.talk import Json

SOON = 30.0
QUIET = 0.5
"""How long nothing has to come before we believe that nothing will."""
VERSION = "work_pool_worker_channel.v1"
CAPABILITIES = ["worker_heartbeat.v1", "work_pool_snapshot.v1"]
CLEANUPS = "cleanup_delivery.v1"
TEAR_DOWN = "cancelling_timeout_teardown.v1"
WITH_CLEANUPS: Json = {
    "requested_capabilities": [*CAPABILITIES, CLEANUPS],
    "handled_cleanup_kinds": [TEAR_DOWN],
}


def frame(type: str, **payload: Any) -> Json:
    """A frame of a worker."""
    return {
        "type": type,
        "id": str(uuid.uuid4()),
        "sent_at": datetime.now(UTC).isoformat(),
        "payload": payload,
    }


def hello(name: str = "w", **changes: Any) -> Json:
    """What a worker says first."""
    payload = {
        "consumer_id": str(uuid.uuid4()),
        "worker_name": name,
        "worker_type": "process",
        "heartbeat_interval_seconds": 30,
        "supported_channel_versions": [VERSION],
        "requested_capabilities": CAPABILITIES,
    }
    return frame("worker.hello.v1", **payload | changes)


class WorkerSocket:
    """A worker's end of its channel."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, said: Json) -> None:
        await self.socket.send(json.encode(said).decode())

    async def get(self, type: str) -> Json:
        """The payload of the next frame, which must be of this type."""
        async with asyncio.timeout(SOON):
            got = json.decode(await self.socket.recv())
        assert got["type"] == type, got
        payload: Json = got["payload"]
        return payload

    async def ask(self, operation: str, **payload: Any) -> Json:
        """What the server says to this operation on a clean-up."""
        asked = frame(f"cleanup.{operation}.v1", **payload)
        await self.send(asked)
        result = await self.get("cleanup.operation_result.v1")
        assert (result["request_frame_id"], result["operation"]) == (asked["id"], operation)
        return result

    async def is_quiet(self) -> bool:
        try:
            async with asyncio.timeout(QUIET):
                await self.socket.recv()
        except TimeoutError:
            return True
        return False

    async def closed(self) -> tuple[int, str]:
        """Code and reason with which the server closes the channel; frames before are let pass."""
        try:
            async with asyncio.timeout(SOON):
                while True:
                    await self.socket.recv()
        except ConnectionClosed as closed:
            assert closed.rcvd is not None, "cut off without a word"
            return closed.rcvd.code, closed.rcvd.reason


def address(url: str, pool: str) -> str:
    return url.replace("http", "ws") + f"/work_pools/{pool}/workers/connect"


@asynccontextmanager
async def let_in(url: str, pool: str, token: str | None = None) -> AsyncIterator[WorkerSocket]:
    """A worker that has authenticated."""
    protocols = [Subprotocol("prefect")]
    async with connect(
        address(url, pool), subprotocols=protocols, max_size=2**26, max_queue=1
    ) as socket:
        worker = WorkerSocket(socket)
        await worker.send({"type": "auth", "token": token})
        assert json.decode(await socket.recv()) == {"type": "auth_success"}
        yield worker


@asynccontextmanager
async def welcomed(
    url: str, pool: str, said: Json | None = None
) -> AsyncIterator[tuple[WorkerSocket, Json]]:
    """A worker that has been welcomed, and with what."""
    async with let_in(url, pool) as worker:
        await worker.send(said or hello())
        yield worker, await worker.get("worker.ready.v1")
