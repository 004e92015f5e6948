"""Flows of a project. Each writes into a journal what it did: a test knows what really ran."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from prefect import flow, pause_flow_run, runtime, suspend_flow_run
from prefect.context import FlowRunContext
from prefect.deployments import run_deployment
from prefect.input import RunInput

WAIT_SECONDS_MAX = 600


class Person(RunInput):  # type: ignore[misc]
    """What the flows that wait ask for."""

    name: str
    age: int


def note(**said: Any) -> None:
    """One line, at once: several processes write to the journal."""
    line = {
        "run": runtime.flow_run.id,
        "flow": runtime.flow_run.flow_name,
        "slot": str(runtime.flow_run.scheduled_start_time),
        "pid": os.getpid(),
        **said,
    }
    with Path(os.environ["JOURNAL"]).open("a") as journal:
        journal.write(json.dumps(line) + "\n")


@flow
def greet(name: str = "nobody") -> None:
    """Say hello in the words that the job's variables give."""
    note(said=f"{os.environ.get('GREETING')} {name}")


@flow
def tick() -> None:
    """Be there once per slot."""
    note()


@flow
def hold(number: int = 0) -> None:
    """Go on as long as the gate is closed, which is a lock that the test holds."""
    note(number=number)
    with Path(os.environ["GATE"]).open() as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)


@flow(retries=1, retry_delay_seconds=1)
def unlucky(always: bool = False) -> None:
    """Fail at first, or as long as no file says that it may work."""
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    note(attempt=context.flow_run.run_count)
    if always and not Path(os.environ["REPAIRED"]).exists():
        raise ValueError("not repaired yet")
    if context.flow_run.run_count < 2:
        raise ValueError("not yet")


@flow
def pausing() -> None:
    """Stay there until somebody says who it is."""
    note(asks=True)
    person = pause_flow_run(wait_for_input=Person, timeout=WAIT_SECONDS_MAX, poll_interval=1)
    note(name=person.name, age=person.age)


@flow
def suspending() -> None:
    """Go away until somebody says who it is."""
    note(asks=True)
    person = suspend_flow_run(wait_for_input=Person, timeout=WAIT_SECONDS_MAX, key="who")
    note(name=person.name, age=person.age)


@flow
def parent() -> None:
    """Have another deployment run as a part of this flow."""
    run = run_deployment("greet/by-hand", parameters={"name": "child"}, poll_interval=1)
    assert run.state is not None
    note(child=str(run.id), state=run.state.name)
