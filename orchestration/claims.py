"""Claims: what a worker has of a run that it made Pending, and what becomes of one without it."""

from typing import Literal, TypeAlias

from orchestration.flow_runs import FlowRun
from orchestration.states import CRASHED, NAMES, PENDING, SCHEDULED

WORKER_LABEL = "prefect.worker.name"
"""The label by which a worker says which runs it has, before it starts anything for them."""
_CLAIMED = NAMES[PENDING][0]
"""What the state is called while nothing has been started."""

Fate: TypeAlias = Literal["SCHEDULED", "CRASHED"]


def worker_of(run: FlowRun) -> str | None:
    """The name of the worker that has, or had, the run; None if none has come to say."""
    name = run.labels.get(WORKER_LABEL)
    return name if isinstance(name, str) else None


def fate(run: FlowRun) -> Fate | None:
    """What a pending run becomes if its worker is gone; None: it does without."""
    if run.state_type != PENDING or run.infrastructure_pid:
        return None
    return SCHEDULED if run.state_name == _CLAIMED else CRASHED
