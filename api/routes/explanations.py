"""Why a flow run is in the state it is in: /flow_runs/{id}/explain. Ours, not Prefect's."""

from api.errors import there
from api.http import Answer, Area, Call, ok
from projections.catalogue import CODEC
from projections.run_explanation import Explanation, explanation

area = Area("/flow_runs", "Flow Runs")


@area.get("/{id:uuid}/explain", answers={200: Explanation})
async def explain_flow_run(call: Call) -> Answer:
    """Say in plain sentences why a flow run is in the state it is in, from its events."""
    server = call.server
    untagged = server.settings.services_zombies_untagged
    found = await explanation(server.database, CODEC, call.id, server.now(), untagged=untagged)
    return ok(there(found, "Flow run not found"))
