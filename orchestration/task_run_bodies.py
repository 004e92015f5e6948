"""What clients send to make and to change a task run."""

from datetime import datetime

from msgspec import UNSET, Struct, UnsetType

from orchestration.documents import Extras, extras_field
from orchestration.identifiers import Id, Labels, Text, tidy
from orchestration.refusals import Invalid
from orchestration.run_policies import RETRY_DELAYS_MAX, TaskRunPolicy
from orchestration.states import ProposedState
from orchestration.task_inputs import Inputs


class TaskRunCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /task_runs/`."""

    id: Id | None = None
    state: ProposedState | None = None
    name: Text | None = None
    flow_run_id: Id | None = None
    task_key: Text
    dynamic_key: Text
    cache_key: Text | None = None
    cache_expiration: datetime | None = None
    task_version: str | None = None
    empirical_policy: TaskRunPolicy = TaskRunPolicy()
    tags: tuple[str, ...] = ()
    labels: Labels | None = {}
    task_inputs: Inputs = {}
    extras: Extras = extras_field()

    def __post_init__(self) -> None:
        tidy(self, ids=("id", "flow_run_id"), times=("cache_expiration",))


class TaskRunUpdate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `PATCH /task_runs/{id}`."""

    name: Text | UnsetType | None = UNSET
    extras: Extras = extras_field()


def check(body: TaskRunCreate, cache_key_characters_max: int) -> None:
    """Raise `Invalid` for a key, a list or a number that is out of bounds."""
    if body.cache_key and len(body.cache_key) > cache_key_characters_max:
        raise Invalid(
            f"The cache key is longer than {cache_key_characters_max} characters.", ("cache_key",)
        )
    delays, jitter = body.empirical_policy.retry_delay, body.empirical_policy.retry_jitter_factor
    if jitter is not None and jitter < 0:
        raise Invalid(
            "A jitter factor is not negative.", ("empirical_policy", "retry_jitter_factor")
        )
    if isinstance(delays, tuple) and len(delays) > RETRY_DELAYS_MAX:
        raise Invalid(
            f"There are more than {RETRY_DELAYS_MAX} retry delays.",
            ("empirical_policy", "retry_delay"),
        )
