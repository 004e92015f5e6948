"""Work pools with workers, and deployments whose runs wait in them, made as clients make them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.browser.making_runs import Runs
from tests.serving import NO_CERTIFICATES

TEMPLATE = {
    "job_configuration": {"command": "{{ command }}", "env": "{{ env }}", "cpu": "{{ cpu }}"},
    "variables": {
        "type": "object",
        "properties": {
            "command": {"type": "string", "title": "Command", "description": "What is run."},
            "env": {
                "type": "object",
                "title": "Environment",
                "additionalProperties": {"type": "string"},
            },
            "cpu": {"type": "integer", "title": "Processors", "default": 2, "minimum": 1},
        },
    },
}


@dataclass(frozen=True)
class Pools(Runs):
    """Makes pools, workers and runs of deployments on a server; `url` is the base of its API."""

    def pool(self, name: str, type: str = "process", **more: Any) -> str:
        """The id of a work pool."""
        body = {"name": name, "type": type, "base_job_template": TEMPLATE, **more}
        return str(self.post("/work_pools/", body)["id"])

    def queue(self, pool: str, name: str, **more: Any) -> str:
        """The id of a queue of a pool."""
        return str(self.post(f"/work_pools/{pool}/queues", {"name": name, **more})["id"])

    def heartbeat(self, pool: str, worker: str) -> None:
        """A worker says that it is there."""
        body = {"name": worker, "heartbeat_interval_seconds": 30}
        path = f"{self.url}/work_pools/{pool}/workers/heartbeat"
        httpx.post(path, json=body, verify=NO_CERTIFICATES).raise_for_status()

    def poll(self, pool: str) -> None:
        """A worker asks for runs that are due."""
        path = f"{self.url}/work_pools/{pool}/get_scheduled_flow_runs"
        httpx.post(path, json={}, verify=NO_CERTIFICATES).raise_for_status()

    def deployment(self, name: str, pool: str, queue: str | None = None, **more: Any) -> str:
        """The id of a deployment of the flow `nightly load`."""
        flow = self.flow("nightly load")
        body = {"name": name, "flow_id": flow, "work_pool_name": pool, "work_queue_name": queue}
        return str(self.post("/deployments/", {**body, **more})["id"])

    def due(self, deployment: str, name: str, minutes: float = 60.0) -> str:
        """The id of a run of a deployment that is due in so many minutes, or was."""
        at = datetime.now(UTC) + timedelta(minutes=minutes)
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": at.isoformat()}}
        path = f"/deployments/{deployment}/create_flow_run"
        return str(self.post(path, {"name": name, "state": state})["id"])
