"""A flow within limits: `database` (2 slots), the tag `gpu` (1 slot), the rate `requests`.

It says how many of its tasks held a slot at the same time, how long the rate made it wait in
seconds, and what a limit that is missing came to.
"""

import json
import sys
import threading
import time

from prefect import flow, task
from prefect.concurrency.sync import concurrency, rate_limit

HELD_SECONDS = 0.2


class Gauge:
    """How many are inside at the same time, and the most that ever were."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = self.most = 0

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


database, gpu = Gauge(), Gauge()


@task
def ask() -> None:
    """Hold a slot of the database."""
    with concurrency("database", occupy=1), database:
        time.sleep(HELD_SECONDS)


@task(tags=["gpu"])
def compute() -> None:
    """Run with a tag that is limited."""
    with gpu:
        time.sleep(HELD_SECONDS)


@flow
def limited(count: int) -> None:
    """Run so many tasks of each kind at once."""
    futures = [ask.submit() for _ in range(count)] + [compute.submit() for _ in range(count)]
    for future in futures:
        future.result()


def _missing() -> str:
    try:
        with concurrency("there-is-no-such-limit", strict=True):
            return "held"
    except Exception as error:
        return type(error).__name__


if __name__ == "__main__":
    limited(int(sys.argv[1]))
    with concurrency("there-is-no-such-limit"):
        pass
    began = time.monotonic()
    for _ in range(3):
        rate_limit("requests")
    print(  # noqa: T201
        json.dumps(
            {
                "database": database.most,
                "gpu": gpu.most,
                "waited": time.monotonic() - began,
                "missing": _missing(),
            }
        )
    )
