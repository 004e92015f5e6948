"""What emissions are called, seen without making them: most of them are wanted by nobody."""

from typing import Any

from msgspec import Struct, json

from eventstore.events import Recorded
from orchestration.emissions import EmissionReceived
from orchestration.flow_runs import FlowRunStateSet
from orchestration.task_runs import TaskRunReported


class _Named(Struct, frozen=True):
    event: str


_read = json.Decoder(_Named).decode


def name_of(recorded: Recorded[Any]) -> str | None:
    """The name of the emission that an event gives rise to; None if it is not seen at once."""
    event = recorded.event
    if isinstance(event, FlowRunStateSet):
        return f"prefect.flow-run.{event.state.name}"
    if isinstance(event, TaskRunReported | EmissionReceived):
        return _read(event.emission).event
    return None
