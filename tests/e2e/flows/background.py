"""A background task: `serve` runs it; `delay N` has others run it and waits, `leave N` does not."""

import json
import sys

from prefect import task


@task(persist_result=True)
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def leave(number: int) -> list[str]:
    """Have the task run so many times by others; the ids of its runs."""
    return [str(add.delay(n, 1).task_run_id) for n in range(number)]


def delay(number: int) -> dict[str, list[int]]:
    """Have the task run so many times by others; its results and the ids of its runs."""
    futures = [add.delay(n, 1) for n in range(number)]
    for future in futures:
        future.wait(timeout=90)
    return {
        "ids": [str(future.task_run_id) for future in futures],
        "results": [future.result(timeout=10) for future in futures],
    }


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        add.serve()
    elif sys.argv[1] == "leave":
        print(json.dumps(leave(int(sys.argv[2]))))  # noqa: T201
    else:
        print(json.dumps(delay(int(sys.argv[2]))))  # noqa: T201
