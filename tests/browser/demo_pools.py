"""The work pools of the small data team: two that workers poll, one that waits for a worker, and
the deployments whose runs wait in them."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from api.server import Server
from api.worker_type import WorkerType
from api.worker_types_on_premises import DOCKER, KUBERNETES, PROCESS
from orchestration.deployment_bodies import DeploymentCreate, DeploymentFlowRunCreate
from orchestration.states import ProposedDetails, ProposedState
from orchestration.work_pools import WorkPoolCreate
from orchestration.work_queues import WorkQueueCreate
from projections import deployments as rows
from services import deployment_runs, deployments, work_pools, workers
from services.shell import Origin

POOLS: tuple[tuple[str, WorkerType, int | None, str, tuple[str, ...]], ...] = (
    ("docker-eu", DOCKER, 10, "Containers in Frankfurt", ("docker-eu-1", "docker-eu-2")),
    ("gpu", KUBERNETES, 2, "", ("gpu-node-7",)),
    ("laptops", PROCESS, None, "For trying out", ()),
)
"""Name, type, limit, description and workers."""
DEPLOYMENTS = (
    ("ingest-orders", "production", "docker-eu", "urgent", 20),
    ("sync-inventory", "production", "docker-eu", "default", 45),
    ("train-forecast", "weekly", "gpu", "default", 180),
    ("hourly-metrics", "anna", "laptops", "default", 60),
)
"""Flow, name, pool, queue, and minutes between the runs that are to come."""
UPCOMING = 3


async def fill(server: Server, flows: Mapping[str, str], now: datetime, origin: Origin) -> int:
    """Make pools, workers and deployments of flows, by name; how many runs wait."""
    for name, type, limit, description, team in POOLS:
        body = WorkPoolCreate(
            name=name,
            type=type.type,
            description=description or None,
            concurrency_limit=limit,
            base_job_template=msgspec.to_builtins(type.default_base_job_configuration),
        )
        pool, _ = await work_pools.create(server.shell, body, origin)
        for worker in team:
            await workers.heartbeat(server.shell, server.pulses, pool, worker, 30, now, origin)
    urgent = WorkQueueCreate(
        name="urgent", description="What a customer waits for", priority=1, concurrency_limit=4
    )
    await work_pools.create_queue(server.shell, "docker-eu", urgent, origin)
    number = 0
    for flow, name, pool_name, queue, minutes in DEPLOYMENTS:
        body_of = {
            "flow_id": flows[flow],
            "name": name,
            "work_pool_name": pool_name,
            "work_queue_name": queue,
        }
        number += await _deploy(server, body_of, minutes, now, origin)
    return number


async def _deploy(
    server: Server, body: Mapping[str, Any], minutes: int, now: datetime, origin: Origin
) -> int:
    created = msgspec.convert(body, DeploymentCreate)
    shown, _, _ = await deployments.put(server.shell, created, lambda: now, origin)
    deployment = await rows.entity(server.database, json.loads(shown)["id"])
    assert deployment is not None
    for at in range(UPCOMING):
        due = now + timedelta(minutes=minutes * (at + 0.4))
        state = ProposedState("SCHEDULED", state_details=ProposedDetails(scheduled_time=due))
        wanted = DeploymentFlowRunCreate(state=state)
        await deployment_runs.create(server.shell, deployment, wanted, lambda: now, origin)
    return UPCOMING
