"""What tests say to the API again and again."""

import uuid
from datetime import datetime
from typing import Any

import httpx

from tests.serving import NO_CERTIFICATES

Json = dict[str, Any]


def talk_to(url: str) -> httpx.AsyncClient:
    """A client of the API at this base URL."""
    return httpx.AsyncClient(base_url=url, timeout=30.0, verify=NO_CERTIFICATES)


async def make_flow(client: httpx.AsyncClient, **fields: Any) -> str:
    """Id of a new flow."""
    body = {"name": f"flow {uuid.uuid4()}"} | fields
    return str((await expect(client, "POST", "/flows/", 201, body))["id"])


async def make_flow_run(client: httpx.AsyncClient, flow_id: str, **fields: Any) -> Json:
    """A new flow run."""
    run: Json = await expect(client, "POST", "/flow_runs/", 201, {"flow_id": flow_id} | fields)
    return run


async def make_task_run(client: httpx.AsyncClient, flow_run_id: str, **fields: Any) -> Json:
    """A new task run."""
    body = {"flow_run_id": flow_run_id, "task_key": "t", "dynamic_key": str(uuid.uuid4())} | fields
    run: Json = await expect(client, "POST", "/task_runs/", 201, body)
    return run


async def set_state(
    client: httpx.AsyncClient, kind: str, id: str, type: str, **fields: Any
) -> httpx.Response:
    """The answer to a proposed state; `kind` is `flow_runs` or `task_runs`."""
    body = {"state": {"type": type} | fields}
    return await client.post(f"/{kind}/{id}/set_state", json=body)


async def expect(
    client: httpx.AsyncClient, method: str, path: str, status: int, body: Any = None
) -> Any:
    """The JSON of an answer that must have this status."""
    response = await client.request(method, path, json=body)
    assert response.status_code == status, response.text
    return response.json() if response.content else None


def report(task_run_id: str, flow_run_id: str, at: datetime, **fields: Any) -> Json:
    """An emission in which a client says that its task run has completed at this time."""
    state = {"type": "COMPLETED", "name": "Completed", "message": "", "state_details": {}}
    task_run = {
        "name": "t",
        "task_key": "t",
        "dynamic_key": task_run_id,
        "start_time": at.isoformat(),
        "end_time": at.isoformat(),
    }
    return {
        "id": str(uuid.uuid4()),
        "occurred": at.isoformat(),
        "event": "prefect.task-run.Completed",
        "resource": {
            "prefect.resource.id": f"prefect.task-run.{task_run_id}",
            "prefect.orchestration": "client",
        },
        "related": [
            {
                "prefect.resource.id": f"prefect.flow-run.{flow_run_id}",
                "prefect.resource.role": "flow-run",
            }
        ],
        "payload": {"validated_state": state, "task_run": task_run | fields},
    }
