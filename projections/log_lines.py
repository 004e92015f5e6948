"""What runs print: an append-only table beside the log.   Table: migrations/0003.log-lines.sql

Not a projection: lines are not events, they cannot be folded again. They share the commits of the
log, and its head counts them.
"""

from eventstore.database import Table, Transaction
from eventstore.log import Effect

TABLE = Table(
    "log_lines",
    {
        "line": "bigint",
        "id": "text",
        "created": "bigint",
        "timestamp": "bigint",
        "level": "bigint",
        "name": "text",
        "message": "text",
        "flow_run_id": "text",
        "task_run_id": "text",
    },
    key=("line",),
)

DELETE_OF_FLOW_RUN = "DELETE FROM log_lines WHERE flow_run_id = $1"


def deletion(flow_run_id: str) -> Effect:
    """Removes the lines of a flow run, its task runs' included, with the command's commit."""

    async def delete(tx: Transaction) -> None:
        await tx.execute(DELETE_OF_FLOW_RUN, flow_run_id)

    return delete
