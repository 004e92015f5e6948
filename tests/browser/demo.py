"""A day in the life of a small data team: for screenshots, and for whoever builds pages.

    python -m tests.browser.demo HOME

fills the SQLite database of a home that has none; `PLUPERFECT_HOME=HOME pluperfect server start`
shows it. The same every time, but that it ends now. Runs are made by the services that the API
uses, told another time; only the log knows when they were really recorded.
"""

import asyncio
import json
import random
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec import Struct

from api.server import Server
from api.settings import Settings
from api.settings_of_database import DATABASE_FILE_NAME
from eventstore import migrate
from eventstore.migrate import Target
from orchestration.artifacts import ArtifactCreate
from orchestration.flow_run_bodies import FlowRunCreate
from orchestration.flows import FlowCreate
from orchestration.states import ProposedDetails, ProposedState, StateType
from services import artifacts, flow_runs, flows
from services.shell import Origin
from tests.browser import demo_configuration, demo_deployments, demo_pools
from tests.browser.making_task_runs import Task, reports, simple
from tests.emitting import emission, wire
from tests.services.serving_here import serving

ORIGIN = Origin("anonymous")
HOURS = 26
ARTIFACTS_WITHIN = timedelta(hours=3)
EVENTS_SENT = 50


class Flow(Struct, frozen=True):
    """A flow and how it goes."""

    name: str
    minutes: float
    """Between its runs."""
    seconds: float
    """That a run takes."""
    tasks: Sequence[str]
    tags: Sequence[str]
    failing: float = 0.0
    """Share of its runs that fail."""
    message: str = ""
    broken_hours: float = 0.0
    """How long it has been failing every time."""


FLOWS = (
    Flow(
        "ingest-orders",
        20,
        95,
        ("fetch", "parse", "load"),
        ("eu", "orders"),
        0.04,
        "TimeoutError: orders.example did not answer within 30 s",
    ),
    Flow("sync-inventory", 45, 240, ("list", "compare", "apply"), ("eu", "warehouse")),
    Flow("hourly-metrics", 60, 50, ("query", "publish"), ("metrics",)),
    Flow(
        "train-forecast",
        360,
        2_700,
        ("sample", "fit", "score", "publish"),
        ("ml", "gpu"),
        0.3,
        "MemoryError: unable to allocate 18.2 GiB for the feature matrix",
    ),
    Flow(
        "send-invoices",
        240,
        400,
        ("collect", "render", "send"),
        ("billing",),
        0.0,
        "ValueError: column 'amount' holds text in row 20417",
        broken_hours=9,
    ),
    Flow("nightly-backup", 1_440, 1_900, ("dump", "upload", "verify"), ("ops", "nightly")),
)
ADJECTIVES = (
    "amber",
    "brisk",
    "calm",
    "daring",
    "eager",
    "fond",
    "gentle",
    "humble",
    "ideal",
    "keen",
)
ANIMALS = ("otter", "heron", "lynx", "marten", "ibis", "badger", "crane", "tapir", "vole", "wren")


async def fill(home: Path, now: datetime) -> int:
    """Fill the migrated database of a home; how many flow runs there are."""
    target = Target(path=home / DATABASE_FILE_NAME)
    chance = random.Random(7)
    async with serving(target, Settings(home=home, services_enabled=False)) as server:
        ids = {}
        for flow in FLOWS:
            shown, _, _ = await flows.create(
                server.shell, FlowCreate(name=flow.name), now - timedelta(days=30), ORIGIN
            )
            ids[flow.name] = json.loads(shown)["id"]
        began = sorted(
            (now - timedelta(minutes=ago), flow.name)
            for flow in FLOWS
            for ago in _minutes_ago(flow.minutes, chance)
        )
        by_name = {flow.name: flow for flow in FLOWS}
        served = await demo_deployments.make(server, ids, now, ORIGIN)
        for moment, name in began:
            flow = by_name[name]
            await _run(server, flow, ids[name], served.get(name), moment, now, chance)
        await _waiting(server, ids["nightly-backup"], now)
        waiting = 2 + await demo_pools.fill(server, ids, now, ORIGIN)
        rows = await server.database.fetch("SELECT id FROM flow_runs WHERE state_type = 'RUNNING'")
        await demo_configuration.fill(server, [str(row[0]) for row in rows], ORIGIN)
    return len(began) + waiting


async def _waiting(server: Server, flow_id: str, now: datetime) -> None:
    """A run that should have started, and one that is yet to come."""
    for name, due in (("missed-heron", -12), ("early-otter", 45)):
        details = ProposedDetails(scheduled_time=now + timedelta(minutes=due))
        state = ProposedState("SCHEDULED", state_details=details)
        body = FlowRunCreate(flow_id=flow_id, name=name, tags=("ops",), state=state)
        shown, _, _ = await flow_runs.create(server.shell, body, lambda: now, ORIGIN)
        if due < 0:
            id_ = json.loads(shown)["id"]
            await flow_runs.mark_late(server.shell, id_, now, now, ORIGIN)


def _minutes_ago(between: float, chance: random.Random) -> list[float]:
    newest = chance.uniform(0.1, between)
    return [newest + at * between for at in range(int(HOURS * 60 / between) + 1)]


async def _run(
    server: Server,
    flow: Flow,
    flow_id: str,
    deployment_id: str | None,
    began: datetime,
    now: datetime,
    chance: random.Random,
) -> None:
    seconds = flow.seconds * chance.uniform(0.7, 1.5)
    ended = began + timedelta(seconds=seconds)
    broken = now - began < timedelta(hours=flow.broken_hours)
    failed = broken or chance.random() < flow.failing
    body = FlowRunCreate(
        flow_id=flow_id,
        deployment_id=deployment_id,
        name=f"{chance.choice(ADJECTIVES)}-{chance.choice(ANIMALS)}",
        tags=tuple(flow.tags),
        parameters={"day": f"{began:%Y-%m-%d}", "full": chance.random() < 0.2},
        state=ProposedState("SCHEDULED"),
    )
    shown, _, _ = await flow_runs.create(server.shell, body, lambda: began, ORIGIN)
    id_ = json.loads(shown)["id"]
    await _set(server, id_, began + timedelta(seconds=1), "PENDING")
    await _set(server, id_, began + timedelta(seconds=3), "RUNNING")
    tasks = _tasks(flow, seconds, failed, chance)
    sent = [
        one for one in reports(id_, began, tasks) if datetime.fromisoformat(one["occurred"]) < now
    ]
    sent.append(_noticed(flow, id_, body, began, chance))
    for at in range(0, len(sent), EVENTS_SENT):
        await server.intake.take([wire(one) for one in sent[at : at + EVENTS_SENT]], ORIGIN)
    if ended >= now:
        return
    if failed:
        text = f"Flow run encountered an exception: {flow.message}"
        await _set(server, id_, ended, "FAILED", text)
        return
    await _set(server, id_, ended, "COMPLETED", "All states completed.")
    # When an artifact was made is told by the log alone, so only the newest ones are.
    if flow.name == "hourly-metrics" and now - began < ARTIFACTS_WITHIN:
        table = [
            {"region": one, "orders": chance.randrange(200, 900)} for one in ("eu", "us", "asia")
        ]
        made = ArtifactCreate(
            key="orders-by-region", type="table", data=json.dumps(table), flow_run_id=id_
        )
        await artifacts.create(server.shell, made, ORIGIN)


def _tasks(flow: Flow, seconds: float, failed: bool, chance: random.Random) -> list[Task]:
    """A few of each kind side by side, each kind on the results of the one before."""
    made: list[Task] = []
    before: list[Task] = []
    share = (seconds - 6) / len(flow.tasks)
    for place, name in enumerate(flow.tasks):
        last = place == len(flow.tasks) - 1
        beside = [
            simple(
                f"{name}-{n}",
                4 + place * share + n * 0.3,
                share * chance.uniform(0.4, 0.95),
                end="FAILED" if failed and last and n == 0 else "COMPLETED",
                after=before,
                message=flow.message if failed and last and n == 0 else None,
            )
            for n in range(1 if last else chance.randrange(2, 6))
        ]
        made += beside
        before = beside
    return made


def _noticed(
    flow: Flow, id_: str, body: FlowRunCreate, began: datetime, chance: random.Random
) -> dict[str, Any]:
    """What the flow itself has to say."""
    return emission(
        occurred=(began + timedelta(seconds=5)).isoformat(),
        event=f"team.{flow.tags[0]}.checked",
        resource={
            "prefect.resource.id": f"dataset.{flow.name}",
            "prefect.resource.name": flow.name.replace("-", " "),
        },
        related=[
            {
                "prefect.resource.id": f"prefect.flow-run.{id_}",
                "prefect.resource.role": "flow-run",
                "prefect.resource.name": str(body.name),
            }
        ],
        payload={"rows": chance.randrange(1_000, 90_000), "fresh": True},
        id=str(uuid.UUID(int=chance.getrandbits(128), version=4)),
    )


async def _set(
    server: Server, id_: str, at: datetime, kind: StateType, message: str | None = None
) -> None:
    wanted = ProposedState(kind, message=message)
    await flow_runs.set_state(server.shell, id_, wanted, force=True, now=at, origin=ORIGIN)


if __name__ == "__main__":
    if len(sys.argv) != 2 or (Path(sys.argv[1]) / DATABASE_FILE_NAME).exists():
        sys.exit("usage: python -m tests.browser.demo HOME, a folder without a database")
    home = Path(sys.argv[1])
    home.mkdir(parents=True, exist_ok=True)
    migrate.upgrade(Target(path=home / DATABASE_FILE_NAME))
    number = asyncio.run(fill(home, datetime.now(UTC)))
    sys.stdout.write(f"{number} flow runs: PLUPERFECT_HOME={home} pluperfect server start\n")
