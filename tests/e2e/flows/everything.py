"""One flow with everything in it; prints as JSON what the client itself saw of its runs."""

import json
import sys
from typing import Any

import prefect
from prefect import flow, get_run_logger, tags, task
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import INPUTS
from prefect.context import FlowRunContext, TaskRunContext

LINES = 40
RETRY_DELAY_SECONDS: float = 1 if prefect.__version__.startswith("3.0.") else 0.1
"""Prefect 3.0 knows whole seconds only."""
task_runs: dict[str, dict[str, Any]] = {}
flow_runs: dict[str, dict[str, Any]] = {}
artifacts: dict[str, str] = {}


def saw_task_run(_: Any, run: Any, state: Any) -> None:
    """Keep what the client believes of a task run that has ended."""
    task_runs[str(run.id)] = {
        "name": run.name,
        "flow_run_id": str(run.flow_run_id),
        "state_type": state.type.value,
        "state_name": state.name,
        "run_count": run.run_count,
        "tags": sorted(run.tags),
    }


def saw_flow_run(flow: Any, run: Any, state: Any) -> None:
    """Keep what the client believes of a flow run that has ended."""
    flow_runs[str(run.id)] = {
        "flow": flow.name,
        "name": run.name,
        "state_type": state.type.value,
        "state_name": state.name,
        "run_count": run.run_count,
        "tags": sorted(run.tags),
        "parameters": run.parameters,
        "parent_task_run_id": run.parent_task_run_id and str(run.parent_task_run_id),
    }


TASK_HOOKS: dict[str, Any] = {"on_completion": [saw_task_run], "on_failure": [saw_task_run]}
FLOW_HOOKS: dict[str, Any] = {"on_completion": [saw_flow_run], "on_failure": [saw_flow_run]}


@task(**TASK_HOOKS)
def double(number: int) -> int:
    """Twice as much."""
    return number * 2


@task(retries=2, retry_delay_seconds=RETRY_DELAY_SECONDS, **TASK_HOOKS)
def third_time_lucky() -> int:
    """Works when it is tried for the third time."""
    context = TaskRunContext.get()
    assert context is not None
    if context.task_run.run_count < 3:
        raise ValueError(f"attempt {context.task_run.run_count}")
    return int(context.task_run.run_count)


@task(**TASK_HOOKS)
def fail() -> None:
    """Never works."""
    raise RuntimeError("this one always fails")


@task(cache_policy=INPUTS, persist_result=True, **TASK_HOOKS)
def remembered(word: str) -> str:
    """Is not run twice for the same word."""
    return word.upper()


@task(tags=["labelled"], **TASK_HOOKS)
def labelled() -> None:
    """A task with a tag, so the client asks for a slot first."""
    get_run_logger().warning("from a task")


@task(**TASK_HOOKS)
def leaf(text: str) -> str:
    """The innermost."""
    return f"leaf of {text}"


@flow(**FLOW_HOOKS)
def grandchild(text: str) -> str:
    """A flow in a flow in a flow."""
    return leaf(text)


@flow(**FLOW_HOOKS)
def child(text: str) -> str:
    """A flow in a flow."""
    return grandchild(f"{text}, child")


@flow(retries=2, retry_delay_seconds=RETRY_DELAY_SECONDS, **FLOW_HOOKS)
def flow_third_time_lucky() -> int:
    """A flow that works when it is tried for the third time."""
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    if context.flow_run.run_count < 3:
        raise ValueError(f"attempt {context.flow_run.run_count}")
    return int(context.flow_run.run_count)


@flow(**FLOW_HOOKS)
def doomed() -> None:
    """Does nothing about its task's failure."""
    fail()


def leave_artifacts() -> None:
    """One of each kind, one of them twice."""
    first = create_markdown_artifact("# first", key="report", description="a report")
    artifacts["report-first"] = str(first)
    artifacts["report"] = str(create_markdown_artifact("# second", key="report"))
    rows = [{"city": "Bern", "people": 134_000}, {"city": "Köln", "people": 1_086_000}]
    artifacts["cities"] = str(create_table_artifact(rows, key="cities"))
    artifacts["docs"] = str(create_link_artifact("https://example.org", key="docs"))
    artifacts["picture"] = str(create_image_artifact("https://example.org/a.png", key="picture"))
    progress = create_progress_artifact(10.0, key="progress")
    update_progress_artifact(progress, 75.0)
    artifacts["progress"] = str(progress)


@flow(log_prints=True, persist_result=True, **FLOW_HOOKS)
def everything(count: int, greeting: str) -> int:
    """All of it."""
    for number in range(LINES):
        get_run_logger().info("line %d", number)
    print(f"printed {greeting}")  # noqa: T201
    doubled = double.map(list(range(count))).result()
    with tags("nightly", "e2e"):
        assert child("everything") == "leaf of everything, child"
    assert third_time_lucky() == 3
    assert flow_third_time_lucky() == 3
    assert fail.submit().wait() is None
    assert doomed(return_state=True).is_failed()
    assert remembered("word") == remembered("word") == "WORD"
    labelled()
    leave_artifacts()
    return sum(doubled)


def main() -> None:
    """Run it."""
    state = everything(count=int(sys.argv[1]), greeting="hello", return_state=True)
    summary = {
        "total": state.result(),
        "flow_run_id": str(state.state_details.flow_run_id),
        "flow_runs": flow_runs,
        "task_runs": task_runs,
        "artifacts": artifacts,
        "lines": LINES,
    }
    print(json.dumps(summary))  # noqa: T201


if __name__ == "__main__":
    main()
