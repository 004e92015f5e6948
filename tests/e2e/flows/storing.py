"""`save PLACE` saves a block for results in a folder; `run` leaves a result where it is told to.

Prints as JSON what it knows of it.
"""

import json
import sys

from prefect import flow
from prefect.filesystems import LocalFileSystem


@flow(persist_result=True)
def storing() -> int:
    """Its result is kept."""
    return 42


if __name__ == "__main__":
    if sys.argv[1] == "save":
        print(json.dumps(str(LocalFileSystem(basepath=sys.argv[2]).save("results"))))  # noqa: T201
    else:
        print(json.dumps(storing()))  # noqa: T201
