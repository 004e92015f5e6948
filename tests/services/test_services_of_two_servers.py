"""Two servers on one Postgres: each service runs in one of them, and in the other one once the
first was killed."""

import asyncio
import re
from collections import Counter
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest

from api.background import SERVICES
from eventstore import leases
from eventstore.migrate import Target
from tests.conftest import StartServer, open_database
from tests.services.test_services_process import (
    QUICK,
    TAKE_OVER_SECONDS_MAX,
    Client,
    eventually,
)
from tests.serving import NO_CERTIFICATES, RunningServer

pytestmark = pytest.mark.heavy

NAMES = {service.name for service in SERVICES}
TALKATIVE = QUICK | {"PLUPERFECT_LOGGING_LEVEL": "INFO"}


def held(target: Target) -> dict[str, tuple[int, int]]:
    """Process and term of whoever runs each service now."""

    async def looked() -> list[leases.Lease]:
        database = open_database(target)
        try:
            return await leases.load_all(database, database.dialect)
        finally:
            await database.close()

    found = asyncio.run(looked())
    return {one.name: (one.pid, one.term) for one in found if one.left_seconds > 0 and one.pid}


def family(server: RunningServer) -> list[psutil.Process]:
    """All processes of a server."""
    first = psutil.Process(server.process.pid)
    return [first, *first.children(recursive=True)]


def terms_begun(server: RunningServer) -> list[tuple[str, int]]:
    """What its processes have run, each with its term."""
    said = re.findall(r"service (\S+) runs here, in term (\d+)", server.output())
    return [(name, int(term)) for name, term in said]


def kill(server: RunningServer) -> None:
    """kill -9 of all its processes."""
    processes = family(server)
    for process in processes:
        process.kill()
    server.process.wait()
    psutil.wait_procs(processes)


def deploy(url: str) -> str:
    """A deployment that is to run every hour; its id."""
    with httpx.Client(base_url=url, verify=NO_CERTIFICATES) as client:
        flow = client.post("/flows/", json={"name": str(uuid4())}).json()
        schedule = {"schedule": {"interval": 3600}, "active": True}
        body = {"name": "d", "flow_id": flow["id"], "schedules": [schedule]}
        made = client.post("/deployments/", json=body)
        assert made.status_code == 201, made.text
        return str(made.json()["id"])


def slots(url: str, deployment_id: str) -> list[str]:
    """When its runs are to start."""
    body: dict[str, Any] = {"deployments": {"id": {"any_": [deployment_id]}}}
    with httpx.Client(base_url=url, verify=NO_CERTIFICATES) as client:
        found = client.post("/flow_runs/filter", json=body).json()
    return [run["expected_start_time"] for run in found]


@pytest.mark.parametrize("backend", ["postgres"])
def test_each_service_runs_once_and_moves_when_its_server_is_killed(
    target: Target, start_server: StartServer
) -> None:
    servers = [start_server(workers=2, settings=TALKATIVE) for _ in range(2)]
    pids = [{process.pid for process in family(server)} for server in servers]
    eventually(lambda: held(target).keys() == NAMES)
    before = held(target)
    assert all(any(pid in own for own in pids) for pid, _ in before.values())
    first = deploy(servers[0].url)
    eventually(lambda: len(slots(servers[1].url, first)) == 3)
    (victim,) = [number for number in range(2) if before["scheduler"][0] in pids[number]]
    survivor = servers[1 - victim]
    kill(servers[victim])

    def moved() -> bool:
        now = held(target)
        return now.keys() == NAMES and all(pid in pids[1 - victim] for pid, _ in now.values())

    eventually(moved, TAKE_OVER_SECONDS_MAX)
    for name, (_, term) in held(target).items():
        assert term >= before[name][1] + (before[name][0] in pids[victim])
    client = Client(survivor.url)
    late, second = client.schedule(), deploy(survivor.url)
    eventually(lambda: client.is_late(late))
    assert client.states(late) == ["Scheduled", "Late"]
    eventually(lambda: len(slots(survivor.url, second)) == 3)
    for deployment in (first, second):
        found = slots(survivor.url, deployment)
        assert len(set(found)) == len(found) == 3
    # One that is slow may lose what it holds, and so there may be more terms than holders that were
    # killed; but nobody ever runs a service in a term that another has.
    last = {(name, term) for name, (_, term) in held(target).items()}
    eventually(lambda: last <= {term for server in servers for term in terms_begun(server)})
    terms = Counter(term for server in servers for term in terms_begun(server))
    assert set(terms.values()) == {1}
