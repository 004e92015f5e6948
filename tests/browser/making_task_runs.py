"""Task runs as clients report them: with times of their own, so that a run looks like one that took
minutes; hundreds in one request.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx

Json = dict[str, Any]

BATCH = 200
"""Reports in one request."""
NAMES = {
    "SCHEDULED": "Scheduled",
    "PENDING": "Pending",
    "RUNNING": "Running",
    "COMPLETED": "Completed",
    "FAILED": "Failed",
    "CRASHED": "Crashed",
    "CANCELLED": "Cancelled",
}
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass
class Task:
    """A task run and what becomes of it: states with seconds after `began`."""

    name: str
    states: Sequence[tuple[str, float] | tuple[str, float, str]]
    """Type, when, and a name other than the type's own."""
    after: Sequence["Task"] = ()
    """Whose results it is given."""
    message: str | None = None
    """Of its last state."""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


def reports(flow_run_id: str, began: datetime, tasks: Sequence[Task]) -> list[Json]:
    """All reports of these task runs in the order of their times."""
    found = [report for task in tasks for report in _of(task, flow_run_id, began)]
    return sorted(found, key=lambda report: str(report["occurred"]))


def _of(task: Task, flow_run_id: str, began: datetime) -> Iterator[Json]:
    fields: Json = {
        "name": task.name,
        "task_key": task.name.rpartition("-")[0] or task.name,
        "dynamic_key": task.id,
        "task_inputs": {
            "given": [{"input_type": "task_run", "id": other.id} for other in task.after]
        }
        if task.after
        else {},
        "run_count": 0,
        "total_run_time": 0.0,
    }
    since = began
    for number, (kind, seconds, *name) in enumerate(task.states):
        moment = began + timedelta(seconds=seconds)
        fields.setdefault("expected_start_time", moment.isoformat())
        if kind == "RUNNING":
            fields["run_count"] += 1
            fields.setdefault("start_time", moment.isoformat())
            since = moment
        if kind in ENDED:
            fields["end_time"] = moment.isoformat()
            fields["total_run_time"] += (moment - since).total_seconds()
        last = number == len(task.states) - 1
        state = {"type": kind, "name": name[0] if name else NAMES[kind], "state_details": {}}
        if last and task.message:
            state["message"] = task.message
        yield {
            "occurred": moment.isoformat(),
            "event": f"prefect.task-run.{state['name']}",
            "resource": {
                "prefect.resource.id": f"prefect.task-run.{task.id}",
                "prefect.orchestration": "client",
            },
            "related": [
                {
                    "prefect.resource.id": f"prefect.flow-run.{flow_run_id}",
                    "prefect.resource.role": "flow-run",
                }
            ],
            "payload": {"validated_state": state, "task_run": dict(fields)},
            "id": str(uuid.uuid4()),
            "follows": None,
        }


def send(url: str, found: Sequence[Json]) -> None:
    """Send reports to the server whose API is at `url`."""
    with httpx.Client(timeout=60) as client:
        for at in range(0, len(found), BATCH):
            answer = client.post(f"{url}/events", json=found[at : at + BATCH])
            assert answer.status_code == 204, answer.text


def tell(url: str, flow_run_id: str, began: datetime, tasks: Sequence[Task]) -> None:
    """Report everything about these task runs."""
    send(url, reports(flow_run_id, began, tasks))


def simple(name: str, start: float, seconds: float, *, end: str = "COMPLETED", **more: Any) -> Task:
    """Pending, running, ended."""
    states = (("PENDING", start), ("RUNNING", start + 0.05), (end, start + 0.05 + seconds))
    return Task(name, states, **more)


def fan_out(number: int, width: int, seconds: float) -> list[Task]:
    """Many task runs, `width` at a time, each on the results of one of the batch before it."""
    tasks: list[Task] = []
    for at in range(number):
        batch, place = divmod(at, width)
        start = batch * seconds * 1.2 + place * seconds / width / 4
        length = seconds * (0.5 + (at * 37 % 100) / 200)
        end = "FAILED" if at % 97 == 50 else "COMPLETED"
        before = (tasks[at - width],) if batch else ()
        tasks.append(simple(f"transform-{at:04}", start, length, end=end, after=before))
    return tasks
