"""Inputs of flow runs, and resuming with one: /flow_runs/{id}/input, /flow_runs/{id}/resume."""

from typing import Any

from msgspec import Struct

from api.errors import missing
from api.http import NO_CONTENT, Answer, Area, Call
from api.lists import array
from orchestration.documents import document
from orchestration.refusals import NotFound
from orchestration.run_inputs import RunInput, RunInputCreate
from orchestration.transition import OrchestrationResult
from projections import run_inputs as rows
from services import run_inputs

INPUTS_MAX = 200
"""Inputs in one answer."""
EXCLUDED_KEYS_MAX = 10_000
"""Keys that a run may say it has seen."""
_TEXT = ((b"content-type", b"text/plain; charset=utf-8"),)

area = Area("/flow_runs", "Flow Runs")


class RunInputQuery(Struct, frozen=True, kw_only=True):
    """The body of `POST /flow_runs/{id}/input/filter`."""

    prefix: str
    limit: int = 1
    exclude_keys: tuple[str, ...] = ()


class Resume(Struct, frozen=True, kw_only=True):
    """The body of `POST /flow_runs/{id}/resume`."""

    run_input: dict[str, Any] | None = None


@area.post("/{id:uuid}/input", body=RunInputCreate, by_field=True, answers={201: None})
async def create_flow_run_input(call: Call, body: RunInputCreate) -> Answer:
    """Give a flow run an input under a key."""
    position = await run_inputs.create(call.server.shell, call.id, body, call.origin)
    return Answer(201, b"null", position=position)


@area.post(
    "/{id:uuid}/input/filter", body=RunInputQuery, by_field=True, answers={200: list[RunInput]}
)
async def filter_flow_run_input(call: Call, body: RunInputQuery) -> Answer:
    """Inputs of a flow run whose keys begin with a prefix, oldest first."""
    limit = min(body.limit, INPUTS_MAX) if body.limit >= 0 else INPUTS_MAX
    seen = body.exclude_keys[:EXCLUDED_KEYS_MAX]
    found = await rows.with_prefix(call.server.database, call.id, body.prefix, seen, limit)
    return array(found)


@area.get("/{id:uuid}/input/{key:str}", answers={200: str})
async def read_flow_run_input(call: Call) -> Answer:
    """The value of one input, as text."""
    found = await run_inputs.by_key(call.server.database, call.id, call.path["key"])
    return Answer(200, found.value.encode(), _TEXT)


@area.delete("/{id:uuid}/input/{key:str}", answers={204: None})
async def delete_flow_run_input(call: Call) -> Answer:
    """Take an input away."""
    await run_inputs.delete(call.server.shell, call.id, call.path["key"], call.origin)
    return NO_CONTENT


@area.post(
    "/{id:uuid}/resume",
    body=Resume,
    body_optional=True,
    answers={201: OrchestrationResult, 200: OrchestrationResult},
)
async def resume_flow_run(call: Call, body: Resume) -> Answer:
    """Let a paused flow run go on, with the input that it waits for if it waits for one."""
    try:
        done = await run_inputs.resume(
            call.server.shell, call.id, body.run_input, call.server.now(), call.origin
        )
    except NotFound:
        raise missing(f"Flow run with id {call.id} not found") from None
    status = 201 if done.written else 200
    return Answer(status, document(done.answer), position=done.position)
