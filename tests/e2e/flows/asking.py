"""A flow that pauses for input: `ask` runs it, `answer ID AGE` resumes it."""

import json
import sys

from prefect import flow, get_run_logger, pause_flow_run
from prefect.flow_runs import resume_flow_run
from prefect.input import RunInput


class Person(RunInput):  # type: ignore[misc]
    """What the flow asks for."""

    name: str
    age: int


@flow
def asking() -> dict[str, object]:
    """Ask who is there."""
    get_run_logger().info("asking")
    person = pause_flow_run(wait_for_input=Person, timeout=120, poll_interval=1)
    return {"name": person.name, "age": person.age}


if __name__ == "__main__":
    if sys.argv[1] == "ask":
        print(json.dumps(asking()))  # noqa: T201
    else:
        resume_flow_run(sys.argv[2], run_input={"name": "Ada", "age": json.loads(sys.argv[3])})
        print("{}")  # noqa: T201
