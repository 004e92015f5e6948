"""Flows and runs made in the test's own process, and what the log says became of them."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

from msgspec import json

from api.server import Server
from eventstore import log
from orchestration.flow_run_bodies import FlowRunCreate
from orchestration.flow_runs import FlowRunStateSet
from orchestration.flows import FlowCreate
from orchestration.states import ProposedDetails, ProposedState, StateType
from orchestration.task_run_bodies import TaskRunCreate
from orchestration.task_runs import TaskRunStateSet
from projections.flow_runs import FLOW_RUNS
from projections.task_runs import TASK_RUNS
from services import flow_runs, flows, task_runs
from services.shell import Origin

ORIGIN = Origin("tester")
WAIT_SECONDS = 20.0
CACHE_KEY_MAX = 2000


async def new_flow(server: Server) -> str:
    """Id of a new flow."""
    body = FlowCreate(name=str(uuid4()))
    flow, _, _ = await flows.create(server.shell, body, server.now(), ORIGIN)
    return str(json.decode(flow)["id"])


async def new_run(
    server: Server, state: StateType, flow_id: str | None = None, **fields: Any
) -> str:
    """Id of a new flow run in this state."""
    flow_id = flow_id or await new_flow(server)
    body = FlowRunCreate(flow_id=flow_id, state=ProposedState(state), **fields)
    run, _, _ = await flow_runs.create(server.shell, body, server.now, ORIGIN)
    return str(json.decode(run)["id"])


async def new_task(server: Server, flow_run_id: str | None, state: StateType) -> str:
    """Id of a new task run in this state."""
    body = TaskRunCreate(
        flow_run_id=flow_run_id,
        task_key="t",
        dynamic_key=str(uuid4()),
        state=ProposedState(state),
    )
    run, _, _ = await task_runs.create(
        server.shell, body, server.now, ORIGIN, cache_key_max=CACHE_KEY_MAX
    )
    return str(json.decode(run)["id"])


async def set_state(
    server: Server, id_: str, state: StateType, *, force: bool = True, **details: Any
) -> None:
    """Bring a flow run into a state."""
    wanted = ProposedState(state, state_details=ProposedDetails(**details))
    done = await flow_runs.set_state(
        server.shell, id_, wanted, force=force, now=server.now(), origin=ORIGIN
    )
    assert done.answer.status == "ACCEPT", done.answer


async def flow_states(server: Server, id_: str) -> list[str]:
    """The names of the states that a flow run took on."""
    return await _states(server, f"flow-run:{id_}")


async def task_states(server: Server, id_: str) -> list[str]:
    """The names of the states that a task run took on."""
    return await _states(server, f"task-run:{id_}")


async def _states(server: Server, stream: str) -> list[str]:
    database = server.database
    facts = await log.read_stream(database, database.dialect, server.store.codec, stream)
    events = [fact.event for fact in facts]
    kinds = (FlowRunStateSet, TaskRunStateSet)
    return [event.state.name for event in events if isinstance(event, kinds)]


async def becomes(server: Server, id_: str, name: str) -> datetime:
    """Wait until a flow run or task run has taken on a state of this name; the state's time."""

    def found(event: Any) -> bool:
        return isinstance(event, FlowRunStateSet | TaskRunStateSet) and event.state.name == name

    at: datetime = (await _heard(server, id_, found)).state.timestamp
    return at


async def _heard(server: Server, id_: str, wanted: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(WAIT_SECONDS):
        async for page in server.store.follow(0):
            for entry in page:
                recorded = entry.recorded
                if recorded.stream.partition(":")[2] == id_ and wanted(recorded.event):
                    return recorded.event
    raise AssertionError


async def message_of(server: Server, id_: str) -> str | None:
    """What the present state of a flow run or task run says."""
    for model, stream in ((FLOW_RUNS, f"flow-run:{id_}"), (TASK_RUNS, f"task-run:{id_}")):
        _, run = await server.shell.load(model, stream, id_, fresh=True)
        if run is not None:
            return None if run.state is None else run.state.message
    return None
