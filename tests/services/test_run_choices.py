"""What a person is offered to do with a run, by its state."""

from datetime import UTC, datetime
from typing import Any

import pytest

from eventstore.ids import new_id
from orchestration.flow_runs import FlowRun
from orchestration.states import StateType, new_state
from services.run_actions import choices

KEPT = {"type": "reference", "storage_key": "x"}


def _run(kind: StateType, data: Any = None, **fields: Any) -> FlowRun:
    state = new_state(kind, new_id(), datetime.now(UTC), data=data)
    fields |= {"state": state, "state_type": kind, "state_name": state.name}
    return FlowRun(id=new_id(), name="run", flow_id=new_id(), **fields)


@pytest.mark.parametrize(
    ("kind", "alone", "deployed"),
    [
        ("SCHEDULED", {"cancel"}, set()),
        ("PENDING", {"cancel"}, set()),
        ("RUNNING", {"cancel", "pause"}, {"suspend"}),
        ("PAUSED", {"cancel", "resume"}, set()),
        ("CANCELLING", set(), set()),
        ("COMPLETED", set(), {"retry"}),
        ("FAILED", set(), {"retry"}),
        ("CRASHED", set(), {"retry"}),
        ("CANCELLED", set(), {"retry"}),
    ],
)
def test_a_deployment_can_be_asked_to_run_it_again(
    kind: StateType, alone: set[str], deployed: set[str]
) -> None:
    assert choices(_run(kind)) == alone
    assert choices(_run(kind, deployment_id=new_id())) == alone | deployed


def test_what_the_rules_would_refuse_is_not_offered() -> None:
    kept = _run("COMPLETED", KEPT, deployment_id=new_id())
    assert choices(kept) == frozenset()
    subflow = _run("RUNNING", deployment_id=new_id(), parent_task_run_id=new_id())
    assert "suspend" not in choices(subflow)
