"""Pools, their workers, and runs that wait in them, in the test's own process."""

from typing import Any
from uuid import uuid4

from msgspec import json

from api.server import Server
from orchestration.deployment_bodies import DeploymentCreate, DeploymentFlowRunCreate
from orchestration.identifiers import Labels
from orchestration.work_pools import WorkPool, WorkPoolCreate
from projections import deployments as deployment_rows
from projections import work_pools as rows
from services import deployment_runs, deployments, flow_runs, work_pools, workers
from tests.services.runs_here import ORIGIN, new_flow


async def new_pool(server: Server, type: str = "process") -> WorkPool:
    """A new pool."""
    body = WorkPoolCreate(name=str(uuid4()), type=type)
    pool, _ = await work_pools.create(server.shell, body, ORIGIN)
    return pool


async def beat(server: Server, pool: WorkPool, name: str, interval_seconds: int = 30) -> None:
    """A worker is heard of."""
    current = await rows.by_id(server.database, pool.id)
    assert current is not None
    shell, now = server.shell, server.now()
    await workers.heartbeat(shell, server.pulses, current, name, interval_seconds, now, ORIGIN)


async def new_run_in(server: Server, pool: WorkPool | None, **fields: Any) -> str:
    """Id of a new run of a new deployment in a pool, or in none."""
    body = DeploymentCreate(
        name=str(uuid4()),
        flow_id=await new_flow(server),
        work_pool_name=None if pool is None else pool.name,
    )
    made, _, _ = await deployments.put(server.shell, body, server.now, ORIGIN)
    id_ = json.decode(made)["id"]
    deployment = await deployment_rows.entity(server.database, id_)
    assert deployment is not None
    wanted = DeploymentFlowRunCreate(**fields)
    run, _, _ = await deployment_runs.create(server.shell, deployment, wanted, server.now, ORIGIN)
    return str(json.decode(run)["id"])


async def label(server: Server, id_: str, labels: Labels) -> None:
    """Give a run labels, as workers do."""
    await flow_runs.update_labels(server.shell, id_, labels, ORIGIN)
