"""A deployment of which one run may go on at a time, served until it is ended."""

import time

from prefect import flow

RUNS_SECONDS = 1.0


@flow
def one_at_a_time() -> None:
    """Take some time."""
    time.sleep(RUNS_SECONDS)


if __name__ == "__main__":
    one_at_a_time.serve(name="limited", global_limit=1)
