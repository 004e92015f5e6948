"""A worker of the pool named on the command line that takes away what it is told to: it says so."""

import asyncio
import json
import sys
from typing import Any

from prefect.workers.process import ProcessWorker


class Tidying(ProcessWorker):  # type: ignore[misc]
    """Of what Prefect ships, only workers of other packages can end what they have started."""

    type = "tidying"

    async def kill_infrastructure(
        self, infrastructure_pid: str, configuration: Any, grace_seconds: int = 30
    ) -> None:
        """Say what is to be ended."""
        print(json.dumps(infrastructure_pid), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(Tidying(work_pool_name=sys.argv[1], name="tidying").start())
