"""Read models: the states that flow runs and task runs went through.

Tables: migrations/0002.read-models.sql. Rows belong to the projection of the run.
"""

from eventstore.database import Reader, Row, Table, Value
from orchestration.documents import document
from orchestration.states import State
from projections.columns import micros
from projections.projection import rows_of


def _table(name: str, run: str) -> Table:
    return Table(
        name,
        {
            "id": "text",
            run: "text",
            "timestamp": "bigint",
            "type": "text",
            "name": "text",
            "document": "text",
        },
    )


FLOW_RUN_STATES = rows_of(_table("flow_run_states", "flow_run_id"))
TASK_RUN_STATES = rows_of(_table("task_run_states", "task_run_id"))


def render(state: State, run_id: str) -> Row:
    """The row of one state of a run."""
    return (
        state.id,
        run_id,
        micros(state.timestamp),
        state.type,
        state.name,
        document(state).decode(),
    )


OF_FLOW_RUN = "SELECT document FROM flow_run_states WHERE flow_run_id = $1 ORDER BY timestamp, id"
OF_TASK_RUN = "SELECT document FROM task_run_states WHERE task_run_id = $1 ORDER BY timestamp, id"


async def of_flow_run(reader: Reader, flow_run_id: str) -> list[str]:
    """Documents of a flow run's states, oldest first."""
    return [row[0] for row in await reader.fetch(OF_FLOW_RUN, flow_run_id)]


async def of_task_run(reader: Reader, task_run_id: str) -> list[str]:
    """Documents of a task run's states, oldest first."""
    return [row[0] for row in await reader.fetch(OF_TASK_RUN, task_run_id)]


async def by_id(reader: Reader, table: Table, id: Value) -> str | None:
    """Document of one state."""
    rows = await reader.fetch_keys(table, [(id,)])
    return rows[0][-1] if rows else None
