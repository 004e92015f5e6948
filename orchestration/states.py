"""Run states: their types and names, which may follow which, and what a state consists of.

`FLOW_TRANSITIONS` and `TASK_TRANSITIONS` are the tables that the documentation's diagrams are
drawn from: a pair that is missing is never accepted as proposed by the core rules, whatever the
circumstances; a pair that is there is accepted under some circumstances at least.
"""

from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import astuple, force_setattr

from orchestration.documents import Extras, extras_field
from orchestration.identifiers import Id, StateName, tidy

StateType: TypeAlias = Literal[
    "SCHEDULED",
    "PENDING",
    "RUNNING",
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "CRASHED",
    "PAUSED",
    "CANCELLING",
]

SCHEDULED: Final = "SCHEDULED"
PENDING: Final = "PENDING"
RUNNING: Final = "RUNNING"
COMPLETED: Final = "COMPLETED"
FAILED: Final = "FAILED"
CANCELLED: Final = "CANCELLED"
CRASHED: Final = "CRASHED"
PAUSED: Final = "PAUSED"
CANCELLING: Final = "CANCELLING"

STATE_TYPES: Final[tuple[StateType, ...]] = (
    SCHEDULED,
    PENDING,
    RUNNING,
    COMPLETED,
    FAILED,
    CANCELLED,
    CRASHED,
    PAUSED,
    CANCELLING,
)
TERMINAL: Final[frozenset[StateType]] = frozenset({COMPLETED, FAILED, CANCELLED, CRASHED})
"""Nothing runs any more and nothing will, unless somebody asks for it."""

NAMES: Final[dict[StateType, tuple[str, ...]]] = {
    SCHEDULED: ("Scheduled", "Late", "Resuming", "AwaitingRetry", "AwaitingConcurrencySlot"),
    PENDING: ("Pending", "Submitting", "InfrastructurePending"),
    RUNNING: ("Running", "Retrying", "Rerunning"),
    COMPLETED: ("Completed", "Cached"),
    FAILED: ("Failed", "TimedOut"),
    CANCELLED: ("Cancelled",),
    CRASHED: ("Crashed",),
    PAUSED: ("Paused", "Suspended", "NotReady"),
    CANCELLING: ("Cancelling",),
}
"""The names that the server and its clients give to states. The first is the type's default;
a client may send any other."""

LATE: Final = "Late"
"""The name of a SCHEDULED state whose time has come and gone."""
AWAITING_RETRY: Final = "AwaitingRetry"
"""The name of a SCHEDULED state in which a run waits to be tried again."""
AWAITING_SLOT: Final = "AwaitingConcurrencySlot"
"""The name of a SCHEDULED state in which a run waits for a slot of its deployment's limit."""

Table: TypeAlias = dict[StateType | None, frozenset[StateType]]

_ALL: Final[frozenset[StateType]] = frozenset(STATE_TYPES)
_AFTER_THE_END: Final[frozenset[StateType]] = frozenset(
    {SCHEDULED, PENDING, RUNNING, COMPLETED, FAILED, CANCELLED}
)

FLOW_TRANSITIONS: Final[Table] = {
    None: _ALL - {PAUSED},
    SCHEDULED: _ALL - {PAUSED},
    PENDING: _ALL - {PAUSED},
    RUNNING: _ALL - {PENDING},
    PAUSED: frozenset({SCHEDULED, RUNNING, COMPLETED, FAILED, CANCELLED, CRASHED}),
    CANCELLING: frozenset({CANCELLED}),
    COMPLETED: _AFTER_THE_END,
    FAILED: _AFTER_THE_END,
    CANCELLED: _AFTER_THE_END - {PENDING},
    CRASHED: _AFTER_THE_END,
}
TASK_TRANSITIONS: Final[Table] = {
    None: _ALL,
    SCHEDULED: _ALL,
    PENDING: _ALL,
    RUNNING: _ALL,
    PAUSED: _ALL,
    CANCELLING: _ALL,
    COMPLETED: _AFTER_THE_END,
    FAILED: _AFTER_THE_END,
    CANCELLED: _AFTER_THE_END,
    CRASHED: _AFTER_THE_END,
}


class StateDetails(Struct, frozen=True, forbid_unknown_fields=True):
    """What rules and clients want to know about a state beyond its type. All times are UTC."""

    flow_run_id: str | None = None
    task_run_id: str | None = None
    child_flow_run_id: str | None = None
    """For a task run that stands for a subflow: the subflow's run."""
    scheduled_time: datetime | None = None
    cache_key: str | None = None
    cache_expiration: datetime | None = None
    deferred: bool | None = False
    untrackable_result: bool = False
    pause_timeout: datetime | None = None
    pause_reschedule: bool = False
    """A pause that ends the process: the run is suspended and started anew to resume."""
    pause_key: str | None = None
    run_input_keyset: dict[str, str] | None = None
    refresh_cache: bool | None = None
    retriable: bool | None = None
    transition_id: str | None = None
    """Names one attempt of a client to change the state, however often it asks."""
    task_parameters_id: str | None = None
    traceparent: str | None = None
    deployment_concurrency_lease_id: str | None = None
    extras: Extras = extras_field()


class State(Struct, frozen=True, forbid_unknown_fields=True):
    """What a run is at, as the API shows it."""

    id: str
    type: StateType
    name: str
    timestamp: datetime
    message: str | None = None
    data: Any = None
    """Where the result is, or the result itself; whatever JSON the client sent."""
    state_details: StateDetails = StateDetails()
    extras: Extras = extras_field()


class RecordedDetails(StateDetails, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`StateDetails` as an event keeps them: without the many fields that say nothing."""


class RecordedState(State, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`State` as an event keeps it. The log is for ever, so what says nothing is left out."""

    state_details: RecordedDetails = RecordedDetails()


class FormerState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an emission says about the state that a run left."""

    id: str
    type: StateType
    name: str
    timestamp: datetime
    message: str | None = None
    pause_reschedule: bool = False


_NO_DETAILS = astuple(StateDetails())


class ProposedDetails(StateDetails, frozen=True, forbid_unknown_fields=True):
    """`StateDetails` as a client sends them."""

    flow_run_id: Id | None = None
    task_run_id: Id | None = None
    child_flow_run_id: Id | None = None
    transition_id: Id | None = None
    task_parameters_id: Id | None = None
    deployment_concurrency_lease_id: Id | None = None

    def __post_init__(self) -> None:
        if astuple(self) != _NO_DETAILS:  # As most are: a tenth of the time.
            tidy(self, _DETAIL_IDS, _DETAIL_TIMES)


_DETAIL_IDS = (
    "flow_run_id",
    "task_run_id",
    "child_flow_run_id",
    "transition_id",
    "task_parameters_id",
    "deployment_concurrency_lease_id",
)
_DETAIL_TIMES = ("scheduled_time", "cache_expiration", "pause_timeout")


class ProposedState(Struct, frozen=True, forbid_unknown_fields=True):
    """The state that a client wants a run to be in: the body of `set_state`, part of creations."""

    type: StateType
    name: StateName | None = None
    message: str | None = None
    data: Any = None
    state_details: ProposedDetails = ProposedDetails()
    extras: Extras = extras_field()

    def __post_init__(self) -> None:
        if self.name is None:
            force_setattr(self, "name", NAMES[self.type][0])


class ProposedTransition(Struct, frozen=True):
    """The body of `POST …/set_state`."""

    state: ProposedState
    force: bool = False
    """Judge by the minimal rules only."""


def proposed(body: ProposedState, id: str, now: datetime) -> State:
    """The state that a client's proposal would be. `id` and `now` are minted by the caller."""
    details = StateDetails(*astuple(body.state_details))
    if body.type == SCHEDULED and details.scheduled_time is None:
        details = with_details(details, scheduled_time=now)
    name = body.name or NAMES[body.type][0]
    return State(id, body.type, name, now, body.message, body.data, details, body.extras)


def new_state(
    type: StateType,
    id: str,
    now: datetime,
    name: str | None = None,
    message: str | None = None,
    data: Any = None,
    details: StateDetails | None = None,
) -> State:
    """A state that the server itself proposes, with the defaults of its type."""
    details = details or StateDetails()
    if type == SCHEDULED and details.scheduled_time is None:
        details = with_details(details, scheduled_time=now)
    return State(id, type, name or NAMES[type][0], now, message, data, details)


def first_state(wanted: ProposedState | None, id: str, now: datetime) -> State:
    """The state that a run is made in: what was proposed, or Pending."""
    return new_state(PENDING, id, now) if wanted is None else proposed(wanted, id, now)


def with_details(details: StateDetails, **changes: Any) -> StateDetails:
    """`details` with some fields changed."""
    from_tuple = list(astuple(details))
    for name, value in changes.items():
        from_tuple[_DETAIL_PLACES[name]] = value
    return StateDetails(*from_tuple)


_DETAIL_PLACES = {name: place for place, name in enumerate(StateDetails.__struct_fields__)}


def recorded(state: State) -> RecordedState:
    """The form of a state that goes into an event."""
    return RecordedState(
        state.id,
        state.type,
        state.name,
        state.timestamp,
        state.message,
        state.data,
        RecordedDetails(*astuple(state.state_details)),
        state.extras,
    )


def restored(state: RecordedState) -> State:
    """The form of a recorded state that the API shows."""
    return State(
        state.id,
        state.type,
        state.name,
        state.timestamp,
        state.message,
        state.data,
        StateDetails(*astuple(state.state_details)),
        state.extras,
    )


def former(state: State | None) -> FormerState | None:
    """What is remembered of the state that a run leaves."""
    if state is None:
        return None
    return FormerState(
        id=state.id,
        type=state.type,
        name=state.name,
        timestamp=state.timestamp,
        message=state.message,
        pause_reschedule=state.type == PAUSED and state.state_details.pause_reschedule,
    )


def has_result(data: Any) -> bool:
    """Whether a state's data says where a persisted result is."""
    return isinstance(data, dict) and data.get("type") != "unpersisted"


def kept(state: State) -> State:
    """The state as it is read back later: data that says `unpersisted` was only for the reply."""
    data = state.data
    if isinstance(data, dict) and data.get("type") == "unpersisted":
        return State(
            state.id,
            state.type,
            state.name,
            state.timestamp,
            state.message,
            None,
            state.state_details,
            state.extras,
        )
    return state


def may_be_late(state: State | None) -> bool:
    """Whether a run in this state waits for its time, and is Late some time after it.

    Not one that waits for something else as well: a retry, a slot, an answer.
    """
    return state is not None and state.type == SCHEDULED and state.name == NAMES[SCHEDULED][0]
