"""What totals of flow runs can answer: a filter, taken apart into a window and the rest."""

from msgspec import Struct
from msgspec.structs import replace

from projections.bucket_places import FOR_EVER
from projections.criteria import ACTIVE, Ids, Time, microseconds
from projections.filters import DeploymentFilter, Filters, FlowFilter, FlowRunFilter
from projections.run_totals import BY_EXPECTED, BY_START


class Question(Struct, frozen=True):
    """A filter that totals can answer, taken apart."""

    axis: int
    first: int
    until: int
    own: FlowRunFilter
    windowless: Filters
    """The same filters without the window."""
    flows: FlowFilter | None
    deployments: DeploymentFilter | None
    active: bool
    """Whether runs that have not ended may match."""
    ended: bool
    """Whether runs that have ended may."""

    @property
    def scoped(self) -> bool:
        """Whether it is about certain flows or deployments."""
        return (
            self.flows is not None
            or self.deployments is not None
            or self.own.deployment_id is not None
        )


def taken_apart(filters: Filters) -> Question | None:
    """What totals can answer; None if they cannot."""
    own = filters.flow_runs or FlowRunFilter()
    criteria = [name for name in own.__struct_fields__ if name != "operator"]
    asked = [name for name in criteria if getattr(own, name) is not None]
    if own.operator == "or_" and len(asked) > 1:
        return None
    if not set(asked) <= _ANSWERABLE:
        return None
    others = (
        filters.task_runs,
        filters.work_pools,
        filters.work_queues,
        filters.work_pool_queues,
    )
    if any(other is not None for other in others):
        return None
    scopes = (filters.flows, filters.deployments, own.deployment_id)
    if sum(scope is not None for scope in scopes) > 1:
        return None
    deployment, parent = own.deployment_id, own.parent_task_run_id
    if deployment is not None and deployment != Ids(any_=deployment.any_ or []):
        return None
    if parent is not None and parent != Ids(is_null_=parent.is_null_):
        return None
    expected, start = own.expected_start_time or Time(), own.start_time or Time()
    if expected.is_null_ is not None or (_is_bounded(expected) and _is_bounded(start)):
        return None
    axis, window = (BY_START, start) if _is_bounded(start) else (BY_EXPECTED, expected)
    types = own.state.type.any_ if own.state is not None and own.state.type is not None else None
    if types is None or (own.state is not None and own.state.operator == "or_"):
        active = ended = True
    else:
        active = not set(types).isdisjoint(ACTIVE)
        ended = not set(types) <= set(ACTIVE)
    open_start = None if own.start_time is None else Time(is_null_=start.is_null_)
    return Question(
        axis=axis,
        first=-FOR_EVER if window.after_ is None else microseconds(window.after_),
        until=FOR_EVER if window.before_ is None else microseconds(window.before_) + 1,
        own=own,
        windowless=replace(
            filters, flow_runs=replace(own, expected_start_time=None, start_time=open_start)
        ),
        flows=None if filters.flows == FlowFilter() else filters.flows,
        deployments=filters.deployments,
        active=active,
        ended=ended,
    )


_ANSWERABLE = {"state", "expected_start_time", "start_time", "parent_task_run_id", "deployment_id"}


def _is_bounded(window: Time) -> bool:
    return window.before_ is not None or window.after_ is not None
