"""Runs deployments from outside of any flow: one without waiting for it, one to its end."""

import json

from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment


def seen(run: FlowRun) -> dict[str, str]:
    """What the client has of a run."""
    assert run.state is not None
    return {"id": str(run.id), "name": run.name, "state": run.state.name}


left = run_deployment(
    "greet/by-hand",
    parameters={"name": "later"},
    timeout=0,
    flow_run_name="left-alone",
    tags=["asked-for"],
    job_variables={"env": {"GREETING": "good day"}},
)
awaited = run_deployment("parent/by-hand", timeout=None, poll_interval=1)
print(json.dumps({"left": seen(left), "awaited": seen(awaited)}))  # noqa: T201
