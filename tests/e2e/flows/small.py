"""The smallest flow worth watching; prints the ids of its runs as JSON."""

import json
from typing import Any

from prefect import flow, task
from prefect.context import FlowRunContext


@task
def greet(name: str) -> str:
    """Say hello."""
    return f"hello {name}"


@flow
def small() -> dict[str, Any]:
    """One task."""
    future = greet.submit("you")
    future.result()
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    return {"flow_run_id": str(context.flow_run.id), "task_run_id": str(future.task_run_id)}


if __name__ == "__main__":
    print(json.dumps(small()))  # noqa: T201
