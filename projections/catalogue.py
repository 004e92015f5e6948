"""Every projection and every event type there is, found in this package.

What rows of theirs hold as documents is made ready to be read, by whatever thread.
"""

from importlib import import_module
from pkgutil import iter_modules

import projections
from eventstore.codec import Codec
from orchestration.artifacts import Artifact, ArtifactCollection
from orchestration.automation_firings import OpenFiring
from orchestration.automations import Automation
from orchestration.block_documents import BlockDocument
from orchestration.block_schemas import BlockSchema
from orchestration.block_types import BlockType
from orchestration.concurrency_leases import ConcurrencyLease
from orchestration.concurrency_limits import ConcurrencyLimit
from orchestration.deployment_bodies import ConcurrencyOptions
from orchestration.deployments import Deployment
from orchestration.documents import make_ready
from orchestration.flow_runs import FlowRun
from orchestration.flows import Flow
from orchestration.result_storage import ResultStorage
from orchestration.run_inputs import RunInput
from orchestration.saved_searches import SavedSearch
from orchestration.states import State
from orchestration.task_runs import TaskRun
from orchestration.variables import Variable
from orchestration.work_pools import WorkPool
from orchestration.work_queues import WorkQueue
from orchestration.workers import Worker
from projections.projection import Projection


def _found() -> tuple[Projection, ...]:
    """The `projection` of every module beside this one; it needs no other registration."""
    names = sorted(found.name for found in iter_modules(projections.__path__))
    modules = (import_module(f"projections.{name}") for name in names if name != "catalogue")
    return tuple(
        projection
        for module in modules
        if isinstance(projection := getattr(module, "projection", None), Projection)
    )


ALL = _found()
INLINE = tuple(projection for projection in ALL if projection.mode == "inline")
"""Folded in the append transaction."""
DERIVED = tuple(projection for projection in ALL if projection.mode == "derived")
"""Follow the log from their checkpoint."""

CODEC = Codec({event for projection in ALL for event in projection.handles})
"""Every event is somebody's: one that no projection handles cannot be read by this release."""

make_ready(Artifact, ArtifactCollection, Automation, BlockDocument, BlockSchema, BlockType)
make_ready(ConcurrencyLease, ConcurrencyLimit, ConcurrencyOptions, Deployment, Flow, FlowRun)
make_ready(OpenFiring, ResultStorage, RunInput, SavedSearch, State, TaskRun, Variable)
make_ready(WorkPool, WorkQueue, Worker)
