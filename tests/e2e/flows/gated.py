"""A background task that goes on when a gate is opened: `leave N` has others run it."""

import fcntl
import json
import os
import sys
from pathlib import Path

from prefect import task


@task(persist_result=True)
def held(number: int) -> int:
    """Say in a journal that it has begun, and wait for the lock of the gate."""
    with Path(os.environ["JOURNAL"]).open("a") as journal:
        journal.write(json.dumps({"number": number, "pid": os.getpid()}) + "\n")
    with Path(os.environ["GATE"]).open() as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)
    return number


if __name__ == "__main__":
    ids = [str(held.delay(number).task_run_id) for number in range(int(sys.argv[2]))]
    print(json.dumps(ids))  # noqa: T201
