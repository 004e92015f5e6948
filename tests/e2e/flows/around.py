"""What a flow may have to do with besides tasks; prints as JSON what the client saw of it.

Only what every client from 3.0 on knows.
"""

import json
import sys
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.blocks.core import Block
from prefect.concurrency.sync import concurrency
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.variables import Variable
from pydantic import SecretStr


class Depot(Block):  # type: ignore[misc]  # The client is not installed here.
    """A block with a secret."""

    place: str
    key: SecretStr


@task(retries=1, retry_delay_seconds=0)
def within(limit: str) -> str:
    """Holds a slot."""
    with concurrency(limit, occupy=1):
        return limit


@flow
def around(limit: str) -> dict[str, Any]:
    """Variables, blocks, limits, artifacts, events, logs."""
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    Variable.set("where", "here", tags=["a"], overwrite=True)
    Depot(place="Bern", key=SecretStr("k3y")).save("main", overwrite=True)
    depot: Any = Depot.load("main")
    create_markdown_artifact("# found", key="found")
    emit_event("around.seen", resource={"prefect.resource.id": "around.thing"})
    get_run_logger().info("around it goes")
    return {
        "flow_run_id": str(context.flow_run.id),
        "variable": Variable.get("where"),
        "block": [depot.place, depot.key.get_secret_value()],
        "held": within.submit(limit).result(),
    }


if __name__ == "__main__":
    print(json.dumps(around(sys.argv[1])))  # noqa: T201
