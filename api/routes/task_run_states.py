"""The states that task runs went through: /task_run_states."""

from uuid import UUID

from api.errors import there
from api.http import Answer, Area, Call, Parameter
from api.lists import array
from api.runs import id_parameter
from orchestration.states import State
from projections import states

area = Area("/task_run_states", "Task Run States")


@area.get("/{id:uuid}", answers={200: State})
async def read_task_run_state(call: Call) -> Answer:
    """Read one state of a task run."""
    found = await states.by_id(call.server.database, states.TASK_RUN_STATES.table, call.id)
    # Word for word what Prefect says here, although this is the state of a task run.
    return Answer(200, there(found, "Flow run state not found").encode())


@area.get(
    "/",
    query=(Parameter("task_run_id", UUID, required=True, description="The task run."),),
    answers={200: list[State]},
)
async def read_task_run_states(call: Call) -> Answer:
    """The states of a task run, oldest first."""
    task_run_id = id_parameter(call, "task_run_id")
    return array(await states.of_task_run(call.server.database, task_run_id))
