"""A flow that is under way for a while; prints as JSON what the client saw of its runs.

    long_haul.py LEGS GATE

Before its last leg it waits for the gate, a lock that the test holds.
"""

import fcntl
import json
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.context import TaskRunContext

MAPPED = 20
"""Mapped tasks in each leg."""
PAUSE_SECONDS = 0.5
task_runs: dict[str, dict[str, Any]] = {}
flow_runs: dict[str, dict[str, Any]] = {}


def saw_task_run(_: Any, run: Any, state: Any) -> None:
    """Keep what the client believes of a task run that has ended."""
    task_runs[str(run.id)] = {
        "name": run.name,
        "flow_run_id": str(run.flow_run_id),
        "state_name": state.name,
        "run_count": run.run_count,
    }


def saw_flow_run(_: Any, run: Any, state: Any) -> None:
    """Keep what the client believes of a flow run that has ended."""
    flow_runs[str(run.id)] = {"name": run.name, "state_name": state.name}


HOOKS: dict[str, Any] = {"on_completion": [saw_task_run], "on_failure": [saw_task_run]}


@task(**HOOKS)
def step(number: int) -> int:
    """One of many."""
    return number


@task(retries=1, retry_delay_seconds=0.1, **HOOKS)
def second_time_lucky() -> None:
    """Works when it is tried again."""
    context = TaskRunContext.get()
    assert context is not None
    if context.task_run.run_count < 2:
        raise ValueError("not yet")


@flow(on_completion=[saw_flow_run], on_failure=[saw_flow_run])
def leg(number: int) -> int:
    """Part of the way."""
    second_time_lucky()
    return sum(step.map(list(range(number * MAPPED, (number + 1) * MAPPED))).result())


def determined_leg(number: int) -> int:
    """The next leg, whenever the server is there again.

    The client announces a subflow through a new client object, and one that has not reached the
    server yet does not repeat a refused connection.
    """
    while True:
        try:
            return leg(number)
        except httpx.ConnectError:
            time.sleep(PAUSE_SECONDS)


@flow(on_completion=[saw_flow_run], on_failure=[saw_flow_run])
def long_haul(legs: int, gate: str) -> int:
    """One leg after the other."""
    total = 0
    for number in range(legs):
        if number == legs - 1:
            with Path(gate).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH)
        get_run_logger().info("leg %d", number)
        total += determined_leg(number)
        create_markdown_artifact(f"arrived at {number}", key=f"leg-{number}")
    return total


def main() -> None:
    """Run it."""
    state = long_haul(legs=int(sys.argv[1]), gate=sys.argv[2], return_state=True)
    summary = {
        "total": state.result(),
        "flow_run_id": str(state.state_details.flow_run_id),
        "flow_runs": flow_runs,
        "task_runs": task_runs,
    }
    print(json.dumps(summary))  # noqa: T201


if __name__ == "__main__":
    main()
