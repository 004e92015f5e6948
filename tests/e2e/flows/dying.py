"""A flow that never ends by itself; its heart beats."""

import time

from prefect import flow, tags, task


@task
def waiting() -> None:
    """Wait for ever."""
    while True:
        time.sleep(1)


@flow
def dying() -> None:
    """Run until the process is killed."""
    waiting()


if __name__ == "__main__":
    with tags("zombies:crash"):
        dying()
