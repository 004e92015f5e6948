"""The states that flow runs went through: /flow_run_states."""

from uuid import UUID

from api.errors import there
from api.http import Answer, Area, Call, Parameter
from api.lists import array
from api.runs import id_parameter
from orchestration.states import State
from projections import states

area = Area("/flow_run_states", "Flow Run States")


@area.get("/{id:uuid}", answers={200: State})
async def read_flow_run_state(call: Call) -> Answer:
    """Read one state of a flow run."""
    found = await states.by_id(call.server.database, states.FLOW_RUN_STATES.table, call.id)
    return Answer(200, there(found, "Flow run state not found").encode())


@area.get(
    "/",
    query=(Parameter("flow_run_id", UUID, required=True, description="The flow run."),),
    answers={200: list[State]},
)
async def read_flow_run_states(call: Call) -> Answer:
    """The states of a flow run, oldest first."""
    flow_run_id = id_parameter(call, "flow_run_id")
    return array(await states.of_flow_run(call.server.database, flow_run_id))
