"""What can be done with the inputs of flow runs, and resuming a run with one."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eventstore.database import Database, Reader
from eventstore.events import NewEvents
from eventstore.ids import new_id
from orchestration.documents import too_deep
from orchestration.flow_rules import policy_for
from orchestration.flow_runs import FlowRun, existing
from orchestration.refusals import NotFound
from orchestration.run_inputs import (
    CreateRunInput,
    DeleteRunInput,
    RunInput,
    RunInputCreate,
    decide,
)
from orchestration.states import PAUSED, RUNNING, SCHEDULED, State, StateDetails, new_state
from orchestration.transition import AbortDetails, OrchestrationResult, answer
from orchestration.value_schemas import CannotFillIn, complaint, filled_in, variables_in
from projections import run_inputs, variables
from projections.flow_runs import FLOW_RUNS
from projections.run_inputs import RUN_INPUTS
from services import flow_runs
from services.large_schemas import by_schema
from services.shell import (
    Decided,
    Done,
    Origin,
    Shell,
    fresh_ids,
    natural_id,
    unchanged,
    whichever,
)

CATEGORY = "flow-run-input"


def id_of(flow_run_id: str, key: str) -> str:
    """The id under which a run has its input of this key, whenever it has one."""
    return natural_id(CATEGORY, flow_run_id, key)


async def create(shell: Shell, flow_run_id: str, body: RunInputCreate, origin: Origin) -> int:
    """Give a run an input; the log's position after it.

    Raises NotFound if there is no such run, Conflict if it has an input of this key.
    """
    command = CreateRunInput(id=id_of(flow_run_id, body.key), flow_run_id=flow_run_id, body=body)

    async def decide_first(run_input: RunInput | None, fresh: bool) -> Decided[None]:
        stream = f"{flow_runs.CATEGORY}:{flow_run_id}"
        version, run = await shell.load(FLOW_RUNS, stream, flow_run_id, fresh=fresh)
        existing(run, flow_run_id)
        # It must not be deleted meanwhile: nobody would take the input away after that.
        return Decided(decide(command, run_input), None, more=(unchanged(stream, version),))

    done = await shell.create(RUN_INPUTS, CATEGORY, command.id, decide_first, origin)
    assert done is not None and done.position is not None
    return done.position


async def delete(shell: Shell, flow_run_id: str, key: str, origin: Origin) -> Done[None]:
    """Take an input away. Raises NotFound."""
    command = DeleteRunInput(id=id_of(flow_run_id, key))

    async def decide_delete(run_input: RunInput | None) -> Decided[None]:
        return Decided(decide(command, run_input), None)

    return await shell.execute(RUN_INPUTS, CATEGORY, command.id, decide_delete, origin)


async def by_key(reader: Reader, flow_run_id: str, key: str) -> RunInput:
    """One input. Raises NotFound."""
    found = await run_inputs.by_id(reader, id_of(flow_run_id, key))
    if found is None:
        raise NotFound("Flow run input", key)
    return found


async def resume(
    shell: Shell, id_: str, given: dict[str, Any] | None, now: datetime, origin: Origin
) -> Done[OrchestrationResult]:
    """Let a paused run go on, with the input that it waits for if it waits for one.

    The input is left for the run in the transaction in which it goes on. Raises NotFound, and
    Conflict if somebody left an input where this one belongs.
    """

    async def decide_resume(run: FlowRun | None, fresh: bool) -> Decided[OrchestrationResult]:
        run = existing(run, id_)
        state = run.state
        if state is None or state.type != PAUSED:
            told = "Only a paused flow run can be resumed; this one is not paused."
            return Decided((), answer("ABORT", None, told))
        keyset = state.state_details.run_input_keyset
        found: dict[str, Any] = {}
        if keyset:
            try:
                found = await _checked(shell.store.database, id_, keyset, given or {})
            except _Refused as refused:
                return Decided((), OrchestrationResult(state, "REJECT", AbortDetails(str(refused))))
        decided = await flow_runs.judged(
            shell, run, _next_state(state, now), policy_for(False), now, fresh, None
        )
        if not keyset or not found:
            return decided
        response = await _response(shell, id_, keyset, found)
        return whichever(decided, lambda one: _answered(one, response))

    return await shell.execute_with_facts(FLOW_RUNS, flow_runs.CATEGORY, id_, decide_resume, origin)


def _answered(
    decided: Decided[OrchestrationResult], response: NewEvents
) -> Decided[OrchestrationResult]:
    if decided.answer.status != "ACCEPT":
        return decided
    return replace(decided, more=(*decided.more, response))


def _next_state(paused: State, now: datetime) -> State:
    if not paused.state_details.pause_reschedule:
        return new_state(RUNNING, new_id(), now)
    details = StateDetails(scheduled_time=now)
    return new_state(SCHEDULED, new_id(), now, name="Resuming", details=details)


class _Refused(Exception):
    """What was given is not what the run asked for. The message says why."""


async def _checked(
    database: Database, flow_run_id: str, keyset: Mapping[str, str], given: dict[str, Any]
) -> dict[str, Any]:
    """What was given, made and checked against the schema that the run left. Raises _Refused."""
    known = await variables.values_of(database, database.dialect, variables_in(given))
    try:
        made = filled_in(given, known)
    except CannotFillIn as error:
        raise _Refused(f"Error hydrating run input: {error}") from None
    if not isinstance(made, dict):
        raise _Refused("Reason: the run input has to be an object.")
    schema = await _schema(database, flow_run_id, keyset)
    wrong = await by_schema(schema, lambda: complaint(made, schema))
    if wrong is not None:
        raise _Refused(f"Reason: {wrong}")
    return made


async def _schema(reader: Reader, flow_run_id: str, keyset: Mapping[str, str]) -> Any:
    """The schema that the run left. Raises _Refused."""
    stored = await run_inputs.by_id(reader, id_of(flow_run_id, keyset.get("schema", "")))
    if stored is None:
        raise _Refused("Run input schema not found.")
    if too_deep(stored.value.encode()):
        raise _Refused("Run input schema is nested too deeply.")
    try:
        schema = msgspec.json.decode(stored.value)
    except (msgspec.DecodeError, RecursionError):
        raise _Refused("Run input schema is not valid JSON.") from None
    return schema


class Wanted(Struct, frozen=True):
    """The input that a paused run waits for."""

    schema: Any
    """What it has to be like; None if the run left nothing that can be read."""
    problem: str | None
    """Why there is none."""
    description: str | None
    """Markdown for whoever fills it in."""


async def wanted(reader: Reader, run: FlowRun) -> Wanted | None:
    """What a run waits for; None if it is not paused, or goes on without an input."""
    state = run.state
    keyset = state.state_details.run_input_keyset if state and state.type == PAUSED else None
    if not keyset:
        return None
    described = await run_inputs.by_id(reader, id_of(run.id, keyset.get("description", "")))
    description = None if described is None else _text(described.value)
    try:
        return Wanted(await _schema(reader, run.id, keyset), None, description)
    except _Refused as refused:
        return Wanted(None, str(refused), description)


def _text(value: str) -> str:
    """Clients send a description as a JSON string, or as it is."""
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return value
    return found if isinstance(found, str) else value


async def _response(
    shell: Shell, flow_run_id: str, keyset: Mapping[str, str], found: dict[str, Any]
) -> NewEvents:
    """The checked input under the key where the run looks for it. Raises Conflict."""
    key = keyset.get("response", "")
    id_ = id_of(flow_run_id, key)
    stream = f"{CATEGORY}:{id_}"
    version, taken = await shell.load(RUN_INPUTS, stream, id_, fresh=True)
    body = RunInputCreate(key=key, value=msgspec.json.encode(found).decode())
    events = decide(CreateRunInput(id=id_, flow_run_id=flow_run_id, body=body), taken)
    return NewEvents(stream, version, events, fresh_ids(events))
