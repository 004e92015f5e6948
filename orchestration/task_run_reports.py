"""What a client reports about the states of its task runs, in an emission, brought to our form."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Any

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field
from msgspec.structs import astuple

from orchestration.documents import Extras, extras_field, make_ready, parse
from orchestration.identifiers import (
    STATE_NAME_CHARACTERS_MAX,
    Id,
    Labels,
    canonical,
    utc,
)
from orchestration.refusals import Invalid
from orchestration.run_policies import TaskRunPolicy
from orchestration.states import (
    NAMES,
    SCHEDULED,
    ProposedDetails,
    State,
    StateDetails,
    StateType,
    with_details,
)
from orchestration.task_inputs import Inputs

REPORTS_REMEMBERED_MAX = 512
"""Reports whose understanding is kept, by their bytes."""
REPORTS_FORGOTTEN = 128
"""The oldest of them, at once when there are too many. A dict looks for its first entry where all
were that are gone from it: one by one it would take longer each time."""
REPORT_REMEMBERED_BYTES_MAX = 16 * 1024
_END_BYTES = 128

_EMISSION_PREFIX = "prefect.task-run"
_RESOURCE_PREFIX = "prefect.task-run."
_FLOW_RUN_PREFIX = "prefect.flow-run."


# A pattern costs a third of a microsecond for each text, and a report is read in ten: so here only
# ids have one, and `_refuse_nul` looks for what the others would refuse.
_StateName = Annotated[str, Meta(max_length=STATE_NAME_CHARACTERS_MAX)]
_ESCAPED, _NUL_IN_JSON = b"\\", b"\\u0000"
_NO_DETAILS = Raw(b"{}")


class ReportedState(Struct, frozen=True, kw_only=True):
    """The state in a client's report. Its id and time are the emission's."""

    type: StateType
    name: _StateName | None = None
    message: str | None = None
    data: Any = None
    state_details: Raw = _NO_DETAILS
    """`ProposedDetails`, read in a second step: nearly all reports say nothing there."""
    id: Id | UnsetType = UNSET
    timestamp: datetime | UnsetType = UNSET


class ReportedTaskRun(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of a task run that a client's report is about; those it leaves out are unset."""

    task_key: str
    dynamic_key: str
    name: str | UnsetType = UNSET
    flow_run_id: Id | UnsetType | None = UNSET
    cache_key: str | UnsetType | None = UNSET
    cache_expiration: datetime | UnsetType | None = UNSET
    task_version: str | UnsetType | None = UNSET
    empirical_policy: TaskRunPolicy | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    labels: Labels | UnsetType | None = UNSET
    task_inputs: Inputs | UnsetType = UNSET
    run_count: int | UnsetType = UNSET
    flow_run_run_count: int | UnsetType = UNSET
    expected_start_time: datetime | UnsetType | None = UNSET
    next_scheduled_start_time: datetime | UnsetType | None = UNSET
    start_time: datetime | UnsetType | None = UNSET
    end_time: datetime | UnsetType | None = UNSET
    total_run_time: float | timedelta | UnsetType = UNSET
    extras: Extras = extras_field()


_REPORTED = ReportedTaskRun.__struct_fields__
_REPORTED_TIMES = (
    "cache_expiration",
    "expected_start_time",
    "next_scheduled_start_time",
    "start_time",
    "end_time",
)


class _ReportPayload(Struct, frozen=True):
    validated_state: ReportedState
    task_run: ReportedTaskRun


class _Resource(Struct, frozen=True):
    """What a report says of its task run, and of what is related to it, beside the payload."""

    id: str = field(name="prefect.resource.id", default="")
    role: str = field(name="prefect.resource.role", default="")


class _ReportEmission(Struct, frozen=True):
    id: Id
    occurred: datetime
    event: str
    resource: _Resource
    payload: _ReportPayload
    related: tuple[_Resource, ...] = ()


make_ready(_ReportEmission, ProposedDetails)


class Report(Struct, frozen=True):
    """What a client's report says, brought to our form."""

    task_run_id: str
    state: State
    changes: dict[str, Any]
    """Fields of the task run, for the case that this is the newest report."""


def is_report(event: str, resource: dict[str, str]) -> bool:
    """Whether an emission is a client's report of a state of its task run."""
    return event.startswith(_EMISSION_PREFIX) and resource.get("prefect.orchestration") == "client"


def _reported_id(resource_id: str) -> str:
    """The id of the task run that a report is about. Raises `Invalid`."""
    try:
        if resource_id.startswith(_RESOURCE_PREFIX):
            return canonical(resource_id[len(_RESOURCE_PREFIX) :])
    except ValueError:
        pass
    raise Invalid(f"{resource_id!r} is not the resource id of a task run", ("resource",))


def read_report(emission: Raw | bytes, canonical_id: str | None = None) -> Report:
    """Understand a report; about `canonical_id`, if the task run is known under that id.

    Raises `msgspec.ValidationError` and `Invalid`.
    """
    sent = bytes(emission)
    if canonical_id is None and _remembered:
        held = _remembered.get(sent[-_END_BYTES:])
        if held is not None and held[0] == sent:
            return held[1]
    return _read(sent, canonical_id)


def understand(emission: Raw | bytes) -> Report:
    """Understand a report that is to be recorded: `read_report` will soon be asked for it again.

    Raises what `read_report` raises.
    """
    sent = bytes(emission)
    report = _read(sent, None)
    if len(sent) <= REPORT_REMEMBERED_BYTES_MAX:
        if len(_remembered) >= REPORTS_REMEMBERED_MAX:
            for oldest in list(islice(_remembered, REPORTS_FORGOTTEN)):
                _remembered.pop(oldest, None)
        # Its id is at its end: that tells one from another, and is sooner hashed than all of it.
        _remembered[sent[-_END_BYTES:]] = sent, report
    return report


_remembered: dict[bytes, tuple[bytes, Report]] = {}


def _read(emission: bytes, canonical_id: str | None) -> Report:
    told = parse(_ReportEmission, emission)
    task_run_id = canonical_id or _reported_id(told.resource.id)
    fields = told.payload.task_run
    state = told.payload.validated_state
    # Hardly any text has a backslash, and one character is found ten times as fast as six.
    if _ESCAPED in emission and _NUL_IN_JSON in emission:
        _refuse_nul(fields, state)
    changes: dict[str, Any] = {
        name: value
        for name, value in zip(_REPORTED, astuple(fields), strict=False)
        if value is not UNSET
    }
    for name in _REPORTED_TIMES:
        time = changes.get(name)
        if time is not None and time.tzinfo is not UTC:
            changes[name] = utc(time)
    flow_run_id = fields.flow_run_id
    if flow_run_id is UNSET:
        flow_run_id = _flow_run_of(told.related)
    elif flow_run_id is not None:
        flow_run_id = canonical(flow_run_id)
    changes["flow_run_id"] = flow_run_id
    spent = fields.total_run_time
    if spent.__class__ is not float and spent is not UNSET:
        changes["total_run_time"] = (
            spent.total_seconds() if isinstance(spent, timedelta) else float(spent)
        )
    occurred = utc(told.occurred if state.timestamp is UNSET else state.timestamp)
    return Report(
        task_run_id,
        State(
            canonical(told.id if state.id is UNSET else state.id),
            state.type,
            state.name or NAMES[state.type][0],
            occurred,
            state.message,
            state.data,
            _details(state, occurred, flow_run_id, task_run_id),
        ),
        changes,
    )


def _details(
    state: ReportedState, occurred: datetime, flow_run_id: str | None, task_run_id: str
) -> StateDetails:
    if state.type != SCHEDULED and state.state_details == _NO_DETAILS:
        return StateDetails(flow_run_id, task_run_id)
    details = parse(ProposedDetails, state.state_details)
    references: dict[str, Any] = {"task_run_id": task_run_id, "flow_run_id": flow_run_id}
    if state.type == SCHEDULED and details.scheduled_time is None:
        references["scheduled_time"] = occurred
    return with_details(details, **references)


def _refuse_nul(run: ReportedTaskRun, state: ReportedState) -> None:
    """Raise `Invalid` for text that a column cannot hold."""
    texts = (run.task_key, run.dynamic_key, run.name, run.cache_key, state.name)
    if any(isinstance(text, str) and "\x00" in text for text in texts):
        raise Invalid("Keys and names hold no NUL", ("payload",))


def _flow_run_of(related: tuple[_Resource, ...]) -> str | None:
    for resource in related:
        if resource.role == "flow-run" and resource.id.startswith(_FLOW_RUN_PREFIX):
            return canonical(resource.id[len(_FLOW_RUN_PREFIX) :])
    return None
