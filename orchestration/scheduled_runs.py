"""Runs that a schedule brings about are alike: one is decided upon, the others follow from it.

A schedule has a hundred of them made at once, which differ in who they are and when they start. To
decide upon each would be most of the work.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from orchestration.flow_runs import FlowRunCreated, FlowRunEvent, FlowRunStateSet

SCHEDULE = "SCHEDULE"
"""What kind of thing such a run was created by."""


class Itself(Struct, frozen=True):
    """In what a scheduled run differs from the others of its schedule."""

    id: str
    name: str
    idempotency_key: str
    state_id: str
    moment: datetime
    """When it is to start."""


def made_by_schedule(event: FlowRunStateSet) -> bool:
    """Whether this is the state in which a schedule made the run."""
    creator = event.created_by
    return event.former is None and creator is not None and creator.type == SCHEDULE


def another(made: Sequence[FlowRunEvent], run: Itself) -> list[FlowRunEvent]:
    """The events of a run that is created, Scheduled, at the same time as the one that `made` are
    the events of, and like it."""
    created, state_set = made
    assert isinstance(created, FlowRunCreated) and isinstance(state_set, FlowRunStateSet)
    state = state_set.state
    details = replace(state.state_details, flow_run_id=run.id, scheduled_time=run.moment)
    return [
        replace(created, id=run.id, name=run.name, idempotency_key=run.idempotency_key),
        replace(
            state_set,
            name=run.name,
            state=replace(state, id=run.state_id, state_details=details),
        ),
    ]
