"""A real worker uses its channel: it is heard over it, and takes away what it is told to."""

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from eventstore import log
from eventstore.events import Recorded
from eventstore.migrate import Target
from orchestration.worker_cleanups import CleanupDone
from orchestration.workers import WorkerFirstSeen
from projections.catalogue import CODEC
from tests.conftest import StartServer, open_database
from tests.e2e.answers import Api
from tests.e2e.prefect_client import PrefectClient

POOL, TIDY_POOL, WORKER = "here", "tidy", "w"
PROGRESS_SECONDS_MAX = 120.0
POLL_SECONDS = 0.2
PID = "here:1"
SETTINGS = {
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_CANCELLING_TIMEOUT_SECONDS": "0.01",
}


def until(holds: Callable[[], Any], what: str) -> Any:
    """Wait for something that other processes bring about; what it is then."""
    deadline = time.monotonic() + PROGRESS_SECONDS_MAX
    while not (found := holds()):
        assert time.monotonic() < deadline, what
        time.sleep(POLL_SECONDS)
    return found


async def recorded(target: Target, category: str) -> list[Recorded[Any]]:
    """The events of all streams of a category."""
    database = open_database(target)
    try:
        head = (await log.head(database)).position
        events = await log.read_all(database, database.dialect, CODEC, 0, head, head)
    finally:
        await database.close()
    return [one for one in events if one.stream.startswith(f"{category}:")]


def test_workers_use_their_channel(
    target: Target, start_server: StartServer, prefect_environment: Path, tmp_path: Path
) -> None:
    server = start_server(settings=SETTINGS)
    client = PrefectClient(prefect_environment, tmp_path / "client", server.url)
    start = ("worker", "start", "--pool", POOL, "--name", WORKER, "--type", "process")
    workers = [client.start_prefect(*start), client.start_flow("tidying.py", TIDY_POOL)]
    try:
        with Api(client.api_url) as api:
            for pool in (POOL, TIDY_POOL):
                until(partial(is_seen, api, pool), f"a worker of {pool}")
            # Over the channel a worker says who it is; over HTTP it is anonymous.
            facts = asyncio.run(recorded(target, "worker"))
            seen = [fact.actor for fact in facts if isinstance(fact.event, WorkerFirstSeen)]
            assert sorted(seen) == ["worker tidying", f"worker {WORKER}"]

            run = stuck_run(api)
            tidying = workers[1].output
            told = json.dumps(PID)
            until(lambda: told in tidying.read_text().splitlines(), "it is told what to end")
            until(lambda: [one for one in cleanups(target) if isinstance(one, CleanupDone)], "done")
            assert api.read(run)["state_type"] == "CANCELLED"
    finally:
        for worker in workers:
            worker.end()


def is_seen(api: Api, pool: str) -> bool:
    """Whether the pool is there and has a worker."""
    answer = api.post(f"/work_pools/{pool}/workers/filter", json={})
    return answer.status_code == httpx.codes.OK and answer.json() != []


def stuck_run(api: Api) -> str:
    """Path of a run that is being cancelled, and nobody says that it has ended."""
    flow = api.ask("/flows/", name="f")
    body = {"name": "d", "flow_id": flow["id"], "work_pool_name": TIDY_POOL}
    deployment = api.post("/deployments/", json=body).raise_for_status().json()
    # In an hour: so no worker starts it.
    later = {"scheduled_time": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    state = {"type": "SCHEDULED", "state_details": later}
    made = api.ask(f"/deployments/{deployment['id']}/create_flow_run", state=state)
    run = f"/flow_runs/{made['id']}"
    api.patch(run, json={"infrastructure_pid": PID}).raise_for_status()
    for type in ("PENDING", "RUNNING", "CANCELLING"):
        api.ask(f"{run}/set_state", state={"type": type}, force=True)
    return run


def cleanups(target: Target) -> list[Any]:
    """What was recorded of clean-ups."""
    return [one.event for one in asyncio.run(recorded(target, "worker-cleanup"))]
