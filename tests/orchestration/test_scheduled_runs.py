"""A run that follows from another one of its schedule is the run that would be decided upon."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from orchestration.flow_run_bodies import CreatedBy, FlowRunCreate
from orchestration.flow_run_decisions import CreateFlowRun, decide
from orchestration.scheduled_runs import Itself, another
from orchestration.states import SCHEDULED, StateDetails, new_state
from orchestration.surroundings import Neighbour, Surroundings

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
FLOW = "00000000-0000-4000-8000-000000000001"
ITSELF = Itself(
    id="00000000-0000-4000-8000-00000000000a",
    name="brave-otter",
    idempotency_key="scheduled a",
    state_id="00000000-0000-4000-8000-00000000000b",
    moment=NOW + timedelta(hours=1),
)


def creating(run: Itself) -> CreateFlowRun:
    details = StateDetails(scheduled_time=run.moment)
    return CreateFlowRun(
        id=run.id,
        body=FlowRunCreate(
            flow_id=FLOW,
            parameters={"n": 1},
            tags=("auto-scheduled", "mine"),
            labels={"team": "blue"},
            idempotency_key=run.idempotency_key,
        ),
        state=new_state(SCHEDULED, run.state_id, NOW, message="Scheduled", details=details),
        name=run.name,
        around=Surroundings(flow=Neighbour(FLOW, "etl"), work_queue=Neighbour("q", "default")),
        created_by=CreatedBy(type="SCHEDULE", display_value="hourly"),
        auto_scheduled=True,
    )


def test_it_is_what_would_have_been_decided() -> None:
    other = replace(
        ITSELF,
        id="00000000-0000-4000-8000-00000000000c",
        name="calm-lynx",
        idempotency_key="scheduled b",
        state_id="00000000-0000-4000-8000-00000000000d",
        moment=NOW + timedelta(hours=2),
    )
    first = decide(creating(ITSELF), None)
    assert another(first, other) == decide(creating(other), None)
